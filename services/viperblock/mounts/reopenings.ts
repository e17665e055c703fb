/**
 * Volumes that are served for reading only because their disk did not give all of them, opened for writing again as soon as it
 * does. Only an ordinary opening decides whether the log proves that nothing is missing: one that does not is served for
 * reading only again, with what it found, and is not asked about any more.
 *
 * Clients lose their connections by each opening, so a disk that answers for a moment, again and again, is tried ever
 * less often.
 */
import { errorFields, type Log } from "../../log/log.ts";
import { AskedDisk } from "./asked_disk.ts";
import type { MountedVolume } from "./mounted_volume.ts";
import { systemTime } from "./orders.ts";

const firstPauseMs = 1000;
const longestPauseMs = 60_000;

export interface ReopeningsOptions {
  readonly directory: (volumeId: string) => string;
  /** What no log file may take of the disk. */
  readonly reserveBytes: number;
  readonly isServed: (volumeId: string, volume: MountedVolume) => boolean;
  /** Ends it and opens it as any other. */
  readonly reopen: (volumeId: string, volume: MountedVolume) => Promise<void>;
  readonly log: Log;
  /** Nothing is asked or opened any more once it has come. */
  readonly signal: AbortSignal;
}

export class Reopenings {
  readonly #o: ReopeningsOptions;
  /** How long is waited before the next volume of that id is asked for. */
  readonly #pauses = new Map<string, number>();

  constructor(options: ReopeningsOptions) {
    this.#o = options;
  }

  /** It was served for writing for a while, or is not served here any more. */
  forget(volumeId: string): void {
    this.#pauses.delete(volumeId);
  }

  /** Asks its disk until that gives everything, or the volume is served no more. */
  async ask(volumeId: string, volume: MountedVolume): Promise<void> {
    const { directory, reserveBytes, isServed, reopen, log, signal } = this.#o;
    const isOver = () => signal.aborted || !isServed(volumeId, volume);
    const disk = new AskedDisk(directory(volumeId), reserveBytes);
    let pause_ms = this.#pauses.get(volumeId) ?? firstPauseMs;
    this.#pauses.set(volumeId, Math.min(2 * pause_ms, longestPauseMs));
    for (;; pause_ms = Math.min(2 * pause_ms, longestPauseMs)) {
      await systemTime.pause(pause_ms, signal);
      if (isOver()) return;
      if (await disk.refusal() === undefined) break;
    }
    if (isOver()) return;
    log.info("volume_disk_answers", { volume_id: volumeId, pause_ms });
    await reopen(volumeId, volume).catch((error) =>
      log.error("volume_not_reopened", { volume_id: volumeId, ...errorFields(error) })
    );
  }
}
