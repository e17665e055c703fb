/** What is wrong with a volume whose local files are not what was written: told exactly, in extents of blocks. */
import type { CheckedDamage } from "./contract.ts";

export const unknownWhy = "what it held is not known without the map";
export const perhapsTrimmedWhy = "it may have been trimmed since its newest chunk was made";

/** Extents that are named one by one; beyond that their blocks are only counted. */
const namedDamage = 1000;

export interface DamageReport {
  /** Why the volume cannot be opened for writing, in one sentence. */
  readonly reason: string;
  /** What concerns no single block, and the first thousand extents. */
  readonly damage: readonly CheckedDamage[];
  readonly damaged_blocks: number;
}

export interface BlockRange {
  readonly first: number;
  readonly count: number;
}

/** What lies between the ranges, which may overlap and come in any order. */
export function complement(ranges: readonly BlockRange[], end: number): BlockRange[] {
  const between: BlockRange[] = [];
  let at = 0;
  for (const { first, count } of ranges.toSorted((a, b) => a.first - b.first)) {
    if (first > at) between.push({ first: at, count: Math.min(first, end) - at });
    at = Math.max(at, first + count);
    if (at >= end) return between;
  }
  between.push({ first: at, count: end - at });
  return between;
}

/** The first block of `range` that lies in one of the ranges (sorted, apart from each other), or -1. */
export function firstWithin(ranges: readonly BlockRange[], { first, count }: BlockRange): number {
  let [low, high] = [0, ranges.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    const at = ranges[middle] as BlockRange;
    if (at.first + at.count <= first) low = middle + 1;
    else high = middle;
  }
  const found = ranges[low];
  if (found === undefined || found.first >= first + count) return -1;
  return Math.max(first, found.first);
}

/** Gathers damaged blocks, told in order, into extents that share a reason. */
export class DamageList {
  readonly #sentences: CheckedDamage[] = [];
  readonly #extents: { block: number; blocks: number; why: string }[] = [];
  readonly #doubts: CheckedDamage[] = [];
  #blocks = 0;

  /** What concerns no single block. */
  say(why: string): void {
    this.#sentences.push({ why });
  }

  add(block: number, why: string, blocks = 1): void {
    this.#blocks += blocks;
    const last = this.#extents.at(-1);
    if (last?.why === why && last.block + last.blocks === block) last.blocks += blocks;
    else if (this.#extents.length < namedDamage) this.#extents.push({ block, blocks, why });
  }

  /** Blocks that can be read, and may yet not be what they should be. */
  doubt(ranges: readonly BlockRange[], why: string): void {
    for (const { first, count } of ranges) {
      if (this.#doubts.length === namedDamage) return;
      this.#doubts.push({ block: first, blocks: count, why });
    }
  }

  report(reason: string): DamageReport {
    const damage = [...this.#sentences, ...this.#extents, ...this.#doubts];
    return { reason, damage, damaged_blocks: this.#blocks };
  }
}
