/** Whether a simulated store has what its clients know, whole, and nothing besides. */
import { keyBytes } from "../index/columns.ts";
import type { ObjectRow } from "../index/rows.ts";
import type { Store } from "../store.ts";
import { bucketOf, movedTo } from "./clients.ts";
import { contentOf } from "./contents.ts";
import type { Model } from "./model.ts";

/**
 * What is found is known from then on.
 * @param second whether there is a second bucket
 * @param when for the error
 * @throws Error that says what was found and what was known
 */
export async function check(
  store: Store,
  model: Model,
  second: boolean,
  when: string,
): Promise<void> {
  findVersions(store, model, second, when);
  const there: string[] = [];
  for (const [key, { sure, open }] of model.keys) {
    const bucket = bucketOf(store, second, key);
    const object = store.objects.find(bucket, key);
    const found = object === undefined ? 0 : Number(object.etag);
    if (found !== sure && !open.has(found)) {
      throw new Error(
        `${when}: ${key} is ${found}; acknowledged is ${sure}, open are ${[...open].join()}`,
      );
    }
    if (object !== undefined) {
      there.push(key);
      await sameBytes(store, object, found, `${when}: ${key}`);
      checkClass(model, object, `${when}: ${key}`);
    }
    model.settle(key, found);
  }
  const listed = store.index.buckets.all().flatMap(({ id }) =>
    store.index.objects.listFrom(id, new Uint8Array(0), true, 1000).map(({ key }) => key)
  ).sort();
  if (listed.join() !== there.sort().join()) {
    throw new Error(`${when}: listed are ${listed.join()}; there are ${there.join()}`);
  }
  for (const [id, known] of model.uploads) {
    const waits = store.index.uploads.exists(id);
    if (known === (waits ? "ended" : "waiting")) {
      throw new Error(`${when}: upload ${id} ${waits ? "waits" : "is gone"}; it was ${known}`);
    }
    model.uploads.set(id, waits ? "waiting" : "ended");
  }
  for (const [key, versions] of model.versions) {
    const bucket = bucketOf(store, second, key);
    for (const [id, seed] of versions) {
      const version = store.objects.find(bucket, key, id);
      if (version === undefined) throw new Error(`${when}: version ${id} of ${key} is gone`);
      if (seed === 0) {
        if (version.marker !== true) throw new Error(`${when}: ${id} is no delete marker`);
      } else await sameBytes(store, version, seed, `${when}: version ${id} of ${key}`);
    }
  }
}

/** Versions that are there are known, or were on their way when the machine stopped. */
function findVersions(store: Store, model: Model, second: boolean, when: string): void {
  for (const key of model.keys.keys()) {
    const { id } = bucketOf(store, second, key);
    const known = model.versions.get(key);
    for (const object of store.index.objects.listVersionsFrom(id, keyBytes(key), Infinity, 1000)) {
      const { version, etag } = object;
      if (object.key !== key) break;
      if (version === "null" || known?.has(version) === true) continue;
      try {
        model.found(key, version, Number(etag));
      } catch (cause) {
        throw new Error(`${when}: a version too many`, { cause });
      }
    }
  }
  model.settleDeleted();
}

/** A class that was given stays; a crash may have kept one from being given, and leaves nothing in between. */
function checkClass(
  model: Model,
  { key, etag, meta: { storage_class } }: ObjectRow,
  what: string,
): void {
  if (model.moved.get(key) === Number(etag) && storage_class !== movedTo) {
    throw new Error(`${what} was moved to ${movedTo} and is ${storage_class ?? "STANDARD"}`);
  }
  if (storage_class !== undefined && storage_class !== movedTo) {
    throw new Error(`${what} has the class ${storage_class}, which it was never given`);
  }
}

async function sameBytes(
  store: Store,
  object: ObjectRow,
  seed: number,
  what: string,
): Promise<void> {
  const wanted = contentOf(seed);
  const parts: Uint8Array[] = [];
  for await (const piece of store.objects.read(object, 0, object.size)) parts.push(piece);
  if (Buffer.compare(Buffer.concat(parts), wanted) !== 0) {
    throw new Error(`${what} has other bytes than were written`);
  }
}
