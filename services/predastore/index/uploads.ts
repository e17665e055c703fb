/**
 * Multipart uploads and their parts.
 *
 * A part is an extent that its upload keeps alive. An upload ends once, by being completed or given up;
 * with it go its parts, and the extents that no object has taken over. A part that is uploaded again
 * replaces the older one, never the other way round.
 */
import type { Location } from "../segments/blob_directory.ts";
import { packLocations, unpackLocations } from "../extents/layout.ts";
import { type Bytes, json, keyBytes, keyText, optional, parsed } from "./columns.ts";
import type { IndexDatabase, Row } from "./database.ts";
import type { DeletionMarks } from "./deletion_marks.ts";
import type { ExtentTable } from "./extents.ts";
import { addedCopies } from "./records.ts";
import type {
  ChecksumMeta,
  ObjectMeta,
  PartRecord,
  PartRow,
  UploadRecord,
  UploadRow,
} from "./rows.ts";
import type { SegmentTable } from "./segments.ts";

export class UploadTable {
  readonly #database: IndexDatabase;
  readonly #segments: SegmentTable;
  readonly #marks: DeletionMarks;
  readonly #extents: ExtentTable;

  constructor(
    database: IndexDatabase,
    segments: SegmentTable,
    marks: DeletionMarks,
    extents: ExtentTable,
  ) {
    this.#database = database;
    this.#segments = segments;
    this.#marks = marks;
    this.#extents = extents;
  }

  #uploadRow(row: Row): UploadRow {
    return {
      id: row["id"] as string,
      bucket: row["bucket"] as number,
      key: keyText(row["key"]),
      created_ms: row["created_ms"] as number,
      meta: parsed<ObjectMeta>(row["meta"]) as ObjectMeta,
      ...optional("checksum", parsed<UploadRecord["checksum"] & object>(row["checksum"])),
      locations: unpackLocations(row["record"] as Bytes),
    };
  }

  /** Every upload, with the number of its record. */
  *all(): Generator<UploadRow & { readonly sequence: number }> {
    for (const id of this.#database.distinct<string>("uploads", "id")) {
      const upload = this.find(id);
      if (upload === undefined) continue;
      // Its number is the first part of its id.
      yield { ...upload, sequence: parseInt(upload.id.split(".", 1)[0] ?? "", 36) };
    }
  }

  find(id: string): UploadRow | undefined {
    const row = this.#database.one("select * from uploads where id = ?", id);
    return row === undefined ? undefined : this.#uploadRow(row);
  }

  exists(id: string): boolean {
    return this.#database.one("select 1 from uploads where id = ?", id) !== undefined;
  }

  /** Uploads of a bucket after a key and upload id, ordered by key and then id. */
  listFrom(bucket: number, key: Bytes, id: string, limit: number): UploadRow[] {
    return this.#database.all(
      `select * from uploads where bucket = ? and (key, id) > (?, ?) order by key, id limit ?`,
      bucket,
      key,
      id,
      limit,
    ).map((row) => this.#uploadRow(row));
  }

  apply(upload: UploadRecord, locations: readonly Location[]): void {
    if (
      this.#marks.recovering &&
      (this.#marks.isGone(upload.id) || this.#marks.isGone(`bucket ${upload.bucket}`))
    ) {
      return;
    }
    const known = this.find(upload.id);
    const added = addedCopies(known?.locations ?? [], locations);
    this.#database.run(
      "insert or replace into uploads values (?, ?, ?, ?, ?, ?, ?)",
      upload.id,
      upload.bucket,
      keyBytes(upload.key),
      upload.created_ms,
      JSON.stringify(upload.meta),
      json(upload.checksum),
      packLocations([...known?.locations ?? [], ...added]),
    );
    this.#segments.accountRecords(added, 1);
  }

  #partRow(row: Row): PartRow {
    return {
      upload: row["upload"] as string,
      number: row["number"] as number,
      extent: row["extent"] as number,
      size: row["size"] as number,
      etag: row["etag"] as string,
      modified_ms: row["modified_ms"] as number,
      sequence: row["sequence"] as number,
      ...optional("checksum", parsed<ChecksumMeta>(row["checksum"])),
      locations: unpackLocations(row["record"] as Bytes),
    };
  }

  parts(upload: string, after = 0, limit = 10_000): PartRow[] {
    return this.#database.all(
      "select * from parts where upload = ? and number > ? order by number limit ?",
      upload,
      after,
      limit,
    ).map((row) => this.#partRow(row));
  }

  part(upload: string, number: number): PartRow | undefined {
    const row = this.#database.one(
      "select * from parts where upload = ? and number = ?",
      upload,
      number,
    );
    return row === undefined ? undefined : this.#partRow(row);
  }

  applyPart(part: PartRecord, sequence: number, locations: readonly Location[]): void {
    if (this.#marks.recovering && this.#marks.isGone(part.upload)) return;
    const row = this.#database.one(
      "select sequence, extent, record from parts where upload = ? and number = ?",
      part.upload,
      part.number,
    );
    let all = locations;
    if (row !== undefined) {
      if ((row["sequence"] as number) > sequence) return;
      const known = unpackLocations(row["record"] as Bytes);
      if (row["sequence"] === sequence) all = [...known, ...addedCopies(known, locations)];
      else this.#extents.drop(row["extent"] as number);
      this.#segments.accountRecords(known, -1);
    }
    this.#database.run(
      "insert or replace into parts values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
      part.upload,
      part.number,
      part.extent,
      part.size,
      part.etag,
      part.modified_ms,
      json(part.checksum),
      sequence,
      packLocations(all),
    );
    this.#segments.accountRecords(all, 1);
  }

  /** All uploads of a bucket are gone. */
  dropAll(bucket: number): void {
    for (;;) {
      const uploads = this.#database.all(
        "select id from uploads where bucket = ? limit 500",
        bucket,
      );
      for (const { id } of uploads) this.applyGone(id as string);
      if (uploads.length === 0) return;
    }
  }

  /** @param sequence when it ended, where that is known */
  applyGone(upload: string, sequence?: number): void {
    if (this.#marks.recovering) {
      this.#marks.markGone(upload);
      if (sequence !== undefined) this.#marks.markEnded(upload, sequence);
    }
    this.end(upload, new Set());
  }

  /** Ends an upload; the extents in `kept` go on living in its object. */
  end(upload: string, kept: ReadonlySet<number>): void {
    for (const part of this.parts(upload)) {
      this.#segments.accountRecords(part.locations, -1);
      if (!kept.has(part.extent)) this.#extents.drop(part.extent);
    }
    this.#database.run("delete from parts where upload = ?", upload);
    const known = this.find(upload);
    if (known !== undefined) this.#segments.accountRecords(known.locations, -1);
    this.#database.run("delete from uploads where id = ?", upload);
  }
}
