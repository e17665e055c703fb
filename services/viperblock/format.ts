/**
 * Numbers that the on-disk and in-store formats share; FORMAT.md tells every byte. A change of any
 * of these is a new format version.
 */

export const blockBytes = 4096;

/** Blocks of one log segment: 32 MiB. */
export const segmentBlocks = 8192;
export const segmentBytes = segmentBlocks * blockBytes;

/** Data blocks of one log batch, so that a batch is one write of at most 516 KiB. */
export const batchDataBlocks = 128;
export const batchMagic = 0x4c57424d; // "MBWL"
export const batchVersion = 1;
/** The entries and the data are sealed; volumes that are not encrypted go on with version 1. */
export const sealedBatchVersion = 2;
export const batchFixedBytes = 128;
export const batchEntryBytes = 12;
/** Entries that fit into a batch's header block. */
export const batchEntries = Math.floor((blockBytes - batchFixedBytes) / batchEntryBytes);

export const entryData = 0;
export const entryHole = 1;

/** Data blocks of a full chunk: 4 MiB. */
export const chunkBlocks = 1024;
export const chunkMagic = 0x4b43424d; // "MBCK"
export const chunkVersion = 1;
/** A chunk's data starts here: a fixed block, then eight bytes for each block. */
export const chunkHeaderBytes = 12288;
export const chunkBytes = chunkHeaderBytes + chunkBlocks * blockBytes;

/** How large things are made; a reader takes any size up to these. The simulation makes them small. */
export interface Geometry {
  readonly segmentBlocks: number;
  readonly batchBlocks: number;
  readonly chunkBlocks: number;
}

export const standardGeometry: Geometry = {
  segmentBlocks,
  batchBlocks: batchDataBlocks,
  chunkBlocks,
};

/** Files of a volume's local directory. */
export const checkpointName = "map.ckpt";
export const logFilePattern = /^log-\d+\.seg$/;
/** One that is not whole yet; nobody reads it. */
export const newLogFilePattern = /^log-\d+\.seg\.new$/;
export const cacheFilePattern = /^cache-\d+\.chk$/;

export const cacheMagic = 0x4343424d; // "MBCC"
export const cacheVersion = 1;
/** Chunks that a file of the chunk cache has room for. */
export const cacheSlots = 32;
export const cacheFileBytes = blockBytes + cacheSlots * chunkBlocks * blockBytes;

export const mapMagic = 0x504d424d; // "MBMP"
export const mapVersion = 1;
export const mapHeaderBytes = 4096;
export const mapChunkEntryBytes = 64;

/** Bytes that a volume's id may have, so that it fits wherever a format names it. */
export const volumeIdBytes = 44;

/** 2^32 blocks: 16 TiB. */
export const maximumBlocks = 2 ** 32;

/**
 * Where a block lives, as two of the three words that the map keeps for it (the third is the
 * block's CRC-32C): a container and an index in it. Container 0 is a hole, one with the top bit is a
 * chunk by its number in the map's own table, any other is a log segment by its number.
 */
export const hole = 0;
const chunkBit = 0x8000_0000;
export const isChunk = (container: number) => (container & chunkBit) !== 0;
export const chunkNumber = (container: number) => container & 0x7fff_ffff;
export const chunkContainer = (number: number) => (number | chunkBit) >>> 0;

/** Names a chunk among all: who wrote it, in which epoch, as which one. */
export interface ChunkName {
  readonly owner: string;
  readonly epoch: number;
  readonly sequence: number;
}

const hex = (value: number) => value.toString(16).padStart(8, "0");

/** The chunk's key in the object store. */
export function chunkKey(name: ChunkName): string {
  return `chunks/${name.owner}/${hex(name.epoch)}-${hex(name.sequence)}`;
}

export function parseChunkKey(key: string): ChunkName | undefined {
  const match = /^chunks\/([^/]+)\/([0-9a-f]{8})-([0-9a-f]{8})$/.exec(key);
  if (match === null) return undefined;
  return {
    owner: match[1] ?? "",
    epoch: parseInt(match[2] ?? "", 16),
    sequence: parseInt(match[3] ?? "", 16),
  };
}

/** What was read is not what was written, or was written by somebody else. */
export class DamagedData extends Error {
  override readonly name: string = "DamagedData";
}

/** The disk did not give what lies there. It may when it is asked again a little later. */
export class UnreadableData extends DamagedData {
  override readonly name = "UnreadableData";
}
