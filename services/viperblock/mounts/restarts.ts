/**
 * How long is waited before an engine that failed is begun again: not at all after one that had served for a while, since guests
 * wait for it, and longer and longer after those that fail soon. What makes an engine fail may be asked of the next one again, and
 * each beginning takes the node's disk and processor from all other volumes.
 */

/** An engine that fails before it has served for so long has failed soon. */
export const soonMs = 60_000;
const firstPauseMs = 100;
const longestPauseMs = 10_000;

export class Restarts {
  /** The next pause of each volume whose last engine failed soon. */
  readonly #pauses = new Map<string, number>();

  pauseAfter(volumeId: string): number {
    const pause = this.#pauses.get(volumeId) ?? 0;
    this.#pauses.set(volumeId, Math.min(Math.max(firstPauseMs, 2 * pause), longestPauseMs));
    return pause;
  }

  /** Its engine ended in order, or has served for longer. */
  forget(volumeId: string): void {
    this.#pauses.delete(volumeId);
  }
}
