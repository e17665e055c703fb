/**
 * The containers that blocks live in, and how many live blocks each holds.
 *
 * `place`, `placeRun` and `clear` are the only ways by which the map changes, so the counts always agree with
 * it: a segment or chunk whose count is zero holds nothing that the volume needs.
 */
import type { BlockMap } from "../maps/block_map.ts";
import { chunkKey, type ChunkName, chunkNumber, hole, isChunk, segmentBlocks } from "../format.ts";
import type { OpenFile } from "../machine/machine.ts";

export interface Segment {
  readonly number: number;
  readonly path: string;
  readonly fd: number;
  /** Who wrote it. */
  readonly epoch: number;
  /** Which block of the volume each of its blocks holds; `noBlock` for headers. */
  readonly blocks: Uint32Array;
  live: number;
  /** Reads under way from its file. */
  readers: number;
  /** An earlier process wrote it: what that left under way may still land in the file. */
  inherited: boolean;
  /** No batch will be added to it. */
  sealed: boolean;
  firstSequence: number;
  lastSequence: number;
}

export const noBlock = 0xffff_ffff;

/**
 * Segments that are found without asking the table, a power of two: a block that is written again leaves one segment
 * for another, each time.
 */
const recentSegments = 128;

export class Chunk {
  live = 0;
  /** A snapshot names it: whether it is needed is not for this volume alone to say. */
  shared = false;
  /** That was asked since it was made: its epoch says nothing of it any more. */
  isOwn = false;

  constructor(readonly name: ChunkName, readonly blocks: number) {}

  /** Made when asked for: a large volume has tens of thousands of chunks, and few are asked. */
  get key(): string {
    return chunkKey(this.name);
  }
}

export class Places {
  readonly segments = new Map<number, Segment>();
  /** Chunks by number. A number that is free has none, and the table does not end with such. */
  readonly chunks: (Chunk | undefined)[] = [];
  /** No number below it is free. */
  #mayBeFree = 0;
  readonly #recent: (Segment | undefined)[] = new Array(recentSegments).fill(undefined);
  readonly #release = (container: number) => this.#lose(container);

  /** @param segmentLength blocks of the segments that are made */
  constructor(readonly map: BlockMap, readonly segmentLength: number = segmentBlocks) {}

  segment(number: number): Segment | undefined {
    const recent = this.#recent[number & (recentSegments - 1)];
    if (recent?.number === number) return recent;
    return this.#recent[number & (recentSegments - 1)] = this.segments.get(number);
  }

  addSegment(number: number, file: OpenFile, firstSequence: number, epoch: number): Segment {
    const segment: Segment = {
      number,
      path: file.path,
      fd: file.fd,
      epoch,
      blocks: new Uint32Array(this.segmentLength).fill(noBlock),
      live: 0,
      readers: 0,
      inherited: false,
      sealed: false,
      firstSequence,
      lastSequence: firstSequence - 1,
    };
    this.segments.set(number, segment);
    this.#recent[number & (recentSegments - 1)] = segment;
    return segment;
  }

  /** Forgets all of them; who closes their files has them. */
  forgetSegments(): void {
    this.segments.clear();
    this.#recent.fill(undefined);
  }

  /** Forgets the segment and returns its file. */
  removeSegment(segment: Segment): OpenFile {
    this.segments.delete(segment.number);
    const at = segment.number & (recentSegments - 1);
    if (this.#recent[at] === segment) this.#recent[at] = undefined;
    return { path: segment.path, fd: segment.fd };
  }

  /** Names a new chunk; returns its number, the lowest that is free, so that the table is no longer than it must be. */
  addChunk(name: ChunkName, blocks: number): number {
    let number = this.#mayBeFree;
    while (this.chunks[number] !== undefined) number++;
    this.#mayBeFree = number + 1;
    this.chunks[number] = new Chunk(name, blocks);
    return number;
  }

  /** Sets what a stored map says; used while it is loaded. */
  restoreChunk(number: number, name: ChunkName | undefined, blocks: number): void {
    // A table that ends with free numbers has been longer than it is now.
    if (name === undefined) return;
    while (this.chunks.length < number) this.chunks.push(undefined);
    this.chunks[number] = new Chunk(name, blocks);
  }

  /** The local checkpoint does not know the chunk any more, and nobody does here: its number is the next one's. */
  removeChunk(number: number): void {
    this.chunks[number] = undefined;
    this.#mayBeFree = Math.min(this.#mayBeFree, number);
    while (this.chunks.length > 0 && this.chunks.at(-1) === undefined) this.chunks.pop();
  }

  /** The block now lives there. */
  place(block: number, container: number, index: number, checksum: number): void {
    const before = this.map.set(block, container, index, checksum);
    if (isChunk(container)) {
      const chunk = this.chunks[chunkNumber(container)];
      if (chunk !== undefined) chunk.live++;
    } else {
      const segment = this.segment(container);
      if (segment !== undefined) segment.live++;
    }
    if (before !== hole) this.#lose(before);
  }

  /** As `place` of `count` blocks that live there one after another, their checksums from `at` on. */
  placeRun(
    first: number,
    count: number,
    container: number,
    index: number,
    checksums: Uint32Array,
    at: number,
  ): void {
    this.map.setRun(first, count, container, index, checksums, at, this.#release);
    const holder = isChunk(container)
      ? this.chunks[chunkNumber(container)]
      : this.segment(container);
    if (holder !== undefined) holder.live += count;
  }

  /** The blocks are holes now. Returns how many were not before. */
  clear(first: number, count: number): number {
    return this.map.clear(first, count, this.#release);
  }

  #lose(container: number): void {
    if (isChunk(container)) {
      const chunk = this.chunks[chunkNumber(container)];
      if (chunk !== undefined) chunk.live--;
    } else {
      const segment = this.segment(container);
      if (segment !== undefined) segment.live--;
    }
  }
}
