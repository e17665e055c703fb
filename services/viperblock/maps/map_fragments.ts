/**
 * What is left of a saved map that is not what was written: its head and chunk table, where their own checksums
 * match, and whatever looks like an extent in the parts that are there. An extent has no checksum of its own:
 * it counts only when chunks turn out to hold its blocks with the checksums that it names (`rebuilt_map.ts`).
 *
 * The writer begins each part with a whole record, so the loss of one part costs no other; behind
 * damage within a part the next extent is searched for word by word.
 */
import { joined } from "../../aws/bytes.ts";
import { leafBlocks } from "./block_map.ts";
import { chunkBlocks, chunkNumber, DamagedData, isChunk } from "../format.ts";
import { type BlockStore, mapOwner, mapPartKey, type SavedMap } from "./map_objects.ts";
import {
  chunkTableEnd,
  extentBytes,
  type MapHead,
  mapTailBytes,
  readChunkTable,
  readMapHead,
  type StoredChunk,
} from "./map_stream.ts";

type Bytes = Uint8Array<ArrayBuffer>;

export interface FoundExtent {
  readonly first: number;
  /** One for each block. */
  readonly checksums: Uint32Array;
  /** It comes right after the one before it, or after the table: nothing is lost in between. */
  readonly follows: boolean;
}

export interface MapFragments {
  readonly head: MapHead | undefined;
  /** Undefined when it cannot be trusted. */
  readonly table: readonly StoredChunk[] | undefined;
  /** In the order in which they stand there. */
  readonly extents: readonly FoundExtent[];
  /** The end comes right after the last extent. */
  readonly hasEnd: boolean;
}

/** Reads what is there. @throws what the store throws when it does not answer */
export async function readFragments(
  store: BlockStore,
  map: SavedMap,
  sizeBlocks: number,
): Promise<MapFragments> {
  const parts: (Bytes | undefined)[] = [];
  for (let number = 0; number < map.parts; number++) {
    parts.push(await readPart(store, mapPartKey(map.key, number)));
  }
  const missing = parts.indexOf(undefined);
  const beginning = joined(parts.slice(0, missing < 0 ? parts.length : missing) as Bytes[]);
  const head = ownHead(beginning, map);
  const numbered = head === undefined ? undefined : tableOf(beginning, head);
  const extents: FoundExtent[] = [];
  let follows = numbered !== undefined;
  let start = head === undefined ? 0 : chunkTableEnd(head);
  let isEnd = false;
  /** Which extents come first in their parts. */
  const seams: number[] = [];
  for (const part of parts) {
    if (part === undefined) {
      follows = false;
      continue;
    }
    seams.push(extents.length);
    const from = Math.min(start, part.length);
    start -= from;
    ({ follows, isEnd } = readExtents(part, from, follows, sizeBlocks, numbered, extents));
  }
  // A part that was cut off between two of its records looks whole: then blocks are missing.
  const blocks = extents.reduce((sum, { checksums }) => sum + checksums.length, 0);
  if (blocks !== map.mapped_blocks) {
    for (const seam of seams.slice(1)) {
      const first = extents[seam];
      if (first === undefined) isEnd = false;
      else extents[seam] = { ...first, follows: false };
    }
  }
  return {
    head,
    table: numbered?.filter((chunk) => chunk !== undefined),
    extents,
    hasEnd: isEnd && follows,
  };
}

async function readPart(store: BlockStore, key: string): Promise<Bytes | undefined> {
  try {
    const bytes = await store.get(key);
    // Whole words, in memory that can be looked at as such.
    return bytes?.slice(0, bytes.length & ~3);
  } catch (error) {
    if (error instanceof DamagedData) return undefined;
    throw error;
  }
}

/** The head, when it is that of this very map. */
function ownHead(bytes: Bytes, map: SavedMap): MapHead | undefined {
  try {
    const head = readMapHead(bytes);
    return head.volumeId === mapOwner(map) && head.epoch === map.epoch ? head : undefined;
  } catch (error) {
    if (error instanceof DamagedData) return undefined;
    throw error;
  }
}

function tableOf(bytes: Bytes, head: MapHead): (StoredChunk | undefined)[] | undefined {
  if (head.tableChecksum === 0) return undefined;
  try {
    return readChunkTable(bytes, head);
  } catch (error) {
    if (error instanceof DamagedData) return undefined;
    throw error;
  }
}

/** Adds what looks like extents; returns whether what is next follows without a gap, and whether that is nothing. */
function readExtents(
  part: Bytes,
  from: number,
  followsPart: boolean,
  sizeBlocks: number,
  table: readonly (StoredChunk | undefined)[] | undefined,
  found: FoundExtent[],
): { readonly follows: boolean; readonly isEnd: boolean } {
  const words = new Uint32Array(part.buffer, part.byteOffset, part.length >> 2);
  const headWords = extentBytes >> 2;
  const tailWords = (extentBytes + mapTailBytes) >> 2;
  let follows = followsPart;
  for (let at = from >> 2; at < words.length;) {
    const [first = 0, count = 0, container = 0, index = 0] = words.subarray(at, at + headWords);
    const end = at + headWords + count;
    if (
      isPlausible(first, count, container, index, sizeBlocks, table) && end <= words.length
    ) {
      found.push({ first, checksums: words.subarray(at + headWords, end), follows });
      follows = true;
      at = end;
      continue;
    }
    const isEnd = at === words.length - tailWords &&
      words.subarray(at, at + headWords).every((word) => word === 0);
    if (isEnd) return { follows, isEnd };
    follows = false;
    at++;
  }
  return { follows, isEnd: false };
}

function isPlausible(
  first: number,
  count: number,
  container: number,
  index: number,
  sizeBlocks: number,
  table: readonly (StoredChunk | undefined)[] | undefined,
): boolean {
  if (count === 0 || count > chunkBlocks || first + count > sizeBlocks || !isChunk(container)) {
    return false;
  }
  if (Math.floor(first / leafBlocks) !== Math.floor((first + count - 1) / leafBlocks)) return false;
  const blocks = table === undefined ? chunkBlocks : table[chunkNumber(container)]?.blocks ?? 0;
  return index + count <= blocks;
}
