/**
 * The command line of one guest's QEMU. Pure: the same specification always gives the same line.
 *
 * What always holds: UEFI with variables of its own, virtio for everything, a PCIe root port for
 * every disk that may ever be plugged in (`pcie.0` takes no hot-plug; 26 ports cost OVMF under
 * a second under TCG), and SMBIOS as EC2 has it, so that unmodified images find EC2's metadata. A
 * guest that powers off leaves its QEMU waiting (`shutdown=pause`): the difference between "the
 * guest shut down" and "QEMU died" is told by QEMU itself, also to a compute that was away.
 *
 * A disk whose server is gone makes the guest's requests wait for minutes and then stops the guest;
 * no error ever reaches it. Resuming sends the requests again.
 */
import { createHash } from "node:crypto";
import { diskSlots, type MachineSpec } from "./hypervisor.ts";
import type { MachinePaths } from "./machine_paths.ts";
import {
  blockdev,
  chardevOption,
  diskDevice,
  type DiskDoor,
  doorOf,
  optionValue,
  vhostDevice,
} from "./qemu_disks.ts";
import type { Firmware } from "./qemu_firmware.ts";

/** Translated code that TCG keeps per guest; its own default is a gigabyte. */
const translationBuffer_mib = 256;

/** QEMU's name of the channel to the agent in the guest. */
export const agentChardev = "agent";

export interface QemuOptions {
  readonly accelerator: "kvm" | "tcg";
  readonly disks: DiskDoor;
  readonly firmware: Firmware;
  readonly paths: MachinePaths;
}

/** Memory `memory` that another process can map, and that nobody can take away from it. */
export const sharedMemory = (mib: number) =>
  `memory-backend-memfd,id=memory,size=${mib}M,share=on,seal=on`;

