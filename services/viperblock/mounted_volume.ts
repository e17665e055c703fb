/**
 * The main thread's side of one mounted volume: starts its worker, carries out what the worker
 * orders (object store, checkpoint file, log files), and passes on stop and unmount.
 *
 * Orders go one way and answers the other; every order is answered exactly once. The memory that data
 * passes through belongs to this side and is released only when the worker is gone and no order is under
 * way. A worker that fails is told to `ended`; who mounted the volume decides what next.
 */
import { join } from "node:path";
import { closeFile, createEvent, mapMemory, type Memory, unmap } from "../../ffi/libc.ts";
import { errorFields, type Log } from "../log/log.ts";
import { windowBytes } from "./engine/fetcher.ts";
import { checkpointName } from "./engine/recovery.ts";
import { chunkBytes } from "./format.ts";
import {
  type FromWorker,
  Mailbox,
  type ToWorker,
  type VolumeStatistics,
  type WorkerInit,
} from "./mailbox.ts";
import { type BlockStore, mapKey, mapPartKey, type SavedMap } from "./map_objects.ts";
import { NoSpace, SegmentFiles, syncDirectory } from "./segment_files.ts";

const windows = 4;
const pieceBytes = 1 << 20;
/** How long a cold read waits for an object store that does not answer. */
const fetchPatienceMs = 120_000;
const firstPauseMs = 50;
/** How long storing a chunk is tried before the worker is told to try later. */
const storePatienceMs = 20_000;

export interface MountOptions {
  readonly volumeId: string;
  readonly sizeBytes: number;
  readonly epoch: number;
  /** The epoch of the map in the object store; 0 when there is none of this volume's own. */
  readonly savedEpoch: number;
  /** The volume's own directory; exists. */
  readonly directory: string;
  readonly socket: string;
  readonly store: BlockStore;
  readonly log: Log;
  readonly cacheBytes: number;
  readonly segmentBudget: number;
  readonly reserveBytes: number;
  readonly spacePatienceMs: number;
}

/** Why a worker ended. */
export type Ending =
  | { readonly kind: "stopped" }
  | { readonly kind: "unmounted"; readonly map: SavedMap }
  | { readonly kind: "failed"; readonly error: string; readonly damaged: boolean };

/** The worker ended before it did what it was asked to. */
export class WorkerFailed extends Error {
  override readonly name = "WorkerFailed";
  constructor(message: string, readonly damaged: boolean) {
    super(message);
  }
}

export class MountedVolume {
  readonly #o: MountOptions;
  readonly #log: Log;
  readonly #worker: Worker;
  readonly #mailbox: Mailbox;
  readonly #memories: Memory[] = [];
  readonly #windows: Memory[];
  readonly #chunk: Memory;
  readonly #piece: Memory;
  readonly #files: SegmentFiles;
  readonly #ready = Promise.withResolvers<{ replayed_batches: number }>();
  readonly #ended = Promise.withResolvers<Ending>();
  readonly #orders = new Set<Promise<void>>();
  readonly #abort = new AbortController();
  #unmounting: PromiseWithResolvers<boolean> | undefined;
  #reports: ((statistics: VolumeStatistics) => void)[] = [];
  #mapParts = 0;
  #checkpointFile: Deno.FsFile | undefined;
  #over = false;
  #refused = false;

