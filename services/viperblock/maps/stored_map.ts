/**
 * Whole maps of snapshots, for who reads or writes snapshots without mounting anything: loaded from the
 * object store with every checksum held, and saved there as the engine saves its own.
 */
import { joined } from "../../aws/bytes.ts";
import { crc32c } from "../../../ffi/crc32c.ts";
import { BlockMap, checksumAt, containerAt, indexAt, leafBlocks, livesAt } from "./block_map.ts";
import {
  blockBytes,
  chunkHeaderBytes,
  chunkKey,
  chunkNumber,
  DamagedData,
  hole,
  isChunk,
} from "../format.ts";
import {
  type BlockStore,
  mapKey,
  mapOwner,
  mapPartKey,
  readMap,
  type SavedMap,
} from "./map_objects.ts";
import { loadMap } from "./map_reader.ts";
import { MapWriter, type StoredChunk } from "./map_stream.ts";

const partBytes = 1 << 20;

/** A map in memory with the chunks that it refers to, by their numbers. */
export interface StoredMap {
  readonly blocks: BlockMap;
  readonly chunks: (StoredChunk | undefined)[];
}

export const emptyMap = (sizeBlocks: number): StoredMap => ({
  blocks: new BlockMap(sizeBlocks),
  chunks: [],
});

/** @throws DamagedData when the store does not have what was written */
export async function readStoredMap(
  store: BlockStore,
  map: SavedMap | undefined,
  sizeBlocks: number,
): Promise<StoredMap> {
  return map === undefined
    ? emptyMap(sizeBlocks)
    : openStoredMap(await readMap(store, map), sizeBlocks);
}

/** @throws DamagedData when the bytes are not what was written */
export function openStoredMap(whole: Uint8Array<ArrayBuffer>, sizeBlocks: number): StoredMap {
  const made = emptyMap(sizeBlocks);
  loadMap(whole, {
    chunk: (number, chunk) => made.chunks[number] = chunk,
    block: (block, container, index, checksum) => {
      if (block < sizeBlocks) made.blocks.set(block, container, index, checksum);
    },
  });
  return made;
}

/** The chunks with their blocks counted; those without any are left out. */
function counted({ blocks, chunks }: StoredMap): (StoredChunk | undefined)[] {
  const live = new Uint32Array(chunks.length);
  for (const { words } of blocks.capture()) {
    for (let i = 0; i < leafBlocks; i++) {
      const container = containerAt(words, i);
      if (container === hole) continue;
      if (!isChunk(container)) throw new DamagedData("a stored map may refer to chunks only");
      const number = chunkNumber(container);
      live[number] = (live[number] as number) + 1;
    }
  }
  return chunks.map((chunk, number) =>
    chunk === undefined || live[number] === 0
      ? undefined
      : { ...chunk, live: live[number] as number }
  );
}

function writerOf(
  volumeId: string,
  epoch: number,
  { blocks }: StoredMap,
  chunks: readonly (StoredChunk | undefined)[],
): MapWriter {
  return new MapWriter(
    { volumeId, epoch, sizeBlocks: blocks.sizeBlocks, sequence: 0, nextSegment: 1 },
    blocks.capture(),
    chunks,
  );
}

/** The bytes that the map would have in the store, in the place of another. */
export function storedMapBytes(of: SavedMap, map: StoredMap): Uint8Array<ArrayBuffer> {
  const writer = writerOf(mapOwner(of), of.epoch, map, counted(map));
  const parts: Uint8Array[] = [];
  while (!writer.done) {
    const piece = new Uint8Array(partBytes);
    parts.push(piece.subarray(0, writer.fill(piece)));
  }
  return joined(parts);
}

/** Saves a map of a volume's epoch. What a run that was cut off left is written over. */
export async function saveStoredMap(
  store: BlockStore,
  volumeId: string,
  epoch: number,
  map: StoredMap,
): Promise<SavedMap> {
  const chunks = counted(map);
  const writer = writerOf(volumeId, epoch, map, chunks);
  const key = mapKey(volumeId, epoch);
  let parts = 0;
  while (!writer.done) {
    const piece = new Uint8Array(partBytes);
    const length = writer.fill(piece);
    await store.put(mapPartKey(key, parts++), piece.subarray(0, length));
  }
  const owners = new Set(chunks.flatMap((chunk) => chunk === undefined ? [] : [chunk.name.owner]));
  return { key, parts, epoch, mapped_blocks: map.blocks.mappedBlocks, owners: [...owners] };
}

/** Where a block lives, in words that mean the same in every map; undefined for a hole. */
export function placeOf({ blocks, chunks }: StoredMap, block: number): string | undefined {
  const leaf = blocks.leaf(block);
  if (leaf === undefined) return undefined;
  const container = containerAt(leaf, block);
  if (container === hole) return undefined;
  const chunk = chunks[chunkNumber(container)];
  return chunk === undefined ? "unknown" : `${chunkKey(chunk.name)}#${indexAt(leaf, block)}`;
}

/**
 * Reads `count` blocks; holes are zeros. One request for each run of blocks that lie together.
 * @throws DamagedData when a block does not match its checksum
 */
export async function readBlocks(
  store: BlockStore,
  map: StoredMap,
  first: number,
  count: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const out = new Uint8Array(count * blockBytes);
  for (let i = 0; i < count;) {
    const leaf = map.blocks.leaf(first + i);
    const container = leaf === undefined ? hole : containerAt(leaf, first + i);
    if (leaf === undefined || container === hole) {
      i++;
      continue;
    }
    const index = indexAt(leaf, first + i);
    let run = 1;
    while (i + run < count) {
      const block = first + i + run;
      if (!livesAt(map.blocks.leaf(block), block, container, index + run)) break;
      run++;
    }
    const chunk = map.chunks[chunkNumber(container)];
    if (chunk === undefined) throw new DamagedData(`block ${first + i} is in no chunk`);
    const bytes = await store.get(chunkKey(chunk.name), {
      offset: chunkHeaderBytes + index * blockBytes,
      length: run * blockBytes,
    });
    if (bytes === undefined || bytes.length < run * blockBytes) {
      throw new DamagedData(`${chunkKey(chunk.name)} is not in the object store, or is cut off`);
    }
    for (let k = 0; k < run; k++) {
      const block = bytes.subarray(k * blockBytes, (k + 1) * blockBytes);
      const there = map.blocks.leaf(first + i + k) as Uint32Array;
      if (crc32c(block) !== checksumAt(there, first + i + k)) {
        throw new DamagedData(`block ${first + i + k} does not match its checksum`);
      }
      out.set(block, (i + k) * blockBytes);
    }
    i += run;
  }
  return out;
}
