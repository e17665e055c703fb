/**
 * The read cache: blocks in RAM, found by where they live (container, index), least recently used
 * thrown out first.
 *
 * Since a place is never written twice under the same name, nothing here ever becomes wrong: a block
 * that is overwritten lives elsewhere, and the old copy ages away. A container that is to stand for
 * something else from now on is forgotten first.
 * A block may be held while a reply is sent from its place: it is not thrown out until it is let go.
 * All state is in typed arrays; looking up and inserting allocate nothing. What is known of an entry lies together, since
 * entries are looked up in no order: each array of its own would be one more line of memory to wait for.
 */
import type { Memory } from "../../../ffi/libc.ts";
import { blockBytes, chunkNumber, hole } from "../format.ts";

/** Blocks that are looked for together at most. */
export const mostExpected = 64;

// Words of an entry: where its block lives, the next entry of its bucket, its neighbours in the order of use, how many hold it.
const entryWords = 8;
const containerWord = 0;
const indexWord = 1;
const chainWord = 2;
const newerWord = 3;
const olderWord = 4;
const holdersWord = 5;

export class ReadCache {
  readonly memory: Memory;
  readonly #from: number;
  readonly #capacity: number;
  readonly #mask: number;
  readonly #buckets: Int32Array;
  readonly #entries: Int32Array;
  readonly #expected = new Int32Array(mostExpected);
  /** Nobody needs it; without it nothing would have to be read. */
  #touched = 0;
  #used = 0;
  #newest = -1;
  #oldest = -1;
  hits = 0;
  misses = 0;

  /** @param memory from `from` to its end the cache's; whole blocks of that are its bound */
  constructor(memory: Memory, from = 0) {
    this.memory = memory;
    this.#from = from;
    this.#capacity = Math.floor((memory.length - from) / blockBytes);
    const buckets = 2 ** Math.ceil(Math.log2(Math.max(2, this.#capacity)));
    this.#mask = buckets - 1;
    this.#buckets = new Int32Array(buckets).fill(-1);
    this.#entries = new Int32Array(this.#capacity * entryWords);
  }

  #bucket(container: number, index: number): number {
    const mixed = Math.imul(container, 0x9e3779b1) ^ Math.imul(index, 0x85ebca6b);
    return (mixed ^ (mixed >>> 15)) & this.#mask;
  }

  /** The entry's first word, or -1. */
  #find(container: number, index: number): number {
    const entries = this.#entries;
    // Chunks' numbers have the highest bit, which is a sign here.
    const signed = container | 0;
    let at = this.#buckets[this.#bucket(container, index)] as number;
    while (at >= 0 && (entries[at + indexWord] !== index || entries[at] !== signed)) {
      at = entries[at + chainWord] as number;
    }
    return at;
  }

  #unlink(at: number): void {
    const entries = this.#entries;
    const newer = entries[at + newerWord] as number;
    const older = entries[at + olderWord] as number;
    if (newer >= 0) entries[newer + olderWord] = older;
    else this.#newest = older;
    if (older >= 0) entries[older + newerWord] = newer;
    else this.#oldest = newer;
  }

  #link(at: number): void {
    const entries = this.#entries;
    entries[at + newerWord] = -1;
    entries[at + olderWord] = this.#newest;
    if (this.#newest >= 0) entries[this.#newest + newerWord] = at;
    this.#newest = at;
    if (this.#oldest < 0) this.#oldest = at;
  }

  #offset(at: number): number {
    return this.#from + at / entryWords * blockBytes;
  }

  /** These are about to be looked up: what has to be waited for is asked for together. Changes nothing. */
  expect(containers: Uint32Array, indexes: Int32Array, count: number): void {
    const entries = this.#entries;
    const n = Math.min(count, mostExpected);
    for (let i = 0; i < n; i++) {
      this.#expected[i] = this
        .#buckets[this.#bucket(containers[i] as number, indexes[i] as number)] as number;
    }
    let touched = 0;
    for (let i = 0; i < n; i++) {
      const at = this.#expected[i] as number;
      if (at >= 0) touched ^= entries[at + indexWord] as number;
    }
    this.#touched = touched;
  }

  /** Byte offset in the cache's memory, or -1. What is found becomes the most recently used. */
  lookup(container: number, index: number): number {
    const at = this.#find(container, index);
    if (at < 0) {
      this.misses++;
      return -1;
    }
    this.#use(at);
    return this.#offset(at);
  }

