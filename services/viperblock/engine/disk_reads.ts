/**
 * Reads on their way to the log's files, and how many of them the disk is given at a time.
 *
 * A disk that answers what it was given all at once (a virtual one that works its queue off before it
 * interrupts, or one that is faster than we are) gets half of what there is to read: while it works on
 * that half, the other half is being answered and asked for again, instead of disk and client waiting for each
 * other in turn. A disk that answers one by one gets everything. What is held back goes out as soon as something
 * comes back, so nothing waits while the disk has nothing to do.
 *
 * Measured with 32 random reads of 4 KiB in flight: see `tests/bench/viperblock_bench.ts --only=randread_disk`.
 */

/** Fewer than this are never held back from the disk. */
const fewest = 8;
/** After so many turns with answers that came one by one the disk gets everything again. */
const patience = 8;

export class DiskReads {
  readonly #submit: (read: number) => void;
  readonly #held: Int32Array;
  #head = 0;
  #tail = 0;
  #limit = Infinity;
  #atDisk = 0;
  /** When the turn began: at the disk, and in all. */
  #before = 0;
  #known = 0;
  /** Come back in this turn. */
  #ended = 0;
  #apart = 0;

  /** @param capacity reads that there can be, a power of two */
  constructor(capacity: number, submit: (read: number) => void) {
    this.#held = new Int32Array(capacity);
    this.#submit = submit;
  }

  start(read: number): void {
    if (this.#atDisk < this.#limit) {
      this.#atDisk++;
      this.#submit(read);
    } else {
      this.#held[this.#tail++ & (this.#held.length - 1)] = read;
    }
  }

  /** One has come back from the disk. */
  ended(): void {
    this.#atDisk--;
    this.#ended++;
    this.#next();
  }

  #next(): void {
    while (this.#head !== this.#tail && this.#atDisk < this.#limit) {
      this.#atDisk++;
      this.#submit(this.#held[this.#head++ & (this.#held.length - 1)] as number);
    }
  }

  /** Once each turn: how the disk has answered in it. */
  advance(): void {
    if (this.#ended > 0) {
      const together = this.#ended >= fewest && this.#ended * 2 >= this.#before;
      this.#apart = together ? 0 : this.#apart + 1;
      if (together) {
        this.#limit = Math.max(fewest, this.#known >> 1);
      } else if (this.#apart >= patience) {
        this.#limit = Infinity;
        this.#next();
      }
    }
    this.#ended = 0;
    this.#before = this.#atDisk;
    this.#known = this.#atDisk + this.#tail - this.#head;
  }
}
