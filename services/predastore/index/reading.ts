/**
 * How far the reading of the segments has come, told every ten seconds: with many keys it takes minutes, and whoever
 * waits for the store is to know that it gets on.
 */
import type { Log } from "../../log/log.ts";
import type { BlobDirectory } from "../segments/blob_directory.ts";
import type { Durable } from "../segments/record.ts";

const passes = 3;
const tellEach_ms = 10_000;

/** What of one directory is to be read. */
export interface Tail {
  readonly directory: BlobDirectory;
  readonly segments: readonly number[];
  readonly from: Durable;
}

export class Reading {
  readonly #log: Log;
  readonly #onProgress: () => void;
  readonly #whole_bytes: number;
  readonly #sizes: ReadonlyMap<string, number>;
  readonly #began_ms = performance.now();
  #told_ms = this.#began_ms;
  /** Of segments that are done, in all passes. */
  #done_bytes = 0;
  #start = 0;

  private constructor(
    sizes: ReadonlyMap<string, number>,
    log: Log,
    onProgress: () => void,
    readonly tellEach_ms: number,
  ) {
    this.#sizes = sizes;
    this.#log = log;
    this.#onProgress = onProgress;
    this.#whole_bytes = passes * [...sizes.values()].reduce((sum, size) => sum + size, 0);
  }

  static async of(
    tails: readonly Tail[],
    log: Log,
    onProgress: () => void,
    each_ms = tellEach_ms,
  ): Promise<Reading> {
    const sizes = new Map<string, number>();
    for (const { directory, segments, from } of tails) {
      for (const segment of segments) {
        const start = segment === from.segment ? from.offset : 0;
        // Whoever then reads it tells what is wrong.
        const size = await directory.segmentSize(segment).catch(() => 0);
        sizes.set(`${directory.number}/${segment}`, Math.max(0, size - start));
      }
    }
    return new Reading(sizes, log, onProgress, each_ms);
  }

  /** A segment is read from there. */
  begins(start: number): void {
    this.#start = start;
  }

  /** It has been read up to there. */
  cameTo(offset: number): void {
    this.#tell(this.#done_bytes + offset - this.#start);
  }

  ended(directory: number, segment: number): void {
    this.#done_bytes += this.#sizes.get(`${directory}/${segment}`) ?? 0;
    this.#tell(this.#done_bytes);
  }

  #tell(bytes: number): void {
    const now_ms = performance.now();
    if (now_ms - this.#told_ms < this.tellEach_ms) return;
    this.#told_ms = now_ms;
    const percent = this.#whole_bytes === 0 ? 100 : Math.floor(100 * bytes / this.#whole_bytes);
    const duration_ms = Math.round(now_ms - this.#began_ms);
    this.#log.info("index_is_read", { percent, duration_ms });
    this.#onProgress();
  }

  /** Lets others have their turn. */
  async breathe(): Promise<void> {
    this.#tell(this.#done_bytes);
    await new Promise((next) => setTimeout(next, 0));
  }
}