  #use(at: number): void {
    this.hits++;
    if (at === this.#newest) return;
    this.#unlink(at);
    this.#link(at);
  }

  /**
   * As `lookup` of a block that then stays in its place until it is let go as often as it is held. Returns its entry, or -1;
   * who finds nothing looks elsewhere, so that is no miss yet.
   */
  hold(container: number, index: number): number {
    const at = this.#find(container, index);
    if (at < 0) return -1;
    this.#use(at);
    this.#addHolders(at, 1);
    return at;
  }

  letGo(entry: number): void {
    this.#addHolders(entry, -1);
  }

  #addHolders(at: number, more: number): void {
    const word = at + holdersWord;
    this.#entries[word] = (this.#entries[word] as number) + more;
  }

  /** Byte offset in the cache's memory of a held entry's block. */
  placeOf(entry: number): number {
    return this.#offset(entry);
  }

  /** Whether the block is here; changes nothing. */
  has(container: number, index: number): boolean {
    return this.#find(container, index) >= 0;
  }

  /**
   * What it has of these chunks is found no more, and ages away. All entries are looked at, on the engine's loop: so each costs no more
   * than a look at its container, and at its mark when that is a chunk.
   */
  forget(chunks: readonly number[]): void {
    const marks = new Uint8Array(chunks.reduce((most, chunk) => Math.max(most, chunk), -1) + 1);
    for (const chunk of chunks) marks[chunk] = 1;
    const entries = this.#entries;
    const end = this.#used * entryWords;
    for (let at = 0; at < end; at += entryWords) {
      const container = entries[at + containerWord] as number;
      // Chunks' numbers have the highest bit, which is a sign here.
      if (container >= 0) continue;
      const chunk = chunkNumber(container);
      if (chunk >= marks.length || marks[chunk] === 0) continue;
      this.#unchain(at);
      // Nobody looks for blocks of a hole.
      entries[at + containerWord] = hole;
      this.#chain(at);
    }
  }

  get bytes(): Uint8Array<ArrayBuffer> {
    return this.memory.bytes;
  }

  /** The entry to be thrown out next, or -1 when all are held. Those that are held were used lately: seldom is more than one looked at. */
  #oldestFree(): number {
    let at = this.#oldest;
    while (at >= 0 && (this.#entries[at + holdersWord] as number) > 0) {
      at = this.#entries[at + newerWord] as number;
    }
    return at;
  }

  /** Keeps a copy of the block at `from` of `source`, if there is room. */
  insert(container: number, index: number, source: Uint8Array, from: number): void {
    if (this.#capacity === 0 || this.#find(container, index) >= 0) return;
    let at: number;
    if (this.#used < this.#capacity) at = this.#used++ * entryWords;
    else {
      at = this.#oldestFree();
      if (at < 0) return;
      this.#unlink(at);
      this.#unchain(at);
    }
    const entries = this.#entries;
    entries[at + containerWord] = container;
    entries[at + indexWord] = index;
    this.#chain(at);
    this.#link(at);
    copyBlock(this.bytes, this.#offset(at), source, from);
  }

  /** The bucket of what the entry holds. */
  #bucketOf(entry: number): number {
    const entries = this.#entries;
    return this.#bucket(
      entries[entry + containerWord] as number,
      entries[entry + indexWord] as number,
    );
  }

  #chain(entry: number): void {
    const bucket = this.#bucketOf(entry);
    this.#entries[entry + chainWord] = this.#buckets[bucket] as number;
    this.#buckets[bucket] = entry;
  }

  #unchain(entry: number): void {
    const entries = this.#entries;
    const bucket = this.#bucketOf(entry);
    const next = entries[entry + chainWord] as number;
    let at = this.#buckets[bucket] as number;
    if (at === entry) {
      this.#buckets[bucket] = next;
      return;
    }
    while (entries[at + chainWord] !== entry) at = entries[at + chainWord] as number;
    entries[at + chainWord] = next;
  }
}

/** Copies a block; within one memory without a view, which would be garbage of each copy. */
export function copyBlock(to: Uint8Array, at: number, source: Uint8Array, from: number): void {
  if (to === source) to.copyWithin(at, from, from + blockBytes);
  else to.set(source.subarray(from, from + blockBytes), at);
}
