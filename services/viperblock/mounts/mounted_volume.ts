/**
 * The main thread's side of one mounted volume: starts its worker, carries out what the worker
 * orders (object store, checkpoint file, log files), and passes on stop and unmount.
 *
 * Orders go one way and answers the other; every order is answered exactly once. The memory that data
 * passes through belongs to this side and is released only when the worker is gone and no order is under
 * way. A worker that fails is told to `ended`; who mounted the volume decides what next.
 */
import { join } from "node:path";
import { beginXts } from "../../../ffi/aes_xts.ts";
import { closeFile, createEvent, mapMemory, type Memory, unmap } from "../../../ffi/libc.ts";
import { errorFields, type Log } from "../../log/log.ts";
import { windowBytes } from "../engine/fetcher.ts";
import type { SyncMode, VolumeLimits } from "../contract.ts";
import { CheckpointSeal, openCheckpoint } from "../encryption/sealed_bytes.ts";
import type { VolumeKey } from "../encryption/volume_key.ts";
import type { DamageReport } from "../damage.ts";
import type { Rescue, SavedBase } from "../engine/salvage.ts";
import { checkpointName, chunkBytes, type ChunkName } from "../format.ts";
import { CheckedLog } from "../log/checked_log.ts";
import { rest } from "../rest.ts";
import {
  type FromWorker,
  type HeldChunks,
  Mailbox,
  type ToWorker,
  type VolumeStatistics,
  type WorkerInit,
} from "./mailbox.ts";
import { type BlockStore, frozenMapKey, type SavedMap } from "../maps/map_objects.ts";
import { Orders, systemTime } from "./orders.ts";
import { linuxFileSystem } from "../machine/file_system.ts";
import { BeingMade, LocalFiles } from "../log/volume_files.ts";

/** Four for reads, one for the compactor. */
const windows = 5;
const pieceBytes = 1 << 20;
/** By all volumes of this process. */
const beingMade = new BeingMade();
/** So many names are a small part of the worker's mailbox. */
const unsharedAtOnce = 2000;

export interface MountOptions {
  readonly volumeId: string;
  readonly sizeBytes: number;
  readonly limits?: VolumeLimits;
  readonly sync?: SyncMode;
  /** Of an encrypted volume. */
  readonly key?: VolumeKey;
  readonly epoch: number;
  /** The epoch of the map in the object store; 0 when there is none of this volume's own. */
  readonly savedEpoch: number;
  /** The epoch of the map that the mount began with, if the volume wrote it itself; as `savedEpoch` unless given. */
  readonly mapEpoch?: number;
  /** The newest epoch whose chunks others may name; as `savedEpoch` unless given. */
  readonly snapshotEpoch?: number;
  /** The volume's own directory; exists. */
  readonly directory: string;
  readonly socket: string;
  readonly vhostSocket?: string;
  readonly store: BlockStore;
  readonly log: Log;
  readonly cacheBytes: number;
  /** Files that its chunks may be kept in on this node; none unless given. */
  readonly cacheFiles?: number;
  readonly segmentBudget: number;
  readonly reserveBytes: number;
  readonly spacePatienceMs: number;
  /** Called when there was no room for a log file. */
  readonly noRoom?: () => void;
  /** It was refused because it is damaged: serve what can be read of it. */
  readonly rescue?: Rescue;
  /** How long is waited each time before a log is read again that the disk could not read. */
  readonly readAgainMs?: readonly number[];
  /** Nothing is tried again once it has come. */
  readonly signal?: AbortSignal;
}

export interface Served {
  readonly replayed_batches: number;
  /** It is served for reading only. */
  readonly damage?: DamageReport;
}

/** Why a worker ended. */
export type Ending =
  | { readonly kind: "stopped" }
  | { readonly kind: "unmounted"; readonly map: SavedMap }
  | {
    readonly kind: "failed";
    readonly error: string;
    readonly damaged: boolean;
    readonly mayPass?: boolean;
  };

const limitsOf = ({ iops, throughput_bytes }: VolumeLimits): VolumeLimits => ({
  ...(iops === undefined ? {} : { iops }),
  ...(throughput_bytes === undefined ? {} : { throughput_bytes }),
});

interface Freezing {
  readonly captured: PromiseWithResolvers<number>;
  readonly frozen: PromiseWithResolvers<SavedMap>;
}

