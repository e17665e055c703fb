/**
 * How long is waited before an engine that failed is begun again: not at all after one that had served for a while, since guests
 * wait for it, and longer and longer after those that fail soon. What makes an engine fail may be asked of the next one again, and
 * each beginning takes the node's disk and processor from all other volumes.
 */
const soonMs = 60_000;
const firstPauseMs = 100;
const longestPauseMs = 10_000;

export class Restarts {
  /** The next pause of each volume whose last engine failed soon. */
  readonly #pauses = new Map<string, number>();

  /** @param servedMs how long the engine that failed had served */
  pauseAfter(volumeId: string, servedMs: number): number {
    if (servedMs >= soonMs) this.#pauses.delete(volumeId);
    const pause = this.#pauses.get(volumeId) ?? 0;
    this.#pauses.set(volumeId, Math.min(Math.max(firstPauseMs, 2 * pause), longestPauseMs));
    return pause;
  }

  /** Its engine ended in order. */
  forget(volumeId: string): void {
    this.#pauses.delete(volumeId);
  }
}
