/**
 * Objects, ordered by bucket and key as they are listed.
 *
 * A key has one row: a record with a higher sequence replaces what is there, and an older one changes
 * nothing. With an object go its extents. Counts of its bucket change in the same transaction.
 */
import type { Location } from "../blob_directory.ts";
import { packLocations, unpackLocations } from "../layout.ts";
import { type Bytes, json, keyBytes, keyText, optional, parsed } from "./columns.ts";
import type { IndexDatabase } from "./database.ts";
import type { DeletionMarks } from "./deletion_marks.ts";
import type { ExtentTable } from "./extents.ts";
import { addedCopies } from "./records.ts";
import type { ChecksumMeta, ListedObject, ObjectMeta, ObjectRecord, ObjectRow } from "./rows.ts";
import type { SegmentTable } from "./segments.ts";
import type { UploadTable } from "./uploads.ts";

export class ObjectTable {
  readonly #database: IndexDatabase;
  readonly #segments: SegmentTable;
  readonly #marks: DeletionMarks;
  readonly #extents: ExtentTable;
  readonly #uploads: UploadTable;

  constructor(
    database: IndexDatabase,
    segments: SegmentTable,
    marks: DeletionMarks,
    extents: ExtentTable,
    uploads: UploadTable,
  ) {
    this.#database = database;
    this.#segments = segments;
    this.#marks = marks;
    this.#extents = extents;
    this.#uploads = uploads;
  }

  find(bucket: number, key: string): ObjectRow | undefined {
    const row = this.#database.one(
      "select * from objects where bucket = ? and key = ?",
      bucket,
      keyBytes(key),
    );
    if (row === undefined) return undefined;
    return {
      bucket,
      key,
      sequence: row["sequence"] as number,
      size: row["size"] as number,
      modified_ms: row["modified_ms"] as number,
      etag: row["etag"] as string,
      meta: {
        ...parsed<ObjectMeta>(row["meta"]) as ObjectMeta,
        ...optional("checksum", parsed<ChecksumMeta>(row["checksum"])),
      },
      ...optional("extents", parsed<[number, number][]>(row["extents"])),
      locations: unpackLocations(row["record"] as Bytes),
    };
  }

  /** Objects of a bucket with keys after (or from) `start`, in the order of their bytes. */
  listFrom(bucket: number, start: Bytes, inclusive: boolean, limit: number): ListedObject[] {
    return this.#database.all(
      `select key, size, modified_ms, etag, checksum from objects
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
    }));
  }

  apply(object: ObjectRecord, sequence: number, locations: readonly Location[]): void {
    const key = keyBytes(object.key);
    if (this.#marks.recovering) {
      if (this.#marks.isGone(`bucket ${object.bucket}`)) return;
      if (object.upload !== undefined) this.#marks.markGone(object.upload);
      if (this.#marks.isDeletedAfter(object.bucket, key, sequence)) return;
    }
    const known = this.find(object.bucket, object.key);
    if (known !== undefined && known.sequence > sequence) return;
    if (known !== undefined && known.sequence === sequence) {
      const added = addedCopies(known.locations, locations);
      this.#database.run(
        "update objects set record = ? where bucket = ? and key = ?",
        packLocations([...known.locations, ...added]),
        object.bucket,
        key,
      );
      this.#segments.accountRecords(added, 1);
      return;
    }
    if (known !== undefined) this.drop(object.bucket, key);
    const { checksum, ...meta } = object.meta;
    this.#database.run(
      "insert into objects values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
      object.bucket,
      key,
      sequence,
      object.size,
      object.modified_ms,
      object.etag,
      json(checksum),
      JSON.stringify(meta),
      json(object.extents),
      packLocations(locations),
    );
    this.#segments.accountRecords(locations, 1);
    this.#database.run(
      "update buckets set objects = objects + 1, bytes = bytes + ? where id = ?",
      object.size,
      object.bucket,
    );
    if (object.upload !== undefined) {
      this.#uploads.end(object.upload, new Set(object.extents?.map(([id]) => id)));
    }
  }

  applyTombstone(bucket: number, key: string, sequence: number): void {
    const bytes = keyBytes(key);
    if (this.#marks.recovering) this.#marks.markDeleted(bucket, bytes, sequence);
    const known = this.find(bucket, key);
    if (known !== undefined && known.sequence < sequence) this.drop(bucket, bytes);
  }

  /** Removes an object with its extents. */
  drop(bucket: number, key: Bytes): void {
    const row = this.#database.one(
      "select size, extents, record from objects where bucket = ? and key = ?",
      bucket,
      key,
    );
    if (row === undefined) return;
    for (const [id] of parsed<[number, number][]>(row["extents"]) ?? []) this.#extents.drop(id);
    this.#segments.accountRecords(unpackLocations(row["record"] as Bytes), -1);
    this.#database.run("delete from objects where bucket = ? and key = ?", bucket, key);
    this.#database.run(
      "update buckets set objects = objects - 1, bytes = bytes - ? where id = ?",
      row["size"] as number,
      bucket,
    );
  }
}
