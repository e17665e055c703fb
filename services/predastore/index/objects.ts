/**
 * Objects, ordered by bucket and key as they are listed, and the versions behind them.
 *
 * `objects` has for each key the version that a plain read sees; `versions` has all others: what is no
 * longer current, and delete markers. Where versions were never kept a key has one row and nothing is
 * looked up beside it. Which row stands where follows from the sequences alone, so records may be
 * applied in any order: the highest of a key is current, and a null version replaces a null version. The
 * record of one version is rewritten with a higher revision when its tags, lock or class change.
 *
 * With a version go its extents. Counts of its bucket change in the same transaction.
 */
import type { Location } from "../segments/blob_directory.ts";
import type { Cause } from "../objects/cause.ts";
import { sequenceOf } from "../objects/version_id.ts";
import { packLocations, unpackLocations } from "../extents/layout.ts";
import { type Bytes, json, keyBytes, keyText, optional, parsed } from "./columns.ts";
import type { IndexDatabase, Row } from "./database.ts";
import type { DeletionMarks } from "./deletion_marks.ts";
import type { ExtentTable } from "./extents.ts";
import type { Outbox } from "./outbox.ts";
import { addedCopies } from "./records.ts";
import type {
  ChecksumMeta,
  ListedObject,
  ListedVersion,
  ObjectMeta,
  ObjectRecord,
  ObjectRow,
} from "./rows.ts";
import type { SegmentTable } from "./segments.ts";
import { Sums } from "./sums.ts";
import type { UploadTable } from "./uploads.ts";
import { VersionListing } from "./version_listing.ts";

type Table = "objects" | "versions";

const columns =
  "bucket, key, sequence, revision, version, marker, size, modified_ms, etag, checksum, storage_class, meta, extents, record";
const placeholders = columns.replace(/\w+/g, "?");
/** Those of a row whose bucket and key are known. */
const besidesKey = columns.split(", ").slice(2);
const findCurrent = `select ${besidesKey.join(", ")} from objects where bucket = ? and key = ?`;

type Filled<T> = { -readonly [Name in keyof T]: T[Name] };

/** Every request for an object makes one, so it is made with no objects on the way. @param columns those of `besidesKey` */
function objectRow(bucket: number, key: string, columns: readonly unknown[]): ObjectRow {
  const [sequence, revision, version, marker, size, modified_ms, etag, ...described] = columns;
  const [checksum, storage_class, told, extents, record] = described;
  const meta = JSON.parse(told as string) as Filled<ObjectMeta>;
  if (checksum !== null) meta.checksum = JSON.parse(checksum as string) as ChecksumMeta;
  if (storage_class !== null) meta.storage_class = storage_class as string;
  const row: Filled<ObjectRow> = {
    bucket,
    key,
    sequence: sequence as number,
    size: size as number,
    modified_ms: modified_ms as number,
    etag: etag as string,
    meta,
    locations: unpackLocations(record as Bytes),
  };
  if ((revision as number) > 0) row.revision = revision as number;
  if (version !== null) row.version = version as string;
  if (marker === 1) row.marker = true;
  if (extents !== null) row.extents = JSON.parse(extents as string) as [number, number][];
  return row;
}

export class ObjectTable {
  readonly #database: IndexDatabase;
  readonly #segments: SegmentTable;
  readonly #marks: DeletionMarks;
  readonly #extents: ExtentTable;
  readonly #uploads: UploadTable;
  readonly #outbox: Outbox;
  readonly #versions: VersionListing;
  /** Objects and bytes of each bucket. */
  readonly #counts: Sums;
  /** Buckets that have rows in `versions`, or had some since the start. */
  readonly #versioned: Set<number>;

