/** A cipher of units that are each sealed and opened by themselves under a name of their own (`aes_xts.ts`). */
import type { Memory } from "./libc.ts";

/** Libraries take addresses: what does not lie in the memory is refused here. @throws RangeError */
export function checkUnit(memory: Memory, at: number, length: number): void {
  if (!(at >= 0 && length >= 0 && at + length <= memory.length)) {
    throw new RangeError(`${length} bytes at ${at} are not in a memory of ${memory.length}`);
  }
}

export interface UnitCipher extends Disposable {
  /** The tweak of the unit that is sealed or opened next, as three words; the fourth is zero. */
  name(first: number, second: number, third: number): void;
  /** Seals the unit that was named; both may be the same place. */
  seal(from: Memory, at: number, to: Memory, toAt: number, length: number): void;
  /** Opens the unit that was named, in its place. */
  open(memory: Memory, at: number, length: number): void;
}
