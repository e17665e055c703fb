/**
 * How much room the directories have: looked at now and then, admitted before anything is written, and told.
 *
 * What is admitted counts as used until it is written and the disks have been looked at again.
 */
import { AwsError } from "../../aws/errors.ts";
import type { Log } from "../../log/log.ts";
import type { Disk } from "../disk/disk.ts";
import { type Code, directoriesOf } from "../extents/code.ts";
import { answered } from "./answers.ts";
import { tooFewDirectories } from "../extents/extent_writer.ts";
import type { BlobDirectory } from "./blob_directory.ts";
import { type SpaceState, spaceState } from "./space.ts";

export interface DirectorySpace {
  free: number;
  total: number;
  state: SpaceState;
  read_ms: number;
}

interface RoomOptions {
  readonly disk: Disk;
  readonly reserve_bytes: number;
  readonly answer_ms: number;
  readonly log: Log;
  /** Room is told by it. */
  readonly usual: Code;
}

/** How old a look at the free space may be. */
const spaceAge_ms = 500;

export class Room {
  readonly #options: RoomOptions;
  readonly #online: () => readonly BlobDirectory[];
  readonly #space = new Map<BlobDirectory, DirectorySpace>();
  /** Looks that have had no answer yet: all who want to know wait for the same one. */
  readonly #spaceAsked = new Map<BlobDirectory, Promise<{ free: number; total: number }>>();

  constructor(options: RoomOptions, online: () => readonly BlobDirectory[]) {
    this.#options = options;
    this.#online = online;
  }

  of(directory: BlobDirectory): Readonly<DirectorySpace> | undefined {
    return this.#space.get(directory);
  }

  isFull(directory: BlobDirectory): boolean {
    return this.#space.get(directory)?.state === "full";
  }

  forget(directory: BlobDirectory): void {
    this.#space.delete(directory);
  }

  async look(age_ms = spaceAge_ms): Promise<void> {
    await Promise.all(
      this.#online().map(async (directory) => {
        const known = this.#space.get(directory);
        if (known !== undefined && performance.now() - known.read_ms < age_ms) return;
        try {
          const { free, total } = await this.#askSpace(directory);
          const reserve = this.#options.reserve_bytes;
          const state = spaceState({ free, total }, reserve, known?.state);
          if (state !== (known?.state ?? "roomy")) {
            this.#options.log.warn(`blob_directory_${state}`, {
              path: directory.path,
              free_bytes: free,
              reserve_bytes: reserve,
            });
          }
          this.#space.set(directory, {
            free,
            total,
            state,
            read_ms: performance.now(),
          });
        } catch (error) {
          directory.goOffline(error);
        }
      }),
    );
  }

  /** @throws IoError also when it has no answer for long */
  #askSpace(directory: BlobDirectory): Promise<{ free: number; total: number }> {
    const { disk, answer_ms } = this.#options;
    let asked = this.#spaceAsked.get(directory);
    if (asked === undefined) {
      asked = disk.space(directory.path).finally(() => this.#spaceAsked.delete(directory));
      this.#spaceAsked.set(directory, asked);
    }
    return answered(asked, answer_ms, "statfs", directory.path);
  }

  /** Bytes for each directory that were admitted and may not be written yet. */
  #admitted = 0;

  /**
   * Refuses what would eat into the reserve, before anything is written. What is admitted counts as used
   * until it is released, and then until the next look at the disk.
   * @returns to be called when the bytes are written, or never will be
   * @throws AwsError `InsufficientCapacity`, and `ServiceUnavailable` where fewer directories are there than it takes
   */
  async admit(bytes: number, { k }: Code): Promise<() => void> {
    await this.look();
    if (this.#online().length < k) throw tooFewDirectories();
    const each = Math.ceil(bytes / k);
    const roomy = this.#online().filter((directory) => {
      const space = this.#space.get(directory);
      return space !== undefined && space.state !== "full" &&
        space.free - this.#admitted - each >= this.#options.reserve_bytes;
    });
    if (roomy.length < k) {
      throw new AwsError(
        "InsufficientCapacity",
        `The object store has no room for ${bytes} bytes more above its reserve. Delete objects, or add a disk.`,
        { status: 503 },
      );
    }
    this.#admitted += each;
    let released = false;
    return () => {
      if (released) return;
      released = true;
      this.#admitted -= each;
      for (const space of this.#space.values()) space.free -= each;
    };
  }

  /** Bytes of objects of the usual code that may still be stored, and that all directories could hold. */
  capacity(): { free_bytes: number; total_bytes: number } {
    const { usual } = this.#options;
    const { k } = usual;
    const n = directoriesOf(usual);
    let free = 0;
    let total = 0;
    for (const directory of this.#online()) {
      const space = this.#space.get(directory);
      if (space === undefined) continue;
      free += Math.max(0, space.free - this.#options.reserve_bytes);
      total += space.total;
    }
    return { free_bytes: Math.floor(free * k / n), total_bytes: Math.floor(total * k / n) };
  }
}
