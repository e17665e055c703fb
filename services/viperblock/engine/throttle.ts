/**
 * gp3's limits: requests and bytes a second, each a bucket that fills evenly and holds what one second
 * brings, so that short bursts pass at full speed. A request is let in while both buckets have something in
 * them and may overdraw them: large ones are not starved, and the rate holds over time.
 */
import type { VolumeLimits } from "../contract.ts";

export class Throttle {
  #iops = Infinity;
  #bytes = Infinity;
  #requestsLeft = Infinity;
  #bytesLeft = Infinity;
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
  }

  /** Lets a request in, or answers false: it is to be asked again a little later. */
  admit(bytes: number): boolean {
    if (this.#iops === Infinity && this.#bytes === Infinity) return true;
    if (this.#requestsLeft <= 0 || this.#bytesLeft <= 0) {
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
    this.#requestsLeft = Math.min(this.#iops, this.#requestsLeft + seconds * this.#iops);
    this.#bytesLeft = Math.min(this.#bytes, this.#bytesLeft + seconds * this.#bytes);
  }
}
