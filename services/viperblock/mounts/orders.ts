/**
 * Carries out what a volume's worker orders: chunks and maps to and from the object store, the
 * checkpoint file, log files. Every order is answered exactly once, however it ends.
 *
 * What the object store does not answer is asked again with growing pauses until the patience ends.
 * Files, store and time are narrow interfaces, so that the simulation runs this same code.
 */
import type { Memory } from "../../../ffi/libc.ts";
import { errorFields, type Log } from "../../log/log.ts";
import type { CheckpointSeal } from "../encryption/sealed_bytes.ts";
import { isLost } from "../machine/lost.ts";
import type { FromWorker, ToWorker } from "./mailbox.ts";
import { type BlockStore, mapPartKey } from "../maps/map_objects.ts";

/** How long a cold read waits for an object store that does not answer. */
const fetchPatienceMs = 120_000;
const firstPauseMs = 50;
/** How long storing a chunk is tried before the worker is told to try later. */
const storePatienceMs = 20_000;

/** The disk has no room that may be used. */
export class NoSpace extends Error {
  override readonly name = "NoSpace";
}

/** The volume's own directory. */
export interface VolumeFiles {
  /** Makes one log file, durably; returns its path. @throws NoSpace */
  makeLog(): Promise<string>;
  /** Makes one file for the chunk cache; returns its path. @throws NoSpace */
  makeCache(): Promise<string>;
  /** What is not there any more is no error. */
  remove(path: string): Promise<void>;
  /** Begins a new checkpoint beside the one in force. */
  beginCheckpoint(): Promise<void>;
  appendCheckpoint(bytes: Uint8Array<ArrayBuffer>): Promise<void>;
  /** Makes the new checkpoint durable, then lets it take the place of the old one, durably. */
  replaceCheckpoint(): Promise<void>;
  /** Lets go of a checkpoint that was begun and not ended. */
  close(): void;
}

export interface Time {
  now(): number;
  /** Resolves after `ms`, or when the signal says that nobody waits any more. */
  pause(ms: number, signal: AbortSignal): Promise<void>;
}

export const systemTime: Time = {
  now: () => performance.now(),
  pause: (ms, signal) =>
    new Promise<void>((resolve) => {
      if (signal.aborted) return resolve();
      const timer = setTimeout(done, ms);
      function done() {
        clearTimeout(timer);
        signal.removeEventListener("abort", done);
        resolve();
      }
      signal.addEventListener("abort", done);
    }),
};

export interface OrdersOptions {
  readonly store: BlockStore;
  readonly files: VolumeFiles;
  readonly time: Time;
  readonly log: Log;
  /** Seals the local checkpoint of an encrypted volume. */
  readonly seal?: CheckpointSeal;
  /** Memory that windows, chunks and pieces of maps pass through. */
  readonly windows: readonly Memory[];
  readonly chunk: Memory;
  readonly piece: Memory;
  readonly send: (message: ToWorker) => void;
}

export class Orders {
  readonly #o: OrdersOptions;
  readonly #underWay = new Set<Promise<void>>();
  readonly #abort = new AbortController();
  #refused = false;
  /** Parts of the map that was stored last. */
  mapParts = 0;

  constructor(options: OrdersOptions) {
    this.#o = options;
  }

  /** Takes the message if it is an order. */
  take(message: FromWorker): boolean {
    switch (message.kind) {
      case "segment_wanted":
        this.#run(() => this.#makeSegment());
        return true;
      case "cache_wanted":
        this.#run(() => this.#makeCache());
        return true;
      case "drop_file":
        this.#run(() => this.#o.files.remove(message.path));
        return true;
      case "fetch":
        this.#run(() => this.#fetch(message));
        return true;
      case "store":
        this.#run(() => this.#store(message.key, message.length));
        return true;
      case "piece":
        this.#run(() => this.#takePiece(message));
        return true;
      case "dead_chunks":
        this.#run(() => this.#deleteChunks(message.keys));
        return true;
      default:
        return false;
    }
  }