/** The worker ended before it did what it was asked to. */
export class WorkerFailed extends Error {
  override readonly name = "WorkerFailed";
  constructor(message: string, readonly damaged: boolean, readonly mayPass = false) {
    super(message);
  }
}

/** A disk that has lost its connection for a moment is no damage; one that has lost a sector is, and nobody waits for long. */
const usualReadAgainMs = [1000, 2000, 4000];

/**
 * Opens the volume; one that is damaged is opened for reading only, as far as it can be read.
 * @param saved the map that its mount began with, when that is needed; or why and how to open it for reading only
 * @throws WorkerFailed
 */
export async function openVolume(
  options: Omit<MountOptions, "rescue">,
  saved: Rescue | (() => Promise<SavedBase>),
): Promise<MountedVolume> {
  if (typeof saved !== "function") return await openDamaged(options, saved);
  const { signal = new AbortController().signal } = options;
  const pauses = [...options.readAgainMs ?? usualReadAgainMs];
  for (;;) {
    try {
      return await served(options);
    } catch (error) {
      if (!(error instanceof WorkerFailed && error.damaged)) throw error;
      if (signal.aborted) throw error;
      const pause_ms = error.mayPass ? pauses.shift() : undefined;
      if (pause_ms === undefined) return await openDamaged(options, await rescueOf(error, saved));
      const { volumeId: volume_id, log } = options;
      log.warn("log_unreadable", { volume_id, error: reasonOf(error), read_again_ms: pause_ms });
      await systemTime.pause(pause_ms, signal);
      if (signal.aborted) throw error;
    }
  }
}

/** The first line of what the worker said, without the name of the error. */
const reasonOf = ({ message }: WorkerFailed) =>
  (message.split("\n")[0] ?? "").replace(/^\w+Data: /, "");

async function rescueOf(error: WorkerFailed, saved: () => Promise<SavedBase>): Promise<Rescue> {
  return {
    reason: reasonOf(error),
    base: await saved(),
    ...(error.mayPass ? { mayPass: true } : {}),
  };
}

async function openDamaged(options: MountOptions, rescue: Rescue): Promise<MountedVolume> {
  return await served({ ...options, rescue });
}

/** The volume, once it is served. What one that fails had begun with its files is over before anybody hears of that. */
async function served(options: MountOptions): Promise<MountedVolume> {
  const volume = new MountedVolume(options);
  try {
    await volume.ready;
    return volume;
  } catch (error) {
    await volume.ended;
    throw error;
  }
}

export class MountedVolume {
  readonly #o: MountOptions;
  readonly #log: Log;
  readonly #worker: Worker;
  readonly #mailbox: Mailbox;
  readonly #memories: Memory[] = [];
  readonly #ready = Promise.withResolvers<Served>();
  readonly #ended = Promise.withResolvers<Ending>();
  readonly #orders: Orders;
  readonly #files: LocalFiles;
  #cacheFiles: number;
  #unmounting: PromiseWithResolvers<boolean> | undefined;
  #reports: ((statistics: VolumeStatistics) => void)[] = [];
  #over = false;
  /** How it ends, when the engine has said so and is not gone yet: it still has its files and its memory. */
  #ending: Ending | undefined;
  #damage: DamageReport | undefined;
  #snapshots = 0;
  readonly #freezing = new Map<string, Freezing>();
  readonly #resizing: (() => void)[] = [];
  readonly #settingSync: (() => void)[] = [];
  readonly #unsharing: (() => void)[] = [];
  readonly #checkpointing: ((ok: boolean) => void)[] = [];
  #audited: ((wrong: readonly string[] | undefined) => void) | undefined;
  #lastAudit: Promise<unknown> = Promise.resolve();
  readonly #asking: ((held: HeldChunks) => void)[] = [];

