/**
 * The memory that reads pass through: the slots that they are gathered in, and behind them in the same mapping the read
 * cache, so that a block found there is copied without a view for each. An encrypted volume's slots lie below 4 GiB, where
 * there is no room for every volume's cache.
 */
import type { Machine } from "../machine/machine.ts";
import { ReadCache } from "./read_cache.ts";
import { Slots } from "./slots.ts";

export function slotsAndCache(
  machine: Machine,
  cacheBytes: number,
  isEncrypted: boolean,
): [Slots, ReadCache] {
  if (isEncrypted) {
    const memory = machine.memory(cacheBytes, { huge: true, populate: false });
    return [new Slots(machine, true), new ReadCache(memory)];
  }
  const slots = new Slots(machine, false, cacheBytes);
  return [slots, new ReadCache(slots.memory, slots.bytes)];
}

/** Nothing is under way in either any more. */
export function releaseSlotsAndCache({ machine, memory }: Slots, cache: ReadCache): void {
  if (cache.memory !== memory) machine.release(cache.memory);
  machine.release(memory);
}
