/**
 * Does what buckets' lifecycle rules say: current versions, noncurrent ones, delete markers behind which
 * nothing is left and uploads that nobody completed end when they have lived long enough, and versions get
 * the storage classes that they are to have by then.
 *
 * What is found is checked again under its key's lock before it goes, so a new object is never mistaken for
 * the old one; what is locked stays. A pass may end anywhere: the next one finds what is left. It reads only keys that
 * begin as some rule says, page by page, and looks up only what may be due; clients have the thread
 * for most of the time.
 */
import { errorFields, type Log } from "../../log/log.ts";
import type { Buckets } from "./buckets.ts";
import type { ObjectIndex } from "../index/object_index.ts";
import type { BucketRow, ListedVersion, ObjectRow } from "../index/rows.ts";
import { abortion, dueAt, dueClass, enabledRules, expiry, fits } from "./expiry.ts";
import { type Cause, causedBy } from "./cause.ts";
import { isLocked } from "./object_lock.ts";
import type { Objects } from "./objects.ts";
import type { LifecycleRule } from "./settings.ts";
import type { Uploads } from "./uploads.ts";

const pageRows = 500;
/** After each page others have the thread for so many times as long as it took. */
const pauses = 3;
const longestPause_ms = 100;

/** The prefixes of rules, without those that begin with another of them. */
function prefixesOf(rules: readonly LifecycleRule[]): string[] {
  const prefixes: string[] = [];
  for (const prefix of rules.map(({ filter }) => filter.prefix).sort()) {
    const last = prefixes.at(-1);
    if (last === undefined || !prefix.startsWith(last)) prefixes.push(prefix);
  }
  return prefixes;
}

/** Rules as they would be without tags, which are not in a listing: what is not due by them is not due. */
const withoutTags = (rules: readonly LifecycleRule[]) =>
  rules.map((rule): LifecycleRule => ({ ...rule, filter: { ...rule.filter, tags: [] } }));

/** What a listing tells of a version. */
const listed = (row: ListedVersion) => ({
  ...row,
  meta: {
    ...{ headers: {}, user: {} },
    ...(row.storage_class === undefined ? {} : { storage_class: row.storage_class }),
  },
});

export interface AgeingStore {
  readonly options: { readonly log: Log };
  readonly index: ObjectIndex;
  readonly buckets: Buckets;
  readonly objects: Objects;
  readonly uploads: Uploads;
  readonly progress: { readonly now: () => number };
}

/** Whom AWS's events name for what no request did. */
const ofTheService = (): Cause => ({
  request_id: crypto.randomUUID(),
  principal_id: "s3.amazonaws.com",
  source_ip: "s3.amazonaws.com",
});

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
  moved = 0;

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
        const rules = enabledRules(bucket.settings);
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
    for (const prefix of prefixesOf(rules)) {
      await this.#versions(bucket, rules, prefix);
      if (this.#stopped) return;
    }
    await this.#abandonedUploads(bucket, rules);
  }

  async #versions(
    bucket: BucketRow,
    rules: readonly LifecycleRule[],
    prefix: string,
  ): Promise<void> {
    const { index } = this.#store;
    const untagged = withoutTags(rules);
    let start = new TextEncoder().encode(prefix);
    let below = Number.MAX_SAFE_INTEGER;
    /** Of the key that is looked at: how many noncurrent versions came, and when the last row was made. */
    let key = "";
    let noncurrent = 0;
    let newer_ms = 0;
    for (;;) {
      const began_ms = performance.now();
      const rows = index.objects.listVersionsFrom(bucket.id, start, below, pageRows);
      for (const row of rows) {
        if (this.#stopped || !row.key.startsWith(prefix)) return;
        if (row.key !== key) {
          key = row.key;
          noncurrent = 0;
        }
        if (row.latest) await this.#current(bucket, row, rules, untagged);
        else {
          noncurrent++;
          await this.#noncurrent(bucket, row, rules, newer_ms, noncurrent);
        }
        newer_ms = row.modified_ms;
        start = new TextEncoder().encode(row.key);
        below = row.sequence;
      }
      if (rows.length < pageRows) return;
      const pause_ms = Math.min(pauses * (performance.now() - began_ms), longestPause_ms);
      await new Promise((next) => setTimeout(next, pause_ms));
    }
  }

  async #current(
    bucket: BucketRow,
    row: ListedVersion,
    rules: readonly LifecycleRule[],
    untagged: readonly LifecycleRule[],
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
      // A marker has no tags and no size, so rules that ask for those do not mean it.
      const due = rules.some((rule) =>
        fits(rule.filter, listed(row)) &&
        (rule.expire_markers === true ||
          (rule.expire_days !== undefined && now >= dueAt(row.modified_ms, rule.expire_days)))
      );
      if (due) await this.#deleteVersion(bucket, row);
      return;
    }
    const first = expiry(untagged, listed(row));
    const mayEnd = first !== undefined && now >= first.at_ms;
    if (!mayEnd && dueClass(untagged, listed(row), now) === undefined) return;
    const object = this.#store.objects.find(bucket, row.key);
    if (object === undefined || object.sequence !== row.sequence) return;
    const ending = expiry(rules, object);
    if (ending === undefined || now < ending.at_ms) {
      await this.#move(bucket, object, dueClass(rules, object, now));
      return;
    }
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
    const moving = rules.some((rule) => rule.noncurrent_transitions !== undefined);
    if (!moving && !rules.some((rule) => rule.noncurrent_days !== undefined)) return;
    const now = this.#store.progress.now();
    const soonest = Math.min(
      ...rules.map((rule) => rule.noncurrent_days ?? Infinity),
      ...rules.flatMap(({ noncurrent_transitions: moves = [] }) => moves.map(({ days }) => days)),
    );
    if (now < dueAt(newer_ms, soonest)) return;
    const object = this.#store.objects.find(bucket, row.key, row.version);
    if (object === undefined) return;
    const due = rules.some((rule) =>
      rule.noncurrent_days !== undefined && fits(rule.filter, object) &&
      now >= dueAt(newer_ms, rule.noncurrent_days) && place > (rule.noncurrent_kept ?? 0)
    );
    if (due) await this.#deleteVersion(bucket, row);
    else if (moving && !row.marker) {
      const wanted = dueClass(rules, object, now, { since_ms: newer_ms, place });
      await this.#move(bucket, object, wanted);
    }
  }

  /** Gives a version another class: its record is written again, its data stays where it is. */
  async #move(bucket: BucketRow, object: ObjectRow, to: string | undefined): Promise<void> {
    if (to === undefined) return;
    await this.#quietly(async () => {
      const version = object.version ?? "null";
      await this.#store.objects.annotate(bucket, object.key, version, (found) => {
        if (found?.sequence !== object.sequence) throw new Kept();
        return { storage_class: to };
      }, "Transition");
      this.moved++;
    });
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
      await causedBy(ofTheService(), work);
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
        const ending = abortion(rules, upload);
        if (ending === undefined || now < ending.at_ms || this.#stopped) continue;
        await this.#store.uploads.abort(bucket, upload);
        this.uploads_aborted++;
      }
      if (rows.length < pageRows) return;
    }
  }
}
