/** Buckets of different codes in one store: what each promises when directories go, and what is refused. */
import assert from "node:assert/strict";
import { bucketCode } from "../operator/bucket_code.ts";
import { codeName, parseCode } from "./code.ts";
import { Fsck } from "../upkeep/fsck.ts";
import type { BucketRow } from "../index/rows.ts";
import type { Store } from "../store.ts";
import { bodyOf, bytesOf, contentOf, type TestStore, testStore } from "../test_store.ts";

const sizes = [0, 300, 16_384, 20_000, 500_000, 2_500_000];
const check = (store: Store) => new Fsck(store).run(new AbortController().signal);

async function made(store: Store, name: string, code?: string): Promise<BucketRow> {
  const settings = code === undefined
    ? {}
    : { code: parseCode(code, store.directories.all.length) };
  return (await store.buckets.create(name, "123456789012", "r", settings)).bucket;
}

/** Objects of every size, one of parts, and an upload that is not complete. */
async function fill(store: Store, bucket: BucketRow, seed = 0): Promise<void> {
  for (const size of sizes) {
    await store.objects.put(bucket, `k${size}`, bodyOf(bytesOf(size + seed, size), `${size}`));
  }
  const meta = { headers: {}, user: {} };
  const upload = await store.uploads.create(bucket, "parts", meta);
  const row = store.uploads.find(bucket, "parts", upload.id);
  const whole = bytesOf(seed + 9, 700_000);
  await store.uploads.putPart(bucket, row, 1, bodyOf(whole.subarray(0, 690_000)));
  await store.uploads.putPart(bucket, row, 2, bodyOf(whole.subarray(690_000)));
  await store.uploads.complete(bucket, row, (parts) => ({ parts, etag: "p", meta }));
  const open = await store.uploads.create(bucket, "open", meta);
  await store.uploads.putPart(
    bucket,
    store.uploads.find(bucket, "open", open.id),
    1,
    bodyOf(bytesOf(5, 100_000)),
  );
}

async function readAll(store: Store, bucket: BucketRow, seed = 0): Promise<void> {
  for (const size of sizes) {
    const found = await contentOf(store, store.objects.find(bucket, `k${size}`));
    assert.ok(Buffer.compare(found, bytesOf(size + seed, size)) === 0, `${bucket.name}/k${size}`);
  }
  const parts = await contentOf(store, store.objects.find(bucket, "parts"));
  assert.ok(Buffer.compare(parts, bytesOf(seed + 9, 700_000)) === 0, `${bucket.name}/parts`);
}

/** Of each object of a bucket: what its bodies are coded with, and how many copies its record has. */
function standing(store: Store, bucket: BucketRow): string[] {
  return store.index.objects.listFrom(bucket.id, new Uint8Array(0), true, 100).map(({ key }) => {
    const { extents = [], locations } = store.objects.find(bucket, key)!;
    const codes = extents.map(([id]) => codeName(store.index.extents.find(id)!));
    return `${key}: ${[...new Set(codes)].join()} ${locations.length}`;
  });
}

const eachOf = (body: string, copies: number) =>
  ["k0", "k16384", "k20000", "k2500000", "k300", "k500000", "parts"].map((key) =>
    `${key}: ${["k0", "k300", "k16384"].includes(key) ? "" : body} ${copies}`
  );

/** Loses directories for good, has empty ones in their places, and waits for repair. */
async function lose(test: TestStore, ...victims: number[]): Promise<void> {
  await test.store[Symbol.asyncDispose]();
  for (const victim of victims) {
    await Deno.remove(test.blobs[victim] ?? "", { recursive: true });
  }
  await test.reopen();
}

