/** Lifecycle rules under a clock that is ours: what has lived long enough goes, and nothing else. */
import assert from "node:assert/strict";
import { dueAt } from "./expiry.ts";
import type { LifecycleRule } from "./settings.ts";
import { bodyOf, bytesOf, testStore } from "../test_store.ts";

const day = 86_400_000;
const noon = Date.UTC(2026, 0, 10, 12);

Deno.test("so many days are over at the midnight that follows", () => {
  assert.equal(dueAt(noon, 1), Date.UTC(2026, 0, 12));
  assert.equal(dueAt(Date.UTC(2026, 0, 10), 1), Date.UTC(2026, 0, 11));
});

async function aged(rule: Partial<LifecycleRule>, versioned: boolean) {
  let now = noon;
  const test = await testStore(1, 0, { now: () => now });
  const bucket = await test.bucket();
  await test.store.buckets.set(bucket, () => ({
    ...(versioned ? { versioning: "Enabled" as const } : {}),
    lifecycle: [{ id: "r", enabled: true, filter: { prefix: "", tags: [] }, ...rule }],
  }));
  return {
    test,
    bucket,
    put: (key: string, seed = 1) => test.store.objects.put(bucket, key, bodyOf(bytesOf(seed, 100))),
    pass: async (days: number) => {
      now += days * day;
      await test.store.lifecycle.run();
    },
    keys: () =>
      test.store.index.objects.listFrom(bucket.id, new Uint8Array(0), true, 100)
        .map(({ key }) => key),
    versions: () =>
      test.store.index.objects.listVersionsFrom(bucket.id, new Uint8Array(0), Infinity, 100),
    [Symbol.asyncDispose]: () => test[Symbol.asyncDispose](),
  };
}

Deno.test("objects go after their days and not before, by prefix, size and tag", async () => {
  await using store = await aged(
    { expire_days: 2, filter: { prefix: "logs/", tags: [], above_bytes: 50 } },
    false,
  );
  await store.put("logs/a");
  await store.put("other");
  await store.pass(2);
  assert.deepEqual(store.keys(), ["logs/a", "other"]);
  await store.put("logs/b");
  await store.pass(0.5);
  assert.deepEqual(store.keys(), ["logs/b", "other"]);
  await store.pass(10);
  assert.deepEqual(store.keys(), ["other"]);
});

Deno.test("objects go only where prefix, tags and both sizes of a filter fit, and none before", async () => {
  const tags = [{ key: "a", value: "b" }, { key: "c", value: "d" }];
  const filter = { prefix: "in/", tags, above_bytes: 99, below_bytes: 101 };
  await using store = await aged({ expire_days: 1, filter }, false);
  const { objects } = store.test.store;
  const tag = (key: string, many: number) =>
    objects.annotate(store.bucket, key, undefined, () => ({ tags: tags.slice(0, many) }));
  for (const key of ["in/all", "in/one-tag", "out/all", "in/untagged"]) await store.put(key);
  await tag("in/all", 2);
  await tag("in/one-tag", 1);
  await tag("out/all", 2);
  for (const [key, size] of [["in/small", 99], ["in/large", 101]] as const) {
    await objects.put(store.bucket, key, bodyOf(bytesOf(1, size)));
    await tag(key, 2);
  }
  const all = store.keys();
  await store.pass(1);
  assert.deepEqual(store.keys(), all);
  await store.pass(1);
  assert.deepEqual(store.keys(), all.filter((key) => key !== "in/all"));
});

Deno.test("from a date on objects go, and uploads are given up after their days and not before", async () => {
  await using store = await aged(
    { expire_at_ms: Date.UTC(2026, 0, 12), abort_uploads_days: 3 },
    false,
  );
  await store.put("k");
  await store.test.store.uploads.create(store.bucket, "u", { headers: {}, user: {} });
  await store.pass(1);
  assert.deepEqual(store.keys(), ["k"]);
  await store.pass(1);
  assert.deepEqual(store.keys(), []);
  await store.pass(1);
  assert.equal(store.test.store.lifecycle.uploads_aborted, 0);
  await store.pass(1);
  assert.equal(store.test.store.lifecycle.uploads_aborted, 1);
});

Deno.test("the newest noncurrent versions stay, and the others go once they were replaced long enough ago", async () => {
  await using store = await aged({ noncurrent_days: 2, noncurrent_kept: 2 }, true);
  for (let seed = 1; seed <= 4; seed++) await store.put("k", seed);
  await store.pass(1);
  await store.put("k", 5);
  await store.pass(1);
  // Of the four that are noncurrent, two are among the newest and none has been so for two days.
  assert.equal(store.versions().length, 5);
  await store.pass(1);
  assert.equal(store.versions().length, 3);
  await store.pass(30);
  assert.equal(store.versions().length, 3);
});

Deno.test("with versions, what expires is hidden, then goes, and its marker goes last", async () => {
  await using store = await aged(
    { expire_days: 1, noncurrent_days: 3, noncurrent_kept: 1 },
    true,
  );
  await store.put("k", 1);
  await store.put("k", 2);
  await store.put("k", 3);
  await store.pass(1.5);
  assert.deepEqual(store.keys(), []);
  assert.deepEqual(store.versions().map(({ marker }) => marker), [true, false, false, false]);
  await store.pass(4);
  // One noncurrent version is kept whatever its age, and so is the marker before it.
  assert.deepEqual(store.versions().map(({ marker }) => marker), [true, false]);
});

