/**
 * Reads all that a volume or snapshot has in the object store, and says exactly what is wrong with it:
 * which maps and chunks are missing or not what was written, and which blocks of the volume that
 * concerns. Nothing of it is changed. Of a mounted volume the map is the one that it has now, and the engine's books are
 * held against it as well, and what is in its log only is read from the log's files. Of one that
 * was found damaged when it was opened the report says what was found. Where the map itself is damaged, the report says what can be
 * made anew of it, and what cannot.
 */
import { crc32c } from "../../ffi/crc32c.ts";
import { joined } from "../aws/bytes.ts";
import { checksumAt, containerAt, indexAt, leafBlocks, livesAt } from "./maps/block_map.ts";
import { readChunkHeader } from "./chunks/chunk_record.ts";
import { windowBytes } from "./engine/fetcher.ts";
import { checkedBlocks, type CheckedLog } from "./log/checked_log.ts";
import type { CheckedDamage, CheckReport } from "./contract.ts";
import {
  type BlockRange,
  DamageList,
  type DamageReport,
  firstWithin,
  perhapsTrimmedWhy,
  unknownWhy,
} from "./damage.ts";
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
import { rebuildMap } from "./maps/rebuilt_map.ts";
import { openStoredMap, readStoredMap, type StoredMap } from "./maps/stored_map.ts";
import { rest } from "./rest.ts";

/** Damage that is named one by one; beyond that it is only counted. */
const named = 1000;
const unchecked = "its log could not be checked, for its engine ended meanwhile: check it again";
const uncheckedChunks =
  "its chunks could not all be checked, for its engine ended meanwhile: check it again";

interface Place {
  readonly block: number;
  readonly index: number;
  readonly checksum: number;
}

/** What blocks of a map live in, chunks or segments of the log, and which blocks these are. */
interface Containers extends Iterable<readonly [number, readonly Place[]]> {
  readonly size: number;
}

