/**
 * How far the store has come: the numbers that name what is written, and the place in each directory up
 * to which the index has read.
 *
 * A number is above all before it, also after a restart. Places are stored inside the transactions of
 * the index, now and then: recovery reads on from there, so an old one costs time and nothing else.
 */
import type { Directories } from "../segments/directories.ts";
import type { ObjectIndex } from "./object_index.ts";

export class Progress {
  readonly #index: ObjectIndex;
  readonly #directories: Directories;
  #sequence = 0;
  #storedPositions = new Map<number, number>();

  constructor(
    index: ObjectIndex,
    directories: Directories,
    /** Milliseconds since 1970. */
    readonly now: () => number = Date.now,
  ) {
    this.#index = index;
    this.#directories = directories;
  }

  /** Goes on from the highest number that recovery found. */
  startFrom(sequence: number): void {
    this.#sequence = sequence;
  }

  /** A number above all before it, also after a restart: versions, extents and buckets are named by it. */
  nextSequence(): number {
    return this.#sequence = Math.max(this.#sequence + 1, this.now() * 1024);
  }

  /** Stores how far the index has come, now and then: recovery reads on from there. */
  storePositions(force: boolean): void {
    for (const directory of this.#directories.all) {
      const { segment, offset } = directory.appliedUpTo;
      const position = segment * 2 ** 32 + offset / 64;
      const stored = this.#storedPositions.get(directory.number) ?? -1;
      if (!force && position - stored < (8 << 20) / 64) continue;
      this.#storedPositions.set(directory.number, position);
      this.#index.segments.setPosition(directory.number, segment, offset);
      this.#index.setValue("sequence", String(this.#sequence));
    }
  }
}
