/** Wakes whoever waits for "something may have changed". A pulse between two waits is not lost. */
import { delay } from "./delay.ts";

export class Pulse {
  #next = Promise.withResolvers<void>();
  #pending = false;

  notify(): void {
    this.#pending = true;
    this.#next.resolve();
  }

  /** Returns at the next pulse, at once if there was one since the last wait, or after the bound. */
  async wait(bound_ms: number): Promise<void> {
    if (!this.#pending) await Promise.race([this.#next.promise, delay(bound_ms)]);
    this.#pending = false;
    this.#next = Promise.withResolvers<void>();
  }
}
