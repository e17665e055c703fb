/**
 * The object store below S3: buckets, objects and multipart uploads, by name.
 *
 * Always: an acknowledged write is durable and listed; a key has one whole object, the old or the new;
 * the record that makes a write real follows its data, is synced together with it, and enters the
 * index before the answer. Writers of one key commit one after the other, so that conditions are
 * checked against what is replaced. What fails on the way is dead space for compaction.
 */
import { dirname } from "node:path";
import { AwsError } from "../aws/errors.ts";
import { errorFields, type Log } from "../log/log.ts";
import type { BlobDirectory, Location } from "./blob_directory.ts";
import { Compactor } from "./compaction.ts";
import { Directories, type Epochs, epochsOf, findStoreId } from "./directories.ts";
import { ErasureCode } from "./erasure.ts";
import { DataLost, ExtentReader } from "./extent_reader.ts";
import {
  type BodyDigest,
  BufferPool,
  ExtentWriter,
  fullShardBytes,
  type WrittenExtent,
} from "./extent_writer.ts";
import {
  type BucketRow,
  type ExtentRecord,
  keyBytes,
  ObjectIndex,
  type ObjectMeta,
  type ObjectRecord,
  type ObjectRow,
  type PartRecord,
  type PartRow,
  schemaVersion,
  type UploadRecord,
  type UploadRow,
} from "./index_db.ts";
import { KeyLocks } from "./key_locks.ts";
import { packLayout } from "./layout.ts";
import { type ExtentMeta, recover, type RecoveryReport } from "./recovery.ts";
import { recordTypes, type SmallRecord, smallRecord } from "./record.ts";
import { pageBytes } from "../../ffi/direct_io.ts";

type Bytes = Uint8Array<ArrayBuffer>;

export interface StoreOptions {
  /** The index's file. */
  readonly index: string;
  readonly blobs: readonly string[];
  readonly data_shards: number;
  readonly parity_shards: number;
  readonly reserve_bytes: number;
  readonly log: Log;
  /** 1 GiB unless given. */
  readonly segment_bytes?: number;
}

/** A body on its way in, with what is to be computed of it. */
export interface IncomingBody {
  readonly chunks: AsyncIterable<Uint8Array>;
  readonly digests: readonly BodyDigest[];
  readonly expected_bytes?: number;
  /** Called when all was read; throws when it is not what it claims to be. */
  finish(size: number): Promise<{ readonly etag: string; readonly meta: ObjectMeta }>;
}

export interface StoredObject {
  readonly etag: string;
  readonly size: number;
  readonly modified_ms: number;
  readonly meta: ObjectMeta;
}

/** Throws when the write must not replace what is there now. */
export type Precondition = (current: ObjectRow | undefined) => void;

const always: Precondition = () => {};
/** An unknown length is admitted and looked at again in steps of this. */
const admittedStep = 64 << 20;
const degradedTold_ms = 10_000;

export const noSuchBucket = () =>
  new AwsError("NoSuchBucket", "The specified bucket does not exist", { status: 404 });
export const noSuchUpload = () =>
  new AwsError(
    "NoSuchUpload",
    "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.",
    { status: 404 },
  );

export class Store implements AsyncDisposable {
  readonly #locks = new KeyLocks();
  readonly #closing = new Set<number>();
  readonly #pool: BufferPool;
  readonly #code: ErasureCode;
  readonly #codes = new Map<string, ErasureCode>();
  readonly #reads = new Set<Promise<void>>();
  readonly reader: ExtentReader;
  readonly compactor: Compactor;
  #sequence: number;
  #storedPositions = new Map<number, number>();
  /** Shards that had to be computed from others since the start. */
  degraded_reads = 0;
  #degradedTold_ms = -Infinity;
  #recovery: RecoveryReport | undefined;

