/**
 * Writes of parts of a block: the block is read, the new bytes are laid over it, and the whole goes
 * into the log. When the block has moved meanwhile, because somebody wrote to it, it is read again: no
 * write is ever undone by one that began before it.
 */
import { checksumAt, livesAt } from "../maps/block_map.ts";
import { blockBytes, hole } from "../format.ts";
import { nbdError } from "./nbd_protocol.ts";
import type { LogWriter } from "./log_writer.ts";
import type { Places } from "./places.ts";
import type { Reader } from "./reader.ts";
import type { Requests } from "./requests.ts";
import type { Slots } from "./slots.ts";

/** In the slot of 16 KiB: the block as it was, the new bytes at their place in it. */
const overlayAt = 2 * blockBytes;
const partBytes = overlayAt + blockBytes;

/** The request type of the internal reads; no NBD command has it. */
export const partialRead = 255;

export interface PartialWritesOptions {
  readonly requests: Requests;
  readonly slots: Slots;
  readonly places: Places;
  readonly log: LogWriter;
  readonly reader: Reader;
  /** One part of the write is in the log, or failed. */
  readonly partDone: (write: number) => void;
}

export class PartialWrites {
  readonly #o: PartialWritesOptions;
  /** Parts that wait for room in the log. */
  #waiting: number[] = [];
  // By internal request: where the new bytes lie in the block.
  readonly #from = new Map<number, { at: number; length: number; zero: boolean }>();

  constructor(options: PartialWritesOptions) {
    this.#o = options;
  }

  get idle(): boolean {
    return this.#from.size === 0;
  }

  /** Whether that many parts could be started now. */
  hasRoom(parts: number): boolean {
    const { requests, slots, reader } = this.#o;
    return requests.available >= parts && reader.hasRoom(parts) && slots.has(partBytes, parts);
  }

  /**
   * @param from the new bytes, or undefined for zeros
   * @returns false when there is no room for it now
   */
  start(
    write: number,
    offset: number,
    length: number,
    from: Uint8Array | undefined,
    at: number,
  ): boolean {
    const { requests, slots, reader } = this.#o;
    if (!reader.hasRoom(1)) return false;
    const slot = slots.take(partBytes);
    if (slot < 0) return false;
    const id = requests.take();
    if (id < 0) {
      slots.free(slot);
      return false;
    }
    const inBlock = offset % blockBytes;
    if (from !== undefined) {
      slots.memory.bytes.set(
        from.subarray(at, at + length),
        (slots.start[slot] as number) + overlayAt + inBlock,
      );
    }
    requests.slot[id] = slot;
    requests.type[id] = partialRead;
    requests.parent[id] = write;
    requests.offset[id] = offset - inBlock;
    requests.length[id] = blockBytes;
    requests.left[write] = (requests.left[write] as number) + 1;
    this.#from.set(id, { at: inBlock, length, zero: from === undefined });
    reader.start(id);
    return true;
  }

  /** The block has been read. */
  readDone(id: number): void {
    const { requests, slots, log, reader } = this.#o;
    const slot = requests.slot[id] as number;
    const block = (requests.offset[id] as number) / blockBytes;
    if (requests.error[id] !== 0) {
      this.#finish(id, requests.error[id] as number);
      return;
    }
    const column = slots.firstBlock[slot] as number;
    if (!this.#isStillThere(block, column)) {
      reader.start(id);
      return;
    }
    const part = this.#from.get(id) as { at: number; length: number; zero: boolean };
    const base = slots.start[slot] as number;
    const bytes = slots.memory.bytes;
    const to = base + part.at;
    if (part.zero) bytes.fill(0, to, to + part.length);
    else bytes.copyWithin(to, to + overlayAt, to + overlayAt + part.length);
    if (log.put(block, bytes, base)) this.#finish(id, 0);
    else this.#waiting.push(id);
  }

  /** Whether the block is what was read. Its place alone does not say so: a chunk's number may be another's by now. */
  #isStillThere(block: number, column: number): boolean {
    const { slots, places } = this.#o;
    const leaf = places.map.leaf(block);
    const container = slots.container[column] as number;
    if (leaf === undefined) return container === hole;
    return livesAt(leaf, block, container, slots.index[column] as number) &&
      (container === hole || checksumAt(leaf, block) === slots.checksum[column]);
  }

  #finish(id: number, error: number): void {
    const { requests, slots } = this.#o;
    const write = requests.parent[id] as number;
    if (error !== 0) requests.error[write] = error;
    this.#from.delete(id);
    slots.free(requests.slot[id] as number);
    requests.free(id);
    this.#o.partDone(write);
  }

  /** Once each turn: tries again what waited for room; with `full`, gives up on it. */
  advance(full: boolean): boolean {
    if (this.#waiting.length === 0) return false;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const id of waiting) {
      if (full) this.#finish(id, nbdError.noSpace);
      else this.readDone(id);
    }
    return this.#waiting.length < waiting.length;
  }

  get waiting(): boolean {
    return this.#waiting.length > 0;
  }
}
