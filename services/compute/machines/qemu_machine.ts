/**
 * One guest's QEMU, driven over QMP.
 *
 * The connection is made again whenever it ends; only a socket that nobody listens on means that the
 * machine is gone. Events are hints to look again and never the truth themselves, since those that
 * happen between two connections are lost.
 */
import { delay } from "../delay.ts";
import {
  type Disk,
  type Machine,
  type MachineStatus,
  NoScreen,
  UnplugRefused,
} from "./hypervisor.ts";
import type { Picture } from "./jpeg.ts";
import { agentChardev } from "./qemu_arguments.ts";
import type { MachinePaths } from "./machine_paths.ts";
import {
  blockdev,
  blockNode,
  chardev,
  chardevId,
  chardevPrefix,
  deviceId,
  diskDevice,
  doorOf,
  openTimeout_s,
  reconnect_ms,
  vhostDevice,
} from "./qemu_disks.ts";
import { QmpClient, QmpClosed, QmpError, type QmpEvent } from "./qmp.ts";
import { readPpm } from "./screenshot.ts";
import type { Log } from "../../log/log.ts";
import { killProcessOf } from "../../../ffi/process.ts";
import { textIfThere } from "../../config/missing_files.ts";

/** How long `quit` may take before the process is killed: a disk without a server can hold it up. */
const quitBound_ms = 5_000;
/** How long a guest has to let go of a disk; a running Linux needs under 100 ms. */
const unplugBound_ms = 15_000;
/** How long QEMU may take to write down the screen. */
const screenBound_ms = 15_000;
/** How long QEMU may take to hear of a disk's new size. */
const growBound_ms = 60_000;
/** The request is repeated, since firmware and a booting kernel do not hear it. */
const unplugRepeat_ms = 2_000;
const reconnectPause_ms = 250;
/** How long a command waits for a connection that is being made again. */
const connectBound_ms = 10_000;

/** Events after which the status may be another. */
const telling = new Set(["STOP", "RESUME", "SHUTDOWN", "RESET", "BLOCK_IO_ERROR", "POWERDOWN"]);

interface Chardev {
  readonly label: string;
  readonly filename: string;
  /** Whether the guest's end is open, where the device knows. */
  readonly "frontend-open"?: boolean;
}

/** A socket without a listener: its QEMU is gone. */
function isNobodyThere(error: unknown): boolean {
  return error instanceof Deno.errors.ConnectionRefused || error instanceof Deno.errors.NotFound;
}

/** The process id that QEMU wrote, if any. */
export async function readPid(path: string): Promise<number | undefined> {
  const text = await textIfThere(path) ?? "";
  const pid = Number.parseInt(text, 10);
  return pid > 1 ? pid : undefined;
}

export class QemuMachine implements Machine {
  readonly #listeners = new Set<() => void>();
  readonly #eventListeners = new Set<(event: QmpEvent) => void>();
  readonly #gone = Promise.withResolvers<void>();
  #isGone = false;
  #released = false;
  #client: QmpClient | undefined;
  #connected = Promise.withResolvers<QmpClient>();
  readonly #keeping: Promise<void>;

  private constructor(
    readonly instance_id: string,
    readonly paths: MachinePaths,
    first: QmpClient,
    readonly log: Log,
  ) {
    this.#keeping = this.#keep(first);
  }

  /** @returns undefined when there is no such machine */
  static async connect(
    instanceId: string,
    paths: MachinePaths,
    log: Log,
  ): Promise<QemuMachine | undefined> {
    for (let attempt = 1;; attempt++) {
      try {
        return new QemuMachine(instanceId, paths, await QmpClient.connect(paths.qmp), log);
      } catch (error) {
        if (isNobodyThere(error)) return undefined;
        // A dying QEMU closes before it greets; the next try tells. One that hangs is for the caller.
        if (!(error instanceof QmpClosed) || attempt === 5) throw error;
        await delay(reconnectPause_ms);
      }
    }
  }

  get gone(): Promise<void> {
    return this.#gone.promise;
  }

  get isGone(): boolean {
    return this.#isGone;
  }

