/**
 * A saved map that is damaged or lost, made anew from the chunks: their headers say which blocks they hold, with
 * which checksums, as of when. What is left of the map itself (`map_fragments.ts`) says the rest where it can.
 *
 * - What fragments say and a chunk confirms is certain, holes between them too.
 * - Elsewhere a block is where its newest chunk has it. No chunk tells of trims: such a block is certain only when all
 *   chunks are known and hold no more blocks than the map did, whose number its row still knows.
 * - Where a chunk that may be newer cannot be read, or nobody can tell what was inherited, nothing is guessed: the
 *   block counts as unknown, and reading it fails.
 *
 * Chunks of a writer that was no longer the volume's, and what a power cut took out of the log again, are passed
 * over: a later epoch began before they were made.
 */
import { type ChunkHeader, readChunkHeader } from "../chunks/chunk_record.ts";
import { type BlockRange, complement } from "../damage.ts";
import {
  chunkContainer,
  chunkHeaderBytes,
  chunkKey,
  type ChunkName,
  chunkNumber,
  DamagedData,
  hole,
  isChunk,
  parseChunkKey,
} from "../format.ts";
import { BlockMap, checksumAt, containerAt, indexAt, leafBlocks } from "./block_map.ts";
import { type MapFragments, readFragments } from "./map_fragments.ts";
import { type BlockStore, mapOwner, type SavedMap } from "./map_objects.ts";
import { readStoredMap, type StoredMap } from "./stored_map.ts";

const headersAtOnce = 8;

export interface RebuiltMap extends StoredMap {
  /** Nothing of it is guessed, and nothing unknown. */
  readonly isExact: boolean;
  /** How well it is known, in sentences. */
  readonly told: readonly string[];
  /** Whose content nobody can tell; in order, apart from each other. */
  readonly unknown: readonly BlockRange[];
  /** As their newest chunk has them, unless they were trimmed since. */
  readonly perhapsTrimmed: readonly BlockRange[];
}

interface Found {
  readonly name: ChunkName;
  /** Undefined when it cannot be read. */
  readonly header: ChunkHeader | undefined;
}

/**
 * @param inherited the map of the snapshot that the map's writer began with; `unknown` when it had one that is gone
 * @throws what the store throws when it does not answer
 */
export async function rebuildMap(
  store: BlockStore,
  map: SavedMap,
  sizeBlocks: number,
  inherited: SavedMap | "unknown" | undefined,
): Promise<RebuiltMap> {
  const fragments = await readFragments(store, map, sizeBlocks);
  const base = await readBase(store, inherited, sizeBlocks);
  const all = await findChunks(store, map, fragments);
  return new Rebuilding(map, sizeBlocks, fragments, base, all).result();
}

async function readBase(
  store: BlockStore,
  inherited: SavedMap | "unknown" | undefined,
  sizeBlocks: number,
): Promise<StoredMap | undefined> {
  if (inherited === "unknown") return undefined;
  try {
    return await readStoredMap(store, inherited, sizeBlocks);
  } catch (error) {
    if (error instanceof DamagedData) return undefined;
    throw error;
  }
}

/** The chunks that the map may name, in the order in which they were written. */
async function findChunks(
  store: BlockStore,
  map: SavedMap,
  { head, table }: MapFragments,
): Promise<Found[]> {
  const names: ChunkName[] = [];
  if (table !== undefined) names.push(...table.map((chunk) => chunk.name));
  else {
    for (const owner of new Set([...map.owners, mapOwner(map)])) {
      for await (const key of store.list(`chunks/${owner}/`)) {
        const name = parseChunkKey(key);
        if (name !== undefined) names.push(name);
      }
    }
  }
  const found: Found[] = [];
  for (let at = 0; at < names.length; at += headersAtOnce) {
    found.push(
      ...await Promise.all(
        names.slice(at, at + headersAtOnce).map(async (name) => ({
          name,
          header: await readHeader(store, name),
        })),
      ),
    );
  }
  // One that cannot be read may be the newest of its epoch.
  const asOf = ({ header }: Found) => header === undefined ? Infinity : header.moment.asOf;
  const inOrder = found.sort((a, b) =>
    a.name.epoch - b.name.epoch ||
    (asOf(a) === asOf(b) ? a.name.sequence - b.name.sequence : asOf(a) - asOf(b))
  );
  if (table !== undefined) return inOrder;
  const end = map.sequence ?? head?.sequence ?? Infinity;
  return withoutVoid(inOrder, map, end);
}

async function readHeader(store: BlockStore, name: ChunkName): Promise<ChunkHeader | undefined> {
  try {
    const bytes = await store.get(chunkKey(name), { offset: 0, length: chunkHeaderBytes });
    const header = bytes === undefined ? undefined : readChunkHeader(bytes);
    return header !== undefined && chunkKey(header.name) === chunkKey(name) ? header : undefined;
  } catch (error) {
    if (error instanceof DamagedData) return undefined;
    throw error;
  }
}

