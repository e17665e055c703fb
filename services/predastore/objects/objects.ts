/**
 * Objects by key: put, read and deleted.
 *
 * A key has one whole object, the old or the new. The record that makes a write real follows its data
 * and is synced together with it. A reader goes on to read what it began with: segments that running
 * reads may look into stay until they are done. What fails on the way is dead space for compaction.
 */
import { type Bodies, extentRecord, type IncomingBody } from "./bodies.ts";
import type { Code } from "../extents/code.ts";
import { type Codes, withCode } from "../extents/codes.ts";
import { currentCause } from "./cause.ts";
import type { Commits } from "./commits.ts";
import type { Directories } from "../segments/directories.ts";
import { DiskBuffers } from "../extents/disk_buffers.ts";
import { DataLost, type ExtentReader } from "../extents/extent_reader.ts";
import type { Bytes } from "../index/columns.ts";
import type { ObjectIndex } from "../index/object_index.ts";
import type { BucketRow, ObjectMeta, ObjectRecord, ObjectRow, Revised } from "../index/rows.ts";
import type { PieceMemory } from "../extents/piece_memory.ts";
import type { Progress } from "../index/progress.ts";
import { recordTypes, smallRecord } from "../segments/record.ts";
import type { TombstoneMeta } from "../index/gone_meta.ts";
import type { SealedSource } from "../encryption/sealed_body.ts";
import type { Sealing } from "../encryption/sealing.ts";
import type { SmallBodies } from "../extents/small_bodies.ts";
import type { BucketSettings } from "./settings.ts";
import { newVersionId } from "./version_id.ts";
import { RecentDeletions } from "./recent_deletions.ts";

export interface StoredObject {
  readonly etag: string;
  readonly size: number;
  readonly modified_ms: number;
  readonly meta: ObjectMeta;
  /** Where versions are kept. */
  readonly version?: string;
}

export interface Deleted {
  readonly existed: boolean;
  /** The version id of the delete marker that was made. */
  readonly marker?: string;
}

/** The version id of what is written now, where the bucket keeps versions. */
export function versionFor(settings: BucketSettings, sequence: number): string | undefined {
  return settings.versioning === "Enabled" ? newVersionId(sequence) : undefined;
}

export function stored(
  object: Omit<StoredObject, "version">,
  version: string | undefined,
): StoredObject {
  return version === undefined ? object : { ...object, version };
}

/** Throws when the write must not replace what is there now. */
export type Precondition = (current: ObjectRow | undefined) => void;

export const always: Precondition = () => {};

/** Sealed bytes that are in memory, and were checked when they came there. */
function inside(whole: Bytes): SealedSource {
  async function* read(from: number, to: number): AsyncGenerator<Bytes> {
    yield await Promise.resolve(whole.subarray(from, to));
  }
  return { read, give: () => {}, readChecked: read };
}

export class Objects {
  /** Of keys of which nothing is left. */
  readonly deletions = new RecentDeletions();
  readonly #index: ObjectIndex;
  readonly #directories: Directories;
  readonly #progress: Progress;
  readonly #commits: Commits;
  readonly #codes: Codes;
  readonly #bodies: Bodies;
  readonly #reader: ExtentReader;
  readonly #small: SmallBodies;
  readonly #sealing: Sealing | undefined;
  /** A copy of an object's record was found damaged. */
  readonly #onDamaged: (object: ObjectRow) => void;
  readonly #reads = new Set<Promise<void>>();
  readonly #buffers = new DiskBuffers();

  constructor(
    index: ObjectIndex,
    directories: Directories,
    progress: Progress,
    commits: Commits,
    codes: Codes,
    bodies: Bodies,
    reader: ExtentReader,
    small: SmallBodies,
    onDamaged: (object: ObjectRow) => void,
    sealing: Sealing | undefined,
  ) {
    this.#index = index;
    this.#directories = directories;
    this.#progress = progress;
    this.#commits = commits;
    this.#codes = codes;
    this.#bodies = bodies;
    this.#reader = reader;
    this.#small = small;
    this.#onDamaged = onDamaged;
    this.#sealing = sealing;
  }

  /** What a plain read sees, or one version; `null` is the version without an id. */
  find(bucket: BucketRow, key: string, version?: string): ObjectRow | undefined {
    return version === undefined
      ? this.#index.objects.find(bucket.id, key)
      : this.#index.objects.findVersion(bucket.id, key, version);
  }

  /** The newest version of a key, also when it is a delete marker. */
  latest(bucket: BucketRow, key: string): ObjectRow | undefined {
    return this.#index.objects.findLatest(bucket.id, key);
  }

