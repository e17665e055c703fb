/**
 * Writes one extent: a stream of bytes cut into stripes, each coded into n shards on n directories.
 *
 * Memory is bounded by the stripes that are on their way (two) plus the one that fills, whatever the
 * extent's size. Digests read the same buffers on other threads while they are written. What fits
 * inline is never striped. A shard that cannot be written is left out as long as k of a stripe's
 * shards can; the index journals it.
 */
import { pageBytes } from "../../../ffi/direct_io.ts";
import type { Digest } from "../../../ffi/libcrypto.ts";
import { AwsError } from "../../aws/errors.ts";
import type { BlobDirectory } from "../segments/blob_directory.ts";
import type { DiskBuffers } from "./disk_buffers.ts";
import type { ErasureCode } from "./erasure.ts";
import { shardPayload, type ShardPlace, type Stripe } from "./layout.ts";
import { roundUp } from "../segments/record.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Objects of this size and below stand whole in their record. */
export const inlineBytes = 16 * 1024;

/** Full data shards: RS(1,0) writes 1 MiB at a time, wider codes at least 256 KiB to each disk. */
export function fullShardBytes(k: number): number {
  return Math.max(256 * 1024, roundUp(Math.ceil((1 << 20) / k), pageBytes));
}

const stripesOnTheWay = 2;

/** A sink that is fed each run of bytes in order and may work on another thread. */
export interface BodyDigest {
  update(bytes: Bytes): Promise<void> | void;
}

export interface ExtentWriterOptions {
  readonly code: ErasureCode;
  readonly pool: DiskBuffers;
  /** One for each shard; undefined where there is no directory for it now. */
  readonly directories: readonly (BlobDirectory | undefined)[];
  readonly extent: number;
  readonly bucket: number;
  readonly key: Bytes;
  readonly digests: readonly (BodyDigest | Digest)[];
  /** The length if it is known beforehand: makes short stripes spread evenly. */
  readonly expected_bytes?: number;
  /** Whether small content comes back whole instead of being written; true unless given. */
  readonly inline?: boolean;
}

export interface WrittenExtent {
  readonly size: number;
  readonly code: ErasureCode;
  /** The whole content, when it is small. */
  readonly inline?: Bytes;
  readonly stripes: readonly Stripe[];
}

/** Too few directories take writes for the data to be safe. */
export function tooFewDirectories(cause?: unknown): AwsError {
  return new AwsError(
    "ServiceUnavailable",
    "Too few storage directories are writable to store this safely. `hive status` shows which.",
    { status: 503, cause },
  );
}

/** For what is longer than was expected. */
function grown(small: Bytes): Bytes {
  const memory = new Uint8Array(inlineBytes);
  memory.set(small);
  return memory;
}

export class ExtentWriter {
  readonly #options: ExtentWriterOptions;
  readonly #full: number;
  #size = 0;
  /** Bytes in stripes that are full. */
  #sent = 0;
  /** Gathers what may become inline. */
  #small: Bytes | undefined;
  #smallUsed = 0;
  #buffer: Bytes | undefined;
  #shardBytes = 0;
  #capacity = 0;
  #filled = 0;
  readonly #stripes: Stripe[] = [];
  #stripeCount = 0;
  readonly #onTheWay = new Set<Promise<void>>();
  #failure: { readonly error: unknown } | undefined;

  constructor(options: ExtentWriterOptions) {
    this.#options = options;
    this.#full = fullShardBytes(options.code.k);
    this.#small = options.inline === false || (options.expected_bytes ?? 0) > inlineBytes
      ? undefined
      : new Uint8Array(options.expected_bytes ?? inlineBytes);
  }

  get size(): number {
    return this.#size;
  }

  /** Takes a copy of `chunk`; waits when too much is on its way. */
  async push(chunk: Uint8Array): Promise<void> {
    for (let at = 0; at < chunk.length;) {
      const room = await this.room(chunk.length - at);
      room.set(
        room.length === chunk.length ? chunk : chunk.subarray(at, at + room.length),
      );
      at += room.length;
      await this.filled(room.length);
    }
  }