/** Without chunks of the map's own writer that cannot be part of it. */
function withoutVoid(found: readonly Found[], map: SavedMap, end: number): Found[] {
  const owner = mapOwner(map);
  const isOwn = ({ name }: Found) => name.owner === owner;
  const own = found.filter((each) => isOwn(each) && each.name.epoch <= map.epoch);
  /** Where the log of each epoch ended, because a later one began there. */
  const ends = new Map<number, number>();
  let next = Infinity;
  for (let i = own.length - 1; i >= 0;) {
    const { epoch } = (own[i] as Found).name;
    ends.set(epoch, next);
    for (; i >= 0 && own[i]?.name.epoch === epoch; i--) {
      const began = own[i]?.header?.moment.began ?? 0;
      if (began > 0) next = Math.min(next, began);
    }
  }
  return found.filter((each) => {
    if (!isOwn(each)) return true;
    const { epoch } = each.name;
    if (epoch > map.epoch) return false;
    const asOf = each.header?.moment.asOf ?? 0;
    return asOf === 0 || (asOf <= end && asOf < (ends.get(epoch) ?? Infinity));
  });
}

class Rebuilding {
  readonly #map: SavedMap;
  readonly #fragments: MapFragments;
  readonly #blocks: BlockMap;
  readonly #chunks: StoredMap["chunks"][number][] = [];
  readonly #told: string[] = [];
  readonly #sizeBlocks: number;
  /** Blocks of chunks with a higher number are not older than any chunk that cannot be read. */
  #certainFrom = 0;
  /** Blocks of ancestors of which nobody can tell whose is newer. */
  readonly #ambiguous = new Set<number>();
  #inheritedIsUnknown = false;
  /** What fragments say and chunks confirm; in order. */
  readonly #known: BlockRange[] = [];

  constructor(
    map: SavedMap,
    sizeBlocks: number,
    fragments: MapFragments,
    base: StoredMap | undefined,
    found: readonly Found[],
  ) {
    this.#map = map;
    this.#fragments = fragments;
    this.#sizeBlocks = sizeBlocks;
    this.#blocks = new BlockMap(sizeBlocks);
    const owner = mapOwner(map);
    const own = found.filter(({ name }) => name.owner === owner);
    const others = found.filter(({ name }) => name.owner !== owner);
    const hints = this.#hints();
    if (base !== undefined) this.#layBase(base, hints);
    else this.#layInherited(others, hints);
    for (const each of own) this.#lay(each, hints);
    this.#useHints(hints);
  }

  /** What fragments say, not confirmed by any chunk yet. */
  #hints(): BlockMap {
    const hints = new BlockMap(this.#sizeBlocks);
    for (const { first, checksums } of this.#fragments.extents) {
      for (const [i, checksum] of checksums.entries()) hints.set(first + i, 1, 0, checksum);
    }
    return hints;
  }

