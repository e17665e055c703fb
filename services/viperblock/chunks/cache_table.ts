/**
 * The first block of a file of the chunk cache: which chunks' windows its slots hold. It is never synced, and may be
 * older or newer than the slots, torn, or gone: who uses a slot holds each block against the checksum in the map.
 * Each entry has a checksum of its own, so a torn table loses what was being changed and nothing else.
 */
import { crc32c } from "../../../ffi/crc32c.ts";
import {
  blockBytes,
  cacheMagic,
  cacheVersion,
  type ChunkName,
  DamagedData,
  volumeIdBytes,
} from "../format.ts";
import { volumeIdField } from "../log/log_record.ts";

const headBytes = 64;
const entryBytes = 64;
/** Slots that a table has room for. */
export const mostSlots = (blockBytes - headBytes) / entryBytes;

const headWords = { magic: 0, version: 1, checksum: 2, slots: 3, slotBlocks: 4, volumeId: 5 };
const entryWords = { epoch: 11, sequence: 12, windows: 13, checksum: 14 };

/** What all tables of a volume's cache say alike. */
export interface CacheShape {
  readonly volumeId: string;
  readonly slots: number;
  readonly slotBlocks: number;
}

export interface CacheEntry {
  readonly name: ChunkName;
  /** A bit for each window of the chunk that is there. */
  readonly windows: number;
}

/** Writes a table into the first block of `block`; a slot without an entry is empty. */
export function writeCacheTable(
  block: Uint8Array<ArrayBuffer>,
  shape: CacheShape,
  entries: readonly (CacheEntry | undefined)[],
): void {
  const out = new Uint32Array(block.buffer, block.byteOffset, blockBytes >> 2);
  out.fill(0);
  out[headWords.magic] = cacheMagic;
  out[headWords.version] = cacheVersion;
  out[headWords.slots] = shape.slots;
  out[headWords.slotBlocks] = shape.slotBlocks;
  block.set(volumeIdField(shape.volumeId), headWords.volumeId * 4);
  out[headWords.checksum] = crc32c(block.subarray(0, headBytes));
  for (const [slot, entry] of entries.entries()) {
    if (entry === undefined) continue;
    const at = headBytes + slot * entryBytes;
    const words = out.subarray(at >> 2, (at + entryBytes) >> 2);
    block.set(volumeIdField(entry.name.owner), at);
    words[entryWords.epoch] = entry.name.epoch;
    words[entryWords.sequence] = entry.name.sequence;
    words[entryWords.windows] = entry.windows;
    words[entryWords.checksum] = crc32c(block.subarray(at, at + entryBytes));
  }
}

/**
 * The entries of a table, by slot; what is torn counts as empty.
 * @throws DamagedData when it is not a table of this cache
 */
export function readCacheTable(
  bytes: Uint8Array,
  shape: CacheShape,
): (CacheEntry | undefined)[] {
  if (bytes.length < blockBytes) throw new DamagedData("the table is shorter than a block");
  const block = bytes.slice(0, blockBytes);
  const words = new Uint32Array(block.buffer);
  const head = block.subarray(0, headBytes);
  const expected = new Uint8Array(blockBytes);
  writeCacheTable(expected, shape, []);
  if (!head.every((byte, i) => byte === expected[i])) {
    throw new DamagedData("this is no table of this volume's cache");
  }
  return Array.from({ length: shape.slots }, (_, slot) => {
    const at = headBytes + slot * entryBytes;
    const word = (index: number) => words[(at >> 2) + index] as number;
    const stored = word(entryWords.checksum);
    words[(at >> 2) + entryWords.checksum] = 0;
    const id = block.subarray(at, at + volumeIdBytes);
    const length = id.indexOf(0);
    if (length === 0 || crc32c(block.subarray(at, at + entryBytes)) !== stored) return undefined;
    return {
      name: {
        owner: new TextDecoder().decode(length < 0 ? id : id.subarray(0, length)),
        epoch: word(entryWords.epoch),
        sequence: word(entryWords.sequence),
      },
      windows: word(entryWords.windows),
    };
  });
}