  /** Memory for what comes next: for at least one byte of it and at most `wanted`. Whoever fills it tells by `filled`. */
  async room(wanted: number): Promise<Bytes> {
    if (this.#small !== undefined) {
      const used = this.#smallUsed + wanted;
      if (used <= inlineBytes) {
        if (used > this.#small.length) this.#small = grown(this.#small);
        return this.#small.subarray(this.#smallUsed, used);
      }
      const held = this.#small.subarray(0, this.#smallUsed);
      this.#small = undefined;
      this.#size -= held.length;
      await this.push(held);
    }
    if (this.#buffer === undefined) this.#startStripe();
    const buffer = this.#buffer as unknown as Bytes;
    const shard = Math.floor(this.#filled / this.#shardBytes);
    const within = this.#filled - shard * this.#shardBytes;
    const start = this.#shardStart(shard) + pageBytes + within;
    return buffer.subarray(start, start + Math.min(wanted, this.#shardBytes - within));
  }

  /** So many bytes of what `room` gave last are filled; waits when too much is on its way. */
  async filled(count: number): Promise<void> {
    this.#size += count;
    if (this.#small !== undefined) {
      this.#smallUsed += count;
      return;
    }
    this.#filled += count;
    if (this.#filled === this.#capacity) await this.#sendStripe();
  }

  #shardStart(shard: number): number {
    return shard * (pageBytes + this.#full);
  }

  #startStripe(): void {
    const { code, pool, expected_bytes } = this.#options;
    const left = expected_bytes === undefined ? Infinity : expected_bytes - this.#sent;
    this.#shardBytes = left > 0 && left < this.#full * code.k
      ? roundUp(Math.ceil(left / code.k), pageBytes)
      : this.#full;
    this.#capacity = this.#shardBytes * code.k;
    this.#filled = 0;
    this.#buffer = pool.take(this.#shardStart(code.n));
  }

  async #sendStripe(): Promise<void> {
    const buffer = this.#buffer;
    if (buffer === undefined) return;
    this.#buffer = undefined;
    const index = this.#stripeCount++;
    const stripe = { bytes: this.#filled, shardBytes: this.#shardBytes };
    this.#sent += this.#filled;
    // Its place is kept now, since stripes may finish in another order.
    this.#stripes[index] = { ...stripe, shards: [] };
    const work = this.#writeStripe(buffer, index, stripe)
      // After a failure nobody knows who still reads in it: the collector does.
      .then(() => this.#options.pool.give(buffer), (error) => {
        this.#failure ??= { error };
      })
      .finally(() => this.#onTheWay.delete(work));
    this.#onTheWay.add(work);
    while (this.#onTheWay.size >= stripesOnTheWay) await Promise.race(this.#onTheWay);
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  async #writeStripe(
    buffer: Bytes,
    index: number,
    stripe: { readonly bytes: number; readonly shardBytes: number },
  ): Promise<void> {
    const { code, directories, digests, extent, bucket, key } = this.#options;
    const hashing: (Promise<void> | void)[] = [];
    const payloads: Bytes[] = [];
    const parity = shardPayload(stripe, code.k, code.k);
    for (let shard = 0; shard < code.k; shard++) {
      const start = this.#shardStart(shard);
      const bytes = shardPayload(stripe, code.k, shard);
      const payload = buffer.subarray(start + pageBytes, start + pageBytes + this.#full);
      payload.fill(0, bytes, roundUp(Math.max(bytes, parity), pageBytes));
      payloads.push(payload);
      if (bytes > 0) {
        for (const digest of digests) hashing.push(digest.update(payload.subarray(0, bytes)));
      }
    }
    const coded: Bytes[] = [];
    for (let shard = code.k; shard < code.n; shard++) {
      const start = this.#shardStart(shard);
      coded.push(buffer.subarray(start + pageBytes, start + pageBytes + this.#full));
    }
    if (code.m > 0) {
      code.encode(payloads, coded, parity);
      for (const payload of coded) payload.fill(0, parity, roundUp(parity, pageBytes));
    }
    let lastError: unknown;
    const places = await Promise.all(
      Array.from({ length: code.n }, async (_, shard): Promise<ShardPlace | undefined> => {
        const payloadBytes = shardPayload(stripe, code.k, shard);
        // Parity goes round, so that no directory has only parity.
        const directory = directories[(shard + index) % code.n];
        if (payloadBytes === 0 || directory === undefined) return undefined;
        const start = this.#shardStart(shard);
        try {
          return await directory.writeShard(
            buffer.subarray(start, start + pageBytes + this.#full),
            payloadBytes,
            {
              extent,
              bucket,
              stripe: index,
              shard,
              k: code.k,
              m: code.m,
              stripeBytes: stripe.bytes,
              shardBytes: stripe.shardBytes,
              key,
            },
          );
        } catch (error) {
          lastError = error;
          return undefined;
        }
      }),
    );
    await Promise.all(hashing);
    let there = 0;
    for (let shard = 0; shard < code.n; shard++) {
      const empty = shardPayload(stripe, code.k, shard) === 0;
      if (empty || places[shard] !== undefined) there++;
    }
    if (there < code.k) throw tooFewDirectories(lastError);
    this.#stripes[index] = { ...stripe, shards: places };
  }

  /** Returns when all of it is written (the commit of its record makes it durable). */
  async finish(): Promise<WrittenExtent> {
    if (this.#small !== undefined) {
      const inline = this.#smallUsed === this.#small.length
        ? this.#small
        : this.#small.slice(0, this.#smallUsed);
      for (const digest of this.#options.digests) await digest.update(inline);
      return { size: this.#size, code: this.#options.code, inline, stripes: [] };
    }
    if (this.#filled > 0 && this.#buffer !== undefined) await this.#sendStripe();
    await Promise.all(this.#onTheWay);
    if (this.#failure !== undefined) throw this.#failure.error;
    return { size: this.#size, code: this.#options.code, stripes: this.#stripes };
  }

  /** Gives up: what was written stays as dead space. Returns when no buffer is used any more. */
  async abandon(): Promise<void> {
    await Promise.allSettled(this.#onTheWay);
    if (this.#buffer !== undefined) this.#options.pool.give(this.#buffer);
    this.#buffer = undefined;
  }
}