Deno.test("codes: each bucket's bodies and records survive as many lost directories as its code says", async () => {
  await using test = await testStore(2, 1, { directories: 4 });
  const usual = await made(test.store, "usual");
  const wide = await made(test.store, "wide", "2+2");
  const copied = await made(test.store, "copied", "1+2");
  const buckets = [usual, wide, copied];
  for (const [at, bucket] of buckets.entries()) await fill(test.store, bucket, at);
  assert.deepEqual(standing(test.store, usual), eachOf("2+1", 3));
  assert.deepEqual(standing(test.store, wide), eachOf("2+2", 4));
  assert.deepEqual(standing(test.store, copied), eachOf("1+2", 3));
  assert.equal((await check(test.store)).full_redundancy, true);

  await lose(test, 1);
  for (const [at, bucket] of buckets.entries()) await readAll(test.store, bucket, at);
  assert.equal((await check(test.store)).full_redundancy, false);
  await test.store.repair.run();
  assert.deepEqual((await check(test.store)).findings, []);

  // Two at once are more than the usual code survives, and not more than the others do.
  await lose(test, 0, 3);
  await test.reopen({ rebuild: true });
  await readAll(test.store, wide, 1);
  await readAll(test.store, copied, 2);
  await test.store.repair.run();
  await readAll(test.store, wide, 1);
  await readAll(test.store, copied, 2);
  const report = await check(test.store);
  assert.deepEqual(report.findings.filter(({ bucket }) => bucket !== "usual"), []);
  assert.deepEqual(standing(test.store, wide), eachOf("2+2", 4));
  assert.equal(test.store.buckets.find("wide")?.settings.code?.m, 2);
});

Deno.test("codes: what stands keeps its code when another is set, and so do its records", async () => {
  await using test = await testStore(1, 1, { directories: 3, segment_bytes: 4 << 20 });
  const bucket = await made(test.store, "bucket", "1+2");
  await fill(test.store, bucket);
  const before = standing(test.store, bucket);
  assert.deepEqual(before, eachOf("1+2", 3));
  const meta = { headers: {}, user: {} };
  const begun = await test.store.uploads.create(bucket, "begun", meta);

  assert.deepEqual(await bucketCode(test.store, "bucket", "1+0"), {
    bucket: "bucket",
    code: "1+0",
    own: true,
  });
  // Repair makes nothing less of what stands, and moves of shards and of records keep it.
  await test.store.repair.run();
  await test.store.compactor.run(2);
  await test.store.objects.annotate(bucket, "k300", undefined, () => ({
    tags: [{ key: "a", value: "b" }],
  }));
  assert.deepEqual(standing(test.store, bucket), before);
  await test.store.objects.put(bucket, "new", bodyOf(bytesOf(1, 100_000)));
  await test.store.objects.put(bucket, "small", bodyOf(bytesOf(1, 100)));
  assert.deepEqual(
    standing(test.store, bucket).filter((one) => /^(new|small)/.test(one)),
    ["new: 1+0 1", "small:  1"],
  );
  // An upload has the code of its beginning from its first part to its object.
  const row = test.store.uploads.find(bucket, "begun", begun.id);
  await test.store.uploads.putPart(bucket, row, 1, bodyOf(bytesOf(3, 100_000)));
  await test.store.uploads.complete(bucket, row, (parts) => ({ parts, etag: "p", meta }));
  assert.ok(standing(test.store, bucket).includes("begun: 1+2 3"));
  assert.equal((await check(test.store)).full_redundancy, true);

  // What is coded 1+2 outlives two directories, one after the other and with the index lost.
  for (const victim of [0, 1, 2]) {
    await test.store.objects.delete(bucket, "new");
    await test.store.objects.delete(bucket, "small");
    await lose(test, victim);
    await test.reopen({ rebuild: true });
    await test.store.repair.run();
    await readAll(test.store, bucket);
    assert.deepEqual((await check(test.store)).findings, []);
  }
  assert.deepEqual(
    standing(test.store, bucket).filter((one) => !one.startsWith("begun")),
    before,
  );
  assert.equal((await bucketCode(test.store, "bucket", "default")).own, false);
  assert.equal((await bucketCode(test.store, "bucket")).code, "1+1");
  assert.equal((await check(test.store)).full_redundancy, true);
});