/** Told one after the other: a map may have tens of millions of blocks, and only the numbers of all of them are held at once. */
function placesIn(
  kind: "chunks" | "log",
  { blocks }: StoredMap,
  sizeBlocks: number,
): Containers {
  const wanted = (container: number) =>
    container !== hole && isChunk(container) === (kind === "chunks");
  const visit = (told: (block: number, container: number) => void) => {
    for (let first = 0; first < sizeBlocks; first += leafBlocks) {
      const leaf = blocks.leaf(first);
      if (leaf === undefined) continue;
      for (let block = first; block < Math.min(sizeBlocks, first + leafBlocks); block++) {
        const container = containerAt(leaf, block);
        if (wanted(container)) told(block, container);
      }
    }
  };
  const counts = new Map<number, number>();
  visit((_, container) => counts.set(container, (counts.get(container) ?? 0) + 1));
  const ends = new Map<number, number>();
  let all = 0;
  for (const [container, count] of counts) {
    ends.set(container, all);
    all += count;
  }
  const numbers = new Uint32Array(all);
  visit((block, container) => {
    const at = ends.get(container) as number;
    numbers[at] = block;
    ends.set(container, at + 1);
  });
  return {
    size: counts.size,
    *[Symbol.iterator]() {
      for (const [container, count] of counts) {
        const end = ends.get(container) as number;
        const places = Array.from(numbers.subarray(end - count, end), (block) => {
          const leaf = blocks.leaf(block) as Uint32Array;
          return { block, index: indexAt(leaf, block), checksum: checksumAt(leaf, block) };
        });
        yield [kind === "chunks" ? chunkNumber(container) : container, places];
      }
    },
  };
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

/** A chunk, window by window, so that its volume's guests wait for no more than one. */
async function inWindows(store: BlockStore, key: string, blocks: number) {
  const end = chunkHeaderBytes + blocks * blockBytes;
  const windows: Uint8Array<ArrayBuffer>[] = [];
  for (let offset = 0; offset < end;) {
    const began = performance.now();
    const length = Math.min(end - offset, windowBytes + (offset === 0 ? chunkHeaderBytes : 0));
    const bytes = await store.get(key, { offset, length });
    if (bytes === undefined) return undefined;
    windows.push(bytes);
    await rest(began);
    if (bytes.length < length) break;
    offset += length;
  }
  return joined(windows);
}

/** A chunk, or why nobody can open it. */
async function readChunk(store: BlockStore, key: string, blocks: number, isMounted: boolean) {
  try {
    return isMounted ? await inWindows(store, key, blocks) : await store.get(key);
  } catch (error) {
    if (error instanceof DamagedData) return error;
    throw error;
  }
}

export interface Checked {
  readonly id: string;
  readonly size_bytes: number;
  /** What is saved of it, and what its writer began with. */
  readonly map: SavedMap | undefined;
  readonly inherited: SavedMap | "unknown" | undefined;
  readonly isMounted: boolean;
  /** The map that a mounted volume has now. */
  readonly live?: Uint8Array<ArrayBuffer> | undefined;
  /** Chunks that a mounted volume needs by now: others may have gone since its map was read. */
  readonly held?: () => Promise<ReadonlySet<string> | undefined>;
  /** A mounted volume's log, and the map that it has by then. */
  readonly log?: (() => CheckedLog | undefined) | undefined;
  readonly liveAgain?: (() => Promise<Uint8Array<ArrayBuffer> | undefined>) | undefined;
  readonly books: readonly string[];
}

interface LogPlace extends Place {
  readonly segment: number;
  readonly why: string;
}

/** Those of the places in one segment that do not hold what the map says, found with reads of many blocks. */
async function* wrongIn(log: CheckedLog, segment: number, unsorted: readonly Place[]) {
  const places = unsorted.toSorted((a, b) => a.index - b.index);
  for (let at = 0; at < places.length;) {
    const began = performance.now();
    const first = (places[at] as Place).index;
    let end = at + 1;
    while (end < places.length && (places[end] as Place).index < first + checkedBlocks) end++;
    const some = places.slice(at, end);
    const bytes = await log.read(segment, first, (some.at(-1) as Place).index + 1 - first);
    for (const place of some) {
      // Where the disk cannot read them all, each has a chance of its own.
      const from = bytes === undefined ? 0 : (place.index - first) * blockBytes;
      const block = (bytes ?? await log.read(segment, place.index, 1))
        ?.subarray(from, from + blockBytes);
      if (block?.length !== blockBytes) {
        yield { ...place, segment, why: `segment ${segment} of its log cannot be read there` };
      } else if (crc32c(block) !== place.checksum) {
        const why = `segment ${segment} of its log does not match its checksum there`;
        yield { ...place, segment, why };
      }
    }
    at = end;
    await rest(began);
  }
}

/**
 * What is wrong with the blocks that a mounted volume's map has in its log, as extents. The engine goes on: a block that is
 * wrong counts only when a map of afterwards has it in the same place. No segment's number is used twice, so
 * the place was that block's the whole time.
 */
async function checkLog(
  whole: StoredMap,
  sizeBlocks: number,
  { log: openLog, liveAgain }: Checked,
): Promise<Pick<DamageReport, "damage" | "damaged_blocks">> {
  const list = new DamageList();
  const segments = placesIn("log", whole, sizeBlocks);
  const suspects: LogPlace[] = [];
  if (segments.size > 0) {
    using log = openLog?.();
    for (const [segment, places] of log === undefined ? [] : segments) {
      for await (const wrong of wrongIn(log as CheckedLog, segment, places)) suspects.push(wrong);
    }
    if (log === undefined) list.say(unchecked);
  }
  if (suspects.length > 0) {
    const now = await liveAgain?.();
    const blocks = now && openStoredMap(now, sizeBlocks).blocks;
    if (blocks === undefined) list.say(unchecked);
    for (const { block, segment, index, why } of suspects.sort((a, b) => a.block - b.block)) {
      if (blocks && livesAt(blocks.leaf(block), block, segment, index)) list.add(block, why);
    }
  }
  return list.report("");
}

interface OpenedMap {
  readonly whole: StoredMap;
  readonly unknown: readonly BlockRange[];
  readonly damage: readonly CheckedDamage[];
}

async function openMap(
  store: BlockStore,
  { map, live, inherited }: Checked,
  sizeBlocks: number,
): Promise<OpenedMap> {
  try {
    const whole = live === undefined
      ? await readStoredMap(store, map, sizeBlocks)
      : openStoredMap(live, sizeBlocks);
    return { whole, unknown: [], damage: [] };
  } catch (error) {
    if (!(error instanceof DamagedData) || map === undefined || live !== undefined) throw error;
    const whole = await rebuildMap(store, map, sizeBlocks, inherited);
    const list = new DamageList();
    list.say(`its map ${map.key} in the object store is damaged: ${error.message}`);
    for (const sentence of whole.told) list.say(sentence);
    for (const { first, count } of whole.unknown) list.add(first, unknownWhy, count);
    list.doubt(whole.perhapsTrimmed, perhapsTrimmedWhy);
    return { whole, unknown: whole.unknown, damage: list.report("").damage };
  }
}

export async function checkMap(store: BlockStore, checked: Checked): Promise<CheckReport> {
  const { id, size_bytes, books, live: liveMap, isMounted, held } = checked;
  const sizeBlocks = size_bytes / blockBytes;
  const { whole, unknown, damage: found } = await openMap(store, checked, sizeBlocks);
  const damage: CheckedDamage[] = [...found];
  let [chunks, chunk_bytes, inChunks] = [0, 0, 0];
  let bad = unknown.reduce((sum, { count }) => sum + count, 0);
  let engineEnded = false;
  const isUnknown = (block: number) => firstWithin(unknown, { first: block, count: 1 }) >= 0;
  for (const [number, all] of placesIn("chunks", whole, sizeBlocks)) {
    const places = unknown.length === 0 ? all : all.filter(({ block }) => !isUnknown(block));
    if (places.length === 0) continue;
    inChunks += places.length;
    const chunk = whole.chunks[number];
    const key = chunk === undefined ? `chunk ${number}` : chunkKey(chunk.name);
    const read = chunk === undefined
      ? undefined
      : await readChunk(store, key, chunk.blocks, isMounted);
    const began = performance.now();
    const bytes = read instanceof DamagedData ? undefined : read;
    if (read === undefined && held !== undefined) {
      const needed = await held();
      // It was emptied since the map was read, and what it held is somewhere else by now.
      if (needed?.has(key) === false) continue;
      if (needed === undefined && liveMap !== undefined) {
        engineEnded = true;
        continue;
      }
    }
    chunks++;
    chunk_bytes += bytes?.length ?? 0;
    const wrongs = read instanceof DamagedData
      ? places.map(({ block }) => ({ block, why: read.message }))
      : checkChunk(key, bytes, places);
    for (const wrong of wrongs) {
      bad++;
      if (damage.length < named) damage.push(wrong);
    }
    if (isMounted) await rest(began);
  }
  if (engineEnded) damage.push({ why: uncheckedChunks });
  if (liveMap !== undefined) {
    const inLog = await checkLog(whole, sizeBlocks, checked);
    bad += inLog.damaged_blocks;
    damage.push(...inLog.damage);
  }
  const mapped = whole.blocks.mappedBlocks;
  return {
    id,
    size_bytes,
    mapped_bytes: (liveMap === undefined ? inChunks : mapped) * blockBytes,
    as_of: !isMounted ? "complete" : liveMap === undefined ? "last_unmount" : "now",
    log_bytes: liveMap === undefined ? 0 : (mapped - inChunks) * blockBytes,
    chunks,
    chunk_bytes,
    damaged_blocks: bad,
    damage,
    books,
    is_sound: bad === 0 && damage.length === 0 && books.length === 0,
  };
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
