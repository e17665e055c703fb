/**
 * The data of requests under way, as lists of pieces of guest memory, kept in columns: a list is the
 * number of its first piece, and keeping one allocates nothing. A region with pieces stays mapped.
 */
import type { DescriptorChain } from "./descriptor_chain.ts";
import type { GuestMemory } from "./guest_memory.ts";

const capacity = 1 << 15;

export class Segments {
  readonly region = new Int32Array(capacity);
  readonly at = new Float64Array(capacity);
  readonly length = new Float64Array(capacity);
  readonly next = new Int32Array(capacity);
  #free = 0;
  #available = capacity;

  constructor(readonly memory: GuestMemory) {
    for (let i = 0; i < capacity; i++) this.next[i] = i + 1;
    this.next[capacity - 1] = -1;
  }

  hasRoom(pieces: number): boolean {
    return this.#available >= pieces;
  }

  /**
   * Keeps `bytes` bytes of the pieces from `first` up to `end` of the chain, without the first `skip`.
   * There must be room and as many bytes. @returns the list, -1 when it is empty
   */
  keep(chain: DescriptorChain, first: number, end: number, skip: number, bytes: number): number {
    let head = -1;
    let tail = -1;
    let left = bytes;
    for (let i = first; i < end && left > 0; i++) {
      const length = chain.length[i] as number;
      if (skip >= length) {
        skip -= length;
        continue;
      }
      const piece = this.#free;
      this.#free = this.next[piece] as number;
      this.#available--;
      const here = Math.min(length - skip, left);
      const region = chain.region[i] as number;
      this.region[piece] = region;
      this.at[piece] = (chain.at[i] as number) + skip;
      this.length[piece] = here;
      this.next[piece] = -1;
      this.memory.use(region);
      if (tail < 0) head = piece;
      else this.next[tail] = piece;
      tail = piece;
      left -= here;
      skip = 0;
    }
    return head;
  }

  release(head: number): void {
    for (let piece = head; piece >= 0;) {
      const next = this.next[piece] as number;
      this.memory.leave(this.region[piece] as number);
      this.next[piece] = this.#free;
      this.#free = piece;
      this.#available++;
      piece = next;
    }
  }

  /** Copies to the list's memory as much as it takes. */
  fill(head: number, from: Uint8Array, at: number): void {
    for (let piece = head; piece >= 0; piece = this.next[piece] as number) {
      const length = this.length[piece] as number;
      const { bytes } = this.memory.region(this.region[piece] as number);
      bytes.set(from.subarray(at, at + length), this.at[piece] as number);
      at += length;
    }
  }

  /** Copies `length` bytes from the list, `skip` bytes behind the beginning of piece `head`. */
  gather(head: number, skip: number, to: Uint8Array, length: number): void {
    let done = 0;
    for (let piece = head; piece >= 0 && done < length; piece = this.next[piece] as number) {
      const here = Math.min((this.length[piece] as number) - skip, length - done);
      const at = (this.at[piece] as number) + skip;
      const { bytes } = this.memory.region(this.region[piece] as number);
      to.set(bytes.subarray(at, at + here), done);
      done += here;
      skip = 0;
    }
  }
}
