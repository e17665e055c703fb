/**
 * Expires what buckets' lifecycle rules say has lived long enough: current versions, noncurrent ones,
 * delete markers behind which nothing is left, and uploads that nobody completed.
 *
 * As AWS counts, so many days after something came to be means the midnight that follows. What is found
 * is checked again under its key's lock before it goes, so a new object is never mistaken for the old one;
 * what is locked stays. A pass may end anywhere: the next one finds what is left.
 */
import { errorFields, type Log } from "../../log/log.ts";
import type { Buckets } from "./buckets.ts";
import type { ObjectIndex } from "../index/object_index.ts";
import type { BucketRow, ListedVersion, ObjectRow } from "../index/rows.ts";
import { isLocked } from "./object_lock.ts";
import type { Objects } from "./objects.ts";
import type { LifecycleFilter, LifecycleRule } from "./settings.ts";
import type { Uploads } from "./uploads.ts";

const day_ms = 86_400_000;
const pageRows = 500;

export interface AgeingStore {
  readonly options: { readonly log: Log };
  readonly index: ObjectIndex;
  readonly buckets: Buckets;
  readonly objects: Objects;
  readonly uploads: Uploads;
  readonly progress: { readonly now: () => number };
}

/** The midnight from which on something has been there for so many days. */
export function dueAt(since_ms: number, days: number): number {
  return Math.ceil((since_ms + days * day_ms) / day_ms) * day_ms;
}

function fits(filter: LifecycleFilter, object: Pick<ObjectRow, "key" | "size" | "meta">): boolean {
  if (!object.key.startsWith(filter.prefix)) return false;
  if (filter.above_bytes !== undefined && object.size <= filter.above_bytes) return false;
  if (filter.below_bytes !== undefined && object.size >= filter.below_bytes) return false;
  return filter.tags.every(({ key, value }) =>
    object.meta.tags?.some((tag) => tag.key === key && tag.value === value)
  );
}

class Kept extends Error {
  override readonly name = "Kept";
}

export class Lifecycle {
  readonly #store: AgeingStore;
  #running: Promise<void> | undefined;
  #again = false;
  #stopped = false;
  /** Since the start. */
  expired = 0;
  uploads_aborted = 0;

  constructor(store: AgeingStore) {
    this.#store = store;
  }

  /** Looks soon, also when it is looking now. */
  wake(): void {
    this.#again = true;
    void this.run();
  }

  /** Goes through all buckets once. */
  run(): Promise<void> {
    return this.#running ??= this.#all().finally(() => this.#running = undefined);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }

  async #all(): Promise<void> {
    do {
      this.#again = false;
      for (const bucket of this.#store.index.buckets.all()) {
        const rules = bucket.settings.lifecycle?.filter(({ enabled }) => enabled) ?? [];
        if (rules.length === 0 || this.#stopped) continue;
        try {
          await this.#bucket(bucket, rules);
        } catch (error) {
          this.#store.options.log.error("lifecycle_failed", {
            bucket: bucket.name,
            ...errorFields(error),
          });
        }
      }
    } while (this.#again && !this.#stopped);
  }

  async #bucket(bucket: BucketRow, rules: readonly LifecycleRule[]): Promise<void> {
    const { index } = this.#store;
    let start = new Uint8Array(0);
    let below = Number.MAX_SAFE_INTEGER;
    /** Of the key that is looked at: how many noncurrent versions came, and when the last row was made. */
    let key = "";
    let noncurrent = 0;
    let newer_ms = 0;
    let rowsOfKey = 0;
    for (;;) {
      const rows = index.objects.listVersionsFrom(bucket.id, start, below, pageRows);
      for (const row of rows) {
        if (this.#stopped) return;
        if (row.key !== key) {
          key = row.key;
          noncurrent = 0;
          rowsOfKey = 0;
        }
        rowsOfKey++;
        if (row.latest) await this.#current(bucket, row, rules);
        else {
          noncurrent++;
          await this.#noncurrent(bucket, row, rules, newer_ms, noncurrent);
        }
        newer_ms = row.modified_ms;
        start = new TextEncoder().encode(row.key);
        below = row.sequence;
      }
      if (rows.length < pageRows) break;
      await new Promise((next) => setTimeout(next, 0));
    }
    await this.#abandonedUploads(bucket, rules);
  }