  async #keep(first: QmpClient): Promise<void> {
    let client: QmpClient | undefined = first;
    while (!this.#released) {
      try {
        client ??= await QmpClient.connect(this.paths.qmp);
        client.onEvent((event) => this.#hear(event));
        this.#client = client;
        this.#connected.resolve(client);
        this.#tell();
        await client.closed;
        this.#client = undefined;
        this.#connected = Promise.withResolvers<QmpClient>();
        client = undefined;
      } catch (error) {
        if (isNobodyThere(error)) break;
        this.log.warn("qmp_connect_failed", { error: String(error) });
        await delay(reconnectPause_ms);
      }
    }
    this.#connected.promise.catch(() => {});
    this.#connected.reject(new QmpClosed(`${this.instance_id}: the machine is gone`));
    if (this.#released) return;
    this.#isGone = true;
    this.#gone.resolve();
    this.#tell();
  }

  #hear(event: QmpEvent): void {
    for (const listener of this.#eventListeners) listener(event);
    if (event.event === "BLOCK_IO_ERROR") this.log.warn("disk_error", event.data);
    if (telling.has(event.event)) this.#tell();
  }

  #tell(): void {
    for (const listener of this.#listeners) listener();
  }

  async #execute<T>(
    command: string,
    args: Readonly<Record<string, unknown>> = {},
    timeout_ms?: number,
  ): Promise<T> {
    const late = delay(connectBound_ms).then(() => undefined);
    const client = this.#client ?? await Promise.race([this.#connected.promise, late]);
    if (client === undefined) throw new QmpClosed(`${command}: no connection to the machine`);
    return await client.execute<T>(command, args, timeout_ms);
  }

  async status(): Promise<MachineStatus> {
    const { status } = await this.#execute<{ status: string }>("query-status");
    switch (status) {
      case "running":
        return await this.#isDiskAway() ? "disk_away" : "running";
      case "shutdown":
        return "powered_off";
      case "io-error":
        return "io_error";
      default:
        return "paused";
    }
  }

  async pressPowerButton(): Promise<void> {
    await this.#execute("system_powerdown");
  }

  async reset(): Promise<void> {
    await this.#execute("system_reset");
  }

  async resume(): Promise<void> {
    await this.#execute("cont");
  }

