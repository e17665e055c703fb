/**
 * Multipart uploads: parts that stand as extents, and the object that is made of them.
 *
 * No data moves at completion: the object's record names the parts' extents, and their upload is gone in
 * the same transaction. A part that comes when its upload has ended is refused, and is dead space.
 */
import { AwsError } from "../../aws/errors.ts";
import { type Bodies, extentRecord, type IncomingBody } from "./bodies.ts";
import { type Codes, withCode } from "../extents/codes.ts";
import { currentCause } from "./cause.ts";
import type { Commits } from "./commits.ts";
import type { Directories } from "../segments/directories.ts";
import type { ObjectIndex } from "../index/object_index.ts";
import type {
  BucketRow,
  ObjectMeta,
  ObjectRecord,
  PartRecord,
  PartRow,
  UploadRecord,
  UploadRow,
} from "../index/rows.ts";
import { always, type Precondition, stored, type StoredObject, versionFor } from "./objects.ts";
import type { Progress } from "../index/progress.ts";
import type { UploadGoneMeta } from "../index/gone_meta.ts";
import { recordTypes, smallRecord } from "../segments/record.ts";

const noSuchUpload = () =>
  new AwsError(
    "NoSuchUpload",
    "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.",
    { status: 404 },
  );

/** The number in an upload's id: what was written later has a higher one. */
export const sequenceOfUpload = (id: string): number => parseInt(id.split(".", 1)[0] ?? "", 36);

export class Uploads {
  readonly #index: ObjectIndex;
  readonly #directories: Directories;
  readonly #progress: Progress;
  readonly #commits: Commits;
  readonly #codes: Codes;
  readonly #bodies: Bodies;

  constructor(
    index: ObjectIndex,
    directories: Directories,
    progress: Progress,
    commits: Commits,
    codes: Codes,
    bodies: Bodies,
  ) {
    this.#index = index;
    this.#directories = directories;
    this.#progress = progress;
    this.#commits = commits;
    this.#codes = codes;
    this.#bodies = bodies;
  }

