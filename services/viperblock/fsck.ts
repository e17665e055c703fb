/**
 * Reads all that a volume or snapshot has in the object store, and says exactly what is wrong with it:
 * which maps and chunks are missing or not what was written, and which blocks of the volume that
 * concerns. Nothing is changed. Of a mounted volume the engine's books are held against its map as well;
 * what is in its log only was checked when it was opened, and is again with every read. Of one that was found damaged then
 * the report says what was found.
 */
import { crc32c } from "../../ffi/crc32c.ts";
import { leafBlocks, offsetInLeaf } from "./maps/block_map.ts";
import { readChunkHeader } from "./chunks/chunk_record.ts";
import type { CheckedDamage, CheckReport } from "./contract.ts";
import type { DamageReport } from "./damage.ts";
import {
  blockBytes,
  chunkHeaderBytes,
  chunkKey,
  chunkNumber,
  DamagedData,
  hole,
  isChunk,
} from "./format.ts";
import type { BlockStore, SavedMap } from "./maps/map_objects.ts";
import { readStoredMap, type StoredMap } from "./maps/stored_map.ts";

/** Damage that is named one by one; beyond that it is only counted. */
const named = 1000;

interface Place {
  readonly block: number;
  readonly index: number;
  readonly checksum: number;
}

/** The blocks of a map by the chunk that they live in. */
function placesByChunk({ blocks }: StoredMap, sizeBlocks: number): Map<number, Place[]> {
  const places = new Map<number, Place[]>();
  for (let block = 0; block < sizeBlocks;) {
    const leaf = blocks.leaf(block);
    const end = Math.min(sizeBlocks, (Math.floor(block / leafBlocks) + 1) * leafBlocks);
    if (leaf !== undefined) {
      for (; block < end; block++) {
        const at = offsetInLeaf(block);
        const container = leaf[at] as number;
        if (container === hole || !isChunk(container)) continue;
        const number = chunkNumber(container);
        const place = { block, index: leaf[at + 1] as number, checksum: leaf[at + 2] as number };
        const there = places.get(number);
        if (there === undefined) places.set(number, [place]);
        else there.push(place);
      }
    }
    block = end;
  }
  return places;
}

/** What is wrong with each of the blocks that live in a chunk. */
function checkChunk(
  key: string,
  bytes: Uint8Array<ArrayBuffer> | undefined,
  places: readonly Place[],
): { readonly block: number; readonly why: string }[] {
  const all = (why: string) => places.map(({ block }) => ({ block, why: `${key} ${why}` }));
  if (bytes === undefined) return all("is not in the object store");
  let header: ReturnType<typeof readChunkHeader> | undefined;
  try {
    header = readChunkHeader(bytes);
  } catch {
    header = undefined;
  }
  const named = header === undefined ? undefined : chunkKey(header.name);
  const wrong: { block: number; why: string }[] = [];
  for (const { block, index, checksum } of places) {
    const at = chunkHeaderBytes + index * blockBytes;
    if (at + blockBytes > bytes.length) wrong.push({ block, why: `${key} is cut off` });
    else if (crc32c(bytes.subarray(at, at + blockBytes)) !== checksum) {
      wrong.push({ block, why: `${key}, block ${index}, does not match its checksum` });
    }
  }
  // The blocks themselves can be read; a map could not be rebuilt from this chunk.
  if (wrong.length === 0 && named !== key) {
    const [first] = places;
    if (first !== undefined) wrong.push({ block: first.block, why: `${key} has a bad header` });
  }
  return wrong;
}

/** A chunk, or why nobody can open it. */
async function readChunk(store: BlockStore, key: string) {
  try {
    return await store.get(key);
  } catch (error) {
    if (error instanceof DamagedData) return error;
    throw error;
  }
}

export async function checkMap(
  store: BlockStore,
  id: string,
  map: SavedMap | undefined,
  size_bytes: number,
  books: readonly string[],
): Promise<CheckReport> {
  const sizeBlocks = size_bytes / blockBytes;
  const damage: CheckedDamage[] = [];
  const report = (stored: { chunks: number; chunk_bytes: number; live: number; bad: number }) => ({
    id,
    size_bytes,
    mapped_bytes: stored.live * blockBytes,
    chunks: stored.chunks,
    chunk_bytes: stored.chunk_bytes,
    damaged_blocks: stored.bad,
    damage,
    books,
    is_sound: stored.bad === 0 && damage.length === 0 && books.length === 0,
  });
  let whole: StoredMap;
  try {
    whole = await readStoredMap(store, map, sizeBlocks);
  } catch (error) {
    damage.push({ why: error instanceof Error ? error.message : String(error) });
    return report({ chunks: 0, chunk_bytes: 0, live: 0, bad: 0 });
  }
  let [chunks, chunk_bytes, live, bad] = [0, 0, 0, 0];
  for (const [number, places] of placesByChunk(whole, sizeBlocks)) {
    live += places.length;
    const chunk = whole.chunks[number];
    const key = chunk === undefined ? `chunk ${number}` : chunkKey(chunk.name);
    const read = chunk === undefined ? undefined : await readChunk(store, key);
    const bytes = read instanceof DamagedData ? undefined : read;
    chunks++;
    chunk_bytes += bytes?.length ?? 0;
    const found = read instanceof DamagedData
      ? places.map(({ block }) => ({ block, why: read.message }))
      : checkChunk(key, bytes, places);
    for (const wrong of found) {
      bad++;
      if (damage.length < named) damage.push(wrong);
    }
  }
  return report({ chunks, chunk_bytes, live, bad });
}

/** Adds what is wrong with the log or checkpoint of a volume that is served for reading only. */
export function withLocalDamage(
  report: CheckReport,
  reason: string | undefined,
  local: DamageReport | undefined,
): CheckReport {
  const why = local?.reason ?? reason;
  if (why === undefined) return report;
  return {
    ...report,
    damaged_blocks: report.damaged_blocks + (local?.damaged_blocks ?? 0),
    damage: [
      { why: `it can only be read: ${why}` },
      ...local?.damage ?? [],
      ...report.damage,
    ],
    is_sound: false,
  };
}
