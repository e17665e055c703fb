/**
 * Holds a volume's books against its map: every container's count of live blocks, and that no place is
 * owned twice. Costs a pass over the whole map; for the simulation and for checks by hand.
 *
 * It may be done in parts while guests write, since what it looks at is of the moment at which it began: the map and the
 * counts are captured, and which block a place was written for never changes. It takes a bit for each place and three numbers for
 * each chunk, so that a volume may be as large as it likes.
 */
import { type CapturedLeaf, containerAt, indexAt, leafBlocks } from "../maps/block_map.ts";
import { chunkNumber, hole, isChunk } from "../format.ts";
import type { Chunk, Places, Segment } from "./places.ts";

/** More is not better known for being said. */
const mostSaid = 1000;

export class Audit {
  readonly #sizeBlocks: number;
  readonly #counted: number;
  readonly #leaves: (CapturedLeaf | undefined)[];
  readonly #segments: ReadonlyMap<number, { readonly segment: Segment; readonly at: number }>;
  readonly #chunks: readonly (Chunk | undefined)[];
  /** Of the chunks by their numbers, then of the segments. */
  readonly #live: Uint32Array;
  readonly #first: Float64Array;
  readonly #found: Uint32Array;
  /** A bit for each place: a block that lives there was seen. */
  readonly #seen: Uint32Array;
  readonly #wrong: string[] = [];
  #next = 0;
  #mapped = 0;

  constructor({ chunks, map, segments }: Places) {
    this.#sizeBlocks = map.sizeBlocks;
    this.#counted = map.mappedBlocks;
    this.#leaves = map.capture();
    this.#chunks = chunks.slice();
    const containers = chunks.length + segments.size;
    this.#live = new Uint32Array(containers);
    this.#first = new Float64Array(containers);
    this.#found = new Uint32Array(containers);
    let places = 0;
    let at = 0;
    for (const chunk of this.#chunks) {
      this.#live[at] = chunk?.live ?? 0;
      this.#first[at++] = places;
      places += chunk?.blocks ?? 0;
    }
    const known = new Map<number, { segment: Segment; at: number }>();
    for (const segment of segments.values()) {
      known.set(segment.number, { segment, at });
      this.#live[at] = segment.live;
      this.#first[at++] = places;
      places += segment.blocks.length;
    }
    this.#segments = known;
    this.#seen = new Uint32Array(Math.ceil(places / 32));
  }

  /** What is wrong, in sentences; empty when nothing is. Complete when all is done. */
  get wrong(): readonly string[] {
    return this.#wrong;
  }

  /** Goes through so many leaves of the map. @returns whether that was the last of it */
  step(leaves: number): boolean {
    for (const end = this.#next + leaves; this.#next < end; this.#next++) {
      const leaf = this.#leaves[this.#next];
      if (leaf === undefined) {
        this.#count();
        return true;
      }
      this.#look(leaf);
      // Guests that write to it need no copy any more.
      this.#leaves[this.#next] = undefined;
    }
    return false;
  }

  #say(wrong: string): void {
    if (this.#wrong.length < mostSaid) this.#wrong.push(wrong);
  }

  #look({ firstBlock, words }: CapturedLeaf): void {
    for (let block = firstBlock; block < firstBlock + leafBlocks; block++) {
      const container = containerAt(words, block);
      if (container === hole) continue;
      this.#mapped++;
      if (block >= this.#sizeBlocks) this.#say(`block ${block} lies beyond the end`);
      if (isChunk(container)) this.#inChunk(block, chunkNumber(container), indexAt(words, block));
      else this.#inSegment(block, container, indexAt(words, block));
    }
  }

  #inChunk(block: number, number: number, index: number): void {
    const chunk = this.#chunks[number];
    if (chunk === undefined) this.#say(`block ${block} is in a chunk that is not known`);
    else if (index >= chunk.blocks) this.#say(`block ${block} is beyond its chunk's end`);
    else if (this.#isSeen(number, index)) {
      this.#say(`block ${block} and one before it share place ${index} of chunk ${chunk.key}`);
    }
  }

  #inSegment(block: number, number: number, index: number): void {
    const known = this.#segments.get(number);
    if (known?.segment.blocks[index] !== block) {
      this.#say(`segment ${number} does not know that it holds block ${block}`);
    }
    if (known === undefined || index >= known.segment.blocks.length) return;
    if (this.#isSeen(known.at, index)) {
      this.#say(`block ${block} and one before it share place ${index} of segment ${number}`);
    }
  }

  /** Counts one more block of the container. @returns whether another lives in that place */
  #isSeen(at: number, index: number): boolean {
    this.#found[at] = (this.#found[at] as number) + 1;
    const place = (this.#first[at] as number) + index;
    const word = Math.floor(place / 32);
    const bit = 1 << (place % 32);
    const seen = this.#seen[word] as number;
    this.#seen[word] = seen | bit;
    return (seen & bit) !== 0;
  }

  #count(): void {
    if (this.#mapped !== this.#counted) {
      this.#say(`${this.#mapped} blocks are mapped, ${this.#counted} are counted`);
    }
    for (const { segment, at } of this.#segments.values()) {
      this.#compare(at, () => `segment ${segment.number}`);
    }
    for (const [number, chunk] of this.#chunks.entries()) {
      if (chunk !== undefined) this.#compare(number, () => `chunk ${chunk.key}`);
    }
  }

  #compare(at: number, name: () => string): void {
    const [found, counted] = [this.#found[at], this.#live[at]];
    if (found !== counted) this.#say(`${name()} holds ${found} blocks, ${counted} are counted`);
  }
}

/** All of it at once. @returns what is wrong, in sentences; empty when nothing is */
export function audit(places: Places): readonly string[] {
  const audit = new Audit(places);
  audit.step(Infinity);
  return audit.wrong;
}