/** Starts with `ec2`, as image software looks for, and is the same at every start. */
function machineUuid(instanceId: string): string {
  const hash = createHash("sha256").update(instanceId).digest("hex");
  const digits = `ec2${hash.slice(0, 29)}`;
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

function processor(architecture: MachineSpec["architecture"], accelerator: "kvm" | "tcg"): string {
  if (accelerator === "kvm") return "host";
  // Under TCG a named model: today's distributions want x86-64-v3, and `max` changes between releases.
  return architecture === "x86_64"
    ? "Haswell-noTSX,pcid=off,tsc-deadline=off,invpcid=off"
    : "neoverse-n1";
}

function rootPorts(): string[] {
  return Array.from({ length: diskSlots }, (_, slot) => [
    "-device",
    JSON.stringify({
      driver: "pcie-root-port",
      id: `slot${slot}`,
      bus: "pcie.0",
      chassis: slot + 1,
      addr: `0x${(8 + (slot >> 3)).toString(16)}.${slot & 7}`,
      multifunction: true,
      // virtio 1.0 needs no I/O ports, of which there are too few for this many bridges.
      "io-reserve": 0,
    }),
  ]).flat();
}

/**
 * The channel by which qemu-guest-agent is spoken to: it looks for a port of this name. The device has a place of
 * its own at the end of the bus, so that no other one moves; one port, since each costs the guest two queues.
 */
function agentChannel(paths: MachinePaths): string[] {
  return [
    "-chardev",
    `socket,id=${agentChardev},path=${optionValue(paths.agentSocket)},server=on,wait=off`,
    "-device",
    JSON.stringify({
      driver: "virtio-serial-pci",
      id: "channels",
      bus: "pcie.0",
      addr: "0x1e",
      max_ports: 2,
      "disable-legacy": "on",
    }),
    "-device",
    JSON.stringify({
      driver: "virtserialport",
      bus: "channels.0",
      // Port 0 is the console's.
      nr: 1,
      chardev: agentChardev,
      name: "org.qemu.guest_agent.0",
    }),
  ];
}

export function qemuArguments(spec: MachineSpec, options: QemuOptions): string[] {
  const { accelerator, disks, firmware, paths } = options;
  const isShared = disks === "vhost-user";
  const uuid = machineUuid(spec.instance_id);
  const machine = spec.architecture === "x86_64"
    ? "q35,smm=off,hpet=off"
    : `virt,gic-version=${accelerator === "kvm" ? "host" : "3"}`;
  return [
    ...["-name", spec.instance_id, "-uuid", uuid],
    ...["-nodefaults", "-no-user-config", "-display", "none", "-daemonize", "-pidfile", paths.pid],
    // The network starts a program per metadata connection, so starting programs stays allowed.
    ...["-sandbox", "on,obsolete=deny,resourcecontrol=deny"],
    ...[
      "-machine",
      `${machine},pflash0=firmware,pflash1=firmware_variables${
        isShared ? ",memory-backend=memory" : ""
      }`,
    ],
    // The block engine maps it; its size is sealed, so that nobody can pull it from under the engine.
    ...(isShared
      ? [
        "-object",
        sharedMemory(spec.memory_mib),
      ]
      : []),
    ...[
      "-accel",
      accelerator === "kvm" ? "kvm" : `tcg,thread=multi,tb-size=${translationBuffer_mib}`,
    ],
    ...["-cpu", processor(spec.architecture, accelerator)],
    ...["-smp", String(spec.vcpus), "-m", `${spec.memory_mib}M`],
    ...["-rtc", "base=utc"],
    ...["-action", "shutdown=pause,reboot=reset"],
    ...[
      "-blockdev",
      JSON.stringify({
        driver: "raw",
        "node-name": "firmware",
        "read-only": true,
        file: { driver: "file", filename: firmware.code },
      }),
    ],
    ...[
      "-blockdev",
      JSON.stringify({
        driver: "raw",
        "node-name": "firmware_variables",
        file: { driver: "file", filename: paths.firmwareVariables },
      }),
    ],
    ...["-smbios", "type=0,vendor=Amazon EC2,version=1.0,uefi=on"],
    ...[
      "-smbios",
      `type=1,manufacturer=Amazon EC2,product=${
        optionValue(spec.instance_type)
      },uuid=${uuid},serial=${uuid}`,
    ],
    ...["-smbios", `type=2,manufacturer=Amazon EC2,asset=${spec.instance_id}`],
    ...["-smbios", `type=3,manufacturer=Amazon EC2,asset=Amazon EC2`],
    ...["-qmp", `unix:${optionValue(paths.qmp)},server=on,wait=off`],
    ...[
      "-chardev",
      `socket,id=console,path=${optionValue(paths.consoleSocket)},server=on,wait=off,` +
      `logfile=${optionValue(paths.consoleLog)},logappend=on`,
    ],
    ...["-serial", "chardev:console"],
    // A framebuffer in the guest's memory that the firmware sets up: a screen without a PCI device.
    ...["-device", "ramfb"],
    ...(spec.tpm
      ? [
        ...["-chardev", `socket,id=tpm,path=${optionValue(paths.tpm.control)}`],
        ...["-tpmdev", "emulator,id=tpm,chardev=tpm"],
        ...[
          "-device",
          `${spec.architecture === "x86_64" ? "tpm-crb" : "tpm-tis-device"},tpmdev=tpm`,
        ],
      ]
      : []),
    ...["-object", "rng-random,id=entropy,filename=/dev/urandom"],
    ...["-device", "virtio-rng-pci,rng=entropy,max-bytes=65536,period=1000"],
    ...agentChannel(paths),
    ...["-object", "iothread,id=disks"],
    ...rootPorts(),
    ...spec.network,
    ...spec.disks.flatMap((disk) =>
      doorOf(disk, isShared) === "vhost-user"
        ? [
          ...["-chardev", chardevOption(disk)],
          ...["-device", JSON.stringify(vhostDevice(disk, spec.vcpus))],
        ]
        : [
          ...["-blockdev", JSON.stringify(blockdev(disk))],
          ...["-device", JSON.stringify(diskDevice(disk))],
        ]
    ),
  ];
}
