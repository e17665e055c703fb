/**
 * The form of what stands in a segment file. Everything the store knows is records, so that the index
 * can be made again from segments alone.
 *
 * A record names the store, its own segment and its own offset, all under one CRC-32C: bytes that a
 * client stored, a recycled file or a swapped one can never pass for a record of this place. It also
 * names how far this directory was durable when it was written, which tells a reader after a crash
 * what may be torn. Small records are packed on 64-byte borders inside page-aligned batches; a shard
 * has a header page of its own, with a checksum for each 64 KiB, so that a range is read and checked
 * without the rest.
 */
import { crc32c } from "../../../ffi/libisal.ts";
import { pageBytes } from "../../../ffi/direct_io.ts";

const magic = 0x31525350;
const formatVersion = 1;
export const headerBytes = 64;
/** Small records start on multiples of this. */
export const recordAlign = 64;
/** A shard's payload is checksummed in pieces of this size. */
export const fragmentBytes = 64 * 1024;

export const recordTypes = {
  shard: 1,
  extent: 2,
  object: 3,
  tombstone: 4,
  bucket: 5,
  bucketGone: 6,
  upload: 7,
  part: 8,
  uploadGone: 9,
  settings: 10,
  refused: 11,
} as const;
export type RecordType = typeof recordTypes[keyof typeof recordTypes];
const knownTypes = new Set<number>(Object.values(recordTypes));

/** How far a directory is known to be durable: all segments before `segment`, and it up to `offset`. */
export interface Durable {
  readonly segment: number;
  readonly offset: number;
}

export interface RecordHeader {
  readonly type: RecordType;
  readonly storeId: bigint;
  readonly segment: number;
  readonly offset: number;
  readonly metaBytes: number;
  readonly payloadBytes: number;
  readonly durable: Durable;
  readonly sequence: number;
  readonly payloadCrc: number;
}

export const roundUp = (value: number, to: number) => Math.ceil(value / to) * to;

const view = (bytes: Uint8Array<ArrayBuffer>) =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** Writes the header before `meta`, which already stands at `headerBytes` in `bytes`. */
export function writeHeader(bytes: Uint8Array<ArrayBuffer>, header: RecordHeader): void {
  const to = view(bytes);
  to.setUint32(0, magic, true);
  to.setUint8(4, header.type);
  to.setUint8(5, formatVersion);
  to.setUint16(6, 0, true);
  to.setBigUint64(8, header.storeId, true);
  to.setUint32(16, header.segment, true);
  to.setUint32(20, header.metaBytes, true);
  to.setBigUint64(24, BigInt(header.offset), true);
  to.setBigUint64(32, BigInt(header.payloadBytes), true);
  to.setUint32(40, header.durable.segment, true);
  to.setUint32(44, Math.floor(header.durable.offset / pageBytes), true);
  to.setBigUint64(48, BigInt(header.sequence), true);
  to.setUint32(56, header.payloadCrc, true);
  const meta = bytes.subarray(headerBytes, headerBytes + header.metaBytes);
  to.setUint32(60, crc32c(meta, crc32c(bytes.subarray(0, 60))), true);
}

/** Whether a record may begin there, as its first bytes tell. */
export function mayBegin(bytes: Uint8Array<ArrayBuffer>, at: number): boolean {
  return bytes[at] === (magic & 0xff) && bytes[at + 1] === (magic >> 8 & 0xff) &&
    bytes[at + 2] === (magic >> 16 & 0xff) && bytes[at + 3] === magic >> 24;
}

/** What must be true of a record at a place for it to be one. */
export interface Place {
  readonly storeId: bigint;
  readonly segment: number;
  readonly offset: number;
}

/**
 * Reads the record that starts at `bytes`, or tells why there is none: `short` when more bytes are
 * needed to say, with how many.
 */
export function readHeader(
  bytes: Uint8Array<ArrayBuffer>,
  place: Place,
): RecordHeader | { readonly short: number } | undefined {
  if (bytes.length < headerBytes) return { short: headerBytes };
  const from = view(bytes);
  if (from.getUint32(0, true) !== magic || from.getUint8(5) !== formatVersion) return undefined;
  const type = from.getUint8(4);
  if (
    !knownTypes.has(type) || from.getBigUint64(8, true) !== place.storeId ||
    from.getUint32(16, true) !== place.segment ||
    from.getBigUint64(24, true) !== BigInt(place.offset)
  ) return undefined;
  const metaBytes = from.getUint32(20, true);
  if (metaBytes > maximumMetaBytes) return undefined;
  if (bytes.length < headerBytes + metaBytes) return { short: headerBytes + metaBytes };
  const meta = bytes.subarray(headerBytes, headerBytes + metaBytes);
  if (from.getUint32(60, true) !== crc32c(meta, crc32c(bytes.subarray(0, 60)))) return undefined;
  return {
    type: type as RecordType,
    storeId: place.storeId,
    segment: place.segment,
    offset: place.offset,
    metaBytes,
    payloadBytes: Number(from.getBigUint64(32, true)),
    durable: {
      segment: from.getUint32(40, true),
      offset: from.getUint32(44, true) * pageBytes,
    },
    sequence: Number(from.getBigUint64(48, true)),
    payloadCrc: from.getUint32(56, true),
  };
}

/** More than any record needs: a layout of 5 GiB in stripes, or 10,000 parts. */
const maximumMetaBytes = 32 << 20;

