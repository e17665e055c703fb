/**
 * The read cache: blocks in RAM, found by where they live (container, index), least recently used
 * thrown out first.
 *
 * Since a place is never written twice under the same name, nothing here ever becomes wrong: a block
 * that is overwritten lives elsewhere, and the old copy ages away. The exceptions are containers that
 * a caller gives back for reuse under a new name, which is why names are never reused.
 * All state is in typed arrays; looking up and inserting allocate nothing.
 */
import type { Memory } from "../../../ffi/libc.ts";
import { blockBytes } from "../format.ts";

export class ReadCache {
  readonly #memory: Memory;
  readonly #capacity: number;
  readonly #mask: number;
  readonly #buckets: Int32Array;
  readonly #chain: Int32Array;
  readonly #containers: Uint32Array;
  readonly #indexes: Uint32Array;
  readonly #newer: Int32Array;
  readonly #older: Int32Array;
  #used = 0;
  #newest = -1;
  #oldest = -1;
  hits = 0;
  misses = 0;

  /** @param memory whole blocks; its length is the cache's bound */
  constructor(memory: Memory) {
    this.#memory = memory;
    this.#capacity = Math.floor(memory.length / blockBytes);
    const buckets = 2 ** Math.ceil(Math.log2(Math.max(2, this.#capacity)));
    this.#mask = buckets - 1;
    this.#buckets = new Int32Array(buckets).fill(-1);
    this.#chain = new Int32Array(this.#capacity);
    this.#containers = new Uint32Array(this.#capacity);
    this.#indexes = new Uint32Array(this.#capacity);
    this.#newer = new Int32Array(this.#capacity);
    this.#older = new Int32Array(this.#capacity);
  }

  #bucket(container: number, index: number): number {
    const mixed = Math.imul(container, 0x9e3779b1) ^ Math.imul(index, 0x85ebca6b);
    return (mixed ^ (mixed >>> 15)) & this.#mask;
  }

  #find(container: number, index: number): number {
    let at = this.#buckets[this.#bucket(container, index)] as number;
    while (
      at >= 0 && (this.#indexes[at] !== index || this.#containers[at] !== container)
    ) at = this.#chain[at] as number;
    return at;
  }

  #unlink(at: number): void {
    const newer = this.#newer[at] as number;
    const older = this.#older[at] as number;
    if (newer >= 0) this.#older[newer] = older;
    else this.#newest = older;
    if (older >= 0) this.#newer[older] = newer;
    else this.#oldest = newer;
  }

  #link(at: number): void {
    this.#newer[at] = -1;
    this.#older[at] = this.#newest;
    if (this.#newest >= 0) this.#newer[this.#newest] = at;
    this.#newest = at;
    if (this.#oldest < 0) this.#oldest = at;
  }

  /** Byte offset in the cache's memory, or -1. What is found becomes the most recently used. */
  lookup(container: number, index: number): number {
    const at = this.#find(container, index);
    if (at < 0) {
      this.misses++;
      return -1;
    }
    this.hits++;
    if (at !== this.#newest) {
      this.#unlink(at);
      this.#link(at);
    }
    return at * blockBytes;
  }

  /** Whether the block is here; changes nothing. */
  has(container: number, index: number): boolean {
    return this.#find(container, index) >= 0;
  }

  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#memory.bytes;
  }

  get memory(): Memory {
    return this.#memory;
  }

  /** Keeps a copy of the block at `from` of `source`. */
  insert(container: number, index: number, source: Uint8Array, from: number): void {
    if (this.#capacity === 0 || this.#find(container, index) >= 0) return;
    let at: number;
    if (this.#used < this.#capacity) at = this.#used++;
    else {
      at = this.#oldest;
      this.#unlink(at);
      this.#unchain(at);
    }
    this.#containers[at] = container;
    this.#indexes[at] = index;
    const bucket = this.#bucket(container, index);
    this.#chain[at] = this.#buckets[bucket] as number;
    this.#buckets[bucket] = at;
    this.#link(at);
    this.#memory.bytes.set(source.subarray(from, from + blockBytes), at * blockBytes);
  }

  #unchain(entry: number): void {
    const bucket = this.#bucket(
      this.#containers[entry] as number,
      this.#indexes[entry] as number,
    );
    let at = this.#buckets[bucket] as number;
    if (at === entry) {
      this.#buckets[bucket] = this.#chain[entry] as number;
      return;
    }
    while (this.#chain[at] !== entry) at = this.#chain[at] as number;
    this.#chain[at] = this.#chain[entry] as number;
  }
}