  constructor(options: MountOptions) {
    this.#o = options;
    this.#log = options.log.with({ volume_id: options.volumeId, epoch: options.epoch });
    // A directory that cannot be listed is met before anything is taken that would have to be given back.
    this.#files = new LocalFiles({
      system: linuxFileSystem,
      directory: options.directory,
      reserveBytes: options.reserveBytes,
      beingMade,
    });
    const memory = (length: number) => {
      const made = mapMemory(length);
      this.#memories.push(made);
      return made;
    };
    const transfer = {
      windows: Array.from({ length: windows }, () => memory(windowBytes)),
      chunk: memory(chunkBytes),
      piece: memory(pieceBytes),
    };
    this.#cacheFiles = options.cacheFiles ?? 0;
    this.#orders = new Orders({
      store: options.store,
      files: this.#files,
      time: systemTime,
      log: this.#log,
      ...(options.key === undefined
        ? {}
        : { seal: new CheckpointSeal(options.key, options.volumeId) }),
      ...transfer,
      send: (message) => this.#send(message),
    });
    if (options.key !== undefined) beginXts();
    this.#mailbox = Mailbox.create(createEvent());
    this.#worker = new Worker(new URL("../engine/worker.ts", import.meta.url), {
      type: "module",
      name: options.volumeId,
    });
    this.#worker.onmessage = (event: MessageEvent<FromWorker>) => this.#handle(event.data);
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.#end(this.#ending ?? { kind: "failed", error: event.message, damaged: false });
    };
    // A failure is told to whoever waits for `ended`; nobody need wait for `ready` any more then.
    this.#ready.promise.catch(() => {});
    const init: WorkerInit = {
      volumeId: options.volumeId,
      sizeBytes: options.sizeBytes,
      limits: limitsOf(options.limits ?? {}),
      sync: options.sync ?? "flush",
      epoch: options.epoch,
      savedEpoch: options.savedEpoch,
      mapEpoch: options.mapEpoch ?? options.savedEpoch,
      snapshotEpoch: options.snapshotEpoch ?? options.savedEpoch,
      ...(options.key === undefined ? {} : { key: options.key.data }),
      ...(options.rescue === undefined ? {} : { rescue: options.rescue }),
      directory: options.directory,
      socket: options.socket,
      ...(options.vhostSocket === undefined ? {} : { vhostSocket: options.vhostSocket }),
      cacheBytes: options.cacheBytes,
      cacheFiles: this.#cacheFiles,
      segmentBudget: options.segmentBudget,
      spacePatienceMs: options.spacePatienceMs,
      mailbox: this.#mailbox.shared,
      eventFd: this.#mailbox.eventFd,
      transfer: {
        windows: transfer.windows.map((each) => each.address),
        chunk: transfer.chunk.address,
        piece: transfer.piece.address,
        pieceBytes,
      },
    };
    this.#worker.postMessage(init);
  }

  /** What is wrong with it, when it is served for reading only. */
  get damage(): DamageReport | undefined {
    return this.#damage;
  }

  /** It is served for reading only because its disk did not give all of it. */
  get waitsForDisk(): boolean {
    return this.#damage !== undefined && this.#o.rescue?.mayPass === true;
  }

  get epoch(): number {
    return this.#o.epoch;
  }

  get socket(): string {
    return this.#o.socket;
  }

  /** Settles when the volume is served. @throws WorkerFailed */
  get ready(): Promise<Served> {
    return this.#ready.promise;
  }

  /** Settles when the worker is gone. */
  get ended(): Promise<Ending> {
    return this.#ended.promise;
  }

  #send(message: ToWorker): void {
    if (!this.#over && this.#ending === undefined) this.#mailbox.send(message);
    if (message.kind === "segment_refused") this.#o.noRoom?.();
  }

  /** Bytes of this node's disk that its chunks are kept in. */
  get keptBytes(): number {
    return this.#files.cacheBytes;
  }

  /**
   * So many files its chunks may be kept in from now on.
   * @param exactly a little less than now is no reason to give anything up, unless somebody needs the room
   */
  allowCache(files: number, exactly: boolean): void {
    const before = this.#cacheFiles;
    if (files === before) return;
    if (!exactly && files < before && before - files < before / 8) return;
    this.#cacheFiles = files;
    this.#send({ kind: "cache_allowed", files });
  }

  /** Flushes the log and ends the worker; the local files stay. */
  async stop(): Promise<void> {
    this.#send({ kind: "stop" });
    await this.#ended.promise;
  }

  /**
   * Moves everything to the object store and ends the worker.
   * @returns the saved map, or undefined when the store could not take it all and the volume is served on
   * @throws WorkerFailed
   */
  async unmount(): Promise<SavedMap | undefined> {
    this.#unmounting ??= Promise.withResolvers();
    const unmounting = this.#unmounting;
    this.#send({ kind: "unmount" });
    const first = await Promise.race([this.#ended.promise, unmounting.promise]);
    if (first === false) return undefined;
    const ending = await this.#ended.promise;
    if (ending.kind === "unmounted") return ending.map;
    throw new WorkerFailed(
      ending.kind === "failed" ? ending.error : "the engine was stopped",
      ending.kind === "failed" && ending.damaged,
    );
  }

  /**
   * Freezes what the volume holds. The moment has passed when this returns.
   * @returns how large it was then, and the frozen map, when the store has it
   * @throws WorkerFailed when the engine ends first
   */
  async freeze(): Promise<{ readonly size_bytes: number; readonly stored: Promise<SavedMap> }> {
    if (this.#over || this.#unmounting !== undefined) {
      throw new WorkerFailed("the volume is being unmounted", false);
    }
    const key = frozenMapKey(this.#o.volumeId, this.#o.epoch, ++this.#snapshots);
    const freezing: Freezing = {
      captured: Promise.withResolvers(),
      frozen: Promise.withResolvers(),
    };
    freezing.frozen.promise.catch(() => {});
    this.#freezing.set(key, freezing);
    this.#send({ kind: "freeze", key });
    const size_bytes = await freezing.captured.promise;
    return { size_bytes, stored: freezing.frozen.promise };
  }

  /** The volume is larger from now on; its clients have to connect again. */
  async resize(row: VolumeLimits & { readonly size_bytes: number }): Promise<void> {
    if (this.#over) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#resizing.push(resolve);
    this.#send({ kind: "resize", size_bytes: row.size_bytes, limits: limitsOf(row) });
    await Promise.race([promise, this.#ended.promise]);
  }

  /** Whatever is asked from now on is acknowledged in that manner. */
  async setSync(sync: SyncMode): Promise<void> {
    if (this.#over) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#settingSync.push(resolve);
    this.#send({ kind: "sync_mode", sync });
    await Promise.race([promise, this.#ended.promise]);
  }

  /** What it needs in the store; undefined when the worker is gone. */
  async held(): Promise<HeldChunks | undefined> {
    if (this.#over) return undefined;
    const { promise, resolve } = Promise.withResolvers<HeldChunks>();
    this.#asking.push(resolve);
    this.#send({ kind: "held" });
    return await Promise.race([promise, this.#ended.promise.then(() => undefined)]);
  }

  /** The map as it is now, as its local checkpoint; undefined when there is none of this moment. */
  async liveMap(): Promise<Uint8Array<ArrayBuffer> | undefined> {
    if (this.#over || this.#damage !== undefined) return undefined;
    const { promise, resolve } = Promise.withResolvers<boolean>();
    this.#checkpointing.push(resolve);
    this.#send({ kind: "checkpoint" });
    const ok = await Promise.race([promise, this.#ended.promise.then(() => false)]);
    if (!ok) return undefined;
    // One that has taken its place by now is newer still; none is there when it has been unmounted since.
    const bytes = await Deno.readFile(join(this.#o.directory, checkpointName)).catch((error) => {
      if (this.#over && error instanceof Deno.errors.NotFound) return undefined;
      throw error;
    });
    if (bytes === undefined) return undefined;
    const { key, volumeId } = this.#o;
    return key === undefined ? bytes : openCheckpoint(key, volumeId, bytes);
  }

  /** Its log's files, to be read beside the engine; undefined when that has ended. */
  openLog(): CheckedLog | undefined {
    const { directory, volumeId, key } = this.#o;
    return this.#over ? undefined : new CheckedLog({ directory, volumeId, key });
  }

  /** No saved map but its own names these chunks of it any more: they may be compacted. */
  async unshare(chunks: readonly ChunkName[], freezes: number): Promise<void> {
    for (let at = 0; at < chunks.length && !this.#over; at += unsharedAtOnce) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#unsharing.push(resolve);
      const some = chunks.slice(at, at + unsharedAtOnce);
      this.#send({
        kind: "unshared",
        freezes,
        chunks: some.map(({ epoch, sequence }) => [epoch, sequence] as const),
      });
      await Promise.race([promise, this.#ended.promise]);
    }
  }

  /** Where its books do not agree with its map, in sentences; one audit after the other. */
  async audit(): Promise<readonly string[]> {
    const mine = this.#lastAudit.then(() => this.#auditInParts());
    this.#lastAudit = mine;
    return await mine;
  }

  /** The engine serves its guests between two parts. */
  async #auditInParts(): Promise<readonly string[]> {
    const ended = this.#ended.promise.then((): readonly string[] => []);
    for (let begins = true; !this.#over; begins = false) {
      const began = performance.now();
      const { promise, resolve } = Promise.withResolvers<readonly string[] | undefined>();
      this.#audited = resolve;
      this.#send({ kind: "audit", begins });
      const wrong = await Promise.race([promise, ended]);
      if (wrong !== undefined) return wrong;
      await rest(began);
    }
    return [];
  }

  async statistics(): Promise<VolumeStatistics | undefined> {
    if (this.#over) return undefined;
    const { promise, resolve } = Promise.withResolvers<VolumeStatistics>();
    this.#reports.push(resolve);
    this.#send({ kind: "report" });
    return await Promise.race([promise, this.#ended.promise.then(() => undefined)]);
  }

  #handle(message: FromWorker): void {
    if (this.#orders.take(message)) return;
    switch (message.kind) {
      case "ready":
        this.#damage = message.damage;
        this.#ready.resolve(message);
        return;
      case "captured":
        this.#freezing.get(message.key)?.captured.resolve(message.size_bytes);
        return;
      case "frozen": {
        const freezing = this.#freezing.get(message.key);
        this.#freezing.delete(message.key);
        freezing?.frozen.resolve({
          key: message.key,
          parts: this.#orders.mapParts,
          epoch: this.#o.epoch,
          mapped_blocks: message.mapped_blocks,
          sequence: message.sequence,
          owners: message.owners,
        });
        return;
      }
      case "resized":
        this.#resizing.shift()?.();
        return;
      case "sync_mode_set":
        this.#settingSync.shift()?.();
        return;
      case "checkpointed":
        this.#checkpointing.shift()?.(message.ok);
        return;
      case "unshared":
        this.#unsharing.shift()?.();
        return;
      case "audited":
        this.#audited?.(message.wrong);
        return;
      case "held":
        this.#asking.shift()?.(message);
        return;
      case "unmounted":
        if (message.ok) {
          this.#ending = {
            kind: "unmounted",
            map: {
              key: message.key,
              parts: this.#orders.mapParts,
              epoch: this.#o.epoch,
              mapped_blocks: message.mapped_blocks,
              owners: message.owners,
            },
          };
        } else {
          this.#unmounting?.resolve(false);
          this.#unmounting = undefined;
        }
        return;
      case "stopped":
        this.#ending = { kind: "stopped" };
        return;
      case "gone":
        if (this.#ending !== undefined) this.#end(this.#ending, true);
        return;
      case "report":
        for (const resolve of this.#reports.splice(0)) resolve(message.statistics);
        return;
      case "failed":
        if (this.#ending !== undefined) {
          this.#log.error("engine_not_closed", { error: message.error });
        }
        this.#end(
          this.#ending ?? {
            kind: "failed",
            error: message.error,
            damaged: message.damaged,
            ...(message.mayPass === undefined ? {} : { mayPass: message.mayPass }),
          },
        );
        return;
      case "log":
        this.#log[message.level](message.event, message.fields);
        return;
    }
  }

  /** @param isGone nothing of the worker's refers to the memory that it was lent */
  #end(ending: Ending, isGone = false): void {
    if (this.#over) return;
    this.#over = true;
    if (ending.kind === "failed") {
      this.#ready.reject(new WorkerFailed(ending.error, ending.damaged, ending.mayPass));
    }
    for (const { captured, frozen } of this.#freezing.values()) {
      const failed = new WorkerFailed("the engine ended before the snapshot was stored", false);
      captured.reject(failed);
      frozen.reject(failed);
    }
    this.#freezing.clear();
    void this.#release(isGone).catch((error) =>
      // What was not given back is lost; whoever waits for the end is not to wait for ever.
      this.#log.error("engine_not_released", errorFields(error))
    ).finally(() => {
      this.#worker.terminate();
      this.#ended.resolve(ending);
    });
  }

  async #release(isGone: boolean): Promise<void> {
    await this.#orders.end();
    closeFile(this.#mailbox.eventFd);
    // After a failure the kernel may still be ending the worker's requests on this memory.
    if (isGone) { for (const memory of this.#memories) unmap(memory); }
  }
}
