/**
 * The index: an SQLite projection of the records in the segments, ordered for listing.
 *
 * The segments are the truth; a record is durable before it gets here. So the database need not be
 * synced at each commit: after a power cut it is consistent at some earlier moment, and recovery reads
 * the segments on from the place that was stored in the same transaction. Every `apply` may be
 * repeated, and older records never undo newer ones.
 *
 * Live bytes of each segment are kept here: what is in no row is dead and goes with compaction.
 */
import { DatabaseSync, type StatementSync } from "node:sqlite";
import type { Location } from "./blob_directory.ts";
import {
  packLayout,
  packLocations,
  sameLocation,
  shardPayload,
  type ShardPlace,
  shardSpan,
  type Stripe,
  unpackLayout,
  unpackLocations,
} from "./layout.ts";

type Bytes = Uint8Array<ArrayBuffer>;

export interface BucketRow {
  readonly id: number;
  readonly name: string;
  readonly account_id: string;
  readonly created_ms: number;
  readonly region: string;
  readonly objects: number;
  readonly bytes: number;
}

/** What a client gave with an object and gets back with it. */
export interface ObjectMeta {
  /** Header names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  /** User metadata without its prefix. */
  readonly user: Readonly<Record<string, string>>;
  readonly checksum?: ChecksumMeta;
  /** Sizes of a multipart object's parts, in order. */
  readonly parts?: readonly number[];
}

export interface ChecksumMeta {
  readonly algorithm: string;
  /** Base64, with `-N` when composite. */
  readonly value: string;
  readonly type: "FULL_OBJECT" | "COMPOSITE";
}

export interface ObjectRecord {
  readonly bucket: number;
  readonly key: string;
  readonly size: number;
  readonly modified_ms: number;
  readonly etag: string;
  readonly meta: ObjectMeta;
  /** Ids and sizes in order; undefined when the data stands in the record itself. */
  readonly extents?: readonly (readonly [id: number, size: number])[];
  /** The multipart upload that it completes. */
  readonly upload?: string;
}

export interface ObjectRow extends ObjectRecord {
  readonly sequence: number;
  readonly locations: readonly Location[];
}

export interface ListedObject {
  readonly key: string;
  readonly size: number;
  readonly modified_ms: number;
  readonly etag: string;
  readonly checksum?: ChecksumMeta;
}

export interface ExtentRecord {
  readonly id: number;
  readonly bucket: number;
  readonly key: string;
  readonly size: number;
  readonly k: number;
  readonly m: number;
  readonly stripes: readonly Stripe[];
  readonly upload?: string;
}

export interface ExtentRow extends ExtentRecord {
  readonly revision: number;
  readonly locations: readonly Location[];
}

export interface UploadRecord {
  readonly id: string;
  readonly bucket: number;
  readonly key: string;
  readonly created_ms: number;
  readonly meta: ObjectMeta;
  /** The algorithm that its parts are checked by, and how the whole is made. */
  readonly checksum?: { readonly algorithm: string; readonly type: "FULL_OBJECT" | "COMPOSITE" };
}
export interface UploadRow extends UploadRecord {
  readonly locations: readonly Location[];
}

export interface PartRecord {
  readonly upload: string;
  readonly number: number;
  readonly extent: number;
  readonly size: number;
  readonly etag: string;
  readonly modified_ms: number;
  readonly checksum?: ChecksumMeta;
}
export interface PartRow extends PartRecord {
  readonly locations: readonly Location[];
}

