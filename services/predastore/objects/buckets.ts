/**
 * Buckets by name: made, found, and removed when they are empty.
 *
 * One of a name at a time is made or removed. An id is never used again, so what is left of a removed
 * bucket cannot appear in a new one of its name. A removal that fails leaves the bucket as it was.
 */
import { AwsError } from "../../aws/errors.ts";
import type { Codes } from "../extents/codes.ts";
import { type Commits, noSuchBucket } from "./commits.ts";
import type { Directories } from "../segments/directories.ts";
import type { ObjectIndex } from "../index/object_index.ts";
import type { BucketRow } from "../index/rows.ts";
import { KeyLocks } from "./key_locks.ts";
import type { Progress } from "../index/progress.ts";
import { recordTypes, smallRecord } from "../segments/record.ts";
import type { BucketSettings } from "./settings.ts";

export class Buckets {
  readonly #index: ObjectIndex;
  readonly #directories: Directories;
  readonly #progress: Progress;
  readonly #commits: Commits;
  readonly #codes: Codes;
  readonly #locks = new KeyLocks();

  constructor(
    index: ObjectIndex,
    directories: Directories,
    progress: Progress,
    commits: Commits,
    codes: Codes,
  ) {
    this.#index = index;
    this.#directories = directories;
    this.#progress = progress;
    this.#commits = commits;
    this.#codes = codes;
  }

  find(name: string): BucketRow | undefined {
    const row = this.#index.buckets.find(name);
    return row !== undefined && this.#commits.isClosing(row.id) ? undefined : row;
  }

  /** @returns the bucket that is there when there is one of that name, with `created` false */
  create(
    name: string,
    account_id: string,
    region: string,
    settings: BucketSettings = {},
  ): Promise<{ readonly created: boolean; readonly bucket: BucketRow }> {
    return this.#locks.run(name, async () => {
      const known = this.#index.buckets.find(name);
      if (known !== undefined) return { created: false, bucket: known };
      const id = this.#newId();
      const bucket = { id, name, account_id, created_ms: this.#progress.now(), region };
      const sequence = this.#progress.nextSequence();
      const set = { bucket: id, settings };
      const setSequence = this.#progress.nextSequence();
      const plain = Object.keys(settings).length === 0;
      await this.#commits.commit(
        this.#codes.ofBucketItself(settings.code),
        this.#directories.online,
        [
          smallRecord(recordTypes.bucket, sequence, bucket),
          ...plain ? [] : [smallRecord(recordTypes.settings, setSequence, set)],
        ],
        ([made, its]) => {
          this.#index.buckets.apply(bucket, sequence, made ?? []);
          if (!plain) this.#index.settings.apply(set, setSequence, its ?? []);
        },
      );
      return { created: true, bucket: { ...bucket, settings } };
    });
  }

  /** Changes what is set for a bucket, one change at a time; `change` may throw to refuse. */
  set(
    bucket: BucketRow,
    change: (now: BucketSettings) => BucketSettings,
  ): Promise<BucketSettings> {
    return this.#locks.run(bucket.name, async () => {
      if (this.#index.buckets.findById(bucket.id) === undefined) throw noSuchBucket();
      const settings = change(this.#index.settings.find(bucket.id));
      const sequence = this.#progress.nextSequence();
      const record = { bucket: bucket.id, settings };
      await this.#commits.commit(
        this.#codes.ofBucketItself(settings.code),
        this.#directories.online,
        [smallRecord(recordTypes.settings, sequence, record)],
        ([locations]) => this.#index.settings.apply(record, sequence, locations ?? []),
      );
      return settings;
    });
  }

  #newId(): number {
    const id = Number(this.#index.value("next_bucket") ?? 1);
    // Random beyond the count, so that an id is not used twice after the index was rebuilt.
    const made = (id % 65_536) * 65_536 +
      (crypto.getRandomValues(new Uint16Array(1))[0] ?? 0);
    this.#index.transaction(() => this.#index.setValue("next_bucket", String(id + 1)));
    return this.#index.buckets.findById(made) === undefined ? made : this.#newId();
  }

  /** @throws AwsError `BucketNotEmpty` */
  delete(bucket: BucketRow): Promise<void> {
    return this.#locks.run(bucket.name, async () => {
      if (this.#index.buckets.findById(bucket.id) === undefined) throw noSuchBucket();
      await this.#commits.closing(bucket.id, async () => {
        if (!this.#index.buckets.isEmpty(bucket.id)) {
          throw new AwsError(
            "BucketNotEmpty",
            `The bucket you tried to delete is not empty${
              this.#index.settings.find(bucket.id).versioning === undefined
                ? ""
                : ". You must delete all versions in the bucket."
            }`,
            { status: 409 },
          );
        }
        await this.#commits.commitGone(
          this.#codes.usual,
          (partial) =>
            smallRecord(recordTypes.bucketGone, this.#progress.nextSequence(), {
              id: bucket.id,
              ...(partial ? { partial } : {}),
            }),
          () => this.#index.buckets.applyGone(bucket.id),
        );
      });
    });
  }
}
