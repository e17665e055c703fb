/**
 * Small records of one directory, gathered, written as one batch and made durable by one sync for all who wait. Groups
 * are written one after the other.
 */
import { alignedBuffer, pageBytes } from "../../../ffi/direct_io.ts";
import { before, type Location } from "./location.ts";
import {
  type Durable,
  headerBytes,
  recordAlign,
  roundUp,
  type SmallRecord,
  writeSmallRecord,
} from "./record.ts";
import type { Place, SegmentWriter } from "./segment_writer.ts";

/** Memory of a batch up to this is used for the next one. */
const keptBatch_bytes = 256 * 1024;
/** Whoever comes when so much is gathered waits for the next group. */
const group_bytes = 4 << 20;

interface Waiting {
  readonly records: readonly SmallRecord[];
  readonly epoch: number;
  readonly done: PromiseWithResolvers<readonly Location[]>;
}

interface GroupCommitOptions {
  readonly storeId: bigint;
  readonly number: number;
  readonly writer: SegmentWriter;
  /** Ends what waits for the disk when the directory goes offline, and has it go offline where the disk fails. */
  readonly guarded: <T>(work: () => Promise<T>) => Promise<T>;
  readonly epoch: () => number;
  /** @throws DirectoryOffline when it was offline since that epoch */
  readonly checkEpoch: (epoch: number) => void;
}

const spanOf = (record: SmallRecord) =>
  roundUp(headerBytes + record.meta.length + record.payload.length, recordAlign);

const position = (location: Location) => location.segment * 2 ** 32 + location.offset / 64;

export class GroupCommit {
  readonly #options: GroupCommitOptions;
  readonly #queue: Waiting[] = [];
  #running: Promise<void> | undefined;
  #batch: Uint8Array<ArrayBuffer> | undefined;
  /** Batches that are durable but not yet in the index. */
  readonly #unapplied = new Map<number, Durable>();

  constructor(options: GroupCommitOptions) {
    this.#options = options;
  }

  /** Settles when nobody waits; undefined where nobody does. */
  get running(): Promise<void> | undefined {
    return this.#running;
  }

  /** The place before which everything durable is also in the index. */
  get appliedUpTo(): Durable {
    let least = this.#options.writer.durable;
    for (const position of this.#unapplied.values()) {
      if (before(position, least)) least = position;
    }
    return least;
  }

  commit(records: readonly SmallRecord[], epoch: number): Promise<readonly Location[]> {
    const done = Promise.withResolvers<readonly Location[]>();
    this.#queue.push({ records, epoch, done });
    this.#running ??= this.#commitAll();
    return done.promise;
  }

  /** The index holds the records of a commit that began at `location`. */
  applied(location: Location): void {
    this.#unapplied.delete(position(location));
  }

  /** A write that does not end may still read the memory of the last batch. */
  leaveMemory(): void {
    this.#batch = undefined;
  }

  async #commitAll(): Promise<void> {
    const { guarded, checkEpoch } = this.#options;
    // Whoever comes in the same turn of the event loop rides along.
    await Promise.resolve();
    while (this.#queue.length > 0) {
      const group: Waiting[] = [];
      for (let bytes = 0; this.#queue.length > 0 && bytes < group_bytes;) {
        const next = this.#queue.shift() as Waiting;
        try {
          checkEpoch(next.epoch);
        } catch (error) {
          next.done.reject(error);
          continue;
        }
        group.push(next);
        for (const record of next.records) bytes += record.meta.length + record.payload.length;
      }
      if (group.length === 0) continue;
      try {
        const locations = await guarded(() => this.#commitGroup(group));
        for (const [at, waiting] of group.entries()) waiting.done.resolve(locations[at] ?? []);
      } catch (error) {
        for (const waiting of group) waiting.done.reject(error);
      }
    }
    // In the same turn in which the queue was seen to be empty: who comes later begins anew.
    this.#running = undefined;
  }

  /** Zeroed memory for a group of records; a directory writes one group at a time. */
  #batchOf(bytes: number): Uint8Array<ArrayBuffer> {
    if (bytes > keptBatch_bytes) return alignedBuffer(bytes);
    if (this.#batch === undefined || this.#batch.length < bytes) this.#batch = alignedBuffer(bytes);
    return this.#batch.subarray(0, bytes).fill(0);
  }

  async #commitGroup(group: readonly Waiting[]): Promise<readonly (readonly Location[])[]> {
    const { writer, epoch, checkEpoch } = this.#options;
    let total = 0;
    for (const { records } of group) for (const record of records) total += spanOf(record);
    const bytes = roundUp(Math.max(total, 1), pageBytes);
    const begun = epoch();
    let firsts: readonly Location[] = [];
    try {
      const locations = await writer.append(bytes, async (place) => {
        const buffer = this.#batchOf(bytes);
        const made = this.#fill(buffer, group, place);
        firsts = made.flatMap((mine) => mine.slice(0, 1));
        for (const first of firsts) this.#unapplied.set(position(first), first);
        await place.file.write(buffer, place.offset);
        return made;
      });
      await writer.sync();
      // Going offline forgets what was to be synced: nothing can be said of it any more.
      checkEpoch(begun);
      return locations;
    } catch (error) {
      // Nobody knows what still goes on with its memory.
      this.#batch = undefined;
      for (const first of firsts) this.#unapplied.delete(position(first));
      throw error;
    }
  }

  /** @returns where the records stand */
  #fill(
    buffer: Uint8Array<ArrayBuffer>,
    group: readonly Waiting[],
    { segment, offset }: Place,
  ): readonly (readonly Location[])[] {
    const { storeId, number: directory, writer: { durable } } = this.#options;
    let at = 0;
    return group.map(({ records }) =>
      records.map((record) => {
        const bytes = spanOf(record);
        const place = { storeId, segment, offset: offset + at, durable };
        writeSmallRecord(buffer.subarray(at, at + bytes), record, place);
        at += bytes;
        return { directory, segment, offset: place.offset, bytes };
      })
    );
  }
}