  async #current(
    bucket: BucketRow,
    row: ListedVersion,
    rules: readonly LifecycleRule[],
  ): Promise<void> {
    const now = this.#store.progress.now();
    if (row.marker) {
      // A marker is all that is left of the key when nothing is behind it.
      const [next] = this.#store.index.objects.listVersionsFrom(
        bucket.id,
        new TextEncoder().encode(row.key),
        row.sequence,
        1,
      );
      if (next?.key === row.key) return;
      const due = rules.some((rule) =>
        row.key.startsWith(rule.filter.prefix) &&
        (rule.expire_markers === true ||
          (rule.expire_days !== undefined && now >= dueAt(row.modified_ms, rule.expire_days)))
      );
      if (due) await this.#deleteVersion(bucket, row);
      return;
    }
    const due = (object: ObjectRow) =>
      rules.some((rule) =>
        fits(rule.filter, object) &&
        ((rule.expire_days !== undefined && now >= dueAt(object.modified_ms, rule.expire_days)) ||
          (rule.expire_at_ms !== undefined && now >= rule.expire_at_ms))
      );
    const object = this.#store.objects.find(bucket, row.key);
    if (object === undefined || object.sequence !== row.sequence || !due(object)) return;
    await this.#quietly(async () => {
      await this.#store.objects.delete(bucket, row.key, (found) => {
        if (found?.sequence !== row.sequence) throw new Kept();
      }, true);
      this.expired++;
    });
  }

  async #noncurrent(
    bucket: BucketRow,
    row: ListedVersion,
    rules: readonly LifecycleRule[],
    newer_ms: number,
    place: number,
  ): Promise<void> {
    if (row.marker && !rules.some((rule) => rule.noncurrent_days !== undefined)) return;
    const now = this.#store.progress.now();
    const object = this.#store.objects.find(bucket, row.key, row.version);
    if (object === undefined) return;
    const due = rules.some((rule) =>
      rule.noncurrent_days !== undefined && fits(rule.filter, object) &&
      now >= dueAt(newer_ms, rule.noncurrent_days) && place > (rule.noncurrent_kept ?? 0)
    );
    if (due) await this.#deleteVersion(bucket, row);
  }

  async #deleteVersion(bucket: BucketRow, row: ListedVersion): Promise<void> {
    await this.#quietly(async () => {
      await this.#store.objects.deleteVersion(bucket, row.key, row.version, (found) => {
        if (found?.sequence !== row.sequence) throw new Kept();
        if (isLocked(found, this.#store.progress.now(), false)) throw new Kept();
      }, true);
      this.expired++;
    });
  }

  async #quietly(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof Kept)) throw error;
    }
  }

  async #abandonedUploads(bucket: BucketRow, rules: readonly LifecycleRule[]): Promise<void> {
    const now = this.#store.progress.now();
    let key = new Uint8Array(0);
    let id = "";
    for (;;) {
      const rows = this.#store.index.uploads.listFrom(bucket.id, key, id, pageRows);
      for (const upload of rows) {
        key = new TextEncoder().encode(upload.key);
        id = upload.id;
        const due = rules.some((rule) =>
          rule.abort_uploads_days !== undefined && upload.key.startsWith(rule.filter.prefix) &&
          now >= dueAt(upload.created_ms, rule.abort_uploads_days)
        );
        if (!due || this.#stopped) continue;
        await this.#store.uploads.abort(bucket, upload);
        this.uploads_aborted++;
      }
      if (rows.length < pageRows) return;
    }
  }
}
