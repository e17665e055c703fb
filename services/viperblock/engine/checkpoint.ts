/**
 * Writes the map out: to the local checkpoint, after which log segments that hold nothing live are free
 * to be used again, or to the object store when a volume is unmounted.
 *
 * The map is captured at one moment; before its first byte leaves, everything that it contains is made
 * durable in the log. So a checkpoint never knows of more than the log does, and a segment or chunk is
 * given up only when no durable map refers to it.
 */
import type { Memory } from "../../../ffi/libc.ts";
import type { BlockMap } from "../maps/block_map.ts";
import { MapWriter } from "../maps/map_stream.ts";
import type { FromWorker } from "../mounts/mailbox.ts";
import type { LogWriter } from "./log_writer.ts";
import type { Chunk, Places, Segment } from "./places.ts";

export interface CheckpointOptions {
  readonly volumeId: string;
  readonly epoch: number;
  readonly savedEpoch: number;
  readonly mapEpoch: number;
  readonly map: BlockMap;
  readonly places: Places;
  readonly log: LogWriter;
  readonly piece: Memory;
  readonly post: (message: FromWorker) => void;
  /** Whether somebody knows the chunk by its number yet: it is being read, compacted, or named by a snapshot that is not stored. */
  readonly chunkInUse: (chunk: number) => boolean;
  /** The chunks are not known any more; their numbers will be others'. */
  readonly gaveUp?: (chunks: readonly number[]) => void;
  /** Segments that are free now. */
  readonly freed: (segments: readonly Segment[]) => void;
}

export class Checkpointer {
  readonly #o: CheckpointOptions;
  #writer: MapWriter | undefined;
  /** The key of a map in the store; undefined for the local checkpoint. */
  #key: string | undefined;
  #first = true;
  /** What it frees once it is durable is known. */
  #frees = false;
  #segments: Segment[] = [];
  #chunks: number[] = [];
  #done: (ok: boolean) => void = () => {};
  #running = false;
  /** Log bytes that this process had written when the last one was taken; below 0 when that was before it. */
  lastAtBytes = 0;

  constructor(options: CheckpointOptions) {
    this.#o = options;
  }

  get running(): boolean {
    return this.#running;
  }

  /** @param done hears whether the map is durable where it was sent */
  start(key: string | undefined, done: (ok: boolean) => void = () => {}): void {
    const { log, places, map } = this.#o;
    this.#running = true;
    this.#key = key;
    this.#done = done;
    log.submit();
    const sequence = log.nextSequence - 1;
    this.lastAtBytes = log.writtenBytes;
    this.#segments = [];
    for (const segment of places.segments.values()) {
      if (segment.sealed && segment.live === 0) this.#segments.push(segment);
    }
    this.#chunks = [];
    for (const [number, chunk] of places.chunks.entries()) {
      if (chunk !== undefined && chunk.live === 0) this.#chunks.push(number);
    }
    this.#writer = new MapWriter(
      {
        volumeId: this.#o.volumeId,
        epoch: this.#o.epoch,
        sizeBlocks: map.sizeBlocks,
        sequence,
        nextSegment: log.nextSegment,
        ...(key === undefined ? { checkpointOf: this.#o.volumeId } : {}),
      },
      map.capture(),
      places.chunks.map((chunk) => chunk === undefined ? undefined : { ...chunk }),
    );
    this.#first = true;
    this.#frees = key === undefined;
    log.flushThen(() => this.#next());
  }

  /** Stores a map that has nothing in the log. */
  save(writer: MapWriter, key: string, done: (ok: boolean) => void): void {
    this.#running = true;
    this.#key = key;
    this.#done = done;
    this.#frees = false;
    this.#first = true;
    this.#writer = writer;
    this.#next();
  }

  #next(): void {
    const writer = this.#writer as MapWriter;
    const length = writer.fill(this.#o.piece.bytes);
    this.#o.post({
      kind: "piece",
      ...(this.#key === undefined ? {} : { key: this.#key }),
      first: this.#first,
      last: writer.done,
      length,
    });
    this.#first = false;
  }

  /** The main thread has taken the piece. */
  pieceWritten(ok: boolean): void {
    if (this.#writer === undefined) return;
    if (ok && !this.#writer.done) {
      this.#next();
      return;
    }
    this.#writer = undefined;
    this.#running = false;
    // A map in the store frees nothing here: the local checkpoint still refers to the log.
    if (ok && this.#frees) {
      this.#o.freed(this.#segments);
      this.#giveUpChunks();
    }
    this.#segments = [];
    this.#done(ok);
  }

  #giveUpChunks(): void {
    const { places, volumeId, savedEpoch, mapEpoch } = this.#o;
    const keys: string[] = [];
    // One that is in use is given up by a later checkpoint.
    const free = this.#chunks.filter((number) => !this.#o.chunkInUse(number));
    for (const number of free) {
      const chunk = places.chunks[number] as Chunk;
      // Older chunks, and those of others, may be part of the saved map, a snapshot or a clone.
      const oldest = chunk.isOwn ? mapEpoch : savedEpoch;
      if (!chunk.shared && chunk.name.owner === volumeId && chunk.name.epoch > oldest) {
        keys.push(chunk.key);
      }
      places.removeChunk(number);
    }
    this.#chunks = [];
    if (free.length > 0) this.#o.gaveUp?.(free);
    if (keys.length > 0) this.#o.post({ kind: "dead_chunks", keys });
  }
}