  private constructor(
    readonly options: StoreOptions,
    readonly storeId: bigint,
    readonly index: ObjectIndex,
    readonly directories: Directories,
  ) {
    const { data_shards: k, parity_shards: m } = options;
    this.#code = this.#codeOf(k, m);
    this.#pool = new BufferPool((k + m) * (pageBytes + fullShardBytes(k)), 16);
    this.reader = new ExtentReader({
      storeId,
      directory: (number) => directories.byNumber(number),
      code: (k, m) => this.#codeOf(k, m),
      onDegraded: (extent, stripe, shard, reason) =>
        this.#onDegraded(extent, stripe, shard, reason),
    });
    this.compactor = new Compactor(this);
    this.#sequence = 0;
  }

  /** Opens the store, recovering or rebuilding its index first. */
  static async open(options: StoreOptions): Promise<Store> {
    await Deno.mkdir(dirname(options.index), { recursive: true, mode: 0o750 });
    for (const path of options.blobs) {
      await Deno.mkdir(path, { recursive: true, mode: 0o750 }).catch(() => {});
    }
    let index = openIndex(options.index);
    if (index === undefined || !index.isSound()) {
      options.log.error("index_unsound", { path: options.index });
      index?.[Symbol.dispose]();
      await removeIndex(options.index);
      index = new ObjectIndex(options.index);
    }
    try {
      return await Store.#openWith(options, index);
    } catch (error) {
      index[Symbol.dispose]();
      throw error;
    }
  }

