/**
 * Shards that had to be computed from others: counted, told, and journalled for repair.
 *
 * Nothing waits for the journal; a note that fails is logged, and the next read of the shard makes it
 * again.
 */
import { errorFields, type Log } from "../../log/log.ts";
import { isUnanswered } from "../segments/answers.ts";
import type { Directories } from "../segments/directories.ts";
import type { ObjectIndex } from "../index/object_index.ts";

const told_ms = 10_000;

export class DegradedReads {
  readonly #index: ObjectIndex;
  readonly #directories: Directories;
  readonly #log: Log;
  #told_ms = -Infinity;
  /** Since the start. */
  count = 0;

  constructor(index: ObjectIndex, directories: Directories, log: Log) {
    this.#index = index;
    this.#directories = directories;
    this.#log = log;
  }

  note(extent: number, stripe: number, shard: number, reason: unknown): void {
    this.count++;
    // With a disk gone this happens at every read: one line in a while tells it.
    if (performance.now() - this.#told_ms > told_ms) {
      this.#told_ms = performance.now();
      this.#log.warn("shard_reconstructed", {
        extent,
        stripe,
        shard,
        degraded_reads: this.count,
        ...errorFields(reason),
      });
    }
    const row = this.#index.extents.find(extent);
    const place = row?.stripes[stripe]?.shards[shard];
    // What is only away, or late, may come back; what is damaged in a directory that is there needs repair.
    if (isUnanswered(reason)) return;
    if (place !== undefined && this.#directories.byNumber(place.directory)?.online === false) {
      return;
    }
    if (row === undefined || this.#index.extents.isSuspect(extent)) return;
    void this.#index.write(() => {
      if (this.#index.extents.find(extent) !== undefined) this.#index.extents.noteDamaged(extent);
    }).catch((error) => this.#log.error("journal_failed", errorFields(error)));
  }
}
