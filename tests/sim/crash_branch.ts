/**
 * One crash beside a history that goes on: what a start would find, opened by the engine's own recovery
 * and read block by block, each against its checksum.
 */
import { crc32c } from "../../ffi/crc32c.ts";
import { mapMemory } from "../../ffi/libc.ts";
import {
  BlockMap,
  checksumAt,
  containerAt,
  indexAt,
} from "../../services/viperblock/maps/block_map.ts";
import { audit } from "../../services/viperblock/engine/audit.ts";
import { Places, type Segment } from "../../services/viperblock/engine/places.ts";
import { type Encryption, recover } from "../../services/viperblock/engine/recovery.ts";
import { salvage } from "../../services/viperblock/engine/salvage.ts";
import {
  blockBytes,
  chunkHeaderBytes,
  chunkNumber,
  type Geometry,
  hole,
  isChunk,
} from "../../services/viperblock/format.ts";
import type { FoundDisk } from "../../services/viperblock/machine/found_disk.ts";

/** What recovery reads the log through; there is one recovery at a time. */
const window = mapMemory(4 << 20);
const single = mapMemory(blockBytes);

export interface Found {
  /** The content of each block, by its checksum. */
  readonly contents: Uint32Array;
  readonly wrong: readonly string[];
  /** Blocks whose readers get EIO, because what is there does not match its checksum. */
  readonly unreadable: readonly number[];
}

/** Checksums of the blocks of chunks, which never change. */
const checksums = new WeakMap<Uint8Array, Uint32Array>();

function chunkChecksums(chunk: Uint8Array<ArrayBuffer>): Uint32Array {
  let known = checksums.get(chunk);
  if (known === undefined) {
    const count = Math.floor((chunk.length - chunkHeaderBytes) / blockBytes);
    known = Uint32Array.from({ length: count }, (_, i) => {
      const at = chunkHeaderBytes + i * blockBytes;
      return crc32c(chunk.subarray(at, at + blockBytes));
    });
    checksums.set(chunk, known);
  }
  return known;
}

/** What a start knows of the volume that it opens. */
export interface SoughtVolume {
  readonly volumeId: string;
  readonly sizeBlocks: number;
  readonly geometry: Geometry;
  readonly chunkOf: (key: string) => Uint8Array<ArrayBuffer> | undefined;
  /** The checksum of a block of zeros. */
  readonly zero: number;
  readonly encryption?: Encryption;
}

/** A block of the log as the guest wrote it. */
function opened(
  bytes: Uint8Array<ArrayBuffer>,
  { epoch, number }: Segment,
  index: number,
  encryption: Encryption | undefined,
): Uint8Array<ArrayBuffer> {
  if (encryption === undefined) return bytes;
  window.bytes.set(bytes);
  encryption.log.openBlock(window, 0, epoch, number, index);
  return window.bytes.subarray(0, blockBytes);
}

/** @throws DamagedData when it cannot be opened */
export function openFound(disk: FoundDisk, volume: SoughtVolume): Found {
  const places = emptyPlaces(volume);
  const { volumeId, encryption } = volume;
  const machine = { disk, memory: () => window, release: () => {} };
  recover(machine, volumeId, places.map, places, encryption);
  const found = contentsOf(disk, volume, places);
  return { ...found, wrong: [...audit(places), ...found.wrong] };
}

export interface Salvage extends Found {
  /** Batches are missing of which nobody knows what they held. */
  readonly isCut: boolean;
}

/** As `openFound`, of a volume that is damaged. */
export function salvageFound(disk: FoundDisk, volume: SoughtVolume): Salvage {
  const places = emptyPlaces(volume);
  const { volumeId, encryption } = volume;
  const memory = (length: number) => length === blockBytes ? single : window;
  const machine = { disk, memory, release: () => {} };
  const rescue = { reason: "a bit was flipped", base: { kind: "empty" } } as const;
  const { report, unknown } = salvage(machine, volumeId, rescue, places.map, places, encryption);
  const found = contentsOf(disk, volume, places);
  const wrong = [...found.wrong];
  // Without a checkpoint nobody can tell what was before a lost first batch.
  const isUnknown = unknown.length > 0;
  if (isUnknown && disk.checkpoint() !== undefined) {
    wrong.unshift("the checkpoint was whole, and is not used");
  }
  const told = new Set<number>();
  for (const { block, blocks = 1 } of report.damage) {
    if (block !== undefined) { for (let i = 0; i < blocks; i++) told.add(block + i); }
  }
  const untold = found.unreadable.filter((block) => !told.has(block));
  if (untold.length > 0 && !isUnknown) wrong.push(`the report does not name block ${untold[0]}`);
  if (told.size > found.unreadable.length && !isUnknown) {
    wrong.push("the report names a block that is whole");
  }
  const isCut = report.damage.some(({ why }) => why.includes("is shown as it was"));
  return { ...found, wrong, isCut: isCut || isUnknown };
}

const emptyPlaces = ({ sizeBlocks, geometry }: SoughtVolume) =>
  new Places(new BlockMap(sizeBlocks), geometry.segmentBlocks);

/** What a reader of each block gets. */
function contentsOf(disk: FoundDisk, volume: SoughtVolume, places: Places): Found {
  const { sizeBlocks, chunkOf, zero, encryption } = volume;
  const wrong: string[] = [];
  const unreadable: number[] = [];
  const contents = new Uint32Array(sizeBlocks).fill(zero);
  for (let block = 0; block < sizeBlocks; block++) {
    const leaf = places.map.leaf(block);
    if (leaf === undefined) continue;
    const container = containerAt(leaf, block);
    if (container === hole) continue;
    const index = indexAt(leaf, block);
    const checksum = checksumAt(leaf, block);
    let content: number | undefined;
    if (isChunk(container)) {
      const key = places.chunks[chunkNumber(container)]?.key ?? "";
      const chunk = chunkOf(key);
      if (chunk === undefined) wrong.push(`block ${block} is in ${key}, which is not there`);
      else content = chunkChecksums(chunk)[index];
    } else {
      const segment = places.segment(container);
      if (segment !== undefined) {
        const start = index * blockBytes;
        const bytes = disk.bytes(segment.fd).subarray(start, start + blockBytes);
        content = crc32c(opened(bytes, segment, index, encryption));
      }
    }
    if (content !== checksum) unreadable.push(block);
    contents[block] = checksum;
  }
  return { contents, wrong, unreadable };
}
