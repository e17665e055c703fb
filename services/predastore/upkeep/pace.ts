/**
 * Keeps background work to so many bytes a second, so that clients do not feel it.
 *
 * A short burst is let through; after it each taker waits for its turn. Stopping lets everybody through,
 * who must then look whether to go on.
 */
export class Pace {
  readonly #bytes_per_second: number;
  #free_at_ms = 0;
  readonly #stopped = new AbortController();

  /** @param bytes_per_second Infinity for no bound */
  constructor(bytes_per_second: number) {
    this.#bytes_per_second = bytes_per_second;
  }

  /** Returns when `bytes` may be read or written. */
  async take(bytes: number): Promise<void> {
    const now = performance.now();
    const start = Math.max(this.#free_at_ms, now - 250);
    this.#free_at_ms = start + bytes / this.#bytes_per_second * 1000;
    const wait = this.#free_at_ms - now;
    if (wait <= 0 || this.#stopped.signal.aborted) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, wait);
    this.#stopped.signal.addEventListener("abort", () => resolve(), { once: true });
    await promise;
    clearTimeout(timer);
  }

  stop(): void {
    this.#stopped.abort();
  }
}
