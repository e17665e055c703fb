/**
 * Time and chance of a simulated machine: everything that takes time is an event, and the seed alone
 * says in which order events come. Nothing here waits for anything real.
 */

/** Where chance comes from; the same seed gives the same run. */
export interface Chance {
  /** From 0 up to, not including, 1. */
  next(): number;
  /** A whole number from 0 up to, not including, `end`. */
  below(end: number): number;
}

interface Event {
  readonly at: number;
  readonly work: () => void;
}

export class World {
  readonly #events: Event[] = [];
  now = 0;

  constructor(readonly chance: Chance) {}

  /** Once in `n` times. */
  once(n: number): boolean {
    return n > 0 && this.chance.below(n) === 0;
  }

  /** Does the work after some time; what is due at one time comes in the order in which it was asked for. */
  after(ms: number, work: () => void): void {
    const at = this.now + ms;
    let i = this.#events.length;
    while (i > 0 && (this.#events[i - 1] as Event).at <= at) i--;
    this.#events.splice(i, 0, { at, work });
  }

  /** As `after`, as something that may fail. */
  wait(ms: number): Promise<void> {
    return new Promise((resolve) => this.after(ms, resolve));
  }

  /** Lets the next thing happen; false when nothing is to come. */
  step(): boolean {
    const next = this.#events.pop();
    if (next === undefined) return false;
    this.now = Math.max(this.now, next.at);
    next.work();
    return true;
  }
}
