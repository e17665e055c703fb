/**
 * The index: an SQLite projection of the records in the segments, ordered for listing.
 *
 * The segments are the truth; a record is durable before it gets here. So the database need not be
 * synced at each commit: after a power cut it is consistent at some earlier moment, and recovery reads
 * the segments on from the place that was stored in the same transaction. Every `apply` may be
 * repeated, and older records never undo newer ones.
 *
 * Each table is a part of it, and all of them write in its transactions. The parts know only those below
 * them: segments and marks, then extents, uploads, objects and buckets.
 */
import { BucketTable } from "./buckets.ts";
import { IndexDatabase } from "./database.ts";
import { DeletionMarks } from "./deletion_marks.ts";
import { ExtentTable } from "./extents.ts";
import { HeardTable } from "./heard.ts";
import { ObjectTable } from "./objects.ts";
import { Outbox } from "./outbox.ts";
import { RecordCopies } from "./records.ts";
import { RefusedTable } from "./refused.ts";
import { SegmentTable } from "./segments.ts";
import { SettingsTable } from "./settings.ts";
import { UntoldTable } from "./untold.ts";
import { UploadTable } from "./uploads.ts";

export class ObjectIndex implements Disposable {
  readonly #database: IndexDatabase;
  readonly marks: DeletionMarks;
  readonly segments: SegmentTable;
  readonly records: RecordCopies;
  readonly extents: ExtentTable;
  readonly uploads: UploadTable;
  readonly outbox: Outbox;
  readonly objects: ObjectTable;
  readonly settings: SettingsTable;
  readonly buckets: BucketTable;
  readonly untold: UntoldTable;
  readonly heard: HeardTable;
  readonly refused: RefusedTable;

  /** @param at its file, or a database that is open already */
  constructor(at: string | IndexDatabase) {
    const database = this.#database = typeof at === "string" ? new IndexDatabase(at) : at;
    const marks = this.marks = new DeletionMarks(database);
    const segments = this.segments = new SegmentTable(database);
    const extents = this.extents = new ExtentTable(database, segments, marks);
    const uploads = this.uploads = new UploadTable(database, segments, marks, extents);
    this.settings = new SettingsTable(database, segments, marks);
    const outbox = this.outbox = new Outbox(database, this.settings);
    const objects = new ObjectTable(database, segments, marks, extents, uploads, outbox);
    this.objects = objects;
    this.buckets = new BucketTable(database, segments, marks, uploads, objects, this.settings);
    this.records = new RecordCopies(database, segments);
    this.untold = new UntoldTable(database);
    this.heard = new HeardTable(database);
    this.refused = new RefusedTable(database);
  }

  /** Whether the file is sound enough to go on with. */
  isSound(): boolean {
    return this.#database.isSound();
  }

  /** Runs `work` in a transaction shared with whoever comes in the same turn; returns after it. */
  write(work: () => void): Promise<void> {
    return this.#database.write(work);
  }

  transaction(work: () => void): void {
    this.#database.transaction(work);
  }

  /** Runs what waits now. */
  flush(): void {
    this.#database.flush();
  }

  /** Returns when all that was committed survives a power cut. */
  makeDurable(): Promise<void> {
    return this.#database.makeDurable();
  }

  /** Returns when no other thread uses the file; it can be closed then. */
  end(): Promise<void> {
    return this.#database.end();
  }

  /** Has `work` run inside each transaction from now on, after what the transaction is for. */
  beforeCommit(work: () => void): void {
    this.#database.beforeCommit = work;
  }

  value(name: string): string | undefined {
    return this.#database.value(name);
  }

  setValue(name: string, value: string): void {
    this.#database.setValue(name, value);
  }

  removeValue(name: string): void {
    this.#database.removeValue(name);
  }

  /** Counts that differ from what the rows give. */
  wrongCounts(): { readonly bucket: number; readonly what: string }[] {
    return this.#database.all(
      `select b.id as bucket, b.objects, b.bytes,
         (select count(*) from objects o where o.bucket = b.id) as real_objects,
         (select coalesce(sum(size), 0) from objects o where o.bucket = b.id) +
         (select coalesce(sum(size), 0) from versions v where v.bucket = b.id) as real_bytes
       from buckets b`,
    ).flatMap((row) =>
      row["objects"] === row["real_objects"] && row["bytes"] === row["real_bytes"] ? [] : [{
        bucket: row["bucket"] as number,
        what: `counts ${row["objects"]} objects of ${row["bytes"]} bytes; there are ${
          row["real_objects"]
        } of ${row["real_bytes"]}`,
      }]
    );
  }

  /** Parts, uploads and objects whose bucket or upload went away while they were read back. */
  sweepRecovered(): void {
    for (
      const row of this.#database.all(
        "select id from uploads where id in gone union select upload from parts where upload in gone",
      )
    ) {
      this.uploads.applyGone(row["id"] as string);
    }
    const buckets = new Set<number>();
    for (const table of ["objects", "versions", "settings"]) {
      for (const bucket of this.#database.distinct<number>(table, "bucket")) {
        if (!this.buckets.exists(bucket)) buckets.add(bucket);
      }
    }
    for (const bucket of buckets) this.buckets.applyGone(bucket);
    for (const upload of [...this.#database.distinct<string>("parts", "upload")]) {
      if (!this.uploads.exists(upload)) this.uploads.applyGone(upload);
    }
  }

  /** The highest number that any row names, as of the stored positions at least. */
  highestSequence(): number {
    const stored = this.value("sequence");
    if (stored !== undefined) return Number(stored);
    const row = this.#database.one(
      `select max(coalesce((select max(sequence) from objects), 0),
                  coalesce((select max(sequence) from versions), 0),
                  coalesce((select max(sequence) from settings), 0),
                  coalesce((select max(max(id), max(revision)) from extents), 0),
                  coalesce((select max(sequence) from buckets), 0)) as top`,
    );
    return (row?.["top"] as number | null) ?? 0;
  }

  [Symbol.dispose](): void {
    this.#database[Symbol.dispose]();
  }
}