  async put(
    bucket: BucketRow,
    key: string,
    body: IncomingBody,
    precondition: Precondition = always,
    made?: ObjectRecord["made"],
  ): Promise<StoredObject> {
    using _pin = this.#commits.pin();
    const cause = currentCause();
    // What cannot succeed is refused before its body is read, and checked again at the end.
    precondition(this.#index.objects.find(bucket.id, key));
    const { id, to, epochs, size, written, etag, meta } = await this.#bodies.write(
      bucket,
      key,
      body,
      this.#codes.own(bucket.id),
    );
    return await this.#commits.committing(bucket.id, key, async () => {
      precondition(this.#index.objects.find(bucket.id, key));
      const modified_ms = this.#progress.now();
      const sequence = this.#progress.nextSequence();
      const version = versionFor(this.#index.settings.find(bucket.id), sequence);
      const object: ObjectRecord = {
        bucket: bucket.id,
        key,
        size,
        modified_ms,
        etag,
        meta,
        ...(version === undefined ? {} : { version }),
        ...(made === undefined ? {} : { made }),
        ...(written.inline === undefined ? { extents: [[id, size] as const] } : {}),
      };
      if (written.inline !== undefined) {
        await this.#commits.commit(
          written.code,
          to,
          [smallRecord(recordTypes.object, sequence, object, written.inline)],
          ([locations]) => this.#index.objects.apply(object, sequence, locations ?? [], cause),
        );
        this.#small.written(sequence, written.inline);
      } else {
        const extent = this.#bodies.extentOf(id, bucket.id, key, written);
        await this.#commits.commit(
          written.code,
          to,
          [extentRecord(extent, id), smallRecord(recordTypes.object, sequence, object)],
          ([extents, objects]) => {
            this.#index.extents.apply(extent, id, extents ?? []);
            this.#index.objects.apply(object, sequence, objects ?? [], cause);
          },
          { epochs, stripes: extent.stripes },
        );
      }
      return stored({ etag, size, modified_ms, meta }, version);
    });
  }

  /**
   * What deleting a key does: where no versions are kept the object goes; else a delete marker comes to
   * stand before them, in place of the null version where versions are suspended.
   */
  delete(
    bucket: BucketRow,
    key: string,
    precondition: Precondition = always,
    lifecycle = false,
  ): Promise<Deleted> {
    return this.#commits.committing(bucket.id, key, async () => {
      const known = this.#index.objects.find(bucket.id, key);
      precondition(known);
      const { versioning } = this.#index.settings.find(bucket.id);
      if (versioning === undefined) {
        if (known === undefined) return { existed: false };
        await this.#bury(bucket, key, known, lifecycle);
        return { existed: true };
      }
      const sequence = this.#progress.nextSequence();
      const version = versioning === "Enabled" ? newVersionId(sequence) : undefined;
      const marker: ObjectRecord = {
        bucket: bucket.id,
        key,
        marker: true,
        size: 0,
        modified_ms: this.#progress.now(),
        etag: "",
        meta: withCode({ headers: {}, user: {} }, this.#codes.own(bucket.id)),
        ...(version === undefined ? {} : { version }),
        ...(lifecycle ? { made: "Lifecycle" as const } : {}),
      };
      const cause = currentCause();
      const holders = this.#index.objects.findVersion(bucket.id, key, "null")?.locations ?? [];
      const code = this.#codes.of(marker.meta);
      await this.#commits.commit(
        code,
        this.#placeWith(marker, code, holders),
        [smallRecord(recordTypes.object, sequence, marker)],
        ([locations]) => this.#index.objects.apply(marker, sequence, locations ?? [], cause),
      );
      return { existed: known !== undefined, marker: version ?? "null" };
    });
  }

  /** Removes one version for good. What is not there is no error. */
  deleteVersion(
    bucket: BucketRow,
    key: string,
    version: string,
    precondition: Precondition = always,
    lifecycle = false,
  ): Promise<{ readonly existed: boolean; readonly marker: boolean }> {
    return this.#commits.committing(bucket.id, key, async () => {
      const known = this.#index.objects.findVersion(bucket.id, key, version);
      precondition(known);
      if (known === undefined) return { existed: false, marker: false };
      await this.#bury(bucket, key, known, lifecycle);
      return { existed: true, marker: known.marker === true };
    });
  }

  /** Where a record goes, and where those stand that it replaces or takes away. */
  #placeWith(object: ObjectRecord, code: Code, holders: ObjectRow["locations"]) {
    return [
      ...this.#directories.place(object.bucket, object.key, code),
      ...holders.map(({ directory }) => this.#directories.byNumber(directory)),
    ];
  }

  /** Writes the tombstone of a version. */
  async #bury(
    bucket: BucketRow,
    key: string,
    known: ObjectRow,
    lifecycle: boolean,
  ): Promise<void> {
    const { version } = known;
    const cause = currentCause();
    const meta: TombstoneMeta = {
      bucket: bucket.id,
      key,
      ...(version === undefined ? {} : { version }),
      ...(lifecycle ? { lifecycle: true } : {}),
    };
    // An older record of the key may stand in a directory where this one never was.
    await this.#commits.commitGone(
      this.#codes.of(known.meta),
      (partial) =>
        smallRecord(
          recordTypes.tombstone,
          this.#progress.nextSequence(),
          partial ? { ...meta, partial } : meta,
        ),
      (sequence) => {
        this.#index.objects.applyTombstone(bucket.id, key, sequence, version, lifecycle, cause);
        if (version === undefined) this.deletions.note(bucket.id, key, sequence);
      },
    );
  }

  /**
   * Changes the tags, the lock or the class of a version: its record is written again, with its data where that
   * stands in it.
   * @param revised what events tell of it
   */
  annotate(
    bucket: BucketRow,
    key: string,
    version: string | undefined,
    change: (now: ObjectRow | undefined) => Pick<ObjectMeta, "tags" | "lock" | "storage_class">,
    revised?: Revised,
  ): Promise<ObjectRow> {
    return this.#commits.committing(bucket.id, key, async () => {
      const known = version === undefined
        ? this.#index.objects.findLatest(bucket.id, key)
        : this.#index.objects.findVersion(bucket.id, key, version);
      const changed = change(known);
      if (known === undefined) throw new DataLost(`${key} is gone`);
      const { sequence, locations: holders, ...record } = known;
      const object: ObjectRecord = {
        ...record,
        meta: { ...known.meta, ...changed },
        // One of its own, also when the last one failed.
        revision: this.#progress.nextSequence(),
        ...(revised === undefined ? {} : { revised }),
      };
      const cause = currentCause();
      const inline = known.extents === undefined && known.marker !== true
        ? await this.#stored(known)
        : undefined;
      const code = this.#codes.of(known.meta);
      await this.#commits.commit(
        code,
        this.#placeWith(known, code, holders),
        [smallRecord(recordTypes.object, sequence, object, inline)],
        ([locations]) => this.#index.objects.apply(object, sequence, locations ?? [], cause),
      );
      return { ...object, sequence, locations: [] };
    });
  }

  /**
   * All of an object that is in memory as it came, without being sealed: at once, and for a look at once, since the memory
   * is others' afterwards.
   */
  inMemory({ sequence, extents, meta }: ObjectRow): Bytes | undefined {
    if (extents !== undefined || meta.seal !== undefined) return undefined;
    return this.#small.look(sequence);
  }

  /**
   * Bytes `from` to `to` of an object. Segments that it reads from stay while it reads.
   * @param memory what pieces that have to be opened may stand in
   * @param customer_key the client's own, where the object was sealed under one
   */
  async *read(
    object: ObjectRow,
    from: number,
    to: number,
    memory?: PieceMemory,
    customer_key?: Bytes,
  ): AsyncGenerator<Bytes> {
    const done = Promise.withResolvers<void>();
    this.#reads.add(done.promise);
    try {
      const { seal } = object.meta;
      if (object.extents === undefined) {
        if (to <= from) return;
        const whole = await this.#stored(object);
        if (seal === undefined) yield whole.subarray(from, to);
        else {
          const range = { size: object.size, from, to };
          yield* this.#open(seal, seal.body ?? 0, range, inside(whole), memory, customer_key);
        }
        return;
      }
      using _long = this.#small.beside();
      const { extents } = this.#index;
      using _held = extents.held.hold(object.extents.map(([id]) => id));
      let start = 0;
      for (const [id, size] of object.extents) {
        const end = start + size;
        if (end > from && start < to) {
          const extent = extents.find(id) ?? extents.held.find(id);
          if (extent === undefined) throw new DataLost(`extent ${id} of ${object.key} is gone`);
          const first = Math.max(from, start) - start;
          const last = Math.min(to, end) - start;
          if (seal === undefined) yield* this.#reader.read(extent, first, last);
          else {
            const buffers = this.#buffers;
            const source: SealedSource = {
              read: (at, before) => this.#reader.read(extent, at, before, buffers),
              give: (bytes) => buffers.give(bytes),
              readChecked: (at, before) => this.#reader.read(extent, at, before),
            };
            const range = { size, from: first, to: last };
            yield* this.#open(seal, id, range, source, memory, customer_key);
          }
        }
        start = end;
      }
    } finally {
      this.#reads.delete(done.promise);
      done.resolve();
    }
  }

  #open(...args: Parameters<Sealing["open"]>): AsyncGenerator<Bytes> {
    if (this.#sealing === undefined) throw new DataLost("the store has no key to open this with");
    return this.#sealing.open(...args);
  }

  /** What stands in an object's record. */
  async #stored(object: ObjectRow): Promise<Bytes> {
    const known = this.#small.find(object.sequence);
    if (known !== undefined) return known;
    const stored = await this.#readStored(object);
    this.#small.read(object.sequence, stored);
    return stored;
  }

  async #readStored(object: ObjectRow): Promise<Bytes> {
    const { sequence } = object;
    try {
      return await this.#reader.readInline(
        object.locations,
        sequence,
        () => this.#onDamaged(object),
      );
    } catch (error) {
      // Compaction may have moved it between the look-up and the read.
      const now = this.#index.objects.findAt(object.bucket, object.key, sequence);
      if (now === undefined) throw error;
      return await this.#reader.readInline(now.locations, sequence);
    }
  }

  /** Returns when everybody who reads now is done. */
  async readersDone(): Promise<void> {
    await Promise.all([...this.#reads]);
  }
}
