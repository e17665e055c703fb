/**
 * The block map: where each 4 KiB block of a volume lives and what its checksum is.
 *
 * Two levels below a directory, all made when first written to: an empty volume of any size costs
 * almost nothing, a mapped block ten bytes. A leaf is one `Uint32Array` that says for each of its blocks
 * (container, index, checksum); see format.ts for what they mean. Two blocks share five words, so that
 * what is known of a block lies together: container and checksum of the one, those of the other, and both indexes,
 * for which sixteen bits are enough. Against three words for each block that costs about 1 ns with each access.
 *
 * `capture` freezes the map in time proportional to its leaves, not its blocks: a leaf that is
 * written to afterwards is copied first, so that a checkpoint can be written while guests write.
 */
import { hole } from "../format.ts";

export const leafBlocks = 2048;
const leafShift = 11;
const middleShift = 9;
const pairWords = 5;
/** The last word of a leaf says in which generation it was made. */
const generationAt = (leafBlocks / 2) * pairWords;
const leafWords = generationAt + 1;
/** No index may be higher: neither a log segment nor a chunk has so many blocks. */
export const maximumIndex = 0xffff;

export interface CapturedLeaf {
  readonly firstBlock: number;
  readonly words: Uint32Array;
}

const pairOf = (block: number) => ((block & (leafBlocks - 1)) >>> 1) * pairWords;
const offsetOf = (block: number) => pairOf(block) + ((block & 1) << 1);

/** The container that the block lives in, as its leaf says; `hole` when it is one. */
export const containerAt = (leaf: Uint32Array, block: number) => leaf[offsetOf(block)] as number;

/** Where in its container the block lives. */
export const indexAt = (leaf: Uint32Array, block: number) =>
  ((leaf[pairOf(block) + 4] as number) >>> ((block & 1) << 4)) & maximumIndex;

export const checksumAt = (leaf: Uint32Array, block: number) => leaf[offsetOf(block) + 1] as number;

/** Whether the block lives there. */
export const livesAt = (
  leaf: Uint32Array | undefined,
  block: number,
  container: number,
  index: number,
) => leaf !== undefined && containerAt(leaf, block) === container && indexAt(leaf, block) === index;

/** Says in a leaf of the caller's own where the block lives; its checksum stays. */
export function move(leaf: Uint32Array, block: number, container: number, index: number): void {
  leaf[offsetOf(block)] = container;
  const at = pairOf(block) + 4;
  const shift = (block & 1) << 4;
  leaf[at] = ((leaf[at] as number) & (0xffff_0000 >>> shift)) | (index << shift);
}

export class BlockMap {
  readonly #top: (Uint32Array | undefined)[][] = [];
  #generation = 0;
  #mapped = 0;

  constructor(public sizeBlocks: number) {}

  /** Blocks that are not holes. */
  get mappedBlocks(): number {
    return this.#mapped;
  }

  /** The leaf that holds the block, for reading only; undefined where all is hole. */
  leaf(block: number): Uint32Array | undefined {
    return this.#top[block >>> (leafShift + middleShift)]
      ?.[(block >>> leafShift) & ((1 << middleShift) - 1)];
  }

  #writable(block: number): Uint32Array {
    const high = block >>> (leafShift + middleShift);
    const low = (block >>> leafShift) & ((1 << middleShift) - 1);
    let middle = this.#top[high];
    if (middle === undefined) {
      while (this.#top.length <= high) this.#top.push([]);
      middle = this.#top[high] as (Uint32Array | undefined)[];
    }
    while (middle.length <= low) middle.push(undefined);
    let leaf = middle[low];
    if (leaf === undefined) {
      leaf = new Uint32Array(leafWords);
      leaf[generationAt] = this.#generation;
      middle[low] = leaf;
    } else if (leaf[generationAt] !== this.#generation) {
      leaf = leaf.slice();
      leaf[generationAt] = this.#generation;
      middle[low] = leaf;
    }
    return leaf;
  }

  /** Says where the block now lives (at an index up to `maximumIndex`); returns the container that it lived in before. */
  set(block: number, container: number, index: number, checksum: number): number {
    const leaf = this.#writable(block);
    const before = containerAt(leaf, block);
    move(leaf, block, container, index);
    leaf[offsetOf(block) + 1] = checksum;
    if (before === hole) {
      if (container !== hole) this.#mapped++;
    } else if (container === hole) this.#mapped--;
    return before;
  }

  /**
   * As `set` of `count` blocks from `first` on, which live in the container (no hole) from `index` on; their checksums begin
   * at `at`. Calls `released` with the container of each that was mapped before.
   */
  setRun(
    first: number,
    count: number,
    container: number,
    index: number,
    checksums: Uint32Array,
    at: number,
    released: (container: number) => void,
  ): void {
    for (let i = 0; i < count;) {
      const leaf = this.#writable(first + i);
      const end = Math.min(count, i + leafBlocks - ((first + i) & (leafBlocks - 1)));
      for (; i < end; i++) {
        const block = first + i;
        const before = containerAt(leaf, block);
        if (before === hole) this.#mapped++;
        else released(before);
        move(leaf, block, container, index + i);
        leaf[offsetOf(block) + 1] = checksums[at + i] as number;
      }
    }
  }

  /**
   * Makes holes of `count` blocks, calling `released` with the container of each that was mapped.
   * Costs nothing where leaves do not exist. Returns how many were mapped.
   */
  clear(first: number, count: number, released: (container: number) => void): number {
    const end = first + count;
    let cleared = 0;
    for (let block = first; block < end;) {
      const next = Math.min(end, (Math.floor(block / leafBlocks) + 1) * leafBlocks);
      if (this.leaf(block) !== undefined) {
        for (; block < next; block++) {
          if (containerAt(this.leaf(block) as Uint32Array, block) === hole) continue;
          released(this.set(block, hole, 0, 0));
          cleared++;
        }
      }
      block = next;
    }
    return cleared;
  }

  /** Whether any of the blocks is mapped. */
  anyMapped(first: number, count: number): boolean {
    const end = first + count;
    for (let block = first; block < end;) {
      const next = Math.min(end, (Math.floor(block / leafBlocks) + 1) * leafBlocks);
      const leaf = this.leaf(block);
      if (leaf !== undefined) {
        for (; block < next; block++) if (containerAt(leaf, block) !== hole) return true;
      }
      block = next;
    }
    return false;
  }

  /** The map as it is now, which later writes do not change. */
  capture(): CapturedLeaf[] {
    this.#generation = (this.#generation + 1) >>> 0;
    const leaves: CapturedLeaf[] = [];
    for (const [high, middle] of this.#top.entries()) {
      for (const [low, words] of middle.entries()) {
        if (words === undefined) continue;
        leaves.push({ firstBlock: ((high << middleShift) + low) * leafBlocks, words });
      }
    }
    return leaves;
  }
}
