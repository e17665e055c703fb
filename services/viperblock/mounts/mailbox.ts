/**
 * Messages between the main thread and a volume's worker. The worker blocks in its ring and never
 * runs its event loop, so messages to it are JSON in shared memory, announced through an eventfd that
 * its ring reads; messages from it are ordinary `postMessage` calls, which do not need its event loop.
 *
 * One thread writes and one reads. A message that does not fit is an error of the caller: answers are
 * small, and there are never more of them than orders that the worker gave.
 */
import { signalEvent } from "../../../ffi/libc.ts";
import type { SyncMode, VolumeLimits } from "../contract.ts";
import type { Level } from "../../log/log.ts";
import type { DamageReport } from "../damage.ts";
import type { Rescue } from "../engine/salvage.ts";

const capacity = 256 << 10;
const headerBytes = 16;

export type ToWorker =
  /** A prepared log file, or the word that there is no room for one. */
  | { readonly kind: "segment"; readonly path: string }
  | {
    readonly kind: "segment_refused";
    readonly reason: string;
    /** There may be room: the disk did not do it. */
    readonly isLost?: true;
  }
  /** A file for the chunk cache, or the word that there is no room for one. */
  | { readonly kind: "cache_file"; readonly path: string }
  | { readonly kind: "cache_refused" }
  /** So many of them the volume may have from now on. */
  | { readonly kind: "cache_allowed"; readonly files: number }
  /** The order with this id was carried out, or failed for good. */
  | { readonly kind: "fetched"; readonly id: number; readonly ok: boolean }
  | { readonly kind: "stored"; readonly ok: boolean }
  | { readonly kind: "piece_written"; readonly ok: boolean }
  /** Freeze what the volume holds now, and store the frozen map under the key. */
  | { readonly kind: "freeze"; readonly key: string }
  /** The volume is larger from now on. */
  | { readonly kind: "resize"; readonly size_bytes: number; readonly limits: VolumeLimits }
  /** When what is acknowledged is on stable storage, from the next request on. */
  | { readonly kind: "sync_mode"; readonly sync: SyncMode }
  /** Take a checkpoint of the map as it is now. */
  | { readonly kind: "checkpoint" }
  /** Hold the books against the map, as both are at its beginning: a part of it, and then of what is left. */
  | { readonly kind: "audit"; readonly begins: boolean }
  /** Tell which chunks are needed. */
  | { readonly kind: "held" }
  /** No snapshot and no other volume named these chunks of its own (epoch and sequence) after so many freezes. */
  | {
    readonly kind: "unshared";
    readonly chunks: readonly (readonly [number, number])[];
    readonly freezes: number;
  }
  /** Drain everything, save the map, stop. */
  | { readonly kind: "unmount" }
  /** Flush the log and stop; the volume stays mounted in the books. */
  | { readonly kind: "stop" }
  | { readonly kind: "report" };

export interface VolumeStatistics {
  readonly connections: number;
  readonly mapped_blocks: number;
  readonly segments: number;
  readonly chunks: number;
  readonly chunk_blocks: number;
  readonly live_chunk_blocks: number;
  readonly chunks_compacted: number;
  readonly blocks_compacted: number;
  /** In the log, and not in the object store yet. */
  readonly dirty_bytes: number;
  readonly guest_read_bytes: number;
  readonly guest_written_bytes: number;
  readonly throttle_waits: number;
  readonly reads: number;
  readonly writes: number;
  readonly flushes: number;
  readonly cache_hits: number;
  readonly cache_misses: number;
  readonly log_written_bytes: number;
  readonly windows_fetched: number;
  /** Blocks of chunks that were read from this node's disk, that were not there, and that were wrong there. */
  readonly chunk_cache_hits: number;
  readonly chunk_cache_misses: number;
  readonly chunk_cache_wrong: number;
  readonly chunk_cache_bytes: number;
  readonly chunk_cache_files: number;
  readonly windows_kept: number;
  /** Windows that there was no time or room for. */
  readonly windows_not_kept: number;
  readonly chunks_stored: number;
  /** Percentiles and histograms of how long requests took. */
  readonly latencies: Readonly<Record<string, number>>;
}

/** What a mounted volume needs in the store beyond its saved map. */
export interface HeldChunks {
  readonly keys: readonly string[];
  /** Chunks that it names later are not for anybody to judge. */
  readonly epoch: number;
  readonly sequence: number;
  /** Snapshots that its engine has begun by now. */
  readonly freezes: number;
}

