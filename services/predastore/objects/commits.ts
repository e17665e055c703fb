/**
 * The last step of every write: its records become durable, and then enter the index.
 *
 * Writers of one key commit one after the other, so that conditions are checked against what is
 * replaced. Nothing commits into a bucket that is going away. What a running write has begun to write is
 * in no row yet and is pinned, so that compaction leaves it alone. A record that is not durable in enough
 * directories never enters the index, and one that does not enter the index is refused in the directories; what was
 * written of it is dead space.
 */
import { AwsError } from "../../aws/errors.ts";
import type { BlobDirectory, Location } from "../segments/blob_directory.ts";
import type { Code } from "../extents/code.ts";
import type { Directories } from "../segments/directories.ts";
import type { NamedShards } from "../segments/durability.ts";
import type { ObjectIndex } from "../index/object_index.ts";
import { KeyLocks } from "./key_locks.ts";
import type { SmallRecord } from "../segments/record.ts";

export const noSuchBucket = () =>
  new AwsError("NoSuchBucket", "The specified bucket does not exist", { status: 404 });

export class Commits {
  readonly #index: ObjectIndex;
  readonly #directories: Directories;
  readonly #locks = new KeyLocks();
  readonly #closing = new Set<number>();
  /** By bucket, the commits that run now. */
  readonly #running = new Map<number, Set<Promise<unknown>>>();
  /** By directory, the segments that each running write may have begun to write into. */
  readonly #pins = new Set<ReadonlyMap<number, number>>();

  constructor(index: ObjectIndex, directories: Directories) {
    this.#index = index;
    this.#directories = directories;
  }

  /** Keeps compaction away from all that is written from now on, until it is in the index. */
  pin(): Disposable {
    const from = new Map(this.#directories.all.map((one) => [one.number, one.activeSegment]));
    this.#pins.add(from);
    return { [Symbol.dispose]: () => void this.#pins.delete(from) };
  }

  /** The first segment of a directory that a running write may have written into. */
  pinnedFrom(directory: number): number {
    let first = Infinity;
    for (const pin of this.#pins) first = Math.min(first, pin.get(directory) ?? Infinity);
    return first;
  }

  /** Makes records durable, then lets `apply` put them into the index. */
  async commit(
    code: Code,
    to: readonly (BlobDirectory | undefined)[],
    records: readonly SmallRecord[],
    apply: (copies: readonly (readonly Location[])[]) => void,
    shards?: NamedShards,
  ): Promise<void> {
    using _pin = this.pin();
    const copies = await this.#directories.commit(code, to, records, shards);
    try {
      await this.#index.write(() => apply(copies));
    } catch (error) {
      // Whoever asked is told that it failed: no index that is made again may know better.
      await this.#directories.refuse(records);
      throw error;
    } finally {
      this.#directories.applied(copies);
    }
  }

  /** Runs the last step of a write, one at a time for each key, unless its bucket is going away. */
  committing<T>(bucket: number, key: string, work: () => Promise<T>): Promise<T> {
    return this.#locks.run(`${bucket}/${key}`, async () => {
      if (this.#closing.has(bucket) || this.#index.buckets.findById(bucket) === undefined) {
        throw noSuchBucket();
      }
      const running = work();
      let all = this.#running.get(bucket);
      if (all === undefined) this.#running.set(bucket, all = new Set());
      const settled = running.then(() => {}, () => {});
      all.add(settled);
      try {
        return await running;
      } finally {
        all.delete(settled);
        if (all.size === 0) this.#running.delete(bucket);
      }
    });
  }

  /** Whether the bucket is going away. */
  isClosing(bucket: number): boolean {
    return this.#closing.has(bucket);
  }

  /** Runs `work` while nothing commits into the bucket. */
  async closing(bucket: number, work: () => Promise<void>): Promise<void> {
    // From here no write commits into it; those that are committing are waited for.
    this.#closing.add(bucket);
    try {
      await Promise.all(this.#running.get(bucket) ?? []);
      await work();
    } finally {
      this.#closing.delete(bucket);
    }
  }

  /** Runs `work` while nobody commits any of these names (`bucket/key`). */
  async locked<T>(names: readonly string[], work: () => Promise<T>): Promise<T> {
    // In one order for all, so that two who lock many do not wait for each other.
    const [first, ...rest] = [...new Set(names)].sort();
    if (first === undefined) return await work();
    return await this.#locks.run(first, () => this.locked(rest, work));
  }

  /**
   * Writes what says that something is gone into all directories: one that does not hear of it may bring it back. Then
   * it is written once more, to be kept for good, and told to those when they are there again.
   * @param record made anew for each writing, each with a number of its own: one that fails is refused by it
   */
  async commitGone(
    code: Code,
    record: (partial: boolean) => SmallRecord,
    apply: (sequence: number) => void,
  ): Promise<void> {
    const to = this.#directories.all;
    const write = async (partial: boolean) => {
      const written = record(partial);
      let heard = new Set<number>();
      await this.commit(code, to, [written], ([locations]) => {
        heard = new Set(locations?.map(({ directory }) => directory));
        apply(written.sequence);
        // Those that may be put back count too.
        if (partial || heard.size === to.length) this.#directories.tellLater(written, heard);
      });
      return heard.size;
    };
    const away = to.some((one) => !one.online);
    const heard = await write(away);
    if (!away && heard < to.length) await write(true);
  }

  /** For compaction: records of what it moved, durable and then in the index. */
  async rewrite(
    to: BlobDirectory,
    records: readonly SmallRecord[],
    apply: (locations: readonly Location[]) => void,
  ): Promise<void> {
    const locations = await to.commit(records);
    try {
      await this.#index.write(() => apply(locations));
    } finally {
      const first = locations[0];
      if (first !== undefined) to.applied(first);
    }
  }
}
