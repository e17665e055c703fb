/**
 * The QEMU hypervisor: starts machines as daemons, so that they outlive this process, and finds them
 * again by their QMP sockets.
 *
 * Two QEMUs never run for one instance: each locks its pid file, and a second one refuses to start.
 */
import { dirname } from "node:path";
import type { Paths } from "../../config/node_config.ts";
import type { Log } from "../../log/log.ts";
import { isProcessOf, killProcessOf } from "../../../ffi/process.ts";
import { delay } from "../delay.ts";
import { type Hypervisor, type Machine, type MachineSpec, StartFailed } from "./hypervisor.ts";
import { machinePaths } from "./machine_paths.ts";
import { type DiskDoor } from "./qemu_disks.ts";
import { qemuArguments } from "./qemu_arguments.ts";
import { findFirmware } from "./qemu_firmware.ts";
import { QemuMachine, readPid } from "./qemu_machine.ts";
import { endTpm, startTpm } from "./tpm.ts";
import { ignoreMissing } from "../../config/missing_files.ts";

/** From spawning QEMU to its QMP socket: 20 ms here, more on a machine under load. */
const startBound_ms = 60_000;

/** How often, and how long apart, a process that no longer listens is looked at before it is killed. */
const exitTries = 60;
const exitPause_ms = 50;

export const programs = { x86_64: "qemu-system-x86_64", arm64: "qemu-system-aarch64" } as const;

export interface QemuHypervisorOptions {
  readonly paths: Paths;
  readonly accelerator: "kvm" | "tcg";
  /** How machines that are started from now on reach their disks; NBD unless said. */
  readonly disks?: DiskDoor;
  readonly log: Log;
}

export class QemuHypervisor implements Hypervisor {
  readonly accelerator: "kvm" | "tcg";
  readonly #paths: Paths;
  readonly #disks: DiskDoor;
  readonly #log: Log;

  constructor(options: QemuHypervisorOptions) {
    this.accelerator = options.accelerator;
    this.#paths = options.paths;
    this.#disks = options.disks ?? "nbd";
    this.#log = options.log;
  }

  async start(spec: MachineSpec): Promise<Machine> {
    const paths = machinePaths(this.#paths, spec.instance_id);
    const firmware = await findFirmware(spec.architecture);
    await Deno.mkdir(paths.directory, { recursive: true, mode: 0o750 });
    await Deno.mkdir(dirname(paths.qmp), { recursive: true });
    await copyOnce(firmware.variables, paths.firmwareVariables);
    // What an earlier machine's guest was told goes with it.
    await Deno.remove(paths.frozen).catch(ignoreMissing);
    if (spec.tpm) await startTpm(paths);
    const started = performance.now();
    const { success, stderr } = await new Deno.Command(programs[spec.architecture], {
      args: qemuArguments(spec, {
        accelerator: this.accelerator,
        disks: this.#disks,
        firmware,
        paths,
      }),
      stdin: "null",
      stdout: "null",
      stderr: "piped",
      signal: AbortSignal.timeout(startBound_ms),
    }).output();
    const said = new TextDecoder().decode(stderr).trim();
    if (!success) {
      if (spec.tpm) await endTpm(paths);
      throw new StartFailed(
        said.split("\n").filter((line) => !/warning:/.test(line)).join("; ").slice(0, 2000) ||
          "QEMU ended without a word",
        /host forwarding rule/.test(said),
      );
    }
    const machine = await this.find(spec.instance_id);
    if (machine === undefined) {
      throw new StartFailed("QEMU ended right after its start", false);
    }
    this.#log.info("machine_started", {
      instance_id: spec.instance_id,
      duration_ms: Math.round(performance.now() - started),
      accelerator: this.accelerator,
    });
    return machine;
  }

  async find(instanceId: string): Promise<Machine | undefined> {
    const paths = machinePaths(this.#paths, instanceId);
    const log = this.#log.with({ instance_id: instanceId });
    const machine = await QemuMachine.connect(instanceId, paths, log);
    if (machine !== undefined) return machine;
    // A process without a socket is on its way out, or can never be driven again and must not run.
    const pid = await readPid(paths.pid);
    for (let tries = 0; pid !== undefined && isProcessOf(pid, instanceId); tries++) {
      if (tries === exitTries) log.warn("machine_without_socket_killed", { pid });
      if (tries >= exitTries) killProcessOf(pid, instanceId);
      await delay(exitPause_ms);
    }
    return undefined;
  }

  async forget(instanceId: string): Promise<void> {
    const paths = machinePaths(this.#paths, instanceId);
    await endTpm(paths);
    const { control, server } = paths.tpm;
    const sockets = [paths.qmp, paths.agentSocket, paths.consoleSocket, control, server];
    for (const path of [paths.directory, ...sockets]) {
      await Deno.remove(path, { recursive: true }).catch(ignoreMissing);
    }
  }
}

/** A copy that is there whole or not at all; an existing one stays. */
async function copyOnce(from: string, to: string): Promise<void> {
  if (await Deno.stat(to).then(() => true, () => false)) return;
  const temporary = `${to}.new`;
  await Deno.copyFile(from, temporary);
  await Deno.chmod(temporary, 0o600);
  {
    using file = await Deno.open(temporary, { read: true, write: true });
    await file.sync();
  }
  await Deno.rename(temporary, to);
}
