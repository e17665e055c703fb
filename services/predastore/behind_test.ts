/** What a directory that stays away has to be told does not grow for ever, and it hears of all of it. */
import assert from "node:assert/strict";
import { replaceOthers } from "./test_damage.ts";
import { bodyOf, bytesOf, contentOf, same, type TestStore, testStore } from "./test_store.ts";

const meta = { headers: {}, user: {} };
const keys = Array.from({ length: 40 }, (_, at) => `k${at}`);

async function fill(test: TestStore): Promise<void> {
  const { store } = test;
  const bucket = await test.bucket();
  await test.bucket("removed");
  for (const [at, key] of keys.entries()) {
    await store.objects.put(bucket, key, bodyOf(bytesOf(at, at % 8 === 0 ? 60_000 : 100)));
  }
  await store.objects.put(bucket, "kept", bodyOf(bytesOf(1, 100_000)));
  await store.uploads.create(bucket, "given up", meta);
  const { id } = await store.uploads.create(bucket, "completed", meta);
  const upload = store.uploads.find(bucket, "completed", id);
  await store.uploads.putPart(bucket, upload, 1, bodyOf(bytesOf(2, 200)));
}

/** @param completes whether the one upload is completed; it is given up like the other otherwise */
async function removeAll({ store }: TestStore, completes: boolean): Promise<void> {
  const bucket = store.buckets.find("bucket");
  const removed = store.buckets.find("removed");
  assert.ok(bucket !== undefined && removed !== undefined);
  const uploads = [...store.index.uploads.all()];
  for (const { key, id } of uploads) {
    const upload = store.uploads.find(bucket, key, id);
    if (key === "given up" || !completes) await store.uploads.abort(bucket, upload);
    else await store.uploads.complete(bucket, upload, (parts) => ({ parts, etag: "e", meta }));
  }
  await store.buckets.delete(removed);
  for (const key of completes ? [...keys, "completed"] : keys) {
    await store.objects.delete(bucket, key);
  }
}

async function onlyKeptIsThere(test: TestStore): Promise<void> {
  const { index, objects, buckets } = test.store;
  assert.deepEqual(index.buckets.all().map(({ name }) => name), ["bucket"]);
  const bucket = buckets.find("bucket");
  assert.ok(bucket !== undefined);
  const listed = index.objects.listFrom(bucket.id, new Uint8Array(0), true, 99);
  assert.deepEqual(listed.map(({ key }) => key), ["kept"]);
  assert.deepEqual([...index.uploads.all()].map(({ key }) => key), []);
  same(await contentOf(test.store, objects.find(bucket, "kept")), bytesOf(1, 100_000));
}

const isBehind = ({ store }: TestStore, number: number) =>
  store.index.value(`directory_behind ${number}`) !== undefined;

/** Looks after the directories until the one has been told everything. */
async function catchesUp(test: TestStore, number: number): Promise<void> {
  const limit = performance.now() + 30_000;
  while (isBehind(test, number) && performance.now() < limit) {
    await test.store.directories.inspect();
    await new Promise((next) => setTimeout(next, 5));
  }
  assert.equal(isBehind(test, number), false);
  assert.equal(test.store.index.untold.count(number), 0);
}

for (
  const crash of [
    "goes on",
    "compacts meanwhile",
    "is killed and loses its index",
    "is killed as it is told",
    "takes another in the place of a second",
  ] as const
) {
  Deno.test(`RS(2,1): a directory that was away for long hears all that was removed; the store ${crash}`, async () => {
    await using test = await testStore(2, 1, { most_untold: 10, segment_bytes: 256 * 1024 });
    await fill(test);
    const blob = test.blobs[2] ?? "";
    await Deno.rename(blob, `${blob}.away`);
    await Deno.writeTextFile(blob, "");
    await test.store.directories.inspect();
    await removeAll(test, crash !== "is killed and loses its index");
    assert.ok(isBehind(test, 2));
    // What follows from objects is listed besides.
    assert.ok(test.store.index.untold.count(2) <= 11);
    if (crash === "compacts meanwhile") {
      await test.reopen({ between: () => Promise.resolve() });
      await test.store.compactor.run(1);
    }
    if (crash === "is killed and loses its index") await test.reopen({ rebuild: true });
    if (crash === "takes another in the place of a second") {
      await Deno.remove(`${blob}`);
      await Deno.rename(`${blob}.away`, blob);
      await test.store.directories.inspect();
      await catchesUp(test, 2);
    } else {
      await test.reopen({
        between: async () => {
          await Deno.remove(blob);
          await Deno.rename(`${blob}.away`, blob);
        },
      });
    }
    if (crash === "is killed as it is told") {
      void test.store.directories.inspect();
      await test.crash();
    }
    await test.store.directories.inspect();
    assert.equal(test.store.directories.online.length, 3);
    await catchesUp(test, 2);
    await test.store.repair.run();
    await replaceOthers(test, 2);
    await test.reopen({ rebuild: true });
    await onlyKeptIsThere(test);
  });
}