  static async #openWith(options: StoreOptions, index: ObjectIndex): Promise<Store> {
    const known = index.value("store_id");
    const found = await findStoreId(options.blobs);
    const storeId = known === undefined ? found.id : BigInt(known);
    if (found.existing && found.id !== storeId) {
      throw new Error(
        `The index ${options.index} and the blob directories belong to different stores. Mend "storage.blobs", or remove the index to have it rebuilt.`,
      );
    }
    index.transaction(() => {
      index.setValue("schema", schemaVersion);
      index.setValue("store_id", String(storeId));
    });
    const directories = await Directories.open(
      {
        paths: options.blobs,
        k: options.data_shards,
        m: options.parity_shards,
        reserve_bytes: options.reserve_bytes,
        segment_bytes: options.segment_bytes ?? 1 << 30,
        log: options.log,
      },
      storeId,
      index,
    );
    const store = new Store(options, storeId, index, directories);
    await store.#recover();
    return store;
  }

  async #recover(): Promise<void> {
    const started = performance.now();
    this.#recovery = await recover(this.index, this.directories, this.reader, this.options.log);
    this.#sequence = this.#recovery.highest_sequence;
    this.index.beforeCommit = () => this.#storePositions(false);
    await this.directories.lookAtSpace(0);
    this.options.log.info("store_recovered", {
      ...this.#recovery,
      duration_ms: Math.round(performance.now() - started),
    });
  }

  get recovery(): RecoveryReport | undefined {
    return this.#recovery;
  }

  #codeOf(k: number, m: number): ErasureCode {
    const name = `${k}+${m}`;
    let code = this.#codes.get(name);
    if (code === undefined) this.#codes.set(name, code = new ErasureCode(k, m));
    return code;
  }

  #onDegraded(extent: number, stripe: number, shard: number, reason: unknown): void {
    this.degraded_reads++;
    // With a disk gone this happens at every read: one line in a while tells it.
    if (performance.now() - this.#degradedTold_ms > degradedTold_ms) {
      this.#degradedTold_ms = performance.now();
      this.options.log.warn("shard_reconstructed", {
        extent,
        stripe,
        shard,
        degraded_reads: this.degraded_reads,
        ...errorFields(reason),
      });
    }
    const row = this.index.extent(extent);
    const place = row?.stripes[stripe]?.shards[shard];
    // What is only away may come back; what is damaged in a directory that is there needs repair.
    if (place !== undefined && this.directories.byNumber(place.directory)?.online === false) return;
    if (row === undefined || this.index.isJournalled(extent)) return;
    void this.index.write(() => {
      if (this.index.extent(extent) !== undefined) this.index.noteMissing(extent);
    }).catch((error) => this.options.log.error("journal_failed", errorFields(error)));
  }

  /** Stores how far the index has come, now and then: recovery reads on from there. */
  #storePositions(force: boolean): void {
    for (const directory of this.directories.all) {
      const { segment, offset } = directory.appliedUpTo;
      const position = segment * 2 ** 32 + offset / 64;
      const stored = this.#storedPositions.get(directory.number) ?? -1;
      if (!force && position - stored < (8 << 20) / 64) continue;
      this.#storedPositions.set(directory.number, position);
      this.index.setPosition(directory.number, segment, offset);
      this.index.setValue("sequence", String(this.#sequence));
    }
  }

  /** A number above all before it, also after a restart: versions, extents and buckets are named by it. */
  nextSequence(): number {
    return this.#sequence = Math.max(this.#sequence + 1, Date.now() * 1024);
  }

  /** By directory, the segments that each running write may have begun to write into. */
  readonly #pins = new Set<ReadonlyMap<number, number>>();

  /** Keeps compaction away from all that is written from now on, until it is in the index. */
  #pin(): Disposable {
    const from = new Map(this.directories.all.map((one) => [one.number, one.activeSegment]));
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
  async #commit(
    to: readonly (BlobDirectory | undefined)[],
    records: readonly SmallRecord[],
    apply: (copies: readonly (readonly Location[])[]) => void,
    epochs?: Epochs,
  ): Promise<void> {
    using _pin = this.#pin();
    const copies = await this.directories.commit(to, records, epochs);
    try {
      await this.index.write(() => apply(copies));
    } finally {
      this.directories.applied(copies);
    }
  }

  // Buckets

  bucket(name: string): BucketRow | undefined {
    const row = this.index.bucket(name);
    return row !== undefined && this.#closing.has(row.id) ? undefined : row;
  }

  /** @returns the bucket that is there when there is one of that name, with `created` false */
  createBucket(
    name: string,
    account_id: string,
    region: string,
  ): Promise<{ readonly created: boolean; readonly bucket: BucketRow }> {
    return this.#locks.run(`bucket ${name}`, async () => {
      const known = this.index.bucket(name);
      if (known !== undefined) return { created: false, bucket: known };
      const id = this.#newBucketId();
      const bucket = { id, name, account_id, created_ms: Date.now(), region };
      const sequence = this.nextSequence();
      await this.#commit(
        this.directories.online,
        [smallRecord(recordTypes.bucket, sequence, bucket)],
        ([locations]) => this.index.applyBucket(bucket, sequence, locations ?? []),
      );
      return { created: true, bucket: { ...bucket, objects: 0, bytes: 0 } };
    });
  }

  #newBucketId(): number {
    const id = Number(this.index.value("next_bucket") ?? 1);
    // Random beyond the count, so that an id is not used twice after the index was rebuilt.
    const made = (id % 65_536) * 65_536 +
      (crypto.getRandomValues(new Uint16Array(1))[0] ?? 0);
    this.index.transaction(() => this.index.setValue("next_bucket", String(id + 1)));
    return this.index.bucketById(made) === undefined ? made : this.#newBucketId();
  }

  /** @throws AwsError `BucketNotEmpty` */
  deleteBucket(bucket: BucketRow): Promise<void> {
    return this.#locks.run(`bucket ${bucket.name}`, async () => {
      if (this.index.bucketById(bucket.id) === undefined) throw noSuchBucket();
      // From here no write commits into it; those that are committing are waited for.
      this.#closing.add(bucket.id);
      try {
        await Promise.all(this.#commits.get(bucket.id) ?? []);
        if (!this.index.isEmpty(bucket.id)) {
          throw new AwsError(
            "BucketNotEmpty",
            "The bucket you tried to delete is not empty",
            { status: 409 },
          );
        }
        await this.#commit(
          this.directories.online,
          [smallRecord(recordTypes.bucketGone, this.nextSequence(), { id: bucket.id })],
          () => this.index.applyBucketGone(bucket.id),
        );
      } finally {
        this.#closing.delete(bucket.id);
      }
    });
  }

  readonly #commits = new Map<number, Set<Promise<unknown>>>();

  /** Runs the last step of a write, one at a time for each key, unless its bucket is going away. */
  #committing<T>(bucket: number, key: string, work: () => Promise<T>): Promise<T> {
    return this.#locks.run(`${bucket}/${key}`, async () => {
      if (this.#closing.has(bucket) || this.index.bucketById(bucket) === undefined) {
        throw noSuchBucket();
      }
      const running = work();
      let all = this.#commits.get(bucket);
      if (all === undefined) this.#commits.set(bucket, all = new Set());
      const settled = running.then(() => {}, () => {});
      all.add(settled);
      try {
        return await running;
      } finally {
        all.delete(settled);
        if (all.size === 0) this.#commits.delete(bucket);
      }
    });
  }

  // Objects

  async #write(
    bucket: BucketRow,
    key: string,
    body: IncomingBody,
  ): Promise<{
    readonly id: number;
    readonly to: readonly (BlobDirectory | undefined)[];
    readonly epochs: Epochs;
    readonly written: WrittenExtent;
    readonly etag: string;
    readonly meta: ObjectMeta;
  }> {
    const admissions = [await this.directories.admit(body.expected_bytes ?? admittedStep)];
    const to = this.directories.place(bucket.id, key);
    const epochs = epochsOf(to);
    const id = this.nextSequence();
    const writer = new ExtentWriter({
      code: this.#code,
      pool: this.#pool,
      directories: to,
      extent: id,
      bucket: bucket.id,
      key: keyBytes(key),
      digests: body.digests,
      ...(body.expected_bytes === undefined ? {} : { expected_bytes: body.expected_bytes }),
    });
    try {
      let admitted = body.expected_bytes ?? admittedStep;
      for await (const chunk of body.chunks) {
        await writer.push(chunk);
        if (writer.size > admitted) {
          admitted += admittedStep;
          admissions.push(await this.directories.admit(admittedStep));
        }
      }
      const written = await writer.finish();
      const { etag, meta } = await body.finish(written.size);
      return { id, to, epochs, written, etag, meta };
    } catch (error) {
      await writer.abandon();
      throw error;
    } finally {
      for (const release of admissions) release();
    }
  }

  #extentRecord(extent: ExtentRecord, revision: number): SmallRecord {
    const { id, bucket, key, size, k, m, upload } = extent;
    const meta: ExtentMeta = {
      id,
      bucket,
      key,
      size,
      k,
      m,
      layout: packLayout(extent.stripes, k + m).toBase64(),
      ...(upload === undefined ? {} : { upload }),
    };
    return smallRecord(recordTypes.extent, revision, meta);
  }

  async put(
    bucket: BucketRow,
    key: string,
    body: IncomingBody,
    precondition: Precondition = always,
  ): Promise<StoredObject> {
    using _pin = this.#pin();
    // What cannot succeed is refused before its body is read, and checked again at the end.
    precondition(this.index.object(bucket.id, key));
    const { id, to, epochs, written, etag, meta } = await this.#write(bucket, key, body);
    return await this.#committing(bucket.id, key, async () => {
      precondition(this.index.object(bucket.id, key));
      const modified_ms = Date.now();
      const sequence = this.nextSequence();
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
        await this.#commit(
          to,
          [smallRecord(recordTypes.object, sequence, object, written.inline)],
          ([locations]) => this.index.applyObject(object, sequence, locations ?? []),
        );
      } else {
        const extent = this.#newExtent(id, bucket.id, key, written);
        await this.#commit(
          to,
          [this.#extentRecord(extent, id), smallRecord(recordTypes.object, sequence, object)],
          ([extents, objects]) => {
            this.index.applyExtent(extent, id, extents ?? []);
            this.index.applyObject(object, sequence, objects ?? []);
          },
          epochs,
        );
      }
      return { etag, size: written.size, modified_ms, meta };
    });
  }

  #newExtent(
    id: number,
    bucket: number,
    key: string,
    written: WrittenExtent,
    upload?: string,
  ): ExtentRecord {
    return {
      id,
      bucket,
      key,
      size: written.size,
      k: this.#code.k,
      m: this.#code.m,
      stripes: written.stripes,
      ...(upload === undefined ? {} : { upload }),
    };
  }

  object(bucket: BucketRow, key: string): ObjectRow | undefined {
    return this.index.object(bucket.id, key);
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
          const extent = this.index.extent(id);
          if (extent === undefined) throw new DataLost(`extent ${id} of ${object.key} is gone`);
          yield* this.reader.read(extent, Math.max(from, start) - start, Math.min(to, end) - start);
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
      return await this.reader.readInline(object.locations);
    } catch (error) {
      // Compaction may have moved it between the look-up and the read.
      const now = this.index.object(object.bucket, object.key);
      if (now === undefined || now.sequence !== object.sequence) throw error;
      return await this.reader.readInline(now.locations);
    }
  }

  /** Returns when everybody who reads now is done. */
  async readersDone(): Promise<void> {
    await Promise.all([...this.#reads]);
  }

  /** @returns whether there was such an object */
  delete(bucket: BucketRow, key: string, precondition: Precondition = always): Promise<boolean> {
    return this.#committing(bucket.id, key, async () => {
      const known = this.index.object(bucket.id, key);
      precondition(known);
      if (known === undefined) return false;
      const sequence = this.nextSequence();
      const holders = known.locations.map(({ directory }) => this.directories.byNumber(directory));
      const to = [...this.directories.place(bucket.id, key), ...holders];
      // Who does not hear of it may bring the object back; then the tombstone is kept for good.
      const partial = to.some((one) => one?.online !== true) ? { partial: true } : {};
      await this.#commit(
        to,
        [smallRecord(recordTypes.tombstone, sequence, { bucket: bucket.id, key, ...partial })],
        () => this.index.applyTombstone(bucket.id, key, sequence),
      );
      return true;
    });
  }

  // Multipart uploads

  async createUpload(
    bucket: BucketRow,
    key: string,
    meta: ObjectMeta,
    checksum?: UploadRecord["checksum"],
  ): Promise<UploadRecord> {
    const sequence = this.nextSequence();
    const random = crypto.getRandomValues(new Uint8Array(18)).toBase64({ alphabet: "base64url" });
    const upload: UploadRecord = {
      id: `${sequence.toString(36)}.${random}`,
      bucket: bucket.id,
      key,
      created_ms: Date.now(),
      meta,
      ...(checksum === undefined ? {} : { checksum }),
    };
    await this.#committing(bucket.id, key, () =>
      this.#commit(
        this.directories.place(bucket.id, key),
        [smallRecord(recordTypes.upload, sequence, upload)],
        ([locations]) => this.index.applyUpload(upload, locations ?? []),
      ));
    return upload;
  }

  /** @throws AwsError `NoSuchUpload` */
  upload(bucket: BucketRow, key: string, id: string): UploadRow {
    const upload = this.index.upload(id);
    if (upload === undefined || upload.bucket !== bucket.id || upload.key !== key) {
      throw noSuchUpload();
    }
    return upload;
  }

  async putPart(
    bucket: BucketRow,
    upload: UploadRow,
    number: number,
    body: IncomingBody,
  ): Promise<StoredObject> {
    using _pin = this.#pin();
    const { id, to, epochs, written, etag, meta } = await this.#write(bucket, upload.key, body);
    return await this.#committing(bucket.id, upload.key, async () => {
      if (this.index.upload(upload.id) === undefined) throw noSuchUpload();
      const modified_ms = Date.now();
      const sequence = this.nextSequence();
      const whole = written.inline === undefined
        ? written
        : await this.#striped(bucket, upload.key, id, to, written.inline);
      const extent = this.#newExtent(id, bucket.id, upload.key, whole, upload.id);
      const part: PartRecord = {
        upload: upload.id,
        number,
        extent: id,
        size: written.size,
        etag,
        modified_ms,
        ...(meta.checksum === undefined ? {} : { checksum: meta.checksum }),
      };
      await this.#commit(
        to,
        [this.#extentRecord(extent, id), smallRecord(recordTypes.part, sequence, part)],
        ([extents, parts]) => {
          this.index.applyExtent(extent, id, extents ?? []);
          this.index.applyPart(part, sequence, parts ?? []);
        },
        epochs,
      );
      return { etag, size: written.size, modified_ms, meta };
    });
  }

  /** A small part is an extent too: its object has no record of its own to stand in. */
  async #striped(
    bucket: BucketRow,
    key: string,
    extent: number,
    directories: readonly (BlobDirectory | undefined)[],
    bytes: Bytes,
  ): Promise<WrittenExtent> {
    const writer = new ExtentWriter({
      code: this.#code,
      pool: this.#pool,
      directories,
      extent,
      bucket: bucket.id,
      key: keyBytes(key),
      digests: [],
      expected_bytes: bytes.length,
      inline: false,
    });
    await writer.push(bytes);
    return await writer.finish();
  }

  /** Makes an object of parts that stand already; no data moves. */
  completeUpload(
    bucket: BucketRow,
    upload: UploadRow,
    choose: (parts: readonly PartRow[]) => {
      readonly parts: readonly PartRow[];
      readonly etag: string;
      readonly meta: ObjectMeta;
    },
    precondition: Precondition = always,
  ): Promise<StoredObject> {
    return this.#committing(bucket.id, upload.key, async () => {
      if (this.index.upload(upload.id) === undefined) throw noSuchUpload();
      precondition(this.index.object(bucket.id, upload.key));
      const { parts, etag, meta } = choose(this.index.parts(upload.id));
      const modified_ms = Date.now();
      const sequence = this.nextSequence();
      const size = parts.reduce((sum, part) => sum + part.size, 0);
      const object: ObjectRecord = {
        bucket: bucket.id,
        key: upload.key,
        size,
        modified_ms,
        etag,
        meta: { ...meta, parts: parts.map((part) => part.size) },
        extents: parts.map((part) => [part.extent, part.size] as const),
        upload: upload.id,
      };
      await this.#commit(
        this.directories.place(bucket.id, upload.key),
        [smallRecord(recordTypes.object, sequence, object)],
        ([locations]) => this.index.applyObject(object, sequence, locations ?? []),
      );
      return { etag, size, modified_ms, meta };
    });
  }

  abortUpload(bucket: BucketRow, upload: UploadRow): Promise<void> {
    return this.#committing(bucket.id, upload.key, async () => {
      if (this.index.upload(upload.id) === undefined) throw noSuchUpload();
      // Also into full directories: it is what makes room in them.
      const holders = upload.locations.map(({ directory }) => this.directories.byNumber(directory));
      await this.#commit(
        [...this.directories.place(bucket.id, upload.key), ...holders],
        [smallRecord(recordTypes.uploadGone, this.nextSequence(), { upload: upload.id })],
        () => this.index.applyUploadGone(upload.id),
      );
    });
  }

  /** For compaction: records of what it moved, durable and then in the index. */
  async rewrite(
    to: BlobDirectory,
    records: readonly SmallRecord[],
    apply: (locations: readonly Location[]) => void,
  ): Promise<void> {
    const locations = await to.commit(records);
    try {
      await this.index.write(() => apply(locations));
    } finally {
      const first = locations[0];
      if (first !== undefined) to.applied(first);
    }
  }

  extentRecord(extent: ExtentRecord, revision: number): SmallRecord {
    return this.#extentRecord(extent, revision);
  }

  #closed = false;

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.compactor.stop();
    await this.directories.close();
    this.index.flush();
    this.index.beforeCommit = () => this.#storePositions(true);
    this.index.transaction(() => {});
    this.index[Symbol.dispose]();
  }
}

function openIndex(path: string): ObjectIndex | undefined {
  try {
    return new ObjectIndex(path);
  } catch {
    return undefined;
  }
}

/** Removes the index so that the next opening makes it again from the segments. */
export async function removeIndex(path: string): Promise<void> {
  for (const suffix of ["", "-wal", "-shm"]) {
    await Deno.remove(path + suffix).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    });
  }
}