const schema = `
create table if not exists meta (name text primary key, value text) without rowid;
create table if not exists buckets (id integer primary key, name text unique, account_id text,
  created_ms integer, region text, sequence integer, objects integer, bytes integer, record blob);
create index if not exists buckets_by_account on buckets (account_id, name);
create table if not exists objects (bucket integer, key blob, sequence integer, size integer,
  modified_ms integer, etag text, checksum text, meta text, extents text, record blob,
  primary key (bucket, key)) without rowid;
create table if not exists extents (id integer primary key, bucket integer, key blob, size integer,
  k integer, m integer, layout blob, upload text, revision integer, record blob);
create table if not exists uploads (id text primary key, bucket integer, key blob,
  created_ms integer, meta text, checksum text, record blob) without rowid;
create index if not exists uploads_by_key on uploads (bucket, key, id);
create table if not exists parts (upload text, number integer, extent integer, size integer,
  etag text, modified_ms integer, checksum text, sequence integer, record blob,
  primary key (upload, number)) without rowid;
create table if not exists segments (directory integer, segment integer, live integer,
  primary key (directory, segment)) without rowid;
create table if not exists missing (extent integer primary key, shards integer);
create table if not exists positions (directory integer primary key, segment integer,
  offset integer);
create temp table graves (bucket integer, key blob, sequence integer,
  primary key (bucket, key)) without rowid;
create temp table gone (id text primary key) without rowid;
`;

export const schemaVersion = "1";
/** 64 MiB of index are checked at each start. */
const checkedPages = 16_384;

const encoder = new TextEncoder();
const decoder = new TextDecoder();
export const keyBytes = (key: string) => encoder.encode(key);
const keyText = (value: unknown) => decoder.decode(value as Bytes);
const json = (value: unknown) => value === undefined ? null : JSON.stringify(value);
const parsed = <T>(value: unknown): T | undefined =>
  value === null || value === undefined ? undefined : JSON.parse(value as string) as T;
const optional = <Name extends string, T>(name: Name, value: T | undefined | null) =>
  (value === undefined || value === null ? {} : { [name]: value }) as { [N in Name]?: T };

type Row = Record<string, unknown>;

interface Queued {
  readonly work: () => void;
  readonly done: PromiseWithResolvers<void>;
}

export class ObjectIndex implements Disposable {
  readonly #db: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();
  #queue: Queued[] = [];
  #scheduled = false;
  /** While records are read back, deletions leave a mark so that their order does not matter. */
  recovering = false;
  /** Runs inside each transaction, after the work. */
  beforeCommit: () => void = () => {};

  constructor(path: string) {
    this.#db = new DatabaseSync(path);
    this.#db.exec("pragma journal_mode = wal; pragma synchronous = normal;");
    this.#db.exec("pragma cache_size = -16384; pragma temp_store = memory;");
    this.#db.exec(schema);
  }

  /**
   * Whether the file is sound enough to go on with. A large one is not read whole, since that would
   * hold up the start: SQLite itself survives crashes, and rot in it shows when it is read.
   */
  isSound(): boolean {
    try {
      const pages = this.#one("pragma page_count")?.["page_count"] as number;
      const row = pages > checkedPages ? { quick_check: "ok" } : this.#one("pragma quick_check(1)");
      this.#one("select max(id) from extents");
      const version = this.value("schema");
      return row?.["quick_check"] === "ok" && (version === undefined || version === schemaVersion);
    } catch {
      return false;
    }
  }

