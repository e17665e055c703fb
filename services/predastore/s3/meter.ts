/** Counts what the doors serve: how much, how fast, how often in vain. Bounded, whatever the load. */
import type { RequestCounts } from "../contract.ts";

const kept = 1024;
const window_ms = 60_000;

export class Meter {
  #count = 0;
  #errors = 0;
  bytes_in = 0;
  bytes_out = 0;
  /** The last durations, round and round. */
  readonly #durations = new Float64Array(kept);
  /** Requests in each second of the last minute. */
  readonly #seconds = new Uint32Array(window_ms / 1000);
  #second = 0;

  get count(): number {
    return this.#count;
  }

  ended(status: number, duration_ms: number): void {
    this.#turn();
    this.#durations[this.#count++ % kept] = duration_ms;
    const at = this.#second % this.#seconds.length;
    this.#seconds[at] = (this.#seconds[at] ?? 0) + 1;
    if (status >= 500 && status !== 501) this.#errors++;
  }

  #turn(): void {
    const now = Math.floor(performance.now() / 1000);
    for (
      let at = Math.max(this.#second + 1, now - this.#seconds.length + 1);
      at <= now;
      at++
    ) this.#seconds[at % this.#seconds.length] = 0;
    this.#second = now;
  }

  counts(): RequestCounts {
    this.#turn();
    const sorted = this.#durations.slice(0, Math.min(kept, this.#count)).sort();
    const at = (part: number) =>
      sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))];
    const seconds = Math.max(1, Math.min(this.#seconds.length, this.#second));
    return {
      count: this.#count,
      errors: this.#errors,
      per_second: this.#seconds.reduce((sum, one) => sum + one, 0) / seconds,
      p50_ms: at(0.5) ?? 0,
      p99_ms: at(0.99) ?? 0,
      bytes_in: this.bytes_in,
      bytes_out: this.bytes_out,
    };
  }
}