  constructor(options: MountOptions) {
    this.#o = options;
    this.#log = options.log.with({ volume_id: options.volumeId, epoch: options.epoch });
    const memory = (length: number) => {
      const made = mapMemory(length);
      this.#memories.push(made);
      return made;
    };
    this.#windows = Array.from({ length: windows }, () => memory(windowBytes));
    this.#chunk = memory(chunkBytes);
    this.#piece = memory(pieceBytes);
    this.#files = new SegmentFiles(options.directory, options.reserveBytes);
    this.#mailbox = Mailbox.create(createEvent());
    this.#worker = new Worker(new URL("./engine/worker.ts", import.meta.url), {
      type: "module",
      name: options.volumeId,
    });
    this.#worker.onmessage = (event: MessageEvent<FromWorker>) => this.#handle(event.data);
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.#end({ kind: "failed", error: event.message, damaged: false });
    };
    // A failure is told to whoever waits for `ended`; nobody need wait for `ready` any more then.
    this.#ready.promise.catch(() => {});
    const init: WorkerInit = {
      volumeId: options.volumeId,
      sizeBytes: options.sizeBytes,
      epoch: options.epoch,
      savedEpoch: options.savedEpoch,
      directory: options.directory,
      socket: options.socket,
      cacheBytes: options.cacheBytes,
      segmentBudget: options.segmentBudget,
      spacePatienceMs: options.spacePatienceMs,
      mailbox: this.#mailbox.shared,
      eventFd: this.#mailbox.eventFd,
      transfer: {
        windows: this.#windows.map((each) => each.address),
        chunk: this.#chunk.address,
        piece: this.#piece.address,
        pieceBytes,
      },
    };
    this.#worker.postMessage(init);
  }

  get epoch(): number {
    return this.#o.epoch;
  }

  get socket(): string {
    return this.#o.socket;
  }

  /** Settles when the volume is served. @throws WorkerFailed */
  get ready(): Promise<{ replayed_batches: number }> {
    return this.#ready.promise;
  }

  /** Settles when the worker is gone. */
  get ended(): Promise<Ending> {
    return this.#ended.promise;
  }

  #send(message: ToWorker): void {
    if (!this.#over) this.#mailbox.send(message);
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

  async statistics(): Promise<VolumeStatistics | undefined> {
    if (this.#over) return undefined;
    const { promise, resolve } = Promise.withResolvers<VolumeStatistics>();
    this.#reports.push(resolve);
    this.#send({ kind: "report" });
    return await Promise.race([promise, this.#ended.promise.then(() => undefined)]);
  }

  #handle(message: FromWorker): void {
    switch (message.kind) {
      case "ready":
        this.#ready.resolve({ replayed_batches: message.replayed_batches });
        return;
      case "segment_wanted":
        this.#run(() => this.#makeSegment());
        return;
      case "drop_file":
        this.#run(() => this.#files.remove(message.path));
        return;
      case "fetch":
        this.#run(() => this.#fetch(message));
        return;
      case "store":
        this.#run(() => this.#store(message.key, message.length));
        return;
      case "piece":
        this.#run(() => this.#takePiece(message));
        return;
      case "dead_chunks":
        this.#run(() => this.#deleteChunks(message.keys));
        return;
      case "unmounted":
        if (message.ok) {
          this.#end({
            kind: "unmounted",
            map: {
              key: mapKey(this.#o.volumeId, this.#o.epoch),
              parts: this.#mapParts,
              epoch: this.#o.epoch,
              mapped_blocks: message.mapped_blocks,
              owners: message.owners,
            },
          });
        } else {
          this.#unmounting?.resolve(false);
          this.#unmounting = undefined;
        }
        return;
      case "stopped":
        this.#end({ kind: "stopped" });
        return;
      case "report":
        for (const resolve of this.#reports.splice(0)) resolve(message.statistics);
        return;
      case "failed":
        this.#end({ kind: "failed", error: message.error, damaged: message.damaged });
        return;
      case "log":
        this.#log[message.level](message.event, message.fields);
        return;
    }
  }

  #end(ending: Ending): void {
    if (this.#over) return;
    this.#over = true;
    this.#abort.abort();
    if (ending.kind === "failed") {
      this.#ready.reject(new WorkerFailed(ending.error, ending.damaged));
    }
    void (async () => {
      await Promise.allSettled([...this.#orders]);
      this.#checkpointFile?.close();
      closeFile(this.#mailbox.eventFd);
      // After a failure the kernel may still be ending the worker's requests on this memory.
      if (ending.kind !== "failed") { for (const memory of this.#memories) unmap(memory); }
      this.#worker.terminate();
      this.#ended.resolve(ending);
    })();
  }

  #run(order: () => Promise<void>): void {
    const work = order().catch((error) => {
      this.#log.error("engine_order_failed", errorFields(error));
    }).finally(() => this.#orders.delete(work));
    this.#orders.add(work);
  }

  async #makeSegment(): Promise<void> {
    try {
      this.#send({ kind: "segment", path: await this.#files.make() });
      this.#refused = false;
    } catch (error) {
      // The worker asks again and again; the operator hears it once.
      if (!this.#refused) this.#log.warn("segment_refused", errorFields(error));
      this.#refused = true;
      const reason = error instanceof NoSpace ? error.message : "the log file could not be made";
      this.#send({ kind: "segment_refused", reason });
    }
  }

  /** Repeats what the object store did not answer, until it does or the patience ends. */
  async #patiently<T>(what: string, patienceMs: number, work: () => Promise<T>): Promise<T> {
    const limit = performance.now() + patienceMs;
    for (let pause = firstPauseMs;; pause = Math.min(pause * 2, 2000)) {
      try {
        return await work();
      } catch (error) {
        if (this.#abort.signal.aborted || performance.now() + pause > limit) throw error;
        // The first failure is said; what follows it until the patience ends is the same again.
        if (pause === firstPauseMs) {
          this.#log.warn("object_store_retry", { what, ...errorFields(error) });
        }
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(done, pause);
        const signal = this.#abort.signal;
        function done() {
          clearTimeout(timer);
          signal.removeEventListener("abort", done);
          resolve();
        }
        signal.addEventListener("abort", done);
      });
    }
  }

  async #fetch(order: FromWorker & { kind: "fetch" }): Promise<void> {
    let ok = false;
    try {
      const range = { offset: order.offset, length: order.length };
      const bytes = await this.#patiently(
        order.key,
        fetchPatienceMs,
        () => this.#o.store.get(order.key, range),
      );
      const window = this.#windows.find((each) => each.address === order.address);
      if (bytes?.length === order.length && window !== undefined) {
        window.bytes.set(bytes);
        ok = true;
      } else {
        this.#log.error("chunk_missing", { key: order.key, got_bytes: bytes?.length ?? -1 });
      }
    } catch (error) {
      this.#log.error("chunk_unreadable", { key: order.key, ...errorFields(error) });
    }
    this.#send({ kind: "fetched", id: order.id, ok });
  }

  async #store(key: string, length: number): Promise<void> {
    let ok = false;
    try {
      const body = this.#chunk.bytes.slice(0, length);
      await this.#patiently(key, storePatienceMs, () => this.#o.store.put(key, body));
      ok = true;
    } catch (error) {
      this.#log.error("chunk_not_stored", { key, ...errorFields(error) });
    }
    this.#send({ kind: "stored", ok });
  }

  async #takePiece(order: FromWorker & { kind: "piece" }): Promise<void> {
    let ok = false;
    try {
      const bytes = this.#piece.bytes.slice(0, order.length);
      if (order.target === "map") await this.#storePart(order.first, bytes);
      else await this.#writeCheckpoint(order.first, order.last, bytes);
      ok = true;
    } catch (error) {
      this.#log.error("map_not_written", { target: order.target, ...errorFields(error) });
    }
    this.#send({ kind: "piece_written", ok });
  }

  async #storePart(first: boolean, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    if (first) this.#mapParts = 0;
    const key = mapPartKey(mapKey(this.#o.volumeId, this.#o.epoch), this.#mapParts);
    await this.#patiently(key, storePatienceMs, () => this.#o.store.put(key, bytes));
    this.#mapParts++;
  }

  /** The new checkpoint replaces the old one only when all of it is on the disk. */
  async #writeCheckpoint(first: boolean, last: boolean, bytes: Uint8Array): Promise<void> {
    const path = join(this.#o.directory, checkpointName);
    if (first) {
      this.#checkpointFile?.close();
      this.#checkpointFile = await Deno.open(`${path}.new`, {
        write: true,
        create: true,
        truncate: true,
        mode: 0o600,
      });
    }
    const file = this.#checkpointFile;
    if (file === undefined) throw new Error("a piece of a checkpoint came before its first");
    for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
    if (!last) return;
    await file.sync();
    file.close();
    this.#checkpointFile = undefined;
    await Deno.rename(`${path}.new`, path);
    await syncDirectory(this.#o.directory);
  }

  async #deleteChunks(keys: readonly string[]): Promise<void> {
    for (const key of keys) {
      try {
        await this.#o.store.delete(key);
      } catch (error) {
        // The collector finds it when the volume is unmounted or deleted.
        this.#log.warn("chunk_not_deleted", { key, ...errorFields(error) });
      }
    }
  }
}
