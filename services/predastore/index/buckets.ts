/**
 * Buckets, and what each holds in numbers.
 *
 * A name belongs to one bucket, the one with the higher sequence should two records claim it; ids are
 * never used again. With a bucket go its objects and uploads, in the same transaction.
 */
import type { Location } from "../segments/blob_directory.ts";
import { packLocations, unpackLocations } from "../extents/layout.ts";
import type { Bytes } from "./columns.ts";
import type { IndexDatabase, Row } from "./database.ts";
import type { DeletionMarks } from "./deletion_marks.ts";
import type { ObjectTable } from "./objects.ts";
import { addedCopies } from "./records.ts";
import type { BucketRecord, BucketRow } from "./rows.ts";
import type { SegmentTable } from "./segments.ts";
import type { SettingsTable } from "./settings.ts";
import type { UploadTable } from "./uploads.ts";

/** Buckets that are remembered at most. */
const mostAsked = 10_000;

export class BucketTable {
  readonly #database: IndexDatabase;
  readonly #segments: SegmentTable;
  readonly #marks: DeletionMarks;
  readonly #uploads: UploadTable;
  readonly #objects: ObjectTable;
  readonly #settings: SettingsTable;
  /** Buckets that were asked for, by name and by id: every request asks several times. */
  readonly #asked = new Map<string | number, BucketRecord>();

  constructor(
    database: IndexDatabase,
    segments: SegmentTable,
    marks: DeletionMarks,
    uploads: UploadTable,
    objects: ObjectTable,
    settings: SettingsTable,
  ) {
    this.#database = database;
    this.#segments = segments;
    this.#marks = marks;
    this.#uploads = uploads;
    this.#objects = objects;
    this.#settings = settings;
  }

  #bucketRow(row: Row): BucketRow {
    const { sequence: _sequence, record: _record, objects: _objects, bytes: _bytes, ...bucket } =
      row;
    return this.#withSettings(bucket as unknown as BucketRecord);
  }

  #withSettings(bucket: BucketRecord): BucketRow {
    return { ...bucket, settings: this.#settings.find(bucket.id) };
  }

  #find(by: "name" | "id", value: string | number): BucketRow | undefined {
    const asked = this.#asked.get(value);
    if (asked !== undefined) return this.#withSettings(asked);
    const row = this.#database.one(`select * from buckets where ${by} = ?`, value);
    if (row === undefined) return undefined;
    const { settings, ...bucket } = this.#bucketRow(row);
    if (this.#asked.size >= mostAsked) this.#asked.clear();
    this.#asked.set(value, bucket);
    return { ...bucket, settings };
  }

  find(name: string): BucketRow | undefined {
    return this.#find("name", name);
  }

  findById(id: number): BucketRow | undefined {
    return this.#find("id", id);
  }

  exists(id: number): boolean {
    return this.#database.one("select 1 from buckets where id = ?", id) !== undefined;
  }

  ofAccount(account: string): BucketRow[] {
    return this.#database.all("select * from buckets where account_id = ? order by name", account)
      .map((row) => this.#bucketRow(row));
  }

  /** Every bucket with where its record stands. */
  all(): (BucketRow & { readonly sequence: number; readonly locations: readonly Location[] })[] {
    return this.#database.all("select * from buckets").map((row) => ({
      ...this.#bucketRow(row),
      sequence: row["sequence"] as number,
      locations: unpackLocations(row["record"] as Bytes),
    }));
  }

  #locations(id: number): Location[] {
    const row = this.#database.one("select record from buckets where id = ?", id);
    return row === undefined ? [] : unpackLocations(row["record"] as Bytes);
  }

  apply(
    bucket: BucketRecord,
    sequence: number,
    locations: readonly Location[],
  ): void {
    if (this.#marks.recovering && this.#marks.isGone(`bucket ${bucket.id}`)) return;
    this.#asked.clear();
    const known = this.#locations(bucket.id);
    if (known.length > 0) {
      const added = addedCopies(known, locations);
      this.#database.run(
        "update buckets set record = ? where id = ?",
        packLocations([...known, ...added]),
        bucket.id,
      );
      this.#segments.accountRecords(added, 1);
      return;
    }
    const other = this.#database.one(
      "select id, sequence from buckets where name = ?",
      bucket.name,
    );
    if (other !== undefined) {
      if ((other["sequence"] as number) > sequence) return;
      this.applyGone(other["id"] as number);
    }
    this.#database.run(
      "insert into buckets values (?, ?, ?, ?, ?, ?, 0, 0, ?)",
      bucket.id,
      bucket.name,
      bucket.account_id,
      bucket.created_ms,
      bucket.region,
      sequence,
      packLocations(locations),
    );
    this.#segments.accountRecords(locations, 1);
  }

  applyGone(id: number): void {
    if (this.#marks.recovering) this.#marks.markGone(`bucket ${id}`);
    this.#asked.clear();
    this.#objects.dropAll(id);
    this.#settings.drop(id);
    this.#uploads.dropAll(id);
    this.#segments.accountRecords(this.#locations(id), -1);
    this.#database.run("delete from buckets where id = ?", id);
  }

  isEmpty(bucket: number): boolean {
    return this.#objects.isEmpty(bucket);
  }

  /** What each account's buckets hold now. */
  usage(): { readonly account_id: string; readonly bucket: string; readonly bytes: number }[] {
    return this.#database.all("select account_id, name as bucket, bytes from buckets")
      .map((row) => row as unknown as { account_id: string; bucket: string; bytes: number });
  }

  totals(): { objects: number; bytes: number; buckets: number; missing: number } {
    const row = this.#database.one(
      `select count(*) as buckets, coalesce(sum(objects), 0) as objects,
         coalesce(sum(bytes), 0) as bytes,
         (select coalesce(sum(shards), 0) from missing) as missing from buckets`,
    );
    return row as unknown as { objects: number; bytes: number; buckets: number; missing: number };
  }
}
