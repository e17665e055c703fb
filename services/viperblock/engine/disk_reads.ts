/**
 * Reads on their way to the log's files, and how many of them the disk is given at a time.
 *
 * A disk that answers what it was given all at once (a virtual one that works its queue off before it
 * interrupts, or one that is faster than we are) gets half of what there is to read: while it works on
 * that half, the other half is being answered and asked for again, instead of disk and client waiting for each
 * other in turn. A disk that answers one by one gets everything. What is held back goes out as soon as something
 * comes back, so nothing waits while the disk has nothing to do.
 *
 * A client that asks for many at once and for nothing more until it has them all is known by what it does when some are answered
 * before the others: nothing. From then on the disk gets all of them, and what comes back within a short time is waited for together, so that
 * answers and wake-ups are few. A client that asks again as it is answered gets each answer as soon as it is there.
 *
 * Measured with 32 random reads of 4 KiB in flight: see `tests/bench/viperblock_bench.ts --only=randread_disk`.
 */

/** Fewer than this are never held back from the disk. */
const fewest = 8;
/** After so many turns with answers that came one by one the disk gets everything again. */
const patience = 8;
/** After so many times in a row it is believed that a client waits for all. */
const enough = 4;
/** So often it is believed so, when all came back together and nothing could be seen of it. */
const belief = 32;

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
  /** Asked for in this turn. */
  #begun = 0;
  #awaited = 1;
  /** What is under way was asked for in one turn; some of it has come back before the rest. */
  #isBurst = false;
  #inParts = false;
  #believed = 0;

  /** @param capacity reads that there can be, a power of two */
  constructor(capacity: number, submit: (read: number) => void) {
    this.#held = new Int32Array(capacity);
    this.#submit = submit;
  }

  /** How many that come back are worth waiting for together. */
  get awaited(): number {
    return this.#awaited;
  }

  start(read: number): void {
    this.#begun++;
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

  /** Once each turn: how the disk has answered in it, and what has been asked for. */
  advance(): void {
    // What was waited for together says nothing about the disk.
    if (this.#ended > 0 && this.#awaited === 1) {
      const together = this.#ended >= fewest && this.#ended * 2 >= this.#before;
      this.#apart = together ? 0 : this.#apart + 1;
      if (together) {
        this.#limit = Math.max(fewest, this.#known >> 1);
      } else if (this.#apart >= patience) {
        this.#limit = Infinity;
        this.#next();
      }
    }
    this.#known = this.#atDisk + this.#tail - this.#head;
    if (this.#begun > 0) this.#asked();
    else if (this.#ended > 0 && this.#isBurst) this.#answered();
    this.#begun = this.#ended = 0;
    this.#before = this.#atDisk;
  }

  /** Reads were asked for in this turn. */
  #asked(): void {
    const isAll = this.#begun === this.#known;
    if (!isAll) this.#believed = 0;
    this.#isBurst = isAll && this.#begun >= fewest;
    this.#inParts = false;
    this.#awaited = 1;
    if (!this.#isBurst || this.#believed < enough) return;
    this.#limit = Infinity;
    this.#next();
    this.#awaited = this.#begun;
  }

  /** Some of those that were asked for together have come back, and no others were asked for. */
  #answered(): void {
    if (this.#known > 0) {
      this.#inParts = true;
      if (this.#awaited > 1) this.#awaited = Math.max(1, this.#atDisk);
      return;
    }
    if (!this.#inParts) this.#believed = Math.max(0, this.#believed - 1);
    else this.#believed = this.#believed < enough - 1 ? this.#believed + 1 : belief;
    this.#isBurst = false;
    this.#awaited = 1;
  }
}
