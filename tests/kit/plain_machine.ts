/**
 * One QEMU machine without any of our services, for tests of guest images: UEFI firmware, a throw-away
 * overlay on the image, the restricted user-mode network with metadata at 169.254.169.254, SSH on a
 * local port. Everything it makes lies in a temporary directory that goes with it.
 */
import { join } from "node:path";
import { freePort } from "./nats.ts";
import { qmp } from "./qmp.ts";
import { until } from "./until.ts";

const arm = Deno.build.arch === "aarch64";
const firmware = arm
  ? { code: "/usr/share/AAVMF/AAVMF_CODE.fd", variables: "/usr/share/AAVMF/AAVMF_VARS.fd" }
  : { code: "/usr/share/OVMF/OVMF_CODE_4M.fd", variables: "/usr/share/OVMF/OVMF_VARS_4M.fd" };

/** The address that the machine's guest gets by DHCP. */
export const guestAddress = "172.31.16.5";
export const guestMac = "02:00:ac:1f:10:05";

async function command(program: string, args: readonly string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(program, { args: [...args] }).output();
  if (!success) throw new Error(`${program}: ${new TextDecoder().decode(stderr)}`);
  return new TextDecoder().decode(stdout);
}

export interface PlainMachine extends AsyncDisposable {
  readonly directory: string;
  /** Path of the SSH key's public half, in OpenSSH's form. */
  readonly publicKey: string;
  readonly metadataSocket: string;
  /** Powers the machine on; its disk keeps what an earlier run wrote. */
  start(): Promise<void>;
  /** What the guest wrote on its serial console since the last start. */
  console(): Promise<string>;
  /** Waits for a text on the console. */
  says(text: string, limit_ms: number): Promise<void>;
  /** Runs a command in the guest, by the machine's key or another. @returns its standard output */
  ssh(user: string, line: string, key?: string): Promise<string>;
  /** Waits until `ssh` works. */
  reachable(user: string, limit_ms: number): Promise<void>;
  /** One command to QEMU's machine protocol. */
  qmp(execute: string, args?: Record<string, unknown>): Promise<unknown>;
  /** Presses the power button and waits until the machine is off. */
  powerDown(limit_ms: number): Promise<void>;
  /** Cuts the power. */
  cutPower(): Promise<void>;
}

export async function plainMachine(options: {
  readonly image: string;
  readonly disk_gib: number;
  readonly memory_mib: number;
}): Promise<PlainMachine> {
  const directory = await Deno.makeTempDir({ prefix: "mulga-vm-" });
  const at = (name: string) => join(directory, name);
  const port = freePort();
  await command("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", at("key")]);
  await command("qemu-img", [
    ...["create", "-q", "-f", "qcow2", "-b", options.image, "-F", "raw"],
    ...[at("disk.qcow2"), `${options.disk_gib}G`],
  ]);
  // A spare disk that tests plug in while the guest runs.
  await command("qemu-img", ["create", "-q", "-f", "raw", at("spare.raw"), "64M"]);
  await Deno.copyFile(firmware.variables, at("variables.fd"));
  const publicKey = (await Deno.readTextFile(at("key.pub"))).trim();
  const uuid = `ec2${crypto.randomUUID().slice(3)}`;
  let process: Deno.ChildProcess | undefined;

  const arguments_ = [
    ...(arm ? ["-machine", "virt", "-cpu", "max"] : ["-machine", "q35", "-cpu", "max"]),
    // One processor: emulated ones may lose each other's timers for good on a busy host.
    ...["-accel", "tcg", "-smp", "1", "-m", String(options.memory_mib)],
    ...["-nodefaults", "-display", "none", "-serial", `file:${at("console.log")}`],
    ...["-drive", `if=pflash,format=raw,readonly=on,file=${firmware.code}`],
    ...["-drive", `if=pflash,format=raw,file=${at("variables.fd")}`],
    ...["-drive", `if=none,id=root,format=qcow2,file=${at("disk.qcow2")}`],
    ...["-device", "virtio-blk-pci,drive=root,bootindex=1,serial=vol0123456789abcdef0"],
    ...["-device", "pcie-root-port,id=slot1,chassis=1,slot=1"],
    ...["-blockdev", `driver=file,node-name=spare,filename=${at("spare.raw")}`],
    ...["-device", "virtio-rng-pci"],
    "-netdev",
    "user,id=net,restrict=on,net=160.0.0.0/4,host=172.31.0.1,dns=172.31.0.2," +
    `dhcpstart=${guestAddress},hostfwd=tcp:127.0.0.1:${port}-${guestAddress}:22,` +
    `guestfwd=tcp:169.254.169.254:80-cmd:socat - UNIX-CONNECT:${at("imds.sock")}`,
    ...["-device", `virtio-net-pci,netdev=net,mac=${guestMac},romfile=`],
    "-smbios",
    `type=1,manufacturer=Amazon EC2,product=t3.micro,uuid=${uuid},serial=${uuid}`,
    ...["-qmp", `unix:${at("qmp.sock")},server=on,wait=off`],
  ];

  const console = async () => (await Deno.readTextFile(at("console.log"))).replaceAll("\r", "");
  const off = async (limit_ms: number) => {
    const child = process;
    if (child === undefined) return;
    const timer = setTimeout(() => child.kill("SIGKILL"), limit_ms);
    const { signal } = await child.status;
    clearTimeout(timer);
    process = undefined;
    if (signal !== null) throw new Error(`the guest was not off in ${limit_ms} ms`);
  };
  const cutPower = async () => {
    process?.kill("SIGKILL");
    await process?.status;
    process = undefined;
  };
  const ssh = (user: string, line: string, key = at("key")) =>
    command("ssh", [
      ...["-i", key, "-p", String(port), "-o", "StrictHostKeyChecking=no"],
      ...["-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=60", "-o", "LogLevel=ERROR"],
      // A guest that hangs ends the session, and with it the test.
      ...["-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=8"],
      ...["-o", "BatchMode=yes", `${user}@127.0.0.1`, line],
    ]);
  return {
    directory,
    publicKey,
    metadataSocket: at("imds.sock"),
    async start() {
      await Deno.writeTextFile(at("console.log"), "");
      process = new Deno.Command(arm ? "qemu-system-aarch64" : "qemu-system-x86_64", {
        args: arguments_,
        stdin: "null",
        stdout: "null",
        stderr: "inherit",
      }).spawn();
    },
    console,
    says: async (text, limit_ms) => {
      await until(`"${text}" on the console`, async () => {
        const said = await console().catch(() => "");
        return said.includes(text) ? true : undefined;
      }, limit_ms);
    },
    ssh,
    reachable: async (user, limit_ms) => {
      await until(`login as ${user}`, () => ssh(user, "true").catch(() => undefined), limit_ms);
    },
    qmp: (execute, args) => qmp(at("qmp.sock"), execute, args),
    async powerDown(limit_ms) {
      await qmp(at("qmp.sock"), "system_powerdown");
      await off(limit_ms);
    },
    cutPower,
    async [Symbol.asyncDispose]() {
      await cutPower();
      await Deno.remove(directory, { recursive: true });
    },
  };
}
