/**
 * Which requests are under way, written down in memory that the front end keeps: when this process ends at
 * any line, the next one finds there what it has to do again.
 *
 * The layout is vhost-user's for split rings: for each queue 16 bytes of head (features, version, size,
 * head of the last batch, used index) and 16 bytes for each descriptor (in flight, next in the batch,
 * counter). A batch is linked before its used index is published and unmarked after it, so that both ends of
 * a crash in between are told apart. Behind the queues we keep the driver's wish for a write cache, which
 * nobody would tell the next engine. The front end could write here too; nothing is believed unchecked.
 */
import type { Memory } from "../../../../ffi/libc.ts";

const queueHead = 16;
const entryBytes = 16;
const ownBytes = 64;

const queueBytes = (size: number) => Math.ceil((queueHead + entryBytes * size) / 64) * 64;

/** Bytes that so many queues take. */
export function inFlightBytes(queues: number, size: number): number {
  return Math.ceil((queues * queueBytes(size) + ownBytes) / 4096) * 4096;
}

export class InFlightMemory {
  readonly #own: Uint8Array;
  readonly #queues: InFlightQueue[];

  constructor(readonly memory: Memory, queues: number, readonly queueSize: number) {
    this.#queues = Array.from(
      { length: queues },
      (_, i) => new InFlightQueue(memory, i * queueBytes(queueSize), queueSize),
    );
    this.#own = memory.bytes.subarray(queues * queueBytes(queueSize), memory.length);
  }

  queue(number: number): InFlightQueue | undefined {
    return this.#queues[number];
  }

  /** The driver has asked for no write cache. */
  get writeThrough(): boolean {
    return this.#own[0] === 1;
  }

  set writeThrough(value: boolean) {
    this.#own[0] = value ? 1 : 0;
  }
}

export class InFlightQueue {
  readonly #bytes: Uint8Array;
  readonly #halves: Uint16Array;
  readonly #words: Uint32Array;
  #counter = 1;

  constructor(memory: Memory, at: number, readonly size: number) {
    this.#bytes = new Uint8Array(memory.buffer, at, queueHead + size * entryBytes);
    this.#halves = new Uint16Array(memory.buffer, at, (queueHead + size * entryBytes) / 2);
    this.#words = new Uint32Array(memory.buffer, at, (queueHead + size * entryBytes) / 4);
  }

  /**
   * Brings the books in order after whatever ended the engine before.
   * @param used what the ring says was given back
   * @returns the heads that are still under way, oldest first
   */
  recover(used: number): number[] {
    const halves = this.#halves;
    halves[4] = 1;
    halves[5] = this.size;
    // The last batch was published, and the end came before all of it was unmarked.
    let published = (used - (halves[7] as number)) & 0xffff;
    for (let head = halves[6] as number; published > 0 && published <= this.size; published--) {
      if (head >= this.size) break;
      this.#bytes[queueHead + head * entryBytes] = 0;
      head = halves[(queueHead + head * entryBytes) / 2 + 3] as number;
    }
    halves[7] = used;
    const found: [head: number, counter: number][] = [];
    for (let head = 0; head < this.size; head++) {
      if (this.#bytes[queueHead + head * entryBytes] !== 1) continue;
      const word = (queueHead + head * entryBytes) / 4 + 2;
      const counter = (this.#words[word + 1] as number) * 4294967296 +
        (this.#words[word] as number);
      found.push([head, counter]);
    }
    found.sort((a, b) => a[1] - b[1]);
    this.#counter = (found.at(-1)?.[1] ?? 0) + 1;
    return found.map(([head]) => head);
  }

  begin(head: number): void {
    const word = (queueHead + head * entryBytes) / 4 + 2;
    const counter = this.#counter++;
    this.#words[word] = counter;
    this.#words[word + 1] = counter / 4294967296;
    this.#bytes[queueHead + head * entryBytes] = 1;
  }

  /** It was not begun after all. */
  undo(head: number): void {
    this.#bytes[queueHead + head * entryBytes] = 0;
  }

  /** Before the used index that gives these back is published. */
  link(heads: Uint16Array, count: number): void {
    const halves = this.#halves;
    for (let i = 0; i < count; i++) {
      const head = heads[i] as number;
      halves[(queueHead + head * entryBytes) / 2 + 3] = halves[6] as number;
      halves[6] = head;
    }
  }

  /** After it was published. */
  unmark(heads: Uint16Array, count: number, used: number): void {
    for (let i = 0; i < count; i++) {
      this.#bytes[queueHead + (heads[i] as number) * entryBytes] = 0;
    }
    this.#halves[7] = used;
  }
}
