/**
 * Objects by key: put, read and deleted.
 *
 * A key has one whole object, the old or the new. The record that makes a write real follows its data
 * and is synced together with it. A reader goes on to read what it began with: segments that running
 * reads may look into stay until they are done. What fails on the way is dead space for compaction.
 */
import { type Bodies, extentRecord, type IncomingBody } from "./bodies.ts";
import type { Commits } from "./commits.ts";
import type { Directories } from "./directories.ts";
import { DataLost, type ExtentReader } from "./extent_reader.ts";
import type { Bytes } from "./index/columns.ts";
import type { ObjectIndex } from "./index/object_index.ts";
import type { BucketRow, ObjectMeta, ObjectRecord, ObjectRow } from "./index/rows.ts";
import type { Progress } from "./progress.ts";
import { recordTypes, smallRecord } from "./record.ts";

export interface StoredObject {
  readonly etag: string;
  readonly size: number;
  readonly modified_ms: number;
  readonly meta: ObjectMeta;
}

/** Throws when the write must not replace what is there now. */
export type Precondition = (current: ObjectRow | undefined) => void;

export const always: Precondition = () => {};

export class Objects {
  readonly #index: ObjectIndex;
  readonly #directories: Directories;
  readonly #progress: Progress;
  readonly #commits: Commits;
  readonly #bodies: Bodies;
  readonly #reader: ExtentReader;
  readonly #reads = new Set<Promise<void>>();

  constructor(
    index: ObjectIndex,
    directories: Directories,
    progress: Progress,
    commits: Commits,
    bodies: Bodies,
    reader: ExtentReader,
  ) {
    this.#index = index;
    this.#directories = directories;
    this.#progress = progress;
    this.#commits = commits;
    this.#bodies = bodies;
    this.#reader = reader;
  }

  find(bucket: BucketRow, key: string): ObjectRow | undefined {
    return this.#index.objects.find(bucket.id, key);
  }

  async put(
    bucket: BucketRow,
    key: string,
    body: IncomingBody,
    precondition: Precondition = always,
  ): Promise<StoredObject> {
    using _pin = this.#commits.pin();
    // What cannot succeed is refused before its body is read, and checked again at the end.
    precondition(this.#index.objects.find(bucket.id, key));
    const { id, to, epochs, written, etag, meta } = await this.#bodies.write(bucket, key, body);
    return await this.#commits.committing(bucket.id, key, async () => {
      precondition(this.#index.objects.find(bucket.id, key));
      const modified_ms = Date.now();
      const sequence = this.#progress.nextSequence();
      const object: ObjectRecord = {
        bucket: bucket.id,
        key,
        size: written.size,
        modified_ms,
        etag,
        meta,
        ...(written.inline === undefined ? { extents: [[id, written.size] as const] } : {}),
      };
      if (written.inline !== undefined) {
        await this.#commits.commit(
          to,
          [smallRecord(recordTypes.object, sequence, object, written.inline)],
          ([locations]) => this.#index.objects.apply(object, sequence, locations ?? []),
        );
      } else {
        const extent = this.#bodies.extentOf(id, bucket.id, key, written);
        await this.#commits.commit(
          to,
          [extentRecord(extent, id), smallRecord(recordTypes.object, sequence, object)],
          ([extents, objects]) => {
            this.#index.extents.apply(extent, id, extents ?? []);
            this.#index.objects.apply(object, sequence, objects ?? []);
          },
          epochs,
        );
      }
      return { etag, size: written.size, modified_ms, meta };
    });
  }

  /** @returns whether there was such an object */
  delete(bucket: BucketRow, key: string, precondition: Precondition = always): Promise<boolean> {
    return this.#commits.committing(bucket.id, key, async () => {
      const known = this.#index.objects.find(bucket.id, key);
      precondition(known);
      if (known === undefined) return false;
      const sequence = this.#progress.nextSequence();
      const holders = known.locations.map(({ directory }) => this.#directories.byNumber(directory));
      const to = [...this.#directories.place(bucket.id, key), ...holders];
      // Who does not hear of it may bring the object back; then the tombstone is kept for good.
      const partial = to.some((one) => one?.online !== true) ? { partial: true } : {};
      await this.#commits.commit(
        to,
        [smallRecord(recordTypes.tombstone, sequence, { bucket: bucket.id, key, ...partial })],
        () => this.#index.objects.applyTombstone(bucket.id, key, sequence),
      );
      return true;
    });
  }

  /** Bytes `from` to `to` of an object. Segments that it reads from stay while it reads. */
  async *read(object: ObjectRow, from: number, to: number): AsyncGenerator<Bytes> {
    const done = Promise.withResolvers<void>();
    this.#reads.add(done.promise);
    try {
      if (object.extents === undefined) {
        const whole = await this.#inline(object);
        if (to > from) yield whole.subarray(from, to);
        return;
      }
      let start = 0;
      for (const [id, size] of object.extents) {
        const end = start + size;
        if (end > from && start < to) {
          const extent = this.#index.extents.find(id);
          if (extent === undefined) throw new DataLost(`extent ${id} of ${object.key} is gone`);
          yield* this.#reader.read(
            extent,
            Math.max(from, start) - start,
            Math.min(to, end) - start,
          );
        }
        start = end;
      }
    } finally {
      this.#reads.delete(done.promise);
      done.resolve();
    }
  }

  async #inline(object: ObjectRow): Promise<Bytes> {
    try {
      return await this.#reader.readInline(object.locations);
    } catch (error) {
      // Compaction may have moved it between the look-up and the read.
      const now = this.#index.objects.find(object.bucket, object.key);
      if (now === undefined || now.sequence !== object.sequence) throw error;
      return await this.#reader.readInline(now.locations);
    }
  }

  /** Returns when everybody who reads now is done. */
  async readersDone(): Promise<void> {
    await Promise.all([...this.#reads]);
  }
}