Deno.test("a delete marker behind which nothing is left goes by its own rule", async () => {
  await using store = await aged({ expire_markers: true }, true);
  const { version = "" } = await store.put("k");
  await store.test.store.objects.delete(store.bucket, "k");
  await store.pass(1);
  assert.equal(store.versions().length, 2);
  await store.test.store.objects.deleteVersion(store.bucket, "k", version);
  await store.pass(1);
  assert.equal(store.versions().length, 0);
});

Deno.test("what is locked stays, and uploads that nobody completed are given up", async () => {
  await using store = await aged({ noncurrent_days: 1, abort_uploads_days: 1 }, true);
  const { version = "" } = await store.put("k", 1);
  await store.test.store.objects.annotate(store.bucket, "k", version, () => ({
    lock: { legal_hold: true },
  }));
  await store.put("k", 2);
  await store.test.store.uploads.create(store.bucket, "u", { headers: {}, user: {} });
  await store.pass(5);
  assert.equal(store.versions().length, 2);
  assert.equal(store.test.store.lifecycle.uploads_aborted, 1);
});

Deno.test("a marker stays where only rules for tagged objects would expire what it hides", async () => {
  await using store = await aged(
    { expire_days: 1, filter: { prefix: "", tags: [{ key: "a", value: "b" }] } },
    true,
  );
  await store.test.store.objects.delete(store.bucket, "k");
  await store.pass(5);
  assert.deepEqual(store.versions().map(({ marker }) => marker), [true]);
});

Deno.test("what is moved by its days has another class and is otherwise the same", async () => {
  const large = 128 * 1024;
  await using store = await aged({
    transitions: [
      { storage_class: "STANDARD_IA", days: 30 },
      { storage_class: "GLACIER_IR", days: 60 },
    ],
    noncurrent_transitions: [{ storage_class: "ONEZONE_IA", days: 30 }],
  }, true);
  const { objects } = store.test.store;
  const put = (key: string, seed: number, bytes: number) =>
    objects.put(store.bucket, key, bodyOf(bytesOf(seed, bytes)));
  await put("large", 1, large);
  await put("large", 2, large);
  await put("small", 3, large - 1);
  const before = objects.find(store.bucket, "large");
  const classes = () => store.versions().map(({ key, storage_class }) => [key, storage_class]);
  await store.pass(30);
  assert.deepEqual(classes(), [["large", undefined], ["large", undefined], ["small", undefined]]);
  await store.pass(1);
  const moved = [["large", "STANDARD_IA"], ["large", "ONEZONE_IA"], ["small", undefined]];
  assert.deepEqual(classes(), moved);
  const after = objects.find(store.bucket, "large");
  assert.equal(after?.etag, before?.etag);
  assert.equal(after?.modified_ms, before?.modified_ms);
  assert.equal(after?.version, before?.version);
  await store.pass(1);
  assert.equal(store.test.store.lifecycle.moved, 2);
  await store.test.reopen({ rebuild: true });
  assert.deepEqual(
    store.test.store.index.objects.listVersionsFrom(store.bucket.id, new Uint8Array(0), 1e15, 9)
      .map(({ key, storage_class }) => [key, storage_class]),
    moved,
  );
  await store.pass(40);
  assert.equal(
    store.test.store.objects.find(store.bucket, "large")?.meta.storage_class,
    "GLACIER_IR",
  );
});

Deno.test("a pass reads only keys of its rules' prefixes, and looks up only what may be due", async () => {
  let now = noon;
  await using test = await testStore(1, 0, { now: () => now });
  const bucket = await test.bucket();
  const about = { enabled: true, expire_days: 30 };
  await test.store.buckets.set(bucket, () => ({
    lifecycle: ["m/logs/", "m/", "x"].map((prefix) => ({
      ...about,
      id: prefix,
      filter: { prefix, tags: [] },
    })),
  }));
  const { index, objects, lifecycle } = test.store;
  const meta = { headers: {}, user: {} };
  index.transaction(() => {
    for (let at = 0; at < 8000; at++) {
      const key = `${at % 8 === 0 ? "m/logs" : "a"}/${at}`;
      index.objects.apply(
        { bucket: bucket.id, key, size: 0, modified_ms: noon, etag: "e", meta },
        at + 1,
        [],
      );
    }
  });
  let rows = 0;
  let looked = 0;
  const listVersionsFrom = index.objects.listVersionsFrom.bind(index.objects);
  index.objects.listVersionsFrom = (...args) => {
    const found = listVersionsFrom(...args);
    rows += found.length;
    return found;
  };
  const find = objects.find.bind(objects);
  objects.find = (...args) => {
    looked++;
    return find(...args);
  };
  await lifecycle.run();
  assert.ok(rows >= 1000 && rows < 2000, `${rows} rows were read for 1,000 keys`);
  assert.equal(looked, 0);
  now += 40 * day;
  await lifecycle.run();
  assert.equal(lifecycle.expired, 1000);
});