export type FromWorker =
  /** `damage`: it is served for reading only. */
  | { readonly kind: "ready"; readonly replayed_batches: number; readonly damage?: DamageReport }
  | { readonly kind: "segment_wanted" }
  | { readonly kind: "cache_wanted" }
  | { readonly kind: "drop_file"; readonly path: string }
  | {
    readonly kind: "fetch";
    readonly id: number;
    readonly key: string;
    readonly offset: number;
    readonly length: number;
    readonly address: number;
  }
  | { readonly kind: "store"; readonly key: string; readonly length: number }
  | {
    readonly kind: "piece";
    /** The map's key in the object store; the local checkpoint has none. */
    readonly key?: string;
    readonly first: boolean;
    readonly last: boolean;
    readonly length: number;
  }
  /** Chunks that no durable map of this volume refers to any more. */
  | { readonly kind: "dead_chunks"; readonly keys: readonly string[] }
  | {
    readonly kind: "unmounted";
    readonly ok: boolean;
    /** Of the map; nothing is there when the store did not take all of it. */
    readonly key: string;
    readonly mapped_blocks: number;
    readonly owners: readonly string[];
  }
  /** The moment of the snapshot has passed; it is stored when `frozen` comes. */
  | { readonly kind: "captured"; readonly key: string; readonly size_bytes: number }
  | {
    readonly kind: "frozen";
    readonly key: string;
    readonly mapped_blocks: number;
    readonly sequence: number;
    readonly owners: readonly string[];
  }
  | { readonly kind: "resized"; readonly size_bytes: number }
  | { readonly kind: "sync_mode_set" }
  | ({ readonly kind: "held" } & HeldChunks)
  | { readonly kind: "checkpointed"; readonly ok: boolean }
  | { readonly kind: "unshared" }
  /** What is wrong in sentences, when all of it is done. */
  | { readonly kind: "audited"; readonly wrong: readonly string[] | undefined }
  | { readonly kind: "stopped" }
  /** After it was stopped or unmounted: it has given back all that it had, and touches nothing more. */
  | { readonly kind: "gone" }
  | { readonly kind: "report"; readonly statistics: VolumeStatistics }
  | {
    readonly kind: "failed";
    readonly error: string;
    readonly damaged: boolean;
    /** It may be otherwise a little later. */
    readonly mayPass?: boolean;
  }
  | {
    readonly kind: "log";
    readonly level: Level;
    readonly event: string;
    readonly fields: Readonly<Record<string, unknown>>;
  };

export class Mailbox {
  readonly #positions: Int32Array;
  readonly #bytes: Uint8Array;

  constructor(readonly shared: SharedArrayBuffer, readonly eventFd: number) {
    this.#positions = new Int32Array(shared, 0, 2);
    this.#bytes = new Uint8Array(shared, headerBytes, capacity);
  }

  static create(eventFd: number): Mailbox {
    return new Mailbox(new SharedArrayBuffer(headerBytes + capacity), eventFd);
  }

  /** Called by the main thread. */
  send(message: ToWorker): void {
    const text = new TextEncoder().encode(JSON.stringify(message));
    const written = Atomics.load(this.#positions, 0);
    const used = (written - Atomics.load(this.#positions, 1)) | 0;
    if (used + 4 + text.length > capacity) {
      throw new RangeError("the worker's mailbox is full");
    }
    const length = new Uint8Array(new Uint32Array([text.length]).buffer);
    this.#copyIn(length, written);
    this.#copyIn(text, written + 4);
    Atomics.store(this.#positions, 0, (written + 4 + text.length) | 0);
    signalEvent(this.eventFd);
  }

  #copyIn(bytes: Uint8Array, at: number): void {
    for (let i = 0; i < bytes.length; i++) {
      this.#bytes[(at + i) & (capacity - 1)] = bytes[i] as number;
    }
  }

  /** Called by the worker: every message that has come. */
  receive(): ToWorker[] {
    const messages: ToWorker[] = [];
    let at = Atomics.load(this.#positions, 1);
    while (at !== Atomics.load(this.#positions, 0)) {
      const length = new Uint32Array(this.#copyOut(at, 4).buffer)[0] as number;
      messages.push(JSON.parse(new TextDecoder().decode(this.#copyOut(at + 4, length))));
      at = (at + 4 + length) | 0;
      Atomics.store(this.#positions, 1, at);
    }
    return messages;
  }

  #copyOut(at: number, length: number): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(length);
    for (let i = 0; i < length; i++) bytes[i] = this.#bytes[(at + i) & (capacity - 1)] as number;
    return bytes;
  }
}

/** What a worker is told when it is made. */
export interface WorkerInit {
  readonly volumeId: string;
  readonly sizeBytes: number;
  readonly limits: VolumeLimits;
  readonly sync: SyncMode;
  /** It was refused because it is damaged: what can be read of it is served. */
  readonly rescue?: Rescue;
  readonly epoch: number;
  /** The newest epoch whose chunks a map in the object store may name; chunks of later epochs are this log's own. */
  readonly savedEpoch: number;
  /** As that, of the map alone that its mount began with. */
  readonly mapEpoch: number;
  /** The newest epoch whose chunks others may name. */
  readonly snapshotEpoch: number;
  /** The data key of an encrypted volume. */
  readonly key?: Uint8Array<ArrayBuffer>;
  readonly directory: string;
  readonly socket: string;
  /** Where local guests reach it through rings in their memory, if anywhere. */
  readonly vhostSocket?: string;
  readonly cacheBytes: number;
  /** Files that its chunks may be kept in on this node. */
  readonly cacheFiles: number;
  /** Log segments that the volume may hold before writes wait for the drain. */
  readonly segmentBudget: number;
  /** How long writes wait for space before they fail with ENOSPC. */
  readonly spacePatienceMs: number;
  readonly mailbox: SharedArrayBuffer;
  readonly eventFd: number;
  /** Memory of the main thread that chunks and map pieces pass through. */
  readonly transfer: {
    readonly windows: readonly number[];
    readonly chunk: number;
    readonly piece: number;
    readonly pieceBytes: number;
  };
}
