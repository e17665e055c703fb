/**
 * One chain of descriptors, read once, as pieces of guest memory: first what the device may read, then what
 * it may write.
 *
 * The guest can change its descriptors at any time. So every field is read exactly once, checked, and from
 * then on only the copy is used; a chain is bounded in its descriptors, so that a loop ends. What breaks
 * the rules is told in words, and the queue is not served any more.
 */
import type { GuestMemory } from "./guest_memory.ts";
import { maximumQueueSize } from "./protocol.ts";

const hasNext = 1;
const isWritable = 2;
const isIndirect = 4;
const descriptorWords = 4;
/** Descriptors may lie across regions, and then make more than one piece. */
const pieceCapacity = maximumQueueSize + 128;

export class DescriptorChain {
  readonly region = new Int32Array(pieceCapacity);
  readonly at = new Float64Array(pieceCapacity);
  readonly length = new Float64Array(pieceCapacity);
  /** Pieces that may be read; those after them may be written. */
  readable = 0;
  count = 0;
  readableBytes = 0;
  writableBytes = 0;

  /**
   * @param table the region and the place in it, in words, of the queue's descriptors
   * @returns what is wrong with the chain, or an empty string
   */
  read(
    memory: GuestMemory,
    table: { readonly region: number; readonly word: number; readonly size: number },
    head: number,
    allowIndirect: boolean,
  ): string {
    this.readable = this.count = 0;
    this.readableBytes = this.writableBytes = 0;
    let words = memory.region(table.region).words;
    let base = table.word;
    let size = table.size;
    let inTable = false;
    let next = head;
    for (let steps = 0; steps < maximumQueueSize; steps++) {
      if (next >= size) return `descriptor ${next} of a table of ${size}`;
      const word = base + next * descriptorWords;
      const low = words[word] as number;
      const high = words[word + 1] as number;
      const length = words[word + 2] as number;
      const rest = words[word + 3] as number;
      const flags = rest & 0xffff;
      // Above 2^52 there is no guest memory, and Numbers are not exact.
      const address = high >= 1 << 20 ? Infinity : high * 4294967296 + low;
      if ((flags & isIndirect) !== 0) {
        if (inTable || !allowIndirect || (flags & hasNext) !== 0) {
          return "an indirect table where none may be";
        }
        const count = length / 16;
        if (count < 1 || count > maximumQueueSize || !Number.isInteger(count)) {
          return `an indirect table of ${length} bytes`;
        }
        const region = memory.find(address);
        if (region < 0) return "an indirect table outside the guest's memory";
        const { guest, length: regionLength, words: inRegion } = memory.region(region);
        const at = address - guest;
        if (at + length > regionLength || at % 4 !== 0) {
          return "an indirect table across the end of memory";
        }
        words = inRegion;
        base = at / 4;
        size = count;
        inTable = true;
        next = 0;
        continue;
      }
      const wrong = this.#add(memory, address, length, (flags & isWritable) !== 0);
      if (wrong !== "") return wrong;
      if ((flags & hasNext) === 0) return "";
      next = rest >>> 16;
    }
    return "a chain without an end";
  }

  #add(memory: GuestMemory, address: number, length: number, writable: boolean): string {
    if (writable) this.writableBytes += length;
    else {
      if (this.count > this.readable) return "a readable descriptor after a writable one";
      this.readableBytes += length;
    }
    for (let from = address, left = length; left > 0;) {
      const slot = memory.find(from);
      if (slot < 0) return "an address outside the guest's memory";
      if (this.count === pieceCapacity) return "a chain of too many pieces";
      const region = memory.region(slot);
      const at = from - region.guest;
      const here = Math.min(left, region.length - at);
      this.region[this.count] = slot;
      this.at[this.count] = at;
      this.length[this.count] = here;
      this.count++;
      if (!writable) this.readable = this.count;
      from += here;
      left -= here;
    }
    return "";
  }

  /** Copies bytes out of the readable part; there must be as many. */
  copyOut(memory: GuestMemory, skip: number, to: Uint8Array): void {
    let done = 0;
    for (let i = 0; i < this.readable && done < to.length; i++) {
      const length = this.length[i] as number;
      if (skip >= length) {
        skip -= length;
        continue;
      }
      const at = (this.at[i] as number) + skip;
      const here = Math.min(length - skip, to.length - done);
      to.set(memory.region(this.region[i] as number).bytes.subarray(at, at + here), done);
      done += here;
      skip = 0;
    }
  }

  /** Copies bytes to the beginning of the writable part; there must be room. */
  copyIn(memory: GuestMemory, from: Uint8Array): void {
    let done = 0;
    for (let i = this.readable; i < this.count && done < from.length; i++) {
      const here = Math.min(this.length[i] as number, from.length - done);
      const { bytes } = memory.region(this.region[i] as number);
      bytes.set(from.subarray(done, done + here), this.at[i] as number);
      done += here;
    }
  }
}