  constructor(
    database: IndexDatabase,
    segments: SegmentTable,
    marks: DeletionMarks,
    extents: ExtentTable,
    uploads: UploadTable,
    outbox: Outbox,
  ) {
    this.#database = database;
    this.#segments = segments;
    this.#marks = marks;
    this.#extents = extents;
    this.#uploads = uploads;
    this.#outbox = outbox;
    this.#versions = new VersionListing(database);
    this.#counts = new Sums(database, (bucket, [objects = 0, bytes = 0]) => {
      database.run(
        "update buckets set objects = objects + ?, bytes = bytes + ? where id = ?",
        objects,
        bytes,
        bucket,
      );
    });
    this.#versioned = new Set(database.distinct<number>("versions", "bucket"));
  }

  #row(row: Row): ObjectRow {
    const besides = besidesKey.map((name) => row[name]);
    return objectRow(row["bucket"] as number, keyText(row["key"]), besides);
  }

  /** What a plain read sees. */
  find(bucket: number, key: string): ObjectRow | undefined {
    const found = this.#database.columns(findCurrent, bucket, keyBytes(key));
    return found === undefined ? undefined : objectRow(bucket, key, found);
  }

  /** One version by its id; `null` is the one that has none. */
  findVersion(bucket: number, key: string, version: string): ObjectRow | undefined {
    const current = this.find(bucket, key);
    if (current !== undefined && (current.version ?? "null") === version) return current;
    if (!this.#versioned.has(bucket)) return undefined;
    const found = version === "null"
      ? this.#nullVersion(bucket, keyBytes(key))
      : this.#versionRow(bucket, keyBytes(key), version);
    return found === undefined ? undefined : this.#row(found.row);
  }

  /** The highest version of a key, also a delete marker. */
  findLatest(bucket: number, key: string): ObjectRow | undefined {
    const current = this.find(bucket, key);
    if (current !== undefined || !this.#versioned.has(bucket)) return current;
    const row = this.#database.one(
      "select * from versions where bucket = ? and key = ? order by sequence desc limit 1",
      bucket,
      keyBytes(key),
    );
    return row === undefined ? undefined : this.#row(row);
  }

  /** The version that was made at `sequence`. */
  findAt(bucket: number, key: string, sequence: number): ObjectRow | undefined {
    const found = this.#at(bucket, keyBytes(key), sequence);
    return found === undefined ? undefined : this.#row(found.row);
  }

  #at(bucket: number, key: Bytes, sequence: number): { table: Table; row: Row } | undefined {
    const current = this.#current(bucket, key);
    return current?.row["sequence"] === sequence ? current : this.#versionAt(bucket, key, sequence);
  }

  #current(bucket: number, key: Bytes): { table: Table; row: Row } | undefined {
    const row = this.#database.one(
      "select * from objects where bucket = ? and key = ?",
      bucket,
      key,
    );
    return row === undefined ? undefined : { table: "objects", row };
  }

  /** One that is not current. */
  #versionAt(bucket: number, key: Bytes, sequence: number): { table: Table; row: Row } | undefined {
    if (!this.#versioned.has(bucket)) return undefined;
    const row = this.#database.one(
      "select * from versions where bucket = ? and key = ? and sequence = ?",
      bucket,
      key,
      sequence,
    );
    return row === undefined ? undefined : { table: "versions", row };
  }

  /** Objects of a bucket with keys after (or from) `start`, in the order of their bytes. */
  listFrom(bucket: number, start: Bytes, inclusive: boolean, limit: number): ListedObject[] {
    return this.#database.all(
      `select key, size, modified_ms, etag, checksum, storage_class from objects
       where bucket = ? and key ${inclusive ? ">=" : ">"} ? order by key limit ?`,
      bucket,
      start,
      limit,
    ).map((row) => ({
      key: keyText(row["key"]),
      size: row["size"] as number,
      modified_ms: row["modified_ms"] as number,
      etag: row["etag"] as string,
      ...optional("checksum", parsed<ChecksumMeta>(row["checksum"])),
      ...optional("storage_class", row["storage_class"] as string | null),
    }));
  }

  /**
   * Versions from a key on, and within that key below a sequence; by key, the newest first. `latest` is
   * told of rows that no newer one of their key precedes.
   */
  listVersionsFrom(
    bucket: number,
    start: Bytes,
    below: number,
    limit: number,
  ): ListedVersion[] {
    return this.#versions.page(bucket, start, below, limit, this.#versioned.has(bucket));
  }

  apply(
    object: ObjectRecord,
    sequence: number,
    locations: readonly Location[],
    cause?: Cause,
  ): void {
    const { bucket } = object;
    const key = keyBytes(object.key);
    if (this.#marks.recovering) {
      if (this.#marks.isGone(`bucket ${bucket}`)) return;
      if (object.upload !== undefined && !this.#isLastAttempt(object, object.upload, sequence)) {
        return;
      }
      if (this.#marks.isDeletedAfter(bucket, key, object.version ?? "", sequence)) return;
    }
    if (object.version !== undefined || object.marker === true) this.#versioned.add(bucket);
    const current = this.#current(bucket, key);
    const same = current?.row["sequence"] === sequence
      ? current
      : this.#versionAt(bucket, key, sequence);
    if (same !== undefined) {
      if (this.#reapply(same, object, locations)) this.#outbox.noteRevised(object, sequence, cause);
    } else {
      const replaced = object.version !== undefined
        ? undefined
        : current?.row["version"] === null
        ? current
        : this.#nullBehind(bucket, key);
      if (replaced !== undefined) {
        if ((replaced.row["sequence"] as number) > sequence) return;
        this.#drop(replaced.table, replaced.row);
      }
      // Where there is a current one still, the higher of the two will be.
      const taken = current !== undefined && replaced !== current;
      const table = object.marker === true || taken ? "versions" : "objects";
      if (table === "versions") this.#versioned.add(bucket);
      this.#insert(table, object, sequence, locations);
      this.#outbox.noteMade(object, sequence, cause);
      if (this.#versioned.has(bucket)) this.#settle(bucket, key);
    }
    if (object.upload !== undefined) {
      this.#uploads.end(object.upload, new Set(object.extents?.map(([id]) => id)));
    }
  }

  /** While records are read back: the object's parts are gone, and its record still says that its upload has ended. */
  applyLost(object: ObjectRecord, sequence: number): void {
    if (object.upload === undefined || !this.#isLastAttempt(object, object.upload, sequence)) {
      return;
    }
    this.#uploads.end(object.upload, new Set());
  }

  /**
   * While records are read back: whether no later attempt to complete an upload has been read. What an earlier one made goes:
   * it failed, or there would be no later one.
   */
  #isLastAttempt({ bucket, key }: ObjectRecord, upload: string, sequence: number): boolean {
    this.#marks.markGone(upload);
    const ended = this.#marks.endedAt(upload) ?? 0;
    if (ended > sequence) return false;
    const failed = ended < sequence ? this.#at(bucket, keyBytes(key), ended) : undefined;
    if (failed !== undefined) this.#drop(failed.table, failed.row);
    this.#marks.markEnded(upload, sequence);
    return true;
  }

  #nullVersion(bucket: number, key: Bytes): { table: Table; row: Row } | undefined {
    const current = this.#current(bucket, key);
    return current?.row["version"] === null ? current : this.#nullBehind(bucket, key);
  }

  #nullBehind(bucket: number, key: Bytes): { table: Table; row: Row } | undefined {
    if (!this.#versioned.has(bucket)) return undefined;
    const row = this.#database.one(
      `select * from versions where bucket = ? and key = ? and version is null
       order by sequence desc limit 1`,
      bucket,
      key,
    );
    return row === undefined ? undefined : { table: "versions", row };
  }

  /**
   * The same version again: another copy of its record, or a record with other tags, lock or class.
   * @returns whether the version is another now
   */
  #reapply(
    { table, row }: { readonly table: Table; readonly row: Row },
    object: ObjectRecord,
    locations: readonly Location[],
  ): boolean {
    const known = unpackLocations(row["record"] as Bytes);
    const revision = object.revision ?? 0;
    if (revision < (row["revision"] as number)) return false;
    const where = "where bucket = ? and key = ? and sequence = ?";
    const which = [object.bucket, row["key"] as Bytes, row["sequence"] as number] as const;
    if (revision === row["revision"]) {
      const added = addedCopies(known, locations);
      this.#database.run(
        `update ${table} set record = ? ${where}`,
        packLocations([...known, ...added]),
        ...which,
      );
      this.#segments.accountRecords(added, 1);
      return false;
    }
    const { checksum: _checksum, storage_class, ...meta } = object.meta;
    this.#database.run(
      `update ${table} set record = ?, revision = ?, storage_class = ?, meta = ? ${where}`,
      packLocations(locations),
      revision,
      storage_class ?? null,
      JSON.stringify(meta),
      ...which,
    );
    this.#segments.accountRecords(known, -1);
    this.#segments.accountRecords(locations, 1);
    return true;
  }

  #insert(
    table: Table,
    object: ObjectRecord,
    sequence: number,
    locations: readonly Location[],
  ): void {
    const { checksum, storage_class, ...meta } = object.meta;
    this.#database.run(
      `insert into ${table} (${columns}) values (${placeholders})`,
      object.bucket,
      keyBytes(object.key),
      sequence,
      object.revision ?? 0,
      object.version ?? null,
      object.marker === true ? 1 : 0,
      object.size,
      object.modified_ms,
      object.etag,
      json(checksum),
      storage_class ?? null,
      JSON.stringify(meta),
      json(object.extents),
      packLocations(locations),
    );
    this.#segments.accountRecords(locations, 1);
    this.#counts.add(object.bucket, table === "objects" ? 1 : 0, object.size);
  }

  /** Puts the highest version of a key where a plain read sees it, unless it is a delete marker. */
  #settle(bucket: number, key: Bytes): void {
    const highest = this.#database.one(
      `select sequence, marker from versions where bucket = ? and key = ?
       order by sequence desc limit 1`,
      bucket,
      key,
    );
    if (highest === undefined) return;
    const current = this.#database.one(
      "select sequence from objects where bucket = ? and key = ?",
      bucket,
      key,
    );
    const sequence = highest["sequence"] as number;
    if (current !== undefined && (current["sequence"] as number) > sequence) return;
    if (current !== undefined) this.#move("objects", "versions", bucket, key, current["sequence"]);
    if (highest["marker"] !== 1) this.#move("versions", "objects", bucket, key, sequence);
  }

  #move(from: Table, to: Table, bucket: number, key: Bytes, sequence: unknown): void {
    const which = [bucket, key, sequence as number] as const;
    const where = "where bucket = ? and key = ? and sequence = ?";
    this.#database.run(
      `insert into ${to} (${columns}) select ${columns} from ${from} ${where}`,
      ...which,
    );
    this.#database.run(`delete from ${from} ${where}`, ...which);
    this.#counts.add(bucket, to === "objects" ? 1 : -1, 0);
  }

  /** A version was deleted for good; without an id, the null version. */
  applyTombstone(
    bucket: number,
    key: string,
    sequence: number,
    version?: string,
    lifecycle = false,
    cause?: Cause,
  ): void {
    const bytes = keyBytes(key);
    if (this.#marks.recovering) this.#marks.markDeleted(bucket, bytes, version ?? "", sequence);
    const known = version === undefined
      ? this.#nullVersion(bucket, bytes)
      : this.#versionRow(bucket, bytes, version);
    if (known === undefined || (known.row["sequence"] as number) >= sequence) return;
    this.#drop(known.table, known.row);
    this.#outbox.noteGone(bucket, key, sequence, version, lifecycle, cause);
    if (this.#versioned.has(bucket)) this.#settle(bucket, bytes);
  }

  #versionRow(bucket: number, key: Bytes, version: string): { table: Table; row: Row } | undefined {
    const sequence = sequenceOf(version);
    if (sequence !== undefined) {
      const found = this.#at(bucket, key, sequence);
      return found?.row["version"] === version ? found : undefined;
    }
    for (const table of ["objects", "versions"] as const) {
      const row = this.#database.one(
        `select * from ${table} where bucket = ? and key = ? and version = ?`,
        bucket,
        key,
        version,
      );
      if (row !== undefined) return { table, row };
    }
    return undefined;
  }

  #drop(table: Table, row: Row): void {
    for (const [id] of parsed<[number, number][]>(row["extents"]) ?? []) this.#extents.drop(id);
    this.#segments.accountRecords(unpackLocations(row["record"] as Bytes), -1);
    const bucket = row["bucket"] as number;
    this.#database.run(
      `delete from ${table} where bucket = ? and key = ? and sequence = ?`,
      bucket,
      row["key"] as Bytes,
      row["sequence"] as number,
    );
    this.#counts.add(bucket, table === "objects" ? -1 : 0, -(row["size"] as number));
  }

  /** Removes all of a bucket. */
  dropAll(bucket: number): void {
    for (const table of ["objects", "versions"] as const) {
      for (;;) {
        const rows = this.#database.all(
          `select * from ${table} where bucket = ? limit 200`,
          bucket,
        );
        for (const row of rows) this.#drop(table, row);
        if (rows.length === 0) break;
      }
    }
    this.#versioned.delete(bucket);
  }

  /** Whether a bucket has an object, version or delete marker that came after that number. */
  hasAfter(bucket: number, sequence: number): boolean {
    return this.#database.one(
      `select 1 from objects where bucket = ?1 and sequence > ?2 union all
       select 1 from versions where bucket = ?1 and sequence > ?2 limit 1`,
      bucket,
      sequence,
    ) !== undefined;
  }

  /** Whether a bucket has no object, no version and no delete marker. */
  isEmpty(bucket: number): boolean {
    return this.#database.one(
      `select 1 from objects where bucket = ?1 union all
       select 1 from versions where bucket = ?1 limit 1`,
      bucket,
    ) === undefined;
  }

  /** Every version of every key, in no particular order. */
  *all(): Generator<ObjectRow> {
    for (const table of ["objects", "versions"] as const) {
      let at: readonly [number, Bytes, number] = [-1, new Uint8Array(0), 0];
      for (;;) {
        const rows = this.#database.all(
          `select * from ${table} where (bucket, key, sequence) > (?, ?, ?)
           order by bucket, key, sequence limit 200`,
          ...at,
        );
        for (const row of rows) {
          at = [row["bucket"] as number, row["key"] as Bytes, row["sequence"] as number];
          yield this.#row(row);
        }
        if (rows.length < 200) break;
      }
    }
  }
}
