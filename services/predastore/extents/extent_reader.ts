/**
 * Reads extents: every byte handed out has been checked against its checksum, but for what is sealed: that
 * is checked by who opens it, and read again with checksums where it does not open.
 *
 * A shard that is missing, torn, rotten or in a directory that is away is computed from k others of its
 * stripe, and reported. A range reads only the 64 KiB fragments that it touches. When fewer than k
 * shards of a stripe are sound, the read fails with `DataLost`: wrong bytes are never handed out.
 */
import { alignedBuffer, pageBytes } from "../../../ffi/direct_io.ts";
import { crc32c } from "../../../ffi/libisal.ts";
import { isUnanswered } from "../segments/answers.ts";
import type { BlobDirectory, Location } from "../segments/blob_directory.ts";
import type { DiskBuffers } from "./disk_buffers.ts";
import type { ErasureCode } from "./erasure.ts";
import { BufferPool } from "./buffer_pool.ts";
import type { ExtentRow } from "../index/rows.ts";
import { shardPayload, type ShardPlace, type Stripe } from "./layout.ts";
import {
  fragmentBytes,
  headerBytes,
  readHeader,
  readShardPage,
  recordTypes,
  roundUp,
  type SmallRecord,
} from "../segments/record.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const usualHedge_ms = 150;
const slowHedge_ms = 5;
const slowFor_ms = 5_000;
/** Records up to this are read into memory that goes round: inline objects, and all but those of huge extents. */
const keptRecord_bytes = 32 * 1024;
/** Readers share so many stripes that are read ahead, and each has one; with many of them the disks are busy without that. */
const stripesAhead = 16;
/** A single reader does not have to wait where a disk is late once. */
const mostAhead = 4;

/** Too little of a stripe is left to compute it. */
export class DataLost extends Error {
  override readonly name = "DataLost";
}

/** What is wrong with one shard. */
export class ShardDamaged extends Error {
  override readonly name = "ShardDamaged";
}

export interface ReaderSurroundings {
  readonly storeId: bigint;
  directory(number: number): BlobDirectory | undefined;
  code(k: number, m: number): ErasureCode;
  /** A shard had to be computed from others. */
  onDegraded(extent: number, stripe: number, shard: number, reason: unknown): void;
  /** How long a read may take before the same is also computed from elsewhere; 150 ms unless given. */
  readonly hedge_ms?: number;
}

export class ExtentReader {
  readonly #around: ReaderSurroundings;
  /** By directory: until when it is given less time. */
  readonly #slowUntil_ms = new Map<number, number>();
  /** Reads that took so long that another way was tried; since the start. */
  hedged_reads = 0;
  #readers = 0;
  /** For records, which are copied out of them. */
  readonly #records = new BufferPool(64);

  constructor(around: ReaderSurroundings) {
    this.#around = around;
  }

