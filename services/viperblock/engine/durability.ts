/**
 * Where it is decided that everything before a point of the log is durable: behind this one call stands
 * the disk of this machine, and later the copies of the log on other machines.
 *
 * The log writer calls `make` when all batches up to `sequence` are written, with the segments that have been
 * written to since the last call; calls never overlap. Whoever implements it calls `done` once nothing that can
 * fail by itself can lose what is up to `sequence` any more, and throws `LogFailed` from a completion when that
 * cannot be reached: the engine ends, and nothing is acknowledged. A quorum of replicas needs no more
 * than this: it has the same batches by their sequence, and `done` is its majority's word for it. Flushes, FUA,
 * writes of volumes with `sync=always`, checkpoints and the mark of a new epoch all go through here.
 */
import { ringOperations, syncDataOnly } from "../../../ffi/liburing.ts";
import type { RequestQueue } from "../machine/machine.ts";
import type { Segment } from "./places.ts";

/** The log can no longer be trusted to be written. */
export class LogFailed extends Error {
  override readonly name = "LogFailed";
}

export interface Durability {
  make(segments: readonly Segment[], sequence: number, done: () => void): void;
}

/** This machine's disk alone: fdatasync of every segment that was written to. */
export class LocalDurability implements Durability {
  readonly #ring: RequestQueue;
  readonly #kind: number;
  #left = 0;
  #done: () => void = () => {};

  constructor(ring: RequestQueue) {
    this.#ring = ring;
    this.#kind = ring.kind((_id, result) => this.#onSynced(result));
  }

  make(segments: readonly Segment[], _sequence: number, done: () => void): void {
    this.#left = segments.length;
    this.#done = done;
    for (const { fd } of segments) {
      this.#ring.queue(ringOperations.sync, fd, 0, 0, 0, syncDataOnly, this.#kind, 0);
    }
    if (segments.length === 0) done();
  }

  #onSynced(result: number): void {
    if (result < 0) throw new LogFailed(`fdatasync of the log answered ${result}`);
    if (--this.#left === 0) this.#done();
  }
}