/** Bytes from a record's start to the next that may start. */
export function recordSpan(header: Pick<RecordHeader, "type" | "metaBytes" | "payloadBytes">) {
  return header.type === recordTypes.shard
    ? pageBytes + roundUp(header.payloadBytes, pageBytes)
    : roundUp(headerBytes + header.metaBytes + header.payloadBytes, recordAlign);
}

/** A record that is written in a batch with others. `meta` is JSON. */
export interface SmallRecord {
  readonly type: Exclude<RecordType, typeof recordTypes.shard>;
  readonly sequence: number;
  readonly meta: Uint8Array<ArrayBuffer>;
  readonly payload: Uint8Array<ArrayBuffer>;
}

const nothing = new Uint8Array(0);
const encoder = new TextEncoder();

export function smallRecord(
  type: SmallRecord["type"],
  sequence: number,
  meta: unknown,
  payload: Uint8Array<ArrayBuffer> = nothing,
): SmallRecord {
  return { type, sequence, meta: encoder.encode(JSON.stringify(meta)), payload };
}

/** Writes a small record whole into `bytes`. */
export function writeSmallRecord(
  bytes: Uint8Array<ArrayBuffer>,
  record: SmallRecord,
  place: Place & { readonly durable: Durable },
): void {
  bytes.set(record.meta, headerBytes);
  bytes.set(record.payload, headerBytes + record.meta.length);
  writeHeader(bytes, {
    type: record.type,
    ...place,
    metaBytes: record.meta.length,
    payloadBytes: record.payload.length,
    sequence: record.sequence,
    payloadCrc: crc32c(record.payload),
  });
}

/** What a shard says of itself, so that its owner can be found without the index. */
export interface ShardMeta {
  readonly extent: number;
  readonly bucket: number;
  readonly stripe: number;
  readonly shard: number;
  readonly k: number;
  readonly m: number;
  /** Bytes of the object in this stripe. */
  readonly stripeBytes: number;
  /** Bytes of the object in each full data shard of this stripe. */
  readonly shardBytes: number;
  readonly key: Uint8Array<ArrayBuffer>;
}

const shardMetaBytes = 32;

/** Writes a shard's header page in front of its payload, which stands at `pageBytes` in `bytes`. */
export function writeShardPage(
  bytes: Uint8Array<ArrayBuffer>,
  payloadBytes: number,
  meta: ShardMeta,
  place: Place & { readonly durable: Durable },
): void {
  const fragments = Math.ceil(payloadBytes / fragmentBytes);
  const metaBytes = shardMetaBytes + meta.key.length + 4 * fragments;
  if (headerBytes + metaBytes > pageBytes) throw new RangeError("a shard's header is too long");
  bytes.fill(0, 0, pageBytes);
  const to = view(bytes.subarray(headerBytes, headerBytes + metaBytes));
  to.setBigUint64(0, BigInt(meta.extent), true);
  to.setUint32(8, meta.bucket, true);
  to.setUint32(12, meta.stripe, true);
  to.setUint8(16, meta.shard);
  to.setUint8(17, meta.k);
  to.setUint8(18, meta.m);
  to.setUint32(20, meta.stripeBytes, true);
  to.setUint32(24, meta.shardBytes, true);
  to.setUint16(28, meta.key.length, true);
  bytes.set(meta.key, headerBytes + shardMetaBytes);
  for (let at = 0; at < fragments; at++) {
    const start = pageBytes + at * fragmentBytes;
    const end = Math.min(pageBytes + payloadBytes, start + fragmentBytes);
    to.setUint32(
      shardMetaBytes + meta.key.length + 4 * at,
      crc32c(bytes.subarray(start, end)),
      true,
    );
  }
  writeHeader(bytes, {
    type: recordTypes.shard,
    ...place,
    metaBytes,
    payloadBytes,
    sequence: meta.extent,
    payloadCrc: 0,
  });
}

/** A shard's header page, read and checked, with the checksums of its fragments. */
export interface ShardPage {
  readonly meta: ShardMeta;
  readonly payloadBytes: number;
  readonly header: RecordHeader;
  fragmentCrc(index: number): number;
}

export function readShardPage(
  page: Uint8Array<ArrayBuffer>,
  place: Place,
): ShardPage | undefined {
  const header = readHeader(page, place);
  if (header === undefined || "short" in header || header.type !== recordTypes.shard) {
    return undefined;
  }
  const from = view(page.subarray(headerBytes, headerBytes + header.metaBytes));
  const keyBytes = from.getUint16(28, true);
  const table = shardMetaBytes + keyBytes;
  if (header.metaBytes !== table + 4 * Math.ceil(header.payloadBytes / fragmentBytes)) {
    return undefined;
  }
  return {
    header,
    payloadBytes: header.payloadBytes,
    meta: {
      extent: Number(from.getBigUint64(0, true)),
      bucket: from.getUint32(8, true),
      stripe: from.getUint32(12, true),
      shard: from.getUint8(16),
      k: from.getUint8(17),
      m: from.getUint8(18),
      stripeBytes: from.getUint32(20, true),
      shardBytes: from.getUint32(24, true),
      key: page.slice(headerBytes + shardMetaBytes, headerBytes + shardMetaBytes + keyBytes),
    },
    fragmentCrc: (index) => from.getUint32(table + 4 * index, true),
  };
}