  /**
   * The bytes from `from` up to `to`, in order, in pieces of at most a stripe; unless there are many readers, the
   * next stripes are read while the last is being used. With `buffers`, pieces are unchecked, and their reader gives them back.
   */
  async *read(
    extent: ExtentRow,
    from: number,
    to: number,
    buffers?: DiskBuffers,
  ): AsyncGenerator<Bytes> {
    type Piece = { readonly stripe: number; readonly from: number; readonly to: number };
    const pieces: Piece[] = [];
    let start = 0;
    for (const [index, stripe] of extent.stripes.entries()) {
      const end = start + stripe.bytes;
      if (end > from && start < to) {
        pieces.push({
          stripe: index,
          from: Math.max(from, start) - start,
          to: Math.min(to, end) - start,
        });
      }
      start = end;
    }
    const begin = (piece: Piece) => {
      const work = this.#stripe(extent, piece.stripe, piece.from, piece.to, buffers);
      // Whoever stops early leaves a read behind that nobody awaits.
      work.catch(() => {});
      return work;
    };
    const ahead: Promise<Bytes[]>[] = [];
    this.#readers++;
    try {
      for (let next = 0; next < pieces.length || ahead.length > 0;) {
        const share = Math.floor(stripesAhead / this.#readers);
        const most = Math.max(1, Math.min(mostAhead, share));
        while (ahead.length < most && next < pieces.length) {
          ahead.push(begin(pieces[next++] as Piece));
        }
        yield* await (ahead.shift() as Promise<Bytes[]>);
      }
    } finally {
      this.#readers--;
    }
  }

  async #stripe(
    extent: ExtentRow,
    index: number,
    from: number,
    to: number,
    buffers?: DiskBuffers,
  ): Promise<Bytes[]> {
    const stripe = extent.stripes[index] as Stripe;
    const work: Promise<Bytes>[] = [];
    for (let shard = 0; shard < extent.k; shard++) {
      const start = shard * stripe.shardBytes;
      const end = start + shardPayload(stripe, extent.k, shard);
      if (end <= from || start >= to) continue;
      work.push(
        this.#shardOrRest(
          extent,
          index,
          shard,
          Math.max(from, start) - start,
          Math.min(to, end) - start,
          buffers,
        ),
      );
    }
    return await Promise.all(work);
  }

  async #shardOrRest(
    extent: ExtentRow,
    index: number,
    shard: number,
    from: number,
    to: number,
    buffers?: DiskBuffers,
  ): Promise<Bytes> {
    const rest = async (reason?: unknown) =>
      (await this.reconstruct(extent, index, shard, reason)).subarray(from, to);
    try {
      const read = this.readShard(extent, index, shard, from, to, buffers);
      if (extent.m === 0) return await read;
      return await this.#hedged(
        extent.stripes[index]?.shards[shard]?.directory,
        read,
        () => rest(),
      );
    } catch (reason) {
      const whole = await rest(reason);
      this.#around.onDegraded(extent.id, index, shard, reason);
      return whole;
    }
  }

  /**
   * What `read` gives, or what `other` gives where `read` takes long: a disk that has become slow slows
   * no reader. One that was late is given less time for a while.
   */
  async #hedged<T>(
    directory: number | undefined,
    read: Promise<T>,
    other: () => Promise<T>,
  ): Promise<T> {
    const late = Promise.withResolvers<"late">();
    const known = this.#slowUntil_ms.get(directory ?? -1) ?? 0;
    const hedge_ms = this.#around.hedge_ms ?? usualHedge_ms;
    const patience = known > performance.now() ? Math.min(hedge_ms, slowHedge_ms) : hedge_ms;
    const timer = setTimeout(() => late.resolve("late"), patience);
    try {
      const first = await Promise.race([read.then((value) => ({ value })), late.promise]);
      if (first !== "late") return first.value;
    } finally {
      clearTimeout(timer);
    }
    this.hedged_reads++;
    this.#slowUntil_ms.set(directory ?? -1, performance.now() + slowFor_ms);
    try {
      return await Promise.any([read, other()]);
    } catch (error) {
      throw error instanceof AggregateError ? error.errors[0] : error;
    }
  }

  /** A shard's payload computed from the others of its stripe. @throws DataLost */
  async reconstruct(
    extent: ExtentRow,
    index: number,
    wanted: number,
    reason?: unknown,
  ): Promise<Bytes> {
    const stripe = extent.stripes[index] as Stripe;
    const length = shardPayload(stripe, extent.k, extent.k);
    const available = new Map<number, Bytes>();
    const candidates: number[] = [];
    for (let shard = 0; shard < extent.k + extent.m; shard++) {
      if (shard === wanted) continue;
      // An empty data shard is known: it is all zeros.
      if (shardPayload(stripe, extent.k, shard) === 0) available.set(shard, new Uint8Array(length));
      else candidates.push(shard);
    }
    while (available.size < extent.k && candidates.length > 0) {
      const batch = candidates.splice(0, extent.k - available.size);
      await Promise.all(batch.map(async (shard) => {
        try {
          const bytes = shardPayload(stripe, extent.k, shard);
          const payload = await this.readShard(extent, index, shard, 0, bytes);
          if (payload.length < length) {
            const padded = new Uint8Array(length);
            padded.set(payload);
            available.set(shard, padded);
          } else available.set(shard, payload);
        } catch {
          // Another one is tried; with too few, the error below tells.
        }
      }));
    }
    if (available.size < extent.k) {
      throw new DataLost(
        `stripe ${index} of extent ${extent.id} has ${available.size} sound shards and needs ${extent.k}`,
        { cause: reason },
      );
    }
    return this.#around.code(extent.k, extent.m).reconstruct(available, wanted, length);
  }

  /**
   * Bytes `from` to `to` of one shard's payload, checked unless they are read into `buffers`.
   * @throws ShardDamaged; IoError, unless they are read into `buffers` also when there is no answer for long
   */
  async readShard(
    extent: Pick<ExtentRow, "id" | "k" | "stripes">,
    index: number,
    shard: number,
    from: number,
    to: number,
    buffers?: DiskBuffers,
  ): Promise<Bytes> {
    const stripe = extent.stripes[index] as Stripe;
    const place = stripe.shards[shard];
    if (place === undefined) throw new ShardDamaged("the shard was never written");
    const directory = this.#around.directory(place.directory);
    if (directory === undefined) {
      throw new ShardDamaged(`directory ${place.directory} is not there`);
    }
    const bytes = shardPayload(stripe, extent.k, shard);
    const first = Math.floor(from / fragmentBytes);
    const last = Math.ceil(to / fragmentBytes);
    const dataStart = first * fragmentBytes;
    const dataEnd = Math.min(bytes, last * fragmentBytes);
    const length = roundUp(dataEnd - dataStart, pageBytes);
    let page: Bytes;
    let data: Bytes;
    if (dataStart <= 2 * fragmentBytes) {
      // Near the front: the page and all up to the range in one read.
      const wanted = pageBytes + dataStart + length;
      const buffer = buffers?.take(wanted) ?? alignedBuffer(wanted);
      await full(directory, place, buffer, 0, buffers);
      page = buffer.subarray(0, pageBytes);
      data = buffer.subarray(pageBytes + dataStart);
    } else {
      page = alignedBuffer(pageBytes);
      data = alignedBuffer(length);
      await Promise.all([
        full(directory, place, page, 0),
        full(directory, place, data, pageBytes + dataStart),
      ]);
    }
    const found = readShardPage(page, { storeId: this.#around.storeId, ...place });
    if (
      found === undefined || found.meta.extent !== extent.id || found.meta.stripe !== index ||
      found.meta.shard !== shard || found.payloadBytes !== bytes
    ) throw new ShardDamaged("another record stands where the shard should be");
    for (let fragment = first; buffers === undefined && fragment < last; fragment++) {
      const start = (fragment - first) * fragmentBytes;
      const end = Math.min(dataEnd - dataStart, start + fragmentBytes);
      if (crc32c(data.subarray(start, end)) !== found.fragmentCrc(fragment)) {
        throw new ShardDamaged(`fragment ${fragment} has a wrong checksum`);
      }
    }
    return data.subarray(from - dataStart, to - dataStart);
  }

  /** The payload of the record with that sequence, from whichever copy is sound. @throws DataLost */
  async readInline(
    locations: readonly Location[],
    sequence: number,
    onDamaged: (location: Location) => void = () => {},
  ): Promise<Bytes> {
    const [first, ...others] = locations;
    if (first === undefined) throw new DataLost("no copy of the object is sound");
    const next = () => this.readInline(others, sequence, onDamaged);
    const isLast = others.length === 0;
    const read = this.readRecord(first, sequence, isLast).then(({ payload }) => payload);
    try {
      return isLast ? await read : await this.#hedged(first.directory, read, next);
    } catch (reason) {
      if (isLast) {
        throw new DataLost("no copy of the object is sound", { cause: reason });
      }
      const payload = await next();
      const isThere = this.#around.directory(first.directory)?.online !== false;
      if (isThere && !isUnanswered(reason)) onDamaged(first);
      return payload;
    }
  }

  /**
   * A small record, checked.
   * @param inTime unless the caller has somebody else to ask, and looks at the time by itself
   * @throws ShardDamaged, IoError
   */
  async readRecord(
    location: Location,
    sequence: number,
    inTime = true,
  ): Promise<SmallRecord> {
    const directory = this.#around.directory(location.directory);
    if (directory === undefined) {
      throw new ShardDamaged(`directory ${location.directory} is not there`);
    }
    const { storeId } = this.#around;
    return await readRecord(directory, location, storeId, sequence, this.#records, inTime);
  }
}

async function readRecord(
  directory: BlobDirectory,
  location: Location,
  storeId: bigint,
  sequence: number,
  pool: BufferPool,
  inTime: boolean,
): Promise<SmallRecord> {
  const start = location.offset - location.offset % pageBytes;
  const skip = location.offset - start;
  const length = roundUp(skip + location.bytes, pageBytes);
  const kept = length <= keptRecord_bytes;
  const buffer = kept ? pool.take(length) : alignedBuffer(length);
  // A crash may have left a record whole and not the page that it stands in.
  const there = inTime
    ? await directory.readInTime(location.segment, buffer, start)
    : await directory.read(location.segment, buffer, start);
  const end = Math.max(skip, Math.min(there, skip + location.bytes));
  const bytes = kept ? buffer.slice(skip, end) : buffer.subarray(skip, end);
  // Not after a read that failed: nobody knows what still goes on with its memory.
  if (kept) pool.give(buffer);
  const header = readHeader(bytes, { ...location, storeId });
  if (header === undefined || "short" in header || header.type === recordTypes.shard) {
    throw new ShardDamaged("no record stands there");
  }
  // A file of another directory has sound records of the same places, and of other objects.
  if (header.sequence !== sequence) throw new ShardDamaged("another record stands there");
  const metaEnd = headerBytes + header.metaBytes;
  const payload = bytes.subarray(metaEnd, metaEnd + header.payloadBytes);
  if (payload.length < header.payloadBytes || crc32c(payload) !== header.payloadCrc) {
    throw new ShardDamaged("a wrong checksum");
  }
  return { type: header.type, sequence, meta: bytes.subarray(headerBytes, metaEnd), payload };
}

async function full(
  directory: BlobDirectory,
  { segment, offset }: ShardPlace,
  buffer: Bytes,
  skip: number,
  lent?: DiskBuffers,
): Promise<void> {
  // Memory that is lent goes to others when its reader gives up: a read that still goes on must not write into it.
  const read = lent === undefined
    ? directory.readInTime(segment, buffer, offset + skip)
    : directory.read(segment, buffer, offset + skip);
  if (await read < buffer.length) {
    throw new ShardDamaged("the segment ends before the shard does");
  }
}
