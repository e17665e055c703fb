/**
 * The machine that tests of the appliance image run: QEMU without KVM, UEFI firmware, a disk that is a
 * throw-away overlay on the image, and what may be plugged in besides: a TPM (swtpm), Secure Boot
 * firmware, a watchdog, a common network with other machines, more disks. The image is the one that
 * users get: nothing in it is made for tests. Commands run in it through the root shell that systemd
 * opens on the second serial line when the virtual firmware's settings ask for it, which a machine
 * that enforces Secure Boot ignores.
 *
 * Everything lies in one directory that goes with the machine. Cutting the power is SIGKILL: what the
 * guest had not yet handed to its disk is lost.
 */
import { join } from "node:path";
import { untilListening } from "../kit/listening.ts";
import { freePort } from "../kit/nats.ts";
import { until } from "../kit/until.ts";
import { qmp } from "../kit/qmp.ts";
import { type Board, pcs, type Platform } from "./platform.ts";
import { SerialShell } from "./serial_shell.ts";

export interface Disk {
  readonly path: string;
  readonly format: "raw" | "qcow2";
  /** As the guest sees it in /dev/disk/by-id/virtio-…; at most 20 letters. */
  readonly serial: string;
  readonly readOnly?: true;
  /** A stick on USB instead of a disk of the board. */
  readonly usb?: true;
  /** A memory card, whose size must be a power of two; firmware does not start from it. */
  readonly card?: true;
}

export interface MachineOptions {
  /** A kernel image that the firmware starts instead of looking for one on the disks. */
  readonly kernel?: string;
  /** The image's own disk is a memory card. */
  readonly card?: true;
  /** What kind of machine it is; a PC unless told otherwise. */
  readonly board?: Board;
  /** The raw image; it is never written to. Absent: the first of `disks` is booted. */
  readonly image?: string;
  readonly disk_gib?: number;
  /** A file (`makeWriteLog`) into which every write to the image's disk goes as well. */
  readonly writeLog?: string;
  readonly memory_mib?: number;
  readonly cpus?: number;
  readonly disks?: readonly Disk[];
  /** Guest ports that are reached through ports of this machine's loopback. */
  readonly forward?: readonly number[];
  readonly tpm?: true;
  readonly secureBoot?: true;
  readonly watchdog?: true;
  /** Machines with the same address, for example 230.9.0.1:12340, share one more network. */
  readonly multicast?: string;
  readonly mac?: string;
  /**
   * The seed that the firmware hands over, null for a box that waits to be claimed. Left out: the
   * least by which it sets itself up.
   */
  readonly seed?: string | null;
  /** Further systemd credentials that the firmware hands over. */
  readonly credentials?: Readonly<Record<string, string>>;
  /** More words for the kernel's command line, by the firmware. */
  readonly kernelArguments?: readonly string[];
}

/** Runs a program of this machine. @throws Error with its words when it fails */
export async function host(program: string, ...args: readonly string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(program, { args: [...args] }).output();
  if (!success) throw new Error(`${program}: ${new TextDecoder().decode(stderr)}`);
  return new TextDecoder().decode(stdout);
}

/** Colours, cursor movements and carriage returns, as consoles write them. */
// deno-lint-ignore no-control-regex
const decoration = /\x1b\[[0-9;?]*[a-zA-Z]|\x1b[()][A-Z0-9]|\x1b\][^\x07\x1b]*(\x07|\x1b\\)|\r/g;

export class Machine implements AsyncDisposable {
  readonly #options: MachineOptions;
  readonly #ports = new Map<number, number>();
  #process: Deno.ChildProcess | undefined;
  #tpm: Deno.ChildProcess | undefined;
  #shell: SerialShell | undefined;
  #started = 0;
  /** Where in the console's file the current run of the system begins. */
  #consoleFrom = 0;
  /** Whether its system ran already when it was powered on. */
  #resumed = false;

  private constructor(readonly directory: string, options: MachineOptions) {
    this.#options = options;
  }

