/**
 * How far the store has come: the numbers that name what is written, and the place in each directory up
 * to which the index has read.
 *
 * A number is above all before it, also after a restart. Places are stored inside the transactions of
 * the index, now and then: recovery reads on from there, so an old one costs time and nothing else.
 */
import type { Directories } from "../segments/directories.ts";
import type { Durable } from "../segments/record.ts";
import type { ObjectIndex } from "./object_index.ts";

/** What may have to be read again of a directory, and is not known to be in the index. */
const storedEach = (8 << 20) / 64;

const asNumber = ({ segment, offset }: Durable) => segment * 2 ** 32 + offset / 64;

export class Progress {
  readonly #index: ObjectIndex;
  readonly #directories: Directories;
  #sequence = 0;
  #stored = new Map<number, number>();

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
    const read = this.#directories.all.filter((one) => !this.#directories.isUnread(one));
    const positions = read.map((directory) => {
      const { segment, offset } = directory.appliedUpTo;
      return { directory: directory.number, segment, offset };
    });
    const hasMoved = positions.some((one) =>
      asNumber(one) - (this.#stored.get(one.directory) ?? -1) >= storedEach
    );
    if (!force && !hasMoved) return;
    // All that were read, or none: what one directory still has to tell may have been undone in what the others had told.
    for (const one of positions) {
      this.#stored.set(one.directory, asNumber(one));
      this.#index.segments.setPosition(one.directory, one.segment, one.offset);
    }
    this.#index.setValue("sequence", String(this.#sequence));
  }
}
