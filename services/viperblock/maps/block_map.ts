/**
 * The block map: where each 4 KiB block of a volume lives and what its checksum is.
 *
 * Two levels below a directory, all made when first written to: an empty volume of any size costs
 * almost nothing, a mapped block twelve bytes. A leaf is one `Uint32Array` of (container, index,
 * checksum) triples; see format.ts for what they mean.
 *
 * `capture` freezes the map in time proportional to its leaves, not its blocks: a leaf that is
 * written to afterwards is copied first, so that a checkpoint can be written while guests write.
 */
import { hole } from "../format.ts";

export const leafBlocks = 2048;
const leafShift = 11;
const middleShift = 9;
const leafWords = leafBlocks * 3 + 1;
/** The last word of a leaf says in which generation it was made. */
const generationAt = leafBlocks * 3;

export interface CapturedLeaf {
  readonly firstBlock: number;
  readonly words: Uint32Array;
}

/** Word offset of a block's triple in its leaf. */
export const offsetInLeaf = (block: number) => (block & (leafBlocks - 1)) * 3;

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

  /** Says where the block now lives; returns the container that it lived in before. */
  set(block: number, container: number, index: number, checksum: number): number {
    const leaf = this.#writable(block);
    const at = offsetInLeaf(block);
    const before = leaf[at] as number;
    leaf[at] = container;
    leaf[at + 1] = index;
    leaf[at + 2] = checksum;
    if (before === hole) {
      if (container !== hole) this.#mapped++;
    } else if (container === hole) this.#mapped--;
    return before;
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
          if ((this.leaf(block) as Uint32Array)[offsetInLeaf(block)] === hole) continue;
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
        for (; block < next; block++) if (leaf[offsetInLeaf(block)] !== hole) return true;
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