  /** A machine with an empty disk of its own on the image, not yet powered on. */
  static async create(options: MachineOptions): Promise<Machine> {
    const directory = await Deno.makeTempDir({ prefix: "mulga-appliance-" });
    const machine = new Machine(directory, options);
    if (options.image !== undefined) {
      await host(
        "qemu-img",
        ...["create", "-q", "-f", "qcow2", "-b", await Deno.realPath(options.image), "-F", "raw"],
        ...[machine.#at("disk.qcow2"), `${options.disk_gib ?? 10}G`],
      );
    }
    // As qcow2, so that a snapshot of the whole machine has them too.
    const { variables } = machine.#platform;
    if (variables !== undefined) {
      await host("qemu-img", "convert", "-O", "qcow2", variables, machine.#at("variables.qcow2"));
    }
    for (const port of options.forward ?? []) machine.#ports.set(port, freePort());
    return machine;
  }

  get #platform(): Platform {
    const { board, secureBoot } = this.#options;
    return board ?? (secureBoot ? pcs.secure : pcs.plain);
  }

  #at(name: string): string {
    return join(this.directory, name);
  }

  /** The port of this machine's loopback that leads to the guest's `port`. */
  port(port: number): number {
    const found = this.#ports.get(port);
    if (found === undefined) throw new Error(`Port ${port} is not forwarded.`);
    return found;
  }

