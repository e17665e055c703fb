/**
 * One batch of the write-ahead log: a header block and up to 128 data blocks, written at once.
 *
 * The header names its volume, epoch, segment, place and sequence, lists what the batch did in order,
 * and has a checksum over itself; each data block has its own in the list. A batch is therefore valid
 * or not by itself alone, wherever it is found; FORMAT.md has the layout. Decoding treats every byte
 * as if an enemy had written it.
 */
import { crc32c } from "../../../ffi/crc32c.ts";
import {
  batchDataBlocks,
  batchEntries,
  batchEntryBytes,
  batchFixedBytes,
  batchMagic,
  batchVersion,
  blockBytes,
  entryData,
  entryHole,
  type sealedBatchVersion,
  segmentBlocks,
  volumeIdBytes,
} from "../format.ts";

export const headerWord = {
  magic: 0,
  version: 1,
  checksum: 2,
  segment: 3,
  epoch: 4,
  position: 5,
  sequenceLow: 6,
  sequenceHigh: 7,
  dataCount: 8,
  entryCount: 9,
  syncedLow: 10,
  syncedHigh: 11,
  beganLow: 12,
  beganHigh: 13,
  volumeId: 16,
} as const;

export const firstEntryWord = batchFixedBytes >> 2;
export const entryWords = batchEntryBytes >> 2;

export interface BatchHeader {
  readonly segment: number;
  readonly epoch: number;
  /** Block of the segment in which the header stands. */
  readonly position: number;
  readonly sequence: number;
  readonly dataCount: number;
  readonly entryCount: number;
  /** Every batch up to this one was durable when this one was written; 0 says nothing. */
  readonly synced: number;
  /** The sequence of the first batch of this one's epoch; 0 says nothing. */
  readonly began: number;
}

/** Which of the two a volume writes is settled when it is made. */
export type BatchVersion = typeof batchVersion | typeof sealedBatchVersion;

/** Writes the fields that never change while a volume is mounted. */
export function prepareHeader(
  header: Uint8Array<ArrayBuffer>,
  volumeId: string,
  epoch: number,
  version: BatchVersion = batchVersion,
  /** The first sequence of the epoch. */
  began = 0,
) {
  const words = new Uint32Array(header.buffer, header.byteOffset, blockBytes >> 2);
  words.fill(0);
  words[headerWord.magic] = batchMagic;
  words[headerWord.version] = version;
  words[headerWord.epoch] = epoch;
  words[headerWord.beganLow] = began;
  words[headerWord.beganHigh] = Math.floor(began / 4294967296);
  header.set(volumeIdField(volumeId), headerWord.volumeId * 4);
}

let lastId = "";
let lastField = new Uint8Array(volumeIdBytes);

/** The id as a zero-padded field, not to be changed. @throws RangeError when it does not fit or is not plain ASCII */
export function volumeIdField(volumeId: string): Uint8Array {
  // A replay asks for the same one at every batch.
  if (volumeId === lastId) return lastField;
  if (!/^[\x21-\x7e]+$/.test(volumeId) || volumeId.length > volumeIdBytes) {
    throw new RangeError(`${volumeId} cannot be a volume's id`);
  }
  const field = new Uint8Array(volumeIdBytes);
  field.set(new TextEncoder().encode(volumeId));
  lastId = volumeId;
  lastField = field;
  return field;
}

/** Writes the checksum over the header block; the last thing done to it. */
export function sealHeader(header: Uint8Array<ArrayBuffer>): void {
  const words = new Uint32Array(header.buffer, header.byteOffset, blockBytes >> 2);
  words[headerWord.checksum] = 0;
  words[headerWord.checksum] = crc32c(header);
}

/** The version of a header that this volume wrote, whichever it is, or undefined when these bytes are none. */
export function headerVersion(
  block: Uint8Array<ArrayBuffer>,
  volumeId: string,
): number | undefined {
  const words = new Uint32Array(block.buffer, block.byteOffset, blockBytes >> 2);
  const word = (at: number) => words[at] as number;
  if (word(headerWord.magic) !== batchMagic) return undefined;
  const stored = word(headerWord.checksum);
  words[headerWord.checksum] = 0;
  const computed = crc32c(block.subarray(0, blockBytes));
  words[headerWord.checksum] = stored;
  if (computed !== stored) return undefined;
  const id = volumeIdField(volumeId);
  for (let i = 0; i < volumeIdBytes; i++) {
    if (block[headerWord.volumeId * 4 + i] !== id[i]) return undefined;
  }
  return word(headerWord.version);
}

/** The header of a batch of that volume, or undefined when these bytes are none. */
export function decodeHeader(
  block: Uint8Array<ArrayBuffer>,
  volumeId: string,
  version: BatchVersion = batchVersion,
): BatchHeader | undefined {
  if (headerVersion(block, volumeId) !== version) return undefined;
  const words = new Uint32Array(block.buffer, block.byteOffset, blockBytes >> 2);
  const word = (at: number) => words[at] as number;
  const header: BatchHeader = {
    segment: word(headerWord.segment),
    epoch: word(headerWord.epoch),
    position: word(headerWord.position),
    sequence: word(headerWord.sequenceLow) + word(headerWord.sequenceHigh) * 4294967296,
    dataCount: word(headerWord.dataCount),
    entryCount: word(headerWord.entryCount),
    synced: word(headerWord.syncedLow) + word(headerWord.syncedHigh) * 4294967296,
    began: word(headerWord.beganLow) + word(headerWord.beganHigh) * 4294967296,
  };
  const sane = header.dataCount <= batchDataBlocks && header.entryCount <= batchEntries &&
    header.dataCount <= header.entryCount && header.synced < Math.max(1, header.sequence) &&
    header.began <= header.sequence &&
    header.position + 1 + header.dataCount <= segmentBlocks;
  return sane ? header : undefined;
}

export interface BatchVisitor {
  /** `index` is the block of the segment that holds the data. */
  data(block: number, index: number, checksum: number): void;
  hole(block: number, count: number): void;
}

/**
 * Whether every data block of the batch matches its checksum and every entry is within the volume.
 * @param bytes the header block and, right after it, the data blocks
 */
export function batchIsWhole(
  header: BatchHeader,
  bytes: Uint8Array<ArrayBuffer>,
  sizeBlocks: number,
): boolean {
  let whole = true;
  let data = 0;
  visitBatch(header, bytes, {
    data(block, _index, checksum) {
      data++;
      const at = data * blockBytes;
      whole &&= block < sizeBlocks && data <= header.dataCount &&
        at + blockBytes <= bytes.length &&
        crc32c(bytes.subarray(at, at + blockBytes)) === checksum;
    },
    hole(block, count) {
      whole &&= count > 0 && block + count <= sizeBlocks;
    },
  });
  return whole && data === header.dataCount;
}

/** Tells the batch's entries in the order in which they were made. */
export function visitBatch(
  header: BatchHeader,
  bytes: Uint8Array<ArrayBuffer>,
  visitor: BatchVisitor,
): void {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, blockBytes >> 2);
  let data = 0;
  for (let i = 0; i < header.entryCount; i++) {
    const at = firstEntryWord + i * entryWords;
    const block = words[at] as number;
    const value = words[at + 1] as number;
    const kind = words[at + 2] as number;
    if (kind === entryData) visitor.data(block, header.position + 1 + data++, value);
    else if (kind === entryHole) visitor.hole(block, value);
    else throw new Error(`a sealed log batch has an entry of unknown kind ${kind}`);
  }
}
