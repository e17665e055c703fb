/**
 * The header of a chunk object: which volume, epoch and sequence wrote it, and for each of its blocks
 * the block's number and checksum, so that a map can be rebuilt from chunks alone.
 */
import { crc32c } from "../../../ffi/crc32c.ts";
import {
  blockBytes,
  chunkBlocks,
  chunkHeaderBytes,
  chunkMagic,
  type ChunkName,
  chunkVersion,
  DamagedData,
  volumeIdBytes,
} from "../format.ts";
import { volumeIdField } from "../log/log_record.ts";

const words = {
  magic: 0,
  version: 1,
  checksum: 2,
  epoch: 3,
  sequence: 4,
  blocks: 5,
  asOfLow: 6,
  asOfHigh: 7,
  beganLow: 8,
  beganHigh: 9,
  volumeId: 16,
};
const firstEntryWord = blockBytes >> 2;

/** Where in the volume's log a chunk stands: by that, and not by when it was stored, is it older or newer than another. */
export interface ChunkMoment {
  /** Its blocks are what the volume held after this batch. */
  readonly asOf: number;
  /** The first batch of the writer's epoch. */
  readonly began: number;
}

/** Of chunks that no log stands behind, and of those of older releases. */
const untoldMoment: ChunkMoment = { asOf: 0, began: 0 };

/** Writes the header into the first `chunkHeaderBytes` of `chunk`. */
export function writeChunkHeader(
  chunk: Uint8Array<ArrayBuffer>,
  name: ChunkName,
  blocks: Uint32Array,
  checksums: Uint32Array,
  count: number,
  moment: ChunkMoment = untoldMoment,
): void {
  const out = new Uint32Array(chunk.buffer, chunk.byteOffset, chunkHeaderBytes >> 2);
  out.fill(0);
  out[words.magic] = chunkMagic;
  out[words.version] = chunkVersion;
  out[words.epoch] = name.epoch;
  out[words.sequence] = name.sequence;
  out[words.blocks] = count;
  out[words.asOfLow] = moment.asOf;
  out[words.asOfHigh] = Math.floor(moment.asOf / 4294967296);
  out[words.beganLow] = moment.began;
  out[words.beganHigh] = Math.floor(moment.began / 4294967296);
  chunk.set(volumeIdField(name.owner), words.volumeId * 4);
  for (let i = 0; i < count; i++) {
    out[firstEntryWord + i * 2] = blocks[i] as number;
    out[firstEntryWord + i * 2 + 1] = checksums[i] as number;
  }
  out[words.checksum] = crc32c(chunk.subarray(0, chunkHeaderBytes));
}

export interface ChunkHeader {
  readonly name: ChunkName;
  readonly moment: ChunkMoment;
  readonly blocks: readonly { readonly block: number; readonly checksum: number }[];
}

/** Reads a chunk's header. @throws DamagedData */
export function readChunkHeader(bytes: Uint8Array<ArrayBuffer>): ChunkHeader {
  if (bytes.length < chunkHeaderBytes) throw new DamagedData("a chunk is shorter than its header");
  const header = bytes.slice(0, chunkHeaderBytes);
  const word = new Uint32Array(header.buffer);
  const at = (index: number) => word[index] as number;
  if (at(words.magic) !== chunkMagic || at(words.version) !== chunkVersion) {
    throw new DamagedData("this is no chunk of a version that this release knows");
  }
  const stored = at(words.checksum);
  word[words.checksum] = 0;
  if (crc32c(header) !== stored || at(words.blocks) > chunkBlocks) {
    throw new DamagedData("a chunk's header does not match its checksum");
  }
  const id = header.subarray(words.volumeId * 4, words.volumeId * 4 + volumeIdBytes);
  const end = id.indexOf(0);
  return {
    name: {
      owner: new TextDecoder().decode(end < 0 ? id : id.subarray(0, end)),
      epoch: at(words.epoch),
      sequence: at(words.sequence),
    },
    moment: {
      asOf: at(words.asOfLow) + at(words.asOfHigh) * 4294967296,
      began: at(words.beganLow) + at(words.beganHigh) * 4294967296,
    },
    blocks: Array.from({ length: at(words.blocks) }, (_, i) => ({
      block: at(firstEntryWord + i * 2),
      checksum: at(firstEntryWord + i * 2 + 1),
    })),
  };
}