  /** Seconds since it was powered on. */
  uptime_s(): number {
    return (performance.now() - this.#started) / 1_000;
  }

  /**
   * Powers it on; disks and firmware variables are as the last run left them, or everything, memory
   * too, as it was when that snapshot was taken.
   */
  async start(snapshot?: string): Promise<void> {
    if (this.#process !== undefined) throw new Error("It is powered on already.");
    const options = this.#options;
    await Deno.writeTextFile(this.#at("console.log"), "");
    this.#consoleFrom = 0;
    for (const name of ["qmp.sock", "shell.sock"]) {
      await Deno.remove(this.#at(name)).catch(() => {});
    }
    if (options.tpm) await this.#startTpm();
    this.#process = new Deno.Command(this.#platform.program, {
      args: [...this.#arguments(), ...(snapshot === undefined ? [] : ["-loadvm", snapshot])],
      stdin: "null",
      stdout: "null",
      stderr: "inherit",
    }).spawn();
    this.#started = performance.now();
    this.#resumed = snapshot !== undefined;
  }

  #arguments(): string[] {
    const options = this.#options;
    const platform = this.#platform;
    const shell = [
      `systemd.debug_shell=${platform.shellTerminal}`,
      ...(options.kernelArguments ?? []),
    ]
      .join(" ");
    const texts = [
      `io.systemd.stub.kernel-cmdline-extra=${shell}`,
      ...Object.entries({
        ...(options.seed === null ? {} : { "mulga.seed": options.seed ?? "version: 1\n" }),
        ...options.credentials,
      }).map(([name, value]) => `io.systemd.credential.binary:${name}=${btoa(value)}`),
    ];
    const disks: Disk[] = [
      ...(options.image === undefined ? [] : [
        {
          path: this.#at("disk.qcow2"),
          format: "qcow2",
          serial: "appliance",
          ...(options.card ? { card: true as const } : {}),
        } as const,
      ]),
      ...(options.disks ?? []),
    ];
    const forwards = [...this.#ports].map(([guest, host]) =>
      `,hostfwd=tcp:127.0.0.1:${host}-:${guest}`
    );
    return [
      ...["-machine", platform.machine, "-cpu", platform.cpu],
      ...["-accel", "tcg,thread=multi"],
      ...["-smp", String(options.cpus ?? 2), "-m", String(options.memory_mib ?? 2048)],
      ...["-nodefaults", "-display", "none"],
      ...(options.kernel === undefined ? [] : ["-kernel", options.kernel]),
      ...["-serial", `file:${this.#at("console.log")}`],
      ...["-serial", `unix:${this.#at("shell.sock")},server=on,wait=off`],
      ...["-qmp", `unix:${this.#at("qmp.sock")},server=on,wait=off`],
      ...(options.secureBoot ? ["-global", "driver=cfi.pflash01,property=secure,value=on"] : []),
      ...(platform.variables === undefined ? ["-bios", platform.code] : [
        ...["-drive", `if=pflash,format=raw,readonly=on,file=${platform.code}`],
        ...["-drive", `if=pflash,format=qcow2,file=${this.#at("variables.qcow2")}`],
      ]),
      ...(disks.some((disk) => disk.usb) ? ["-device", "qemu-xhci,id=usb"] : []),
      ...disks.flatMap((disk, at) => [
        "-drive",
        `if=none,id=disk${at},${
          at === 0 && options.writeLog !== undefined
            ? logged(disk, options.writeLog)
            : `format=${disk.format},file=${disk.path}`
        },discard=unmap,readonly=${disk.readOnly ? "on" : "off"}`,
        ...(disk.card
          ? ["-device", `sdhci-pci,id=reader${at}`, "-device", `sd-card,drive=disk${at}`]
          : [
            "-device",
            `${disk.usb ? "usb-storage,bus=usb.0,removable=on" : "virtio-blk-pci"},` +
            `drive=disk${at},id=${disk.serial},serial=${disk.serial},bootindex=${at + 1}` +
            (at === 0 && options.writeLog !== undefined ? unmerged : ""),
          ]),
      ]),
      ...["-device", "virtio-rng-pci"],
      ...["-netdev", `user,id=net${forwards.join("")}`],
      "-device",
      `virtio-net-pci,netdev=net,romfile=${options.mac === undefined ? "" : `,mac=${options.mac}`}`,
      ...(options.multicast === undefined ? [] : [
        "-netdev",
        `socket,id=common,mcast=${options.multicast},localaddr=127.0.0.1`,
        "-device",
        `virtio-net-pci,netdev=common,romfile=,mac=${neighbour(options.mac)}`,
      ]),
      ...(options.watchdog ? ["-device", "i6300esb", "-action", "watchdog=reset"] : []),
      ...(options.tpm
        ? [
          ...["-chardev", `socket,id=tpm,path=${this.#at("tpm.sock")}`],
          ...["-tpmdev", "emulator,id=tpm,chardev=tpm", "-device", "tpm-crb,tpmdev=tpm"],
        ]
        : []),
      ...texts.flatMap((text) => ["-smbios", `type=11,value=${text.replaceAll(",", ",,")}`]),
    ];
  }

  async #startTpm(): Promise<void> {
    const state = this.#at("tpm");
    await Deno.mkdir(state, { recursive: true });
    await Deno.remove(this.#at("tpm.sock")).catch(() => {});
    this.#tpm = new Deno.Command("swtpm", {
      args: [
        ...["socket", "--tpm2", "--tpmstate", `dir=${state}`],
        ...["--ctrl", `type=unixio,path=${this.#at("tpm.sock")}`, "--terminate"],
      ],
      stdin: "null",
      stdout: "null",
      stderr: "inherit",
    }).spawn();
    await untilListening(this.#at("tpm.sock"));
  }

  /** What it wrote on its first serial line since it was powered on or asked to reboot. */
  async console(): Promise<string> {
    const bytes = await Deno.readFile(this.#at("console.log"));
    return new TextDecoder().decode(bytes.subarray(this.#consoleFrom)).replaceAll(decoration, "");
  }

  /**
   * Waits until the console has said `text`, `times` times.
   * @throws Error with the console's last lines when it does not, or when the machine turned off
   */
  async says(text: string | RegExp, limit_ms: number, times = 1): Promise<void> {
    try {
      await until(`${text} on the console`, async () => {
        const said = await this.console();
        const found = typeof text === "string" ? said.split(text).length - 1 : [
          ...said.matchAll(
            new RegExp(text, text.flags.includes("g") ? text.flags : `${text.flags}g`),
          ),
        ]
          .length;
        return found >= times ? true : undefined;
      }, limit_ms);
    } catch (cause) {
      const last = (await this.console()).split("\n").slice(-40).join("\n");
      throw new Error(`The console did not say ${text}; its last lines:\n${last}`, { cause });
    }
  }

  /**
   * The root shell. Opened at the first call after each start, once the system is that far: before
   * that, firmware and boot menu read the same line, and a digit chooses one of the menu's entries.
   */
  async shell(limit_ms = 300_000): Promise<SerialShell> {
    if (this.#shell === undefined) {
      if (!this.#resumed) await this.says(/Linux version/, limit_ms);
      this.#shell = await SerialShell.open(this.#at("shell.sock"), limit_ms);
    }
    return this.#shell;
  }

  /** From here on `console` and `says` know only what is said anew. */
  async newConsole(): Promise<void> {
    this.#consoleFrom = (await Deno.stat(this.#at("console.log"))).size;
  }

  /** Runs a line in the guest's root shell. @throws Error when it fails */
  async run(line: string, limit_ms = 120_000): Promise<string> {
    return await (await this.shell(Math.max(limit_ms, 300_000))).run(line, limit_ms);
  }

  /** The shell ended with the system that it ran in: the next call waits for the new one. */
  forgetShell(): void {
    this.#shell?.close();
    this.#shell = undefined;
  }

  /** Reboots in good order and waits until the firmware has started anew. */
  async reboot(limit_ms = 600_000): Promise<void> {
    const shell = await this.shell();
    await this.newConsole();
    await shell.send("systemctl reboot");
    await this.says(/BdsDxe: starting|Linux version/, limit_ms);
    this.forgetShell();
    this.#resumed = false;
    this.#started = performance.now();
  }

  /** One command to QEMU's machine protocol. */
  async qmp(execute: string, args?: Record<string, unknown>): Promise<unknown> {
    return await qmp(this.#at("qmp.sock"), execute, args);
  }

  /** Pulls out one of `disks`. */
  async unplug(serial: string): Promise<void> {
    await this.qmp("device_del", { id: serial });
  }

  /** Keeps disks, firmware variables and memory as they are now, under a name. */
  async snapshot(name: string): Promise<void> {
    const said = await this.qmp("human-monitor-command", { "command-line": `savevm ${name}` });
    if (said !== "") throw new Error(`No snapshot was taken: ${said}`);
  }

  /** Whether QEMU runs. */
  get on(): boolean {
    return this.#process !== undefined;
  }

  /** Presses the power button and waits until it is off. */
  async powerDown(limit_ms = 600_000): Promise<void> {
    await this.qmp("system_powerdown");
    const child = this.#process;
    const timer = setTimeout(() => child?.kill("SIGKILL"), limit_ms);
    const status = await child?.status;
    clearTimeout(timer);
    await this.#ended();
    if (typeof status?.signal === "string") throw new Error(`It was not off in ${limit_ms} ms.`);
  }

  /** Cuts the power; QEMU ends in good order, so that its own files (a log of writes) are whole. */
  async quit(): Promise<void> {
    // It may be gone before it answers.
    await this.qmp("quit").catch(() => {});
    await this.#process?.status;
    await this.#ended();
  }

  /** Cuts the power. */
  async cutPower(): Promise<void> {
    try {
      this.#process?.kill("SIGKILL");
    } catch {
      // It has ended by itself.
    }
    await this.#process?.status;
    await this.#ended();
  }

  async #ended(): Promise<void> {
    this.forgetShell();
    this.#process = undefined;
    // swtpm ends with its connection.
    await this.#tpm?.status;
    this.#tpm = undefined;
  }

  /** Keeps the console's text where a person may read it after a failure. */
  async keepConsole(to: string): Promise<void> {
    await Deno.writeTextFile(to, await this.console());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.cutPower();
    await Deno.remove(this.directory, { recursive: true });
  }
}

/**
 * QEMU merges a guest's writes up to the 1,024 buffers that one system call takes, and the log adds two of its own:
 * such a write would fail.
 */
const unmerged = ",request-merging=off";

/** A drive each of whose writes goes into a log too. */
function logged(disk: Disk, log: string): string {
  return `driver=blklogwrites,file.driver=${disk.format},file.file.driver=file,` +
    `file.file.filename=${disk.path},file.discard=unmap,` +
    `log.driver=file,log.filename=${log},log-sector-size=512`;
}

/** The address of the second network card, made from the first one's. */
function neighbour(mac: string | undefined): string {
  const parts = (mac ?? "52:54:00:12:34:56").split(":");
  return ["52", "54", "01", ...parts.slice(3)].join(":");
}
