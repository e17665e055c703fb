/** What clients of a simulated store do, one step at a time, and what they then know. */
import type { Code } from "../extents/code.ts";
import type { BucketRow, UploadRow } from "../index/rows.ts";
import type { LifecycleRule } from "../objects/settings.ts";
import type { Store } from "../store.ts";
import { bodyOf, contentOf } from "./contents.ts";
import { Model } from "./model.ts";

export type Step =
  | { readonly kind: "put"; readonly key: string; readonly seed: number }
  | { readonly kind: "delete"; readonly key: string }
  /** A version is deleted for good: one of those that are known. */
  | { readonly kind: "delete version"; readonly key: string; readonly at: number }
  | { readonly kind: "multipart"; readonly key: string; readonly seed: number }
  /** An upload with a part that is then left as it is, or given up. */
  | {
    readonly kind: "upload";
    readonly key: string;
    readonly seed: number;
    readonly abort: boolean;
  }
  /** What an upload that was left has is made an object. */
  | { readonly kind: "complete"; readonly key: string }
  | { readonly kind: "tag"; readonly key: string }
  /** Lifecycle rules move whatever is there to another class. */
  | { readonly kind: "move" }
  /** The second bucket has another code from now on. */
  | { readonly kind: "code"; readonly code: Code }
  /** Segments of which no more than this part lives; all of them unless given. */
  | { readonly kind: "compact"; readonly limit?: number }
  | { readonly kind: "repair" };

/** The class that things are moved to. */
export const movedTo = "STANDARD_IA";
/** A rule that speaks of sizes moves objects of any. */
const moving: LifecycleRule = {
  id: "moving",
  enabled: true,
  filter: { prefix: "", tags: [], above_bytes: -1 },
  transitions: [{ storage_class: movedTo, at_ms: 0 }],
  noncurrent_transitions: [{ storage_class: movedTo, days: 0 }],
};

function named(store: Store, name: string): BucketRow {
  const bucket = store.buckets.find(name);
  if (bucket === undefined) throw new Error(`the bucket ${name} is gone`);
  return bucket;
}

/** @param second whether the keys from c on are in a second bucket */
export function bucketOf(store: Store, second: boolean, key: string): BucketRow {
  return named(store, second && key >= "c" ? "second" : "bucket");
}

export class Clients {
  readonly #second: boolean;
  readonly model: Model;
  /** Uploads that were left, by their keys, with what they have. */
  readonly #left = new Map<string, { readonly id: string; readonly seed: number }>();

  /** @param second whether there is a second bucket */
  constructor(second: boolean, model = new Model()) {
    this.#second = second;
    this.model = model;
  }

  /** @throws what the store throws */
  async step(store: Store, step: Step): Promise<void> {
    const bucket = bucketOf(store, this.#second, "key" in step ? step.key : "");
    switch (step.kind) {
      case "put": {
        const { key, seed } = step;
        await this.model.change(key, seed, async () => {
          const { version } = await store.objects.put(
            bucket,
            key,
            bodyOf(contentOf(seed), `${seed}`),
          );
          this.#noteVersion(key, version, seed);
        });
        return;
      }
      case "delete": {
        const { key } = step;
        await this.model.change(key, 0, async () => {
          const { marker } = await store.objects.delete(bucket, key);
          this.#noteVersion(key, marker, 0);
        });
        return;
      }
      case "delete version": {
        const { key, at } = step;
        const ids = [...this.model.versions.get(key)?.keys() ?? []];
        const id = ids[at % ids.length];
        if (id === undefined) return;
        await this.model.deleteVersion(
          key,
          id,
          () => store.objects.deleteVersion(bucket, key, id),
        );
        return;
      }
      case "multipart": {
        const { key, seed } = step;
        const row = await this.#beginUpload(store, bucket, key);
        const whole = contentOf(seed);
        const cut = Math.floor(whole.length / 3);
        await store.uploads.putPart(bucket, row, 2, bodyOf(whole.subarray(cut), "b"));
        await store.uploads.putPart(bucket, row, 1, bodyOf(whole.subarray(0, cut), "a"));
        await this.#complete(store, bucket, row, seed);
        return;
      }
      case "upload": {
        const { key, seed, abort } = step;
        const row = await this.#beginUpload(store, bucket, key);
        await store.uploads.putPart(bucket, row, 1, bodyOf(contentOf(seed), "a"));
        if (abort) await this.model.end(row.id, () => store.uploads.abort(bucket, row));
        else if (!this.model.hasStopped()) this.#left.set(key, { id: row.id, seed });
        return;
      }
      case "complete": {
        const { key } = step;
        const left = this.#left.get(key);
        if (left === undefined) return;
        this.#left.delete(key);
        await this.#complete(store, bucket, store.uploads.find(bucket, key, left.id), left.seed);
        return;
      }
      case "tag": {
        const { key } = step;
        if (store.objects.find(bucket, key) === undefined) return;
        await store.objects.annotate(bucket, key, undefined, () => ({
          tags: [{ key: "a", value: "b" }],
        }));
        return;
      }
      case "move": {
        for (const { id } of store.index.buckets.all()) await this.#moveAll(store, id);
        return;
      }
      case "code": {
        const { code } = step;
        await store.buckets.set(named(store, "second"), (now) => ({ ...now, code }));
        store.repair.lookAgain();
        return;
      }
      case "compact":
        await store.compactor.run(step.limit ?? 2);
        return;
      case "repair":
        await store.scrub.run();
        await store.repair.run();
    }
  }

  async #beginUpload(store: Store, bucket: BucketRow, key: string): Promise<UploadRow> {
    const { id } = await store.uploads.create(bucket, key, { headers: {}, user: {} });
    if (!this.model.hasStopped()) this.model.uploads.set(id, "waiting");
    return store.uploads.find(bucket, key, id);
  }

  async #complete(store: Store, bucket: BucketRow, row: UploadRow, seed: number): Promise<void> {
    await this.model.change(row.key, seed, () =>
      this.model.end(row.id, async () => {
        const { version } = await store.uploads.complete(bucket, row, (parts) => ({
          parts,
          etag: `${seed}`,
          meta: { headers: {}, user: {} },
        }));
        this.#noteVersion(row.key, version, seed);
      }));
  }

  async #moveAll(store: Store, id: number): Promise<void> {
    const bucket = store.index.buckets.findById(id);
    if (bucket === undefined) return;
    await store.buckets.set(bucket, (now) => ({ ...now, lifecycle: [moving] }));
    await store.lifecycle.run();
    for (const key of this.model.keys.keys()) {
      const object = store.objects.find(bucket, key);
      // What came while the rules were looked at stays as it is.
      if (object?.meta.storage_class !== movedTo || this.model.hasStopped()) continue;
      this.model.moved.set(key, Number(object.etag));
    }
  }

  #noteVersion(key: string, version: string | undefined, seed: number): void {
    if (version === undefined || this.model.hasStopped()) return;
    let versions = this.model.versions.get(key);
    if (versions === undefined) this.model.versions.set(key, versions = new Map());
    versions.set(version, seed);
  }
}
