/**
 * Buffers that reads are gathered in, in four sizes, the smallest that fits being taken. Memory is
 * mapped once and touched when first used; the largest, which few clients ever need, is given back
 * to the kernel after each use. A slot also remembers, for each of its blocks, where the block was
 * being read from, so that what arrives can be checked.
 */
import type { Memory } from "../../../ffi/libc.ts";
import { blockBytes } from "../format.ts";
import type { Machine } from "../machine/machine.ts";

const classes = [
  { bytes: 16 << 10, count: 256 },
  { bytes: 132 << 10, count: 32 },
  { bytes: 1028 << 10, count: 12 },
  // The longest request, and one more block for its unaligned ends.
  { bytes: (32 << 20) + blockBytes, count: 1 },
] as const;

export class Slots {
  readonly memory: Memory;
  /** Byte offset of each slot in the memory. */
  readonly start: Float64Array;
  /** First element of each slot in the three columns below. */
  readonly firstBlock: Int32Array;
  readonly container: Uint32Array;
  readonly index: Uint32Array;
  readonly checksum: Uint32Array;
  readonly #class: Uint8Array;
  readonly #free: number[][] = [];

  /** Bytes of all slots: what follows in the memory is whose it was asked for. */
  readonly bytes: number;

  /**
   * @param low below 4 GiB, where there is room: for volumes whose blocks are opened in their slots
   * @param beside bytes behind the slots in the same memory, which can be copied into them without a view
   */
  constructor(readonly machine: Machine, low = false, beside = 0) {
    const slots = classes.reduce((sum, each) => sum + each.count, 0);
    const bytes = classes.reduce((sum, each) => sum + each.bytes * each.count, 0);
    this.bytes = bytes;
    this.memory = machine.memory(bytes + beside, { low, huge: true, populate: false });
    this.start = new Float64Array(slots);
    this.firstBlock = new Int32Array(slots);
    this.#class = new Uint8Array(slots);
    this.container = new Uint32Array(bytes / blockBytes);
    this.index = new Uint32Array(bytes / blockBytes);
    this.checksum = new Uint32Array(bytes / blockBytes);
    let slot = 0;
    let at = 0;
    for (const [number, each] of classes.entries()) {
      const free: number[] = [];
      for (let i = 0; i < each.count; i++, slot++, at += each.bytes) {
        this.start[slot] = at;
        this.firstBlock[slot] = at / blockBytes;
        this.#class[slot] = number;
        free.push(slot);
      }
      this.#free.push(free.reverse());
    }
  }

  /** A slot of at least `bytes`, or -1 when there is none now. */
  take(bytes: number): number {
    // By number: an iterator's pairs would be garbage of each read.
    for (let number = 0; number < classes.length; number++) {
      if ((classes[number] as (typeof classes)[number]).bytes < bytes) continue;
      const slot = this.#free[number]?.pop();
      if (slot !== undefined) return slot;
    }
    return -1;
  }

  /** Whether that many slots of at least `bytes` could be taken now. */
  has(bytes: number, count: number): boolean {
    let free = 0;
    for (const [number, each] of classes.entries()) {
      if (each.bytes >= bytes) free += this.#free[number]?.length ?? 0;
    }
    return free >= count;
  }

  free(slot: number): void {
    const number = this.#class[slot] as number;
    this.#free[number]?.push(slot);
    if (number === classes.length - 1) {
      this.machine.forget(this.memory, this.start[slot] as number, classes[3].bytes);
    }
  }
}
