/**
 * What owners have set for their buckets: one document each, the highest sequence stands.
 *
 * Read at every request, so the parsed documents are kept in memory until they change.
 */
import type { Location } from "../segments/blob_directory.ts";
import { packLocations, unpackLocations } from "../extents/layout.ts";
import type { BucketSettings } from "../objects/settings.ts";
import type { Bytes } from "./columns.ts";
import type { IndexDatabase } from "./database.ts";
import type { DeletionMarks } from "./deletion_marks.ts";
import { addedCopies } from "./records.ts";
import type { SettingsRecord } from "./rows.ts";
import type { SegmentTable } from "./segments.ts";

const none: BucketSettings = {};

export interface SettingsRow extends SettingsRecord {
  readonly sequence: number;
  readonly locations: readonly Location[];
}

export class SettingsTable {
  readonly #database: IndexDatabase;
  readonly #segments: SegmentTable;
  readonly #marks: DeletionMarks;
  readonly #parsed = new Map<number, BucketSettings>();

  constructor(database: IndexDatabase, segments: SegmentTable, marks: DeletionMarks) {
    this.#database = database;
    this.#segments = segments;
    this.#marks = marks;
  }

  find(bucket: number): BucketSettings {
    let settings = this.#parsed.get(bucket);
    if (settings === undefined) {
      const row = this.#database.one("select document from settings where bucket = ?", bucket);
      settings = row === undefined ? none : JSON.parse(row["document"] as string) as BucketSettings;
      this.#parsed.set(bucket, settings);
    }
    return settings;
  }

  apply(record: SettingsRecord, sequence: number, locations: readonly Location[]): void {
    const { bucket } = record;
    if (this.#marks.recovering && this.#marks.isGone(`bucket ${bucket}`)) return;
    const row = this.#database.one(
      "select sequence, record from settings where bucket = ?",
      bucket,
    );
    const known = row === undefined ? [] : unpackLocations(row["record"] as Bytes);
    if (row !== undefined && (row["sequence"] as number) > sequence) return;
    const same = row?.["sequence"] === sequence;
    const added = same ? addedCopies(known, locations) : locations;
    if (!same) this.#segments.accountRecords(known, -1);
    this.#database.run(
      "insert or replace into settings values (?, ?, ?, ?)",
      bucket,
      sequence,
      JSON.stringify(record.settings),
      packLocations(same ? [...known, ...added] : added),
    );
    this.#segments.accountRecords(added, 1);
    this.#parsed.delete(bucket);
  }

  drop(bucket: number): void {
    const row = this.#database.one("select record from settings where bucket = ?", bucket);
    if (row === undefined) return;
    this.#segments.accountRecords(unpackLocations(row["record"] as Bytes), -1);
    this.#database.run("delete from settings where bucket = ?", bucket);
    this.#parsed.delete(bucket);
  }

  *all(): Generator<SettingsRow> {
    for (const row of this.#database.all("select * from settings")) {
      yield {
        bucket: row["bucket"] as number,
        settings: JSON.parse(row["document"] as string) as BucketSettings,
        sequence: row["sequence"] as number,
        locations: unpackLocations(row["record"] as Bytes),
      };
    }
  }
}
