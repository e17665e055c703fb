/**
 * A guest's memory, mapped region by region, and the way from its addresses to our views.
 *
 * A region that a newer table has replaced stays mapped until nothing refers to it any more: requests
 * keep the number of each region that they use, and count as its users. Addresses are the guest's
 * word and never used without `find`.
 */
import type { Memory } from "../../../../ffi/libc.ts";
import type { RegionAsked } from "./protocol.ts";

/** Regions mapped at a time, replaced ones included. */
const regionSlots = 64;

export interface Region {
  readonly guest: number;
  readonly user: number;
  readonly length: number;
  readonly memory: Memory;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly halves: Uint16Array;
  readonly words: Uint32Array;
  users: number;
  retired: boolean;
}

export class GuestMemory {
  readonly #slots: (Region | undefined)[] = new Array(regionSlots).fill(undefined);
  readonly #unmap: (memory: Memory) => void;
  #current: number[] = [];
  #last = 0;

  constructor(unmap: (memory: Memory) => void) {
    this.#unmap = unmap;
  }

  /**
   * Takes the place of the table before. Each memory must be as long as its region.
   * @returns false when there are too many regions that are still in use; nothing was done then
   */
  replace(asked: readonly RegionAsked[], mapped: readonly Memory[]): boolean {
    const before = this.#current;
    const free: number[] = [];
    for (let slot = 0; slot < regionSlots; slot++) {
      if (this.#slots[slot] === undefined) free.push(slot);
    }
    if (free.length < asked.length) return false;
    this.#current = asked.map(({ guest, user, length }, i) => {
      const memory = mapped[i] as Memory;
      const slot = free[i] as number;
      this.#slots[slot] = {
        guest,
        user,
        length,
        memory,
        bytes: memory.bytes,
        halves: new Uint16Array(memory.buffer, 0, Math.floor(length / 2)),
        words: new Uint32Array(memory.buffer, 0, Math.floor(length / 4)),
        users: 0,
        retired: false,
      };
      return slot;
    });
    this.#last = this.#current[0] ?? 0;
    for (const slot of before) this.#retire(slot);
    return true;
  }

  #retire(slot: number): void {
    const region = this.#slots[slot] as Region;
    region.retired = true;
    if (region.users === 0) this.#drop(slot);
  }

  #drop(slot: number): void {
    const region = this.#slots[slot] as Region;
    this.#slots[slot] = undefined;
    this.#unmap(region.memory);
  }

  region(slot: number): Region {
    return this.#slots[slot] as Region;
  }

  use(slot: number): void {
    (this.#slots[slot] as Region).users++;
  }

  leave(slot: number): void {
    const region = this.#slots[slot] as Region;
    if (--region.users === 0 && region.retired) this.#drop(slot);
  }

  /** The region that holds the guest's address, or -1. */
  find(guest: number): number {
    const last = this.#slots[this.#last];
    if (
      last !== undefined && !last.retired && guest >= last.guest && guest < last.guest + last.length
    ) return this.#last;
    for (let i = 0; i < this.#current.length; i++) {
      const slot = this.#current[i] as number;
      const region = this.#slots[slot] as Region;
      if (guest >= region.guest && guest < region.guest + region.length) {
        this.#last = slot;
        return slot;
      }
    }
    return -1;
  }

  /** The region in which the front end has all of that range, or -1. */
  findUser(user: number, length: number): number {
    for (const slot of this.#current) {
      const region = this.#slots[slot] as Region;
      if (user >= region.user && user + length <= region.user + region.length) return slot;
    }
    return -1;
  }

  /** Unmaps everything that nothing refers to; the rest goes with its last user. */
  clear(): void {
    for (const slot of this.#current) this.#retire(slot);
    this.#current = [];
  }

  /** Unmaps everything; no user will come any more. */
  abandon(): void {
    for (let slot = 0; slot < regionSlots; slot++) {
      if (this.#slots[slot] !== undefined) this.#drop(slot);
    }
    this.#current = [];
  }
}