  #statement(sql: string): StatementSync {
    let statement = this.#statements.get(sql);
    if (statement === undefined) this.#statements.set(sql, statement = this.#db.prepare(sql));
    return statement;
  }

  #run(sql: string, ...values: (string | number | bigint | Bytes | null)[]): number {
    return Number(this.#statement(sql).run(...values).changes);
  }

  #one(sql: string, ...values: (string | number | bigint | Bytes | null)[]): Row | undefined {
    return this.#statement(sql).get(...values) as Row | undefined;
  }

  #all(sql: string, ...values: (string | number | bigint | Bytes | null)[]): Row[] {
    return this.#statement(sql).all(...values) as Row[];
  }

  /** Runs `work` in a transaction shared with whoever comes in the same turn; returns after it. */
  write(work: () => void): Promise<void> {
    const done = Promise.withResolvers<void>();
    this.#queue.push({ work, done });
    if (!this.#scheduled) {
      this.#scheduled = true;
      setImmediate(() => this.flush());
    }
    return done.promise;
  }

  /** Runs what waits now. */
  flush(): void {
    this.#scheduled = false;
    const queue = this.#queue;
    this.#queue = [];
    if (queue.length === 0) return;
    try {
      this.transaction(() => {
        for (const { work } of queue) work();
      });
      for (const { done } of queue) done.resolve();
    } catch (error) {
      if (queue.length === 1) {
        queue[0]?.done.reject(error);
        return;
      }
      // One of them failed: each alone, so that the others do not.
      for (const { work, done } of queue) {
        try {
          this.transaction(work);
          done.resolve();
        } catch (own) {
          done.reject(own);
        }
      }
    }
  }

  transaction(work: () => void): void {
    this.#db.exec("begin immediate");
    try {
      work();
      this.beforeCommit();
      this.#db.exec("commit");
    } catch (error) {
      this.#db.exec("rollback");
      throw error;
    }
  }

  value(name: string): string | undefined {
    return this.#one("select value from meta where name = ?", name)?.["value"] as
      | string
      | undefined;
  }

  setValue(name: string, value: string): void {
    this.#run("insert or replace into meta values (?, ?)", name, value);
  }

  // Space

  #account(directory: number, segment: number, bytes: number): void {
    this.#run(
      `insert into segments values (?, ?, ?)
       on conflict do update set live = live + excluded.live`,
      directory,
      segment,
      bytes,
    );
  }

  #accountRecords(locations: readonly Location[], sign: 1 | -1): void {
    for (const { directory, segment, bytes } of locations) {
      this.#account(directory, segment, sign * bytes);
    }
  }

  #accountShards(extent: ExtentRecord, sign: 1 | -1): void {
    const sums = new Map<number, number>();
    for (const stripe of extent.stripes) {
      for (const [shard, place] of stripe.shards.entries()) {
        if (place === undefined) continue;
        const id = place.directory * 2 ** 32 + place.segment;
        sums.set(id, (sums.get(id) ?? 0) + shardSpan(shardPayload(stripe, extent.k, shard)));
      }
    }
    for (const [id, bytes] of sums) {
      this.#account(Math.floor(id / 2 ** 32), id % 2 ** 32, sign * bytes);
    }
  }

  /** Live bytes of every segment of a directory that holds any. */
  liveBytes(directory: number): Map<number, number> {
    const live = new Map<number, number>();
    for (
      const row of this.#all("select segment, live from segments where directory = ?", directory)
    ) {
      live.set(row["segment"] as number, row["live"] as number);
    }
    return live;
  }

  forgetSegment(directory: number, segment: number): void {
    this.#run("delete from segments where directory = ? and segment = ?", directory, segment);
  }

  highestSegment(directory: number): number {
    const row = this.#one(
      "select max(segment) as top from segments where directory = ?",
      directory,
    );
    return (row?.["top"] as number | null) ?? 0;
  }

  position(directory: number): { segment: number; offset: number } | undefined {
    const row = this.#one("select segment, offset from positions where directory = ?", directory);
    return row as { segment: number; offset: number } | undefined;
  }

  setPosition(directory: number, segment: number, offset: number): void {
    this.#run("insert or replace into positions values (?, ?, ?)", directory, segment, offset);
  }

  // Buckets

  #bucketRow(row: Row | undefined): BucketRow | undefined {
    return row as unknown as BucketRow | undefined;
  }

  bucket(name: string): BucketRow | undefined {
    return this.#bucketRow(this.#one("select * from buckets where name = ?", name));
  }

  bucketById(id: number): BucketRow | undefined {
    return this.#bucketRow(this.#one("select * from buckets where id = ?", id));
  }

  bucketsOf(account: string): BucketRow[] {
    return this.#all("select * from buckets where account_id = ? order by name", account)
      .map((row) => row as unknown as BucketRow);
  }

  bucketLocations(id: number): Location[] {
    const row = this.#one("select record from buckets where id = ?", id);
    return row === undefined ? [] : unpackLocations(row["record"] as Bytes);
  }

  applyBucket(
    bucket: Omit<BucketRow, "objects" | "bytes">,
    sequence: number,
    locations: readonly Location[],
  ): void {
    if (this.recovering && this.#isGone(`bucket ${bucket.id}`)) return;
    const known = this.bucketLocations(bucket.id);
    if (known.length > 0) {
      const added = this.#added(known, locations);
      this.#run(
        "update buckets set record = ? where id = ?",
        packLocations([...known, ...added]),
        bucket.id,
      );
      this.#accountRecords(added, 1);
      return;
    }
    const other = this.#one("select id, sequence from buckets where name = ?", bucket.name);
    if (other !== undefined) {
      if ((other["sequence"] as number) > sequence) return;
      this.applyBucketGone(other["id"] as number);
    }
    this.#run(
      "insert into buckets values (?, ?, ?, ?, ?, ?, 0, 0, ?)",
      bucket.id,
      bucket.name,
      bucket.account_id,
      bucket.created_ms,
      bucket.region,
      sequence,
      packLocations(locations),
    );
    this.#accountRecords(locations, 1);
  }

  applyBucketGone(id: number): void {
    if (this.recovering) this.#markGone(`bucket ${id}`);
    for (const key of this.#all("select key from objects where bucket = ?", id)) {
      this.#dropObject(id, key["key"] as Bytes);
    }
    for (const upload of this.#all("select id from uploads where bucket = ?", id)) {
      this.applyUploadGone(upload["id"] as string);
    }
    this.#accountRecords(this.bucketLocations(id), -1);
    this.#run("delete from buckets where id = ?", id);
  }

  isEmpty(bucket: number): boolean {
    return this.#one("select 1 from objects where bucket = ? limit 1", bucket) === undefined;
  }

  totals(): { objects: number; bytes: number; buckets: number; missing: number } {
    const row = this.#one(
      `select count(*) as buckets, coalesce(sum(objects), 0) as objects,
         coalesce(sum(bytes), 0) as bytes,
         (select coalesce(sum(shards), 0) from missing) as missing from buckets`,
    );
    return row as unknown as { objects: number; bytes: number; buckets: number; missing: number };
  }

  // Objects

  object(bucket: number, key: string): ObjectRow | undefined {
    const row = this.#one(
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
  objectsFrom(bucket: number, start: Bytes, inclusive: boolean, limit: number): ListedObject[] {
    return this.#all(
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

  applyObject(object: ObjectRecord, sequence: number, locations: readonly Location[]): void {
    const key = keyBytes(object.key);
    if (this.recovering) {
      if (this.#isGone(`bucket ${object.bucket}`)) return;
      if (object.upload !== undefined) this.#markGone(object.upload);
      const grave = this.#one(
        "select sequence from graves where bucket = ? and key = ?",
        object.bucket,
        key,
      );
      if (grave !== undefined && (grave["sequence"] as number) > sequence) return;
    }
    const known = this.object(object.bucket, object.key);
    if (known !== undefined && known.sequence > sequence) return;
    if (known !== undefined && known.sequence === sequence) {
      const added = this.#added(known.locations, locations);
      this.#run(
        "update objects set record = ? where bucket = ? and key = ?",
        packLocations([...known.locations, ...added]),
        object.bucket,
        key,
      );
      this.#accountRecords(added, 1);
      return;
    }
    if (known !== undefined) this.#dropObject(object.bucket, key);
    const { checksum, ...meta } = object.meta;
    this.#run(
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
    this.#accountRecords(locations, 1);
    this.#run(
      "update buckets set objects = objects + 1, bytes = bytes + ? where id = ?",
      object.size,
      object.bucket,
    );
    if (object.upload !== undefined) {
      this.#endUpload(object.upload, new Set(object.extents?.map(([id]) => id)));
    }
  }

  applyTombstone(bucket: number, key: string, sequence: number): void {
    const bytes = keyBytes(key);
    if (this.recovering) {
      this.#run(
        `insert into graves values (?, ?, ?)
         on conflict do update set sequence = max(sequence, excluded.sequence)`,
        bucket,
        bytes,
        sequence,
      );
    }
    const known = this.object(bucket, key);
    if (known !== undefined && known.sequence < sequence) this.#dropObject(bucket, bytes);
  }

  #dropObject(bucket: number, key: Bytes): void {
    const row = this.#one(
      "select size, extents, record from objects where bucket = ? and key = ?",
      bucket,
      key,
    );
    if (row === undefined) return;
    for (const [id] of parsed<[number, number][]>(row["extents"]) ?? []) this.dropExtent(id);
    this.#accountRecords(unpackLocations(row["record"] as Bytes), -1);
    this.#run("delete from objects where bucket = ? and key = ?", bucket, key);
    this.#run(
      "update buckets set objects = objects - 1, bytes = bytes - ? where id = ?",
      row["size"] as number,
      bucket,
    );
  }

  // Extents

  extent(id: number): ExtentRow | undefined {
    const row = this.#one("select * from extents where id = ?", id);
    if (row === undefined) return undefined;
    const k = row["k"] as number;
    const m = row["m"] as number;
    return {
      id,
      bucket: row["bucket"] as number,
      key: keyText(row["key"]),
      size: row["size"] as number,
      k,
      m,
      stripes: unpackLayout(row["layout"] as Bytes, k + m),
      ...optional("upload", row["upload"] as string | null),
      revision: row["revision"] as number,
      locations: unpackLocations(row["record"] as Bytes),
    };
  }

  applyExtent(extent: ExtentRecord, revision: number, locations: readonly Location[]): void {
    const known = this.extent(extent.id);
    if (known !== undefined && known.revision > revision) return;
    if (known !== undefined && known.revision === revision) {
      const added = this.#added(known.locations, locations);
      this.#run(
        "update extents set record = ? where id = ?",
        packLocations([...known.locations, ...added]),
        extent.id,
      );
      this.#accountRecords(added, 1);
      return;
    }
    if (known !== undefined) this.dropExtent(extent.id);
    this.#run(
      "insert into extents values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
      extent.id,
      extent.bucket,
      keyBytes(extent.key),
      extent.size,
      extent.k,
      extent.m,
      packLayout(extent.stripes, extent.k + extent.m),
      extent.upload ?? null,
      revision,
      packLocations(locations),
    );
    this.#accountShards(extent, 1);
    this.#accountRecords(locations, 1);
    this.#journal(extent);
  }

  /** Journals shards that were never written, for a later repair. */
  #journal(extent: ExtentRecord): void {
    let missing = 0;
    for (const stripe of extent.stripes) {
      for (const [shard, place] of stripe.shards.entries()) {
        if (place === undefined && shardPayload(stripe, extent.k, shard) > 0) missing++;
      }
    }
    if (missing > 0) {
      this.#run("insert or replace into missing values (?, ?)", extent.id, missing);
    }
  }

  /** Journals that at least one shard of the extent was found damaged. */
  noteMissing(extent: number): void {
    this.#run("insert or ignore into missing values (?, 1)", extent);
  }

  isJournalled(extent: number): boolean {
    return this.#one("select 1 from missing where extent = ?", extent) !== undefined;
  }

  dropExtent(id: number): void {
    const known = this.extent(id);
    if (known === undefined) return;
    this.#accountShards(known, -1);
    this.#accountRecords(known.locations, -1);
    this.#run("delete from extents where id = ?", id);
    this.#run("delete from missing where extent = ?", id);
  }

  /** Whether an object or a part refers to the extent. */
  isReferenced(extent: ExtentRow): boolean {
    if (extent.upload !== undefined) {
      const part = this.#one(
        "select 1 from parts where upload = ? and extent = ?",
        extent.upload,
        extent.id,
      );
      if (part !== undefined) return true;
    }
    const object = this.object(extent.bucket, extent.key);
    return object?.extents?.some(([id]) => id === extent.id) ?? false;
  }

  *extentIds(): Generator<number> {
    for (let after = -1;;) {
      const rows = this.#all("select id from extents where id > ? order by id limit 1000", after);
      if (rows.length === 0) return;
      for (const row of rows) yield after = row["id"] as number;
    }
  }

  // Multipart uploads

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

  upload(id: string): UploadRow | undefined {
    const row = this.#one("select * from uploads where id = ?", id);
    return row === undefined ? undefined : this.#uploadRow(row);
  }

  /** Uploads of a bucket after a key and upload id, ordered by key and then id. */
  uploadsFrom(bucket: number, key: Bytes, id: string, limit: number): UploadRow[] {
    return this.#all(
      `select * from uploads where bucket = ? and (key, id) > (?, ?) order by key, id limit ?`,
      bucket,
      key,
      id,
      limit,
    ).map((row) => this.#uploadRow(row));
  }

  applyUpload(upload: UploadRecord, locations: readonly Location[]): void {
    if (this.recovering && (this.#isGone(upload.id) || this.#isGone(`bucket ${upload.bucket}`))) {
      return;
    }
    const known = this.upload(upload.id);
    const added = this.#added(known?.locations ?? [], locations);
    this.#run(
      "insert or replace into uploads values (?, ?, ?, ?, ?, ?, ?)",
      upload.id,
      upload.bucket,
      keyBytes(upload.key),
      upload.created_ms,
      JSON.stringify(upload.meta),
      json(upload.checksum),
      packLocations([...known?.locations ?? [], ...added]),
    );
    this.#accountRecords(added, 1);
  }

  #partRow(row: Row): PartRow {
    return {
      upload: row["upload"] as string,
      number: row["number"] as number,
      extent: row["extent"] as number,
      size: row["size"] as number,
      etag: row["etag"] as string,
      modified_ms: row["modified_ms"] as number,
      ...optional("checksum", parsed<ChecksumMeta>(row["checksum"])),
      locations: unpackLocations(row["record"] as Bytes),
    };
  }

  parts(upload: string, after = 0, limit = 10_000): PartRow[] {
    return this.#all(
      "select * from parts where upload = ? and number > ? order by number limit ?",
      upload,
      after,
      limit,
    ).map((row) => this.#partRow(row));
  }

  part(upload: string, number: number): PartRow | undefined {
    const row = this.#one("select * from parts where upload = ? and number = ?", upload, number);
    return row === undefined ? undefined : this.#partRow(row);
  }

  applyPart(part: PartRecord, sequence: number, locations: readonly Location[]): void {
    if (this.recovering && this.#isGone(part.upload)) return;
    const row = this.#one(
      "select sequence, extent, record from parts where upload = ? and number = ?",
      part.upload,
      part.number,
    );
    let all = locations;
    if (row !== undefined) {
      if ((row["sequence"] as number) > sequence) return;
      const known = unpackLocations(row["record"] as Bytes);
      if (row["sequence"] === sequence) all = [...known, ...this.#added(known, locations)];
      else this.dropExtent(row["extent"] as number);
      this.#accountRecords(known, -1);
    }
    this.#run(
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
    this.#accountRecords(all, 1);
  }

  applyUploadGone(upload: string): void {
    if (this.recovering) this.#markGone(upload);
    this.#endUpload(upload, new Set());
  }

  #endUpload(upload: string, kept: ReadonlySet<number>): void {
    for (const part of this.parts(upload)) {
      if (this.recovering) {
        // The object that it completed may have been in the index before its parts were read again.
        const extent = this.extent(part.extent);
        const object = extent && this.object(extent.bucket, extent.key);
        if (object?.extents?.some(([id]) => id === part.extent)) {
          kept = new Set([...kept, part.extent]);
        }
      }
      this.#accountRecords(part.locations, -1);
      if (!kept.has(part.extent)) this.dropExtent(part.extent);
    }
    this.#run("delete from parts where upload = ?", upload);
    const known = this.upload(upload);
    if (known !== undefined) this.#accountRecords(known.locations, -1);
    this.#run("delete from uploads where id = ?", upload);
  }

  // Moving and recovery

  /** A record was rewritten by compaction: its copy at `from` now stands at `to`. */
  moveRecord(
    owner: RecordOwner,
    from: Location,
    to: Location,
  ): boolean {
    const [table, where, values] = ownerRow(owner);
    const row = this.#one(`select record from ${table} where ${where}`, ...values);
    if (row === undefined) return false;
    const known = unpackLocations(row["record"] as Bytes);
    const at = known.findIndex((location) => sameLocation(location, from));
    if (at < 0) return false;
    known[at] = to;
    this.#run(`update ${table} set record = ? where ${where}`, packLocations(known), ...values);
    this.#accountRecords([from], -1);
    this.#accountRecords([to], 1);
    return true;
  }

  /** Whether the record at `location` is the one that the index uses. */
  usesRecord(owner: RecordOwner, location: ShardPlace): boolean {
    const [table, where, values] = ownerRow(owner);
    const row = this.#one(`select record from ${table} where ${where}`, ...values);
    return row !== undefined &&
      unpackLocations(row["record"] as Bytes).some((known) => sameLocation(known, location));
  }

  #added(known: readonly Location[], locations: readonly Location[]): Location[] {
    // One copy in each directory counts; after a move the older copy may be read again.
    return locations.filter((location) =>
      !known.some((one) => one.directory === location.directory)
    );
  }

  #markGone(id: string): void {
    this.#run("insert or ignore into gone values (?)", id);
  }

  #isGone(id: string): boolean {
    return this.#one("select 1 from gone where id = ?", id) !== undefined;
  }

  /** Parts, uploads and objects whose bucket or upload went away while they were read back. */
  sweepRecovered(): void {
    for (
      const row of this.#all(
        "select id from uploads where id in gone union select upload from parts where upload in gone",
      )
    ) {
      this.applyUploadGone(row["id"] as string);
    }
    for (
      const row of this.#all(
        "select distinct bucket from objects where bucket not in (select id from buckets)",
      )
    ) this.applyBucketGone(row["bucket"] as number);
    for (
      const row of this.#all(
        "select distinct upload from parts where upload not in (select id from uploads)",
      )
    ) this.applyUploadGone(row["upload"] as string);
    this.#db.exec("delete from graves; delete from gone;");
  }

  /** The highest number that any row names, as of the stored positions at least. */
  highestSequence(): number {
    const stored = this.value("sequence");
    if (stored !== undefined) return Number(stored);
    const row = this.#one(
      `select max(coalesce((select max(sequence) from objects), 0),
                  coalesce((select max(max(id), max(revision)) from extents), 0),
                  coalesce((select max(sequence) from buckets), 0)) as top`,
    );
    return (row?.["top"] as number | null) ?? 0;
  }

  [Symbol.dispose](): void {
    this.flush();
    this.#db.close();
  }
}

/** Which row a small record belongs to. */
export type RecordOwner =
  | { readonly kind: "bucket"; readonly id: number }
  | { readonly kind: "object"; readonly bucket: number; readonly key: string }
  | { readonly kind: "extent"; readonly id: number }
  | { readonly kind: "upload"; readonly id: string }
  | { readonly kind: "part"; readonly upload: string; readonly number: number };

function ownerRow(owner: RecordOwner): [string, string, (string | number | Bytes)[]] {
  switch (owner.kind) {
    case "bucket":
      return ["buckets", "id = ?", [owner.id]];
    case "object":
      return ["objects", "bucket = ? and key = ?", [owner.bucket, keyBytes(owner.key)]];
    case "extent":
      return ["extents", "id = ?", [owner.id]];
    case "upload":
      return ["uploads", "id = ?", [owner.id]];
    case "part":
      return ["parts", "upload = ? and number = ?", [owner.upload, owner.number]];
  }
}
