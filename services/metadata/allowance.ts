/** A token bucket: so many a second in the long run, and a burst at once. */
export class Allowance {
  #left: number;
  #at_ms: number;

  constructor(
    readonly perSecond: number,
    readonly burst: number,
    readonly now: () => number = () => performance.now(),
  ) {
    this.#left = burst;
    this.#at_ms = now();
  }

  /** Takes one; false when there is none. */
  take(): boolean {
    const now_ms = this.now();
    const gained = (now_ms - this.#at_ms) / 1000 * this.perSecond;
    this.#left = Math.min(this.burst, this.#left + gained);
    this.#at_ms = now_ms;
    if (this.#left < 1) return false;
    this.#left--;
    return true;
  }
}
