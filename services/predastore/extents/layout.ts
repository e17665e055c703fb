/**
 * Where the stripes of an extent stand, packed: 8 bytes for a stripe and 9 for each of its shards, so
 * that the map of 5 GiB fits in 100 KB.
 */
import { pageBytes } from "../../../ffi/direct_io.ts";
import { roundUp } from "../segments/record.ts";
import type { Location } from "../segments/blob_directory.ts";

export interface ShardPlace {
  readonly directory: number;
  readonly segment: number;
  readonly offset: number;
}

export interface Stripe {
  /** Bytes of the extent in this stripe. */
  readonly bytes: number;
  /** Bytes of the extent in each full data shard; the last ones have less or nothing. */
  readonly shardBytes: number;
  /** One for each of the n shards; undefined where it was never written or is empty. */
  readonly shards: readonly (ShardPlace | undefined)[];
}

const nowhere = 255;
const stripeHeader = 8;
const shardSize = 9;

export function packLayout(stripes: readonly Stripe[], n: number): Uint8Array<ArrayBuffer> {
  const size = stripeHeader + n * shardSize;
  const bytes = new Uint8Array(stripes.length * size);
  const to = new DataView(bytes.buffer);
  for (const [index, stripe] of stripes.entries()) {
    let at = index * size;
    to.setUint32(at, stripe.bytes, true);
    to.setUint32(at + 4, stripe.shardBytes, true);
    at += stripeHeader;
    for (let shard = 0; shard < n; shard++, at += shardSize) {
      const place = stripe.shards[shard];
      to.setUint8(at, place?.directory ?? nowhere);
      to.setUint32(at + 1, place?.segment ?? 0, true);
      to.setUint32(at + 5, (place?.offset ?? 0) / pageBytes, true);
    }
  }
  return bytes;
}

export function unpackLayout(bytes: Uint8Array<ArrayBuffer>, n: number): Stripe[] {
  const from = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const size = stripeHeader + n * shardSize;
  const stripes: Stripe[] = [];
  for (let start = 0; start + size <= bytes.length; start += size) {
    const shards: (ShardPlace | undefined)[] = [];
    for (let shard = 0; shard < n; shard++) {
      const at = start + stripeHeader + shard * shardSize;
      const directory = from.getUint8(at);
      shards.push(
        directory === nowhere ? undefined : {
          directory,
          segment: from.getUint32(at + 1, true),
          offset: from.getUint32(at + 5, true) * pageBytes,
        },
      );
    }
    stripes.push({
      bytes: from.getUint32(start, true),
      shardBytes: from.getUint32(start + 4, true),
      shards,
    });
  }
  return stripes;
}

/** Payload bytes of one shard of a stripe: parity is as long as the longest data shard. */
export function shardPayload(
  stripe: Pick<Stripe, "bytes" | "shardBytes">,
  k: number,
  shard: number,
) {
  return shard < k
    ? Math.max(0, Math.min(stripe.shardBytes, stripe.bytes - shard * stripe.shardBytes))
    : Math.min(stripe.bytes, stripe.shardBytes);
}

/** Bytes that a shard takes in its segment, with its header page. */
export function shardSpan(payload: number): number {
  return pageBytes + roundUp(payload, pageBytes);
}

const locationSize = 13;

/** The copies of a record, packed. */
export function packLocations(locations: readonly Location[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(locations.length * locationSize);
  const to = new DataView(bytes.buffer);
  for (const [index, location] of locations.entries()) {
    const at = index * locationSize;
    to.setUint8(at, location.directory);
    to.setUint32(at + 1, location.segment, true);
    to.setUint32(at + 5, location.offset / 64, true);
    to.setUint32(at + 9, location.bytes, true);
  }
  return bytes;
}

export function unpackLocations(bytes: Uint8Array<ArrayBuffer>): Location[] {
  const from = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const locations: Location[] = [];
  for (let at = 0; at + locationSize <= bytes.length; at += locationSize) {
    locations.push({
      directory: from.getUint8(at),
      segment: from.getUint32(at + 1, true),
      offset: from.getUint32(at + 5, true) * 64,
      bytes: from.getUint32(at + 9, true),
    });
  }
  return locations;
}

export function sameLocation(a: ShardPlace, b: ShardPlace): boolean {
  return a.directory === b.directory && a.segment === b.segment && a.offset === b.offset;
}