  #confirm(hints: BlockMap, block: number, container: number, index: number, checksum: number) {
    const leaf = hints.leaf(block);
    if (leaf === undefined || containerAt(leaf, block) === hole) return;
    if (checksumAt(leaf, block) !== checksum) return;
    hints.set(block, container, index, checksum);
  }

  #layBase(base: StoredMap, hints: BlockMap): void {
    this.#chunks.push(...base.chunks);
    for (const { firstBlock, words } of base.blocks.capture()) {
      for (let i = 0; i < leafBlocks; i++) {
        const container = containerAt(words, i);
        if (container === hole) continue;
        const index = indexAt(words, i);
        const checksum = checksumAt(words, i);
        this.#blocks.set(firstBlock + i, container, index, checksum);
        this.#confirm(hints, firstBlock + i, container, index, checksum);
      }
    }
  }

  /** Without the map that was inherited: what the chunk table names of others is all that can be relied on. */
  #layInherited(others: readonly Found[], hints: BlockMap): void {
    if (others.length === 0) return;
    if (this.#fragments.table === undefined) {
      this.#inheritedIsUnknown = true;
      this.#told.push(
        "the map that it began with is gone: what it did not write itself is not known",
      );
    }
    for (const each of others) this.#lay(each, hints, this.#fragments.table !== undefined);
  }

  #lay({ name, header }: Found, hints: BlockMap, counts = true): void {
    const number = this.#chunks.length;
    if (header === undefined) {
      this.#told.push(
        `${chunkKey(name)} is missing or has a bad header: what was older than it is not known`,
      );
      this.#chunks.push(undefined);
      this.#certainFrom = number + 1;
      return;
    }
    this.#chunks.push({ name, blocks: header.blocks.length, live: 0 });
    const container = chunkContainer(number);
    for (const [index, { block, checksum }] of header.blocks.entries()) {
      if (block >= this.#sizeBlocks) continue;
      this.#confirm(hints, block, container, index, checksum);
      if (!counts) continue;
      const before = this.#blocks.set(block, container, index, checksum);
      if (name.owner === mapOwner(this.#map)) this.#ambiguous.delete(block);
      else if (before !== hole && this.#chunks[chunkNumber(before)]?.name.owner !== name.owner) {
        this.#ambiguous.add(block);
      }
    }
  }

  /** Takes over what fragments say and chunks confirm. */
  #useHints(hints: BlockMap): void {
    let end = 0;
    let isKnownToEnd = true;
    for (const { first, checksums, follows } of this.#fragments.extents) {
      const isConfirmed = first >= end && checksums.every((checksum, i) => {
        const leaf = hints.leaf(first + i);
        return leaf !== undefined && isChunk(containerAt(leaf, first + i)) &&
          checksumAt(leaf, first + i) === checksum;
      });
      if (!isConfirmed) {
        isKnownToEnd = false;
        continue;
      }
      // Where nothing is lost between two extents, there are holes between their blocks.
      if (follows && isKnownToEnd) this.#clear(end, first);
      for (const i of checksums.keys()) {
        const block = first + i;
        const leaf = hints.leaf(block) as Uint32Array;
        const [container, index] = [containerAt(leaf, block), indexAt(leaf, block)];
        this.#blocks.set(block, container, index, checksumAt(leaf, block));
        this.#ambiguous.delete(block);
      }
      end = first + checksums.length;
      this.#know(first, end);
      isKnownToEnd = true;
    }
    if (this.#fragments.hasEnd && isKnownToEnd) this.#clear(end, this.#sizeBlocks);
  }

  #clear(first: number, end: number): void {
    if (end <= first) return;
    this.#blocks.clear(first, end - first, () => {});
    for (const block of this.#ambiguous) {
      if (block >= first && block < end) this.#ambiguous.delete(block);
    }
    this.#know(first, end);
  }

  #know(first: number, end: number): void {
    const last = this.#known.at(-1);
    if (last !== undefined && last.first + last.count === first) {
      this.#known[this.#known.length - 1] = { first: last.first, count: end - last.first };
    } else this.#known.push({ first, count: end - first });
  }

  result(): RebuiltMap {
    const { mapped_blocks } = this.#map;
    const found = this.#blocks.mappedBlocks;
    const isComplete = this.#certainFrom === 0 && !this.#inheritedIsUnknown;
    const missing = isComplete && found < mapped_blocks;
    // Without its table nobody notices that a chunk is gone, but by what it held.
    if (missing) this.#certainFrom = Infinity;
    const made = { blocks: this.#blocks, chunks: this.#chunks };
    if (
      isComplete && !missing && found === mapped_blocks && this.#ambiguous.size === 0 &&
      (this.#fragments.table !== undefined || this.#isAllKnown())
    ) {
      const told = `its map was made anew from its chunks, exactly: ${found} blocks`;
      return { ...made, isExact: true, told: [told], unknown: [], perhapsTrimmed: [] };
    }
    const { perhapsTrimmed, unknown } = this.#sorted();
    const count = (ranges: readonly BlockRange[]) =>
      ranges.reduce((sum, each) => sum + each.count, 0);
    const told = [
      `its map was made anew from its chunks and what is left of it: ${
        count(this.#known)
      } blocks are known to be as they were`,
      ...this.#told,
    ];
    if (missing) {
      told.push(
        `it had ${mapped_blocks} blocks, its chunks hold ${found}: at least one chunk is missing, and which blocks that held is not known`,
      );
    } else if (isComplete) {
      const more = found - mapped_blocks;
      if (more > 0) {
        told.push(
          `its chunks hold ${more} blocks more than it had: as many of those that follow were trimmed since`,
        );
      } else {
        told.push("its chunks hold as many blocks as it had, so very likely all is as it was");
      }
    }
    return { ...made, isExact: false, told, unknown, perhapsTrimmed };
  }

  #isAllKnown(): boolean {
    const [all] = this.#known;
    return all?.first === 0 && all.count === this.#sizeBlocks;
  }

  /** Sorts what is not known for certain into what can be relied on but for trims, and what cannot. */
  #sorted(): Pick<RebuiltMap, "unknown" | "perhapsTrimmed"> {
    const usable: BlockRange[] = [];
    const unsure = complement(this.#known, this.#sizeBlocks);
    const holesAreKnown = this.#certainFrom === 0 && !this.#inheritedIsUnknown;
    for (const { first, count } of unsure) {
      for (let block = first; block < first + count; block++) {
        const leaf = this.#blocks.leaf(block);
        if (leaf === undefined) {
          block = Math.min(first + count, (Math.floor(block / leafBlocks) + 1) * leafBlocks) - 1;
          continue;
        }
        const container = containerAt(leaf, block);
        if (container === hole || this.#ambiguous.has(block)) continue;
        if (chunkNumber(container) < this.#certainFrom) continue;
        const last = usable.at(-1);
        if (last !== undefined && last.first + last.count === block) {
          usable[usable.length - 1] = { first: last.first, count: last.count + 1 };
        } else usable.push({ first: block, count: 1 });
      }
    }
    if (!holesAreKnown) {
      return {
        perhapsTrimmed: usable,
        unknown: complement([...this.#known, ...usable], this.#sizeBlocks)
          .filter(({ count }) => count > 0),
      };
    }
    const unknown = [...this.#ambiguous].sort((a, b) => a - b).map((first) => ({
      first,
      count: 1,
    }));
    return { perhapsTrimmed: usable, unknown };
  }
}
