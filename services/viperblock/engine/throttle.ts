/**
 * gp3's limits: requests and bytes a second, each a bucket that fills evenly and holds what one second
 * brings, so that short bursts pass at full speed. A request is let in while both buckets have something in
 * them and may overdraw them: large ones are not starved, and the rate holds over time.
 */
import type { VolumeLimits } from "../contract.ts";

/** The clock is asked once in so many parts of what a bucket holds. */
const parts = 16;

const filled = (left: number, rate: number, seconds: number) =>
  rate === Infinity ? Infinity : Math.min(rate, left + seconds * rate);

const next = (left: number, rate: number) =>
  rate === Infinity ? 0 : Math.max(0, left - rate / parts);

export class Throttle {
  #iops = Infinity;
  #bytes = Infinity;
  #requestsLeft = Infinity;
  #bytesLeft = Infinity;
  /** What is left when the buckets are filled next: time that passes while they are full is not saved up. */
  #requestsNext = 0;
  #bytesNext = 0;
  #at: number;
  /** Requests that had to wait. */
  waits = 0;

  constructor(limits: VolumeLimits, readonly now: () => number) {
    this.#at = now();
    this.set(limits);
  }

  set({ iops = Infinity, throughput_bytes = Infinity }: VolumeLimits): void {
    this.#iops = iops;
    this.#bytes = throughput_bytes;
    this.#requestsLeft = iops;
    this.#bytesLeft = throughput_bytes;
    this.#at = this.now();
    this.#plan();
  }

  /** Lets a request in, or answers false: it is to be asked again a little later. */
  admit(bytes: number): boolean {
    if (this.#iops === Infinity && this.#bytes === Infinity) return true;
    if (this.#requestsLeft <= this.#requestsNext || this.#bytesLeft <= this.#bytesNext) {
      this.#fill();
      if (this.#requestsLeft <= 0 || this.#bytesLeft <= 0) {
        this.waits++;
        return false;
      }
    }
    this.#requestsLeft--;
    this.#bytesLeft -= bytes;
    return true;
  }

  #fill(): void {
    const now = this.now();
    const seconds = (now - this.#at) / 1000;
    this.#at = now;
    this.#requestsLeft = filled(this.#requestsLeft, this.#iops, seconds);
    this.#bytesLeft = filled(this.#bytesLeft, this.#bytes, seconds);
    this.#plan();
  }

  #plan(): void {
    this.#requestsNext = next(this.#requestsLeft, this.#iops);
    this.#bytesNext = next(this.#bytesLeft, this.#bytes);
  }
}