  async create(
    bucket: BucketRow,
    key: string,
    meta: ObjectMeta,
    checksum?: UploadRecord["checksum"],
  ): Promise<UploadRecord> {
    const sequence = this.#progress.nextSequence();
    const random = crypto.getRandomValues(new Uint8Array(18)).toBase64({ alphabet: "base64url" });
    const upload: UploadRecord = {
      id: `${sequence.toString(36)}.${random}`,
      bucket: bucket.id,
      key,
      created_ms: this.#progress.now(),
      // Its parts and its object have one code, whatever is set for the bucket meanwhile.
      meta: withCode(meta, this.#codes.own(bucket.id)),
      ...(checksum === undefined ? {} : { checksum }),
    };
    const code = this.#codes.of(upload.meta);
    await this.#commits.committing(bucket.id, key, () =>
      this.#commits.commit(
        code,
        this.#directories.place(bucket.id, key, code),
        [smallRecord(recordTypes.upload, sequence, upload)],
        ([locations]) => this.#index.uploads.apply(upload, locations ?? []),
      ));
    return upload;
  }

  /** @throws AwsError `NoSuchUpload` */
  find(bucket: BucketRow, key: string, id: string): UploadRow {
    const upload = this.#index.uploads.find(id);
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
    using _pin = this.#commits.pin();
    const wrote = await this.#bodies.write(bucket, upload.key, body, upload.meta.code);
    const { id, to, epochs, size, written, etag, meta } = wrote;
    return await this.#commits.committing(bucket.id, upload.key, async () => {
      if (this.#index.uploads.find(upload.id) === undefined) throw noSuchUpload();
      const modified_ms = this.#progress.now();
      const sequence = this.#progress.nextSequence();
      const whole = written.inline === undefined
        ? written
        : await this.#bodies.striped(bucket, upload.key, wrote, written.inline);
      const extent = this.#bodies.extentOf(id, bucket.id, upload.key, whole, upload.id);
      const part: PartRecord = {
        upload: upload.id,
        number,
        extent: id,
        size,
        etag,
        modified_ms,
        ...(meta.checksum === undefined ? {} : { checksum: meta.checksum }),
      };
      await this.#commits.commit(
        written.code,
        to,
        [extentRecord(extent, id), smallRecord(recordTypes.part, sequence, part)],
        ([extents, parts]) => {
          this.#index.extents.apply(extent, id, extents ?? []);
          this.#index.uploads.applyPart(part, sequence, parts ?? []);
        },
        { epochs, stripes: extent.stripes },
      );
      return { etag, size, modified_ms, meta };
    });
  }

  /** Makes an object of parts that stand already; no data moves. */
  complete(
    bucket: BucketRow,
    upload: UploadRow,
    choose: (parts: readonly PartRow[]) => {
      readonly parts: readonly PartRow[];
      readonly etag: string;
      readonly meta: ObjectMeta;
    },
    precondition: Precondition = always,
  ): Promise<StoredObject> {
    return this.#commits.committing(bucket.id, upload.key, async () => {
      if (this.#index.uploads.find(upload.id) === undefined) throw noSuchUpload();
      precondition(this.#index.objects.find(bucket.id, upload.key));
      const { parts, etag, meta } = choose(this.#index.uploads.parts(upload.id));
      const modified_ms = this.#progress.now();
      const sequence = this.#progress.nextSequence();
      const version = versionFor(this.#index.settings.find(bucket.id), sequence);
      const size = parts.reduce((sum, part) => sum + part.size, 0);
      const object: ObjectRecord = {
        bucket: bucket.id,
        key: upload.key,
        size,
        modified_ms,
        etag,
        meta: withCode({ ...meta, parts: parts.map((part) => part.size) }, upload.meta.code),
        extents: parts.map((part) => [part.extent, part.size] as const),
        upload: upload.id,
        ...(version === undefined ? {} : { version }),
      };
      const code = this.#codes.of(object.meta);
      const cause = currentCause();
      const holders = [upload, ...this.#index.uploads.parts(upload.id)]
        .flatMap(({ locations }) => locations.map(({ directory }) => directory));
      const to = [
        ...this.#directories.place(bucket.id, upload.key, code),
        ...[...new Set(holders)].map((number) => this.#directories.byNumber(number)),
      ];
      // Those that have something of it hear that it has ended; and so do those that may have what they failed to make durable.
      const writable = this.#directories.writable();
      const others = [...holders, ...writable.map(({ number }) => number)];
      const ended = (more: { readonly partial?: true }) => {
        const meta: UploadGoneMeta = { upload: upload.id, upTo: {}, ...more };
        return smallRecord(recordTypes.uploadGone, sequence, meta);
      };
      const heard = new Set<number>();
      await this.#commits.commit(
        code,
        to,
        [smallRecord(recordTypes.object, sequence, object)],
        ([locations = []]) => {
          this.#index.objects.apply(object, sequence, locations, cause);
          for (const { directory } of locations) heard.add(directory);
          const gone = ended({});
          for (const number of new Set(others).difference(heard)) {
            this.#index.untold.add(number, gone);
          }
        },
      );
      const mustWait = this.#directories.all.some((one) =>
        !heard.has(one.number) && (!writable.includes(one) || to.includes(one))
      );
      // Under the object's number, which is never refused any more. It may be long until they hear of it: an index that is
      // made again meanwhile must know that they did not.
      if (mustWait) await this.#directories.tell(ended({ partial: true }));
      return stored({ etag, size, modified_ms, meta }, version);
    });
  }

  abort(bucket: BucketRow, upload: UploadRow): Promise<void> {
    return this.#commits.committing(bucket.id, upload.key, async () => {
      if (this.#index.uploads.find(upload.id) === undefined) throw noSuchUpload();
      // Into full directories too: it is what makes room in them.
      await this.#commits.commitGone(
        this.#codes.of(upload.meta),
        (partial) =>
          smallRecord(recordTypes.uploadGone, this.#progress.nextSequence(), {
            upload: upload.id,
            ...(partial ? { partial } : {}),
          }),
        () => this.#index.uploads.applyGone(upload.id),
      );
    });
  }
}
