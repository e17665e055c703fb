/**
 * Reads extents: every byte handed out has been checked against its checksum.
 *
 * A shard that is missing, torn, rotten or in a directory that is away is computed from k others of its
 * stripe, and reported. A range reads only the 64 KiB fragments that it touches. When fewer than k
 * shards of a stripe are sound, the read fails with `DataLost`: wrong bytes are never handed out.
 */
import { alignedBuffer, pageBytes } from "../../ffi/direct_io.ts";
import { crc32c } from "../../ffi/libisal.ts";
import type { BlobDirectory, Location } from "./blob_directory.ts";
import type { ErasureCode } from "./erasure.ts";
import type { ExtentRow } from "./index/rows.ts";
import { shardPayload, type ShardPlace, type Stripe } from "./layout.ts";
import { fragmentBytes, headerBytes, readHeader, readShardPage, roundUp } from "./record.ts";

type Bytes = Uint8Array<ArrayBuffer>;

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
}

export class ExtentReader {
  readonly #around: ReaderSurroundings;

  constructor(around: ReaderSurroundings) {
    this.#around = around;
  }

  /**
   * The bytes from `from` up to `to`, in order, in pieces of at most a stripe; the next stripe is read
   * while the last is being used.
   */
  async *read(extent: ExtentRow, from: number, to: number): AsyncGenerator<Bytes> {
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
      const work = this.#stripe(extent, piece.stripe, piece.from, piece.to);
      // Whoever stops early leaves a read behind that nobody awaits.
      work.catch(() => {});
      return work;
    };
    const ahead: Promise<Bytes[]>[] = [];
    for (let next = 0; next < pieces.length || ahead.length > 0;) {
      while (ahead.length < 2 && next < pieces.length) ahead.push(begin(pieces[next++] as Piece));
      yield* await (ahead.shift() as Promise<Bytes[]>);
    }
  }

  async #stripe(extent: ExtentRow, index: number, from: number, to: number): Promise<Bytes[]> {
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
  ): Promise<Bytes> {
    try {
      return await this.readShard(extent, index, shard, from, to);
    } catch (reason) {
      const whole = await this.reconstruct(extent, index, shard, reason);
      this.#around.onDegraded(extent.id, index, shard, reason);
      return whole.subarray(from, to);
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

  /** Bytes `from` to `to` of one shard's payload, checked. @throws ShardDamaged, IoError */
  async readShard(
    extent: Pick<ExtentRow, "id" | "k" | "stripes">,
    index: number,
    shard: number,
    from: number,
    to: number,
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
      const buffer = alignedBuffer(wanted);
      await full(directory, place, buffer, 0);
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
    for (let fragment = first; fragment < last; fragment++) {
      const start = (fragment - first) * fragmentBytes;
      const end = Math.min(dataEnd - dataStart, start + fragmentBytes);
      if (crc32c(data.subarray(start, end)) !== found.fragmentCrc(fragment)) {
        throw new ShardDamaged(`fragment ${fragment} has a wrong checksum`);
      }
    }
    return data.subarray(from - dataStart, to - dataStart);
  }

  /** The payload of a small record, from whichever copy is sound. @throws DataLost */
  async readInline(locations: readonly Location[]): Promise<Bytes> {
    let reason: unknown;
    for (const location of locations) {
      const directory = this.#around.directory(location.directory);
      if (directory === undefined) continue;
      try {
        return await readRecordPayload(directory, location, this.#around.storeId);
      } catch (error) {
        reason = error;
      }
    }
    throw new DataLost("no copy of the object is sound", { cause: reason });
  }
}

async function readRecordPayload(
  directory: BlobDirectory,
  location: Location,
  storeId: bigint,
): Promise<Bytes> {
  const start = location.offset - location.offset % pageBytes;
  const skip = location.offset - start;
  const buffer = alignedBuffer(roundUp(skip + location.bytes, pageBytes));
  await full(directory, location, buffer, -skip);
  const bytes = buffer.subarray(skip, skip + location.bytes);
  const header = readHeader(bytes, { ...location, storeId });
  if (header === undefined || "short" in header) throw new ShardDamaged("no record stands there");
  const metaEnd = headerBytes + header.metaBytes;
  const payload = bytes.subarray(metaEnd, metaEnd + header.payloadBytes);
  if (crc32c(payload) !== header.payloadCrc) throw new ShardDamaged("a wrong checksum");
  return payload;
}

async function full(
  directory: BlobDirectory,
  place: ShardPlace,
  buffer: Bytes,
  skip: number,
): Promise<void> {
  if (await directory.read(place.segment, buffer, place.offset + skip) < buffer.length) {
    throw new ShardDamaged("the segment ends before the shard does");
  }
}