  /** Gives up patience and waits until nothing is under way. */
  async end(): Promise<void> {
    this.#abort.abort();
    await Promise.allSettled([...this.#underWay]);
    this.#o.files.close();
    this.#o.seal?.close();
  }

  #run(order: () => Promise<void>): void {
    const work = order().catch((error) => {
      this.#o.log.error("engine_order_failed", errorFields(error));
    }).finally(() => this.#underWay.delete(work));
    this.#underWay.add(work);
  }

  async #makeSegment(): Promise<void> {
    try {
      this.#o.send({ kind: "segment", path: await this.#o.files.makeLog() });
      this.#refused = false;
    } catch (error) {
      // The worker asks again and again; the operator hears it once.
      if (!this.#refused) this.#o.log.warn("segment_refused", errorFields(error));
      this.#refused = true;
      const also = isLost(error) ? { isLost: true } as const : {};
      const reason = error instanceof Error ? error.message : String(error);
      this.#o.send({ kind: "segment_refused", reason, ...also });
    }
  }

  async #makeCache(): Promise<void> {
    try {
      this.#o.send({ kind: "cache_file", path: await this.#o.files.makeCache() });
    } catch (error) {
      // Without it reads are slower, and nothing else is wrong.
      if (!(error instanceof NoSpace)) this.#o.log.warn("cache_file_not_made", errorFields(error));
      this.#o.send({ kind: "cache_refused" });
    }
  }

  /** Repeats what the object store did not answer, until it does or the patience ends. */
  async #patiently<T>(what: string, patienceMs: number, work: () => Promise<T>): Promise<T> {
    const { time, log } = this.#o;
    const limit = time.now() + patienceMs;
    for (let pause = firstPauseMs;; pause = Math.min(pause * 2, 2000)) {
      try {
        return await work();
      } catch (error) {
        if (this.#abort.signal.aborted || time.now() + pause > limit) throw error;
        // The first failure is said; what follows it until the patience ends is the same again.
        if (pause === firstPauseMs) log.warn("object_store_retry", { what, ...errorFields(error) });
      }
      await time.pause(pause, this.#abort.signal);
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
      const window = this.#o.windows.find((each) => each.address === order.address);
      if (bytes?.length === order.length && window !== undefined) {
        window.bytes.set(bytes);
        ok = true;
      } else {
        this.#o.log.error("chunk_missing", { key: order.key, got_bytes: bytes?.length ?? -1 });
      }
    } catch (error) {
      this.#o.log.error("chunk_unreadable", { key: order.key, ...errorFields(error) });
    }
    this.#o.send({ kind: "fetched", id: order.id, ok });
  }

  async #store(key: string, length: number): Promise<void> {
    let ok = false;
    try {
      const body = this.#o.chunk.bytes.slice(0, length);
      await this.#patiently(key, storePatienceMs, () => this.#o.store.put(key, body));
      ok = true;
    } catch (error) {
      this.#o.log.error("chunk_not_stored", { key, ...errorFields(error) });
    }
    this.#o.send({ kind: "stored", ok });
  }

  async #takePiece(order: FromWorker & { kind: "piece" }): Promise<void> {
    let ok = false;
    try {
      const bytes = this.#o.piece.bytes.slice(0, order.length);
      if (order.key !== undefined) await this.#storePart(order.key, order.first, bytes);
      else {
        const { files, seal } = this.#o;
        if (order.first) await files.beginCheckpoint();
        await files.appendCheckpoint(seal?.next(bytes, order.first) ?? bytes);
        if (order.last) await files.replaceCheckpoint();
      }
      ok = true;
    } catch (error) {
      this.#o.log.error("map_not_written", {
        target: order.key ?? "checkpoint",
        ...errorFields(error),
      });
    }
    this.#o.send({ kind: "piece_written", ok });
  }

  async #storePart(map: string, first: boolean, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    if (first) this.mapParts = 0;
    const key = mapPartKey(map, this.mapParts);
    await this.#patiently(key, storePatienceMs, () => this.#o.store.put(key, bytes));
    this.mapParts++;
  }

  async #deleteChunks(keys: readonly string[]): Promise<void> {
    for (const key of keys) {
      try {
        await this.#o.store.delete(key);
      } catch (error) {
        // The collector finds it when the volume is unmounted or deleted.
        this.#o.log.warn("chunk_not_deleted", { key, ...errorFields(error) });
      }
    }
  }
}
