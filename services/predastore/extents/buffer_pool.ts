/**
 * Short aligned buffers that go round. Each length has its own; so many are kept in all, and the one that
 * nobody has wanted for the longest time goes.
 */
import { alignedBuffer } from "../../../ffi/direct_io.ts";
import { freeMemory } from "./piece_memory.ts";

type Bytes = Uint8Array<ArrayBuffer>;

export class BufferPool {
  readonly #free: Bytes[] = [];
  constructor(readonly kept: number) {}

  take(size: number): Bytes {
    const at = this.#free.findLastIndex(({ length }) => length === size);
    return this.#free.splice(at, at < 0 ? 0 : 1)[0] ?? alignedBuffer(size);
  }

  give(buffer: Bytes): void {
    this.#free.push(buffer);
    if (this.#free.length <= this.kept) return;
    const oldest = this.#free.shift();
    if (oldest !== undefined) freeMemory(oldest);
  }
}