Deno.test("codes: a bucket's own records stand wherever its objects do", async () => {
  await using test = await testStore(1, 0, { directories: 3 });
  const bucket = await made(test.store, "bucket");
  // Where it was made two were away: it has one copy, which is what the usual code asks for.
  const [, ...others] = test.store.directories.all;
  for (const one of others) one.goOffline(new Error("unplugged"));
  await test.store.buckets.delete(bucket);
  const again = await made(test.store, "bucket");
  for (const one of others) await one.comeBack();
  assert.equal((await check(test.store)).full_redundancy, true);
  await bucketCode(test.store, "bucket", "1+2");
  assert.equal((await check(test.store)).records_short, 1);
  await test.store.repair.run();
  assert.equal((await check(test.store)).full_redundancy, true);
  await fill(test.store, again);
  await lose(test, 0, 1);
  await test.reopen({ rebuild: true });
  const found = test.store.buckets.find("bucket");
  assert.deepEqual(found?.settings.code, { k: 1, m: 2 });
  await readAll(test.store, again);
});

Deno.test("codes: an index made again while more directories are away than a code survives refuses nothing for good", async () => {
  await using test = await testStore(1, 1, { directories: 3 });
  const wide = await made(test.store, "wide", "3+0");
  const usual = await made(test.store, "usual");
  await fill(test.store, wide);
  await fill(test.store, usual, 1);
  await test.store[Symbol.asyncDispose]();
  await Deno.rename(test.blobs[2] ?? "", `${test.blobs[2]}.away`);
  await test.reopen({ rebuild: true });
  await readAll(test.store, usual, 1);
  await assert.rejects(readAll(test.store, wide));
  await test.store[Symbol.asyncDispose]();
  await Deno.remove(test.blobs[2] ?? "", { recursive: true });
  await Deno.rename(`${test.blobs[2]}.away`, test.blobs[2] ?? "");
  await test.reopen();
  await readAll(test.store, wide);
  await test.reopen({ rebuild: true });
  await readAll(test.store, wide);
  await readAll(test.store, usual, 1);
});

Deno.test("codes: while one directory is away, writes that could not go there are no reason to sweep", async () => {
  await using test = await testStore(1, 1, { directories: 3 });
  const wide = await made(test.store, "wide", "2+1");
  const third = test.store.directories.all[2];
  third?.goOffline(new Error("unplugged"));
  const before = test.store.directories.state();
  await test.store.objects.put(wide, "k", bodyOf(bytesOf(1, 400_000)));
  assert.equal(test.store.directories.state(), before);
  await third?.comeBack();
  assert.notEqual(test.store.directories.state(), before);
  await test.store.repair.run();
  assert.equal((await check(test.store)).full_redundancy, true);
});

Deno.test("codes: one that the store cannot have is refused, and nothing is changed", async () => {
  await using test = await testStore(2, 1);
  const bucket = await made(test.store, "bucket");
  for (
    const text of ["2+2", "4+0", "0+2", "0+0", "2", "2+", "+1", "2+1+1", "-1+2", "1e0+1", "999+999"]
  ) {
    await assert.rejects(bucketCode(test.store, "bucket", text), { code: "InvalidArgument" }, text);
  }
  await assert.rejects(bucketCode(test.store, "bucket", "2+2"), {
    message: "The erasure code 2+2 needs 4 storage directories and this store has 3.",
  });
  await assert.rejects(bucketCode(test.store, "another"), { code: "NoSuchBucket" });
  assert.deepEqual(test.store.index.settings.find(bucket.id), {});
});

Deno.test("codes: a deleted object stays deleted where only an older record of it stood", async () => {
  await using test = await testStore(1, 0, { directories: 3 });
  const bucket = await made(test.store, "bucket", "1+2");
  await fill(test.store, bucket);
  await bucketCode(test.store, "bucket", "1+0");
  await fill(test.store, bucket);
  for (const { key } of test.store.index.objects.listFrom(bucket.id, new Uint8Array(0), true, 9)) {
    await test.store.objects.delete(bucket, key);
  }
  for (const at of test.blobs.keys()) {
    // All that is in this directory, and then that alone: no tombstone is needed here any more.
    for (let round = 0; round < 2; round++) {
      await test.reopen();
      const directory = test.store.directories.all[at]!;
      for (const segment of await directory.segments()) {
        if (segment < directory.activeSegment) {
          await test.store.compactor.compact(directory, segment);
        }
      }
    }
    await test.reopen({ rebuild: true });
    assert.deepEqual(standing(test.store, bucket), [], `directory ${at}`);
  }
});
