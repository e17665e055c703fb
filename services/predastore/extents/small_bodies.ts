/**
 * Small bodies that were written a moment ago, or read more than once, in memory: a trip to the disk costs as much as
 * all else that a GET of 4 KiB needs.
 *
 * What is kept is what stands in an object's record, sealed where it is sealed there, under the number of its
 * version. A number is given once and its bytes never change, so nobody has to say what was overwritten or deleted:
 * whoever asks has found the number in the index.
 *
 * The memory is a few runs that are filled one after the other, and in turn again. What was asked for since stays when
 * its run's turn comes. One that is read is kept when it is read again, so that whoever reads everything once drives
 * nothing out. While many long bodies go through there is nothing here: their buffers have the memory.
 */
import type { Bytes } from "../index/columns.ts";
import { roundUp } from "../segments/record.ts";
import { freeMemory } from "./piece_memory.ts";

const run_bytes = 1 << 20;
/** Places are multiples of this, so that there are not too many of them. */
const step_bytes = 512;
/** Of those that were read once so many are known. */
const mostReadOnce = 8192;
/** So many long bodies leave room for this. */
const fewLong = 8;

interface Run {
  readonly memory: Bytes;
  filled: number;
  entries: Entry[];
}

interface Entry {
  readonly sequence: number;
  readonly run: Run;
  at: number;
  readonly bytes: number;
  /** Since it came, or its run last had its turn. */
  asked: boolean;
}

export class SmallBodies {
  readonly #most: number;
  readonly #runs: Run[] = [];
  readonly #entries = new Map<number, Entry>();
  readonly #readOnce = new Set<number>();
  /** The run that is being filled. */
  #now = -1;
  #long = 0;

  /** @param most_bytes 0 to keep nothing */
  constructor(most_bytes: number) {
    this.#most = Math.floor(most_bytes / run_bytes);
  }

  /** What it takes now. */
  get memory_bytes(): number {
    return this.#runs.length * run_bytes;
  }

  /** A copy of what the record of that version holds, if it is here. */
  find(sequence: number): Bytes | undefined {
    return this.look(sequence)?.slice();
  }

  /** The same, but where it stands: something else may stand there later. */
  look(sequence: number): Bytes | undefined {
    const entry = this.#entries.get(sequence);
    if (entry === undefined) return undefined;
    entry.asked = true;
    return entry.run.memory.subarray(entry.at, entry.at + entry.bytes);
  }

  /** It was written, and is durable. */
  written(sequence: number, body: Bytes): void {
    const span = roundUp(body.length, step_bytes);
    if (
      this.#most === 0 || this.#long > fewLong || span === 0 || span > run_bytes / 2 ||
      this.#entries.has(sequence)
    ) return;
    let run = this.#runs[this.#now];
    if (run === undefined || run.filled + span > run_bytes) run = this.#nextRun();
    const entry = { sequence, run, at: run.filled, bytes: body.length, asked: false };
    run.memory.set(body, run.filled);
    run.filled += span;
    run.entries.push(entry);
    this.#entries.set(sequence, entry);
  }

  /** It was not here, and was read from a disk. */
  read(sequence: number, body: Bytes): void {
    if (this.#most === 0) return;
    if (this.#readOnce.delete(sequence)) return this.written(sequence, body);
    if (this.#readOnce.size >= mostReadOnce) this.#readOnce.clear();
    this.#readOnce.add(sequence);
  }

  /** One that has room for any small body. */
  #nextRun(): Run {
    if (this.#runs.length < this.#most) {
      const run = { memory: new Uint8Array(run_bytes), filled: 0, entries: [] };
      this.#now = this.#runs.push(run) - 1;
      return run;
    }
    this.#now = (this.#now + 1) % this.#runs.length;
    const run = this.#runs[this.#now] as Run;
    const before = run.entries;
    run.entries = [];
    run.filled = 0;
    for (const entry of before) {
      const end = run.filled + roundUp(entry.bytes, step_bytes);
      if (!entry.asked || end > run_bytes / 2) {
        this.#entries.delete(entry.sequence);
        continue;
      }
      run.memory.copyWithin(run.filled, entry.at, entry.at + entry.bytes);
      entry.at = run.filled;
      entry.asked = false;
      run.filled = end;
      run.entries.push(entry);
    }
    return run;
  }

  /** A long body goes through until what is returned is disposed of. */
  beside(): Disposable {
    if (++this.#long > fewLong) this.#giveWay();
    return {
      [Symbol.dispose]: () => {
        this.#long--;
      },
    };
  }

  #giveWay(): void {
    for (const { memory } of this.#runs) freeMemory(memory);
    this.#runs.length = 0;
    this.#entries.clear();
    this.#readOnce.clear();
    this.#now = -1;
  }
}
