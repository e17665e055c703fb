/**
 * Copies what a map holds into chunks of another volume, under that volume's key: how an encrypted volume or
 * snapshot is made of one that is not. The copy shares nothing with its source.
 *
 * A copy that failed or was cut off is removed, its key discarded, and may be made again for the same volume. What it left on
 * its way to the store may land on top of that, and nobody can open it any more: so each is written in an epoch of its own.
 */
import { crc32c } from "../../../ffi/crc32c.ts";
import { containerAt, leafBlocks } from "../maps/block_map.ts";
import { writeChunkHeader } from "../chunks/chunk_record.ts";
import {
  blockBytes,
  chunkBlocks,
  chunkContainer,
  chunkHeaderBytes,
  chunkKey,
  hole,
} from "../format.ts";
import type { BlockStore, SavedMap } from "../maps/map_objects.ts";
import {
  emptyMap,
  readBlocks,
  readStoredMap,
  saveStoredMap,
  type StoredMap,
} from "../maps/stored_map.ts";

/** So many that two copies of a volume hardly ever get the same, and so few that enough are left for all of its mounts. */
const copyEpochs = 1 << 20;

/** The epoch in which a copy is written; the volume's first mount has the next. Nothing remembers those of copies that were removed. */
export const newCopyEpoch = () =>
  1 + (crypto.getRandomValues(new Uint32Array(1))[0] as number) % copyEpochs;

/** Blocks that are read at once. */
const readAtOnce = 256;

/** Runs of mapped blocks, none longer than `longest`. */
function* mappedRuns({ blocks }: StoredMap, longest: number) {
  for (let block = 0; block < blocks.sizeBlocks;) {
    const leaf = blocks.leaf(block);
    const end = Math.min(blocks.sizeBlocks, (Math.floor(block / leafBlocks) + 1) * leafBlocks);
    if (leaf === undefined) {
      block = end;
      continue;
    }
    let count = 0;
    while (block + count < end && count < longest) {
      if (containerAt(leaf, block + count) === hole) break;
      count++;
    }
    if (count > 0) yield { first: block, count };
    block += Math.max(1, count);
  }
}

/** @throws DamagedData when a block of the source is not what was written */
export async function copyBlocks(
  store: BlockStore,
  source: SavedMap | undefined,
  sizeBlocks: number,
  owner: string,
  epoch: number,
): Promise<SavedMap> {
  const from = await readStoredMap(store, source, sizeBlocks);
  const to = emptyMap(sizeBlocks);
  const chunk = new Uint8Array(chunkHeaderBytes + chunkBlocks * blockBytes);
  const numbers = new Uint32Array(chunkBlocks);
  const checksums = new Uint32Array(chunkBlocks);
  let filled = 0;
  let sequence = 0;
  const storeChunk = async () => {
    if (filled === 0) return;
    const name = { owner, epoch, sequence: ++sequence };
    writeChunkHeader(chunk, name, numbers, checksums, filled);
    await store.put(chunkKey(name), chunk.slice(0, chunkHeaderBytes + filled * blockBytes));
    const container = chunkContainer(to.chunks.length);
    to.chunks.push({ name, blocks: filled, live: filled });
    for (let i = 0; i < filled; i++) {
      to.blocks.set(numbers[i] as number, container, i, checksums[i] as number);
    }
    filled = 0;
  };
  for (const { first, count } of mappedRuns(from, readAtOnce)) {
    const bytes = await readBlocks(store, from, first, count);
    for (let i = 0; i < count; i++) {
      const block = bytes.subarray(i * blockBytes, (i + 1) * blockBytes);
      chunk.set(block, chunkHeaderBytes + filled * blockBytes);
      numbers[filled] = first + i;
      checksums[filled] = crc32c(block);
      if (++filled === chunkBlocks) await storeChunk();
    }
  }
  await storeChunk();
  return await saveStoredMap(store, owner, epoch, to);
}