  async end(): Promise<void> {
    if (this.#isGone) return;
    try {
      await this.#execute("quit", {}, quitBound_ms);
    } catch (error) {
      // The answer and the end race each other; only the process itself tells.
      if (!(error instanceof Error)) throw error;
    }
    const ended = await Promise.race([
      this.gone.then(() => true),
      delay(quitBound_ms).then(() => false),
    ]);
    if (ended) return;
    const pid = await readPid(this.paths.pid);
    const killed = pid !== undefined && killProcessOf(pid, this.instance_id);
    this.log.warn("machine_killed", { pid, killed });
    await this.gone;
  }

  async screen(): Promise<Picture> {
    // One file for each, since two may be asked for at once.
    const file = `${this.paths.screen}.${crypto.randomUUID()}`;
    try {
      await this.#execute("screendump", { filename: file, format: "ppm" }, screenBound_ms);
      return readPpm(await Deno.readFile(file));
    } catch (error) {
      if (!(error instanceof QmpError)) throw error;
      throw new NoScreen(error.message, { cause: error });
    } finally {
      await Deno.remove(file).catch(() => {});
    }
  }

  async wake(): Promise<void> {
    try {
      await this.#execute("send-key", { keys: [{ type: "qcode", data: "shift" }] });
    } catch (error) {
      // A machine without a keyboard cannot be woken by one.
      if (!(error instanceof QmpError)) throw error;
    }
  }

  async hasAgent(): Promise<boolean> {
    // A machine that an older release started has no such channel.
    return (await this.#chardevs()).some((one) =>
      one.label === agentChardev && one["frontend-open"] === true
    );
  }

  async disks(): Promise<readonly string[]> {
    const devices = await this.#execute<{ name: string }[]>("qom-list", {
      path: "/machine/peripheral",
    });
    return devices.flatMap(({ name }) => {
      const match = /^disk-vol([0-9a-f]+)$/.exec(name);
      return match === null ? [] : [`vol-${match[1]}`];
    });
  }

  async #hasNode(volumeId: string): Promise<boolean> {
    const nodes = await this.#execute<{ "node-name"?: string }[]>("query-named-block-nodes", {
      flat: true,
    });
    return nodes.some((node) => node["node-name"] === blockNode(volumeId));
  }

  async plug(disk: Disk): Promise<void> {
    if ((await this.disks()).includes(disk.volume_id)) return;
    if (doorOf(disk, await this.#isShared()) === "vhost-user") return await this.#plugVhost(disk);
    if (!await this.#hasNode(disk.volume_id)) {
      await this.#execute("blockdev-add", blockdev(disk), 20_000);
    }
    try {
      await this.#execute("device_add", diskDevice(disk));
    } catch (error) {
      await this.#execute("blockdev-del", { "node-name": blockNode(disk.volume_id) });
      throw error;
    }
  }

  /** Whether the machine was started with memory that the block engine can map. */
  async #isShared(): Promise<boolean> {
    const backends = await this.#execute<{ share?: boolean }[]>("query-memdev");
    return backends.length > 0 && backends.every(({ share }) => share === true);
  }

  async #chardevs(): Promise<readonly Chardev[]> {
    return await this.#execute("query-chardev");
  }

  async #hasChardev(volumeId: string): Promise<boolean> {
    return (await this.#chardevs()).some(({ label }) => label === chardevId(volumeId));
  }

  /** Whether an engine that serves the machine's rings is not there; over NBD QEMU stops the guest itself. */
  async #isDiskAway(): Promise<boolean> {
    return (await this.#chardevs()).some(({ label, filename }) =>
      label.startsWith(chardevPrefix) && filename.startsWith("disconnected:")
    );
  }

  async #plugVhost(disk: Disk): Promise<void> {
    if (!await this.#hasChardev(disk.volume_id)) {
      await this.#execute("chardev-add", chardev(disk), 20_000);
    }
    try {
      await this.#engineConnected(disk.volume_id);
      const cpus = await this.#execute<unknown[]>("query-cpus-fast");
      await this.#execute("device_add", vhostDevice(disk, cpus.length), 20_000);
    } catch (error) {
      await this.#execute("chardev-remove", { id: chardevId(disk.volume_id) });
      throw error;
    }
  }

  /** A device whose engine is not there would let QEMU, and with it the guest, stand still until it is. */
  async #engineConnected(volumeId: string): Promise<void> {
    const limit = performance.now() + openTimeout_s * 1_000;
    for (;;) {
      const found = (await this.#chardevs()).find(({ label }) => label === chardevId(volumeId));
      if (found?.filename.startsWith("disconnected:") === false) return;
      if (performance.now() > limit) {
        throw new QmpError("device_add", "DeviceNotFound", `no engine answers for ${volumeId}`);
      }
      await delay(reconnect_ms);
    }
  }

  async unplug(volumeId: string): Promise<void> {
    const limit = performance.now() + unplugBound_ms;
    const id = deviceId(volumeId);
    while ((await this.disks()).includes(volumeId)) {
      if (performance.now() > limit) {
        throw new UnplugRefused(
          `The guest did not let go of ${volumeId} within ${unplugBound_ms / 1000} s.`,
        );
      }
      const deleted = this.#nextEvent(
        ({ event, data }) => event === "DEVICE_DELETED" && data["device"] === id,
        unplugRepeat_ms,
      );
      try {
        await this.#execute("device_del", { id });
      } catch (error) {
        // Already asked for, and under way; or gone between the look and the asking.
        if (!(error instanceof QmpError)) throw error;
      }
      await deleted;
    }
    if (await this.#hasNode(volumeId)) {
      await this.#execute("blockdev-del", { "node-name": blockNode(volumeId) });
    }
    if (await this.#hasChardev(volumeId)) {
      await this.#execute("chardev-remove", { id: chardevId(volumeId) });
    }
  }

  async grow(volumeId: string, size_bytes: number): Promise<void> {
    // A disk whose rings the engine serves is told by the engine itself.
    if (await this.#hasChardev(volumeId)) return;
    const node = blockNode(volumeId);
    const limit = performance.now() + growBound_ms;
    for (let pause_ms = 100;; pause_ms = Math.min(pause_ms * 2, 2000)) {
      // QEMU learns the size when it connects, and connects when it has something to read.
      await this.#execute("human-monitor-command", {
        "command-line": `qemu-io ${node} "read 0 4096"`,
      }, 30_000);
      try {
        await this.#execute("block_resize", { "node-name": node, size: size_bytes });
        return;
      } catch (error) {
        if (!(error instanceof QmpError) || performance.now() > limit) throw error;
      }
      await delay(pause_ms);
    }
  }

  /** Returns at the next event that matches, or after `bound_ms`. */
  async #nextEvent(matches: (event: QmpEvent) => boolean, bound_ms: number): Promise<void> {
    const heard = Promise.withResolvers<void>();
    const listener = (event: QmpEvent) => {
      if (matches(event)) heard.resolve();
    };
    this.#eventListeners.add(listener);
    try {
      await Promise.race([heard.promise, this.gone, delay(bound_ms)]);
    } finally {
      this.#eventListeners.delete(listener);
    }
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async release(): Promise<void> {
    this.#released = true;
    await this.#client?.[Symbol.asyncDispose]();
    await this.#keeping;
  }
}
