/** An upload ends once, and is none that waits for its end in an index that is made again. */
import assert from "node:assert/strict";
import type { BucketRow, UploadRow } from "./index/rows.ts";
import { bodyOf, bytesOf, contentOf, same, type TestStore, testStore } from "./test_store.ts";
import { FaultyDisk } from "./disk/faulty_disk.ts";
import { realDisk } from "./disk/real_disk.ts";

const meta = { headers: {}, user: {} };
const begin = async ({ store }: TestStore, bucket: BucketRow, key: string) => {
  const { id } = await store.uploads.create(bucket, key, meta);
  return store.uploads.find(bucket, key, id);
};

const putPart = ({ store }: TestStore, bucket: BucketRow, upload: UploadRow, number: number) =>
  store.uploads.putPart(bucket, upload, number, bodyOf(bytesOf(number, 300_000), `${number}`));

const complete = (
  { store }: TestStore,
  bucket: BucketRow,
  upload: UploadRow,
  numbers: readonly number[] = [1],
) =>
  store.uploads.complete(bucket, upload, (parts) => ({
    parts: parts.filter(({ number }) => numbers.includes(number)),
    etag: `${numbers}`,
    meta,
  }));

const pending = ({ store }: TestStore) => [...store.index.uploads.all()].map(({ key }) => key);

/** Has each directory begin a new segment. */
async function newSegments({ store }: TestStore): Promise<void> {
  for (const directory of store.directories.all) directory.goOffline("it begins a new segment");
  await store.directories.inspect();
}

/** Compacts the segments of all directories that are given. */
async function compact({ store }: TestStore, which: (segment: number, first: number) => boolean) {
  for (const directory of store.directories.online) {
    const segments = await directory.segments();
    for (const segment of segments) {
      if (segment >= directory.activeSegment || !which(segment, segments[0] ?? 0)) continue;
      await store.compactor.compact(directory, segment);
    }
  }
}

const ends: Readonly<Record<string, (test: TestStore, bucket: BucketRow) => Promise<unknown>>> = {
  "was deleted": ({ store }, bucket) => store.objects.delete(bucket, "big"),
  "was replaced": ({ store }, bucket) => store.objects.put(bucket, "big", bodyOf(bytesOf(3, 9))),
  "was tagged": ({ store }, bucket) =>
    store.objects.annotate(bucket, "big", undefined, () => ({ tags: [{ key: "a", value: "b" }] })),
};

for (const [what, end] of Object.entries(ends)) {
  Deno.test(`RS(2,1): an upload whose object ${what} does not wait again when the record of its completion was compacted`, async () => {
    await using test = await testStore(2, 1);
    const bucket = await test.bucket();
    const upload = await begin(test, bucket, "big");
    await putPart(test, bucket, upload, 1);
    await newSegments(test);
    await complete(test, bucket, upload);
    await end(test, bucket);
    await newSegments(test);
    const [object] = test.store.index.objects.listFrom(bucket.id, new Uint8Array(0), true, 9);
    for (let round = 0; round < 3; round++) {
      // Of what the parts stand in all stays; the other segments go, and what was carried on of them.
      await compact(test, (segment, first) => segment > first);
      await newSegments(test);
      await test.reopen({ rebuild: true });
      assert.deepEqual(pending(test), []);
      assert.deepEqual(
        test.store.index.objects.listFrom(bucket.id, new Uint8Array(0), true, 9).map((one) =>
          one.etag
        ),
        object === undefined ? [] : [object.etag],
      );
      if (what === "was tagged") {
        const found = test.store.objects.find(bucket, "big");
        same(await contentOf(test.store, found), bytesOf(1, 300_000));
      }
      await newSegments(test);
    }
  });
}

Deno.test("RS(2,1): an upload whose parts were compacted after its object was replaced does not wait again", async () => {
  await using test = await testStore(2, 1);
  const bucket = await test.bucket();
  const upload = await begin(test, bucket, "big");
  await newSegments(test);
  await putPart(test, bucket, upload, 1);
  await newSegments(test);
  await complete(test, bucket, upload);
  await ends["was replaced"]?.(test, bucket);
  await newSegments(test);
  // What completed it stays, and names an extent that is gone.
  await compact(test, (segment, first) => segment === first + 1);
  await test.reopen({ rebuild: true });
  assert.deepEqual(pending(test), []);
  same(
    await contentOf(test.store, test.store.objects.find(bucket, "big")),
    bytesOf(3, 9),
  );
});

Deno.test("RS(2,1): what says that an upload was completed goes when nothing of the upload is left", async () => {
  await using test = await testStore(2, 1);
  const bucket = await test.bucket();
  const upload = await begin(test, bucket, "big");
  await putPart(test, bucket, upload, 1);
  await complete(test, bucket, upload);
  await test.store.objects.delete(bucket, "big");
  for (let round = 0; round < 4; round++) {
    await newSegments(test);
    await test.store.objects.put(bucket, "other", bodyOf(bytesOf(round, 100)));
    await newSegments(test);
    await compact(test, () => true);
  }
  for (const directory of test.store.directories.all) {
    for (const segment of await directory.segments()) {
      const file = `${directory.path}/segments/${String(segment).padStart(10, "0")}.seg`;
      assert.ok(!(await Deno.readTextFile(file)).includes(upload.id), `${file} speaks of it`);
    }
  }
});

for (const versioning of [undefined, "Enabled"] as const) {
  for (const [first, second] of [[[1], [1, 2]], [[1, 2], [2]], [[1], [2]]] as const) {
    Deno.test(`RS(2,1): of two attempts to complete an upload, with parts ${first} and ${second}, the last counts, versions ${versioning}`, async () => {
      await using test = await testStore(2, 1);
      const bucket = await test.bucket();
      if (versioning !== undefined) await test.store.buckets.set(bucket, () => ({ versioning }));
      const upload = await begin(test, bucket, "big");
      for (const number of [1, 2]) await putPart(test, bucket, upload, number);
      const { directories, index } = test.store;
      // The first attempt is durable, and nobody comes to say that it failed.
      const refuse = directories.refuse;
      directories.refuse = () => Promise.resolve();
      index.beforeCommit(() => {
        throw new Error("the disk of the index is full");
      });
      await assert.rejects(complete(test, bucket, upload, first));
      index.beforeCommit(() => test.store.progress.storePositions(false));
      directories.refuse = refuse;
      const { version } = await complete(test, bucket, upload, second);
      const expected = Buffer.concat(second.map((number) => bytesOf(number, 300_000)));
      for (const rebuild of [false, true]) {
        await test.reopen({ rebuild });
        const { objects, index } = test.store;
        same(await contentOf(test.store, objects.find(bucket, "big")), expected);
        const versions = index.objects.listVersionsFrom(bucket.id, new Uint8Array(0), Infinity, 9);
        assert.deepEqual(versions.map((one) => one.version), [version ?? "null"]);
        assert.deepEqual(pending(test), []);
        assert.deepEqual(index.wrongCounts(), []);
      }
      // Also when the record of the one that counts is compacted, and that of the other is not.
      await test.store.objects.deleteVersion(bucket, "big", version ?? "null");
      await test.reopen({ rebuild: true });
      assert.equal(test.store.objects.latest(bucket, "big"), undefined);
      assert.deepEqual(pending(test), []);
      assert.equal(test.store.index.extents.ids().next().done, true, "an extent is left");
    });
  }
}

Deno.test("RS(2,1): a part that could not be replaced is in the object that was made of it, when the index is made again", async () => {
  await using test = await testStore(2, 1);
  const bucket = await test.bucket();
  const upload = await begin(test, bucket, "big");
  await putPart(test, bucket, upload, 1);
  const { directories, index } = test.store;
  directories.refuse = () => Promise.resolve();
  index.beforeCommit(() => {
    throw new Error("the disk of the index is full");
  });
  await assert.rejects(putPart(test, bucket, upload, 1));
  index.beforeCommit(() => test.store.progress.storePositions(false));
  await complete(test, bucket, upload);
  await test.reopen({ rebuild: true });
  same(
    await contentOf(test.store, test.store.objects.find(bucket, "big")),
    bytesOf(1, 300_000),
  );
  assert.deepEqual([...test.store.index.extents.ids()].length, 1);
});

Deno.test("RS(2,1): an upload that was completed while a directory was away does not wait again in what that one says", async () => {
  await using test = await testStore(2, 1);
  const bucket = await test.bucket();
  const upload = await begin(test, bucket, "big");
  await putPart(test, bucket, upload, 1);
  const blob = test.blobs[2] ?? "";
  await Deno.rename(blob, `${blob}.away`);
  await test.store.directories.inspect();
  await complete(test, bucket, upload);
  await Deno.rename(`${blob}.away`, blob);
  await test.store.directories.inspect();
  await test.store.objects.delete(bucket, "big");
  for (const other of test.blobs.slice(0, 2)) {
    await test.reopen({ between: () => Deno.remove(other, { recursive: true }) });
    await test.store.repair.run();
  }
  await test.reopen({ rebuild: true });
  assert.deepEqual(pending(test), []);
});

Deno.test("RS(2,1): an upload that was completed while a directory was away does not wait again when that is back and the index was lost before", async () => {
  await using test = await testStore(2, 1);
  const bucket = await test.bucket();
  const upload = await begin(test, bucket, "big");
  await putPart(test, bucket, upload, 1);
  const blob = test.blobs[2] ?? "";
  await Deno.rename(blob, `${blob}.away`);
  await Deno.writeTextFile(blob, "");
  await test.store.directories.inspect();
  await complete(test, bucket, upload);
  await test.store.objects.delete(bucket, "big");
  await newSegments(test);
  await compact(test, () => true);
  await test.reopen({ rebuild: true });
  await Deno.remove(blob);
  await test.reopen({ between: () => Deno.rename(`${blob}.away`, blob) });
  assert.deepEqual(pending(test), []);
  for (const other of test.blobs.slice(0, 2)) {
    await test.reopen({ between: () => Deno.remove(other, { recursive: true }) });
    await test.store.repair.run();
  }
  await test.reopen({ rebuild: true });
  assert.deepEqual(pending(test), []);
});

Deno.test("RS(2,1): an aborted upload does not come back with a directory that failed as it was aborted", async () => {
  const disk = new FaultyDisk(realDisk);
  await using test = await testStore(2, 1, { disk });
  const bucket = await test.bucket();
  const { uploads, directories, compactor } = test.store;
  const { id } = await uploads.create(bucket, "big", { headers: {}, user: {} });
  await uploads.putPart(bucket, uploads.find(bucket, "big", id), 1, bodyOf(bytesOf(1, 300_000)));
  const fault = { path: test.blobs[2] ?? "", broken: true };
  disk.faults.add(fault);
  await uploads.abort(bucket, uploads.find(bucket, "big", id));
  disk.faults.delete(fault);
  await directories.inspect();
  assert.equal(directories.online.length, 3);
  // Those that heard of it give up all that is dead.
  const heard = directories.all.slice(0, 2);
  for (const directory of heard) directory.goOffline("it begins a new segment");
  await directories.inspect();
  for (const directory of heard) {
    for (const segment of await directory.segments()) await compactor.compact(directory, segment);
  }
  await test.reopen({ rebuild: true });
  const left = test.store.index.uploads.listFrom(bucket.id, new Uint8Array(0), "", 10);
  assert.deepEqual(left, []);
});

for (const failed of ["completion", "abortion"] as const) {
  for (const versioning of [undefined, "Enabled"] as const) {
    Deno.test(`RS(2,1): a failed ${failed} of an upload takes nothing from the one that succeeds, versions ${versioning}`, async () => {
      const disk = new FaultyDisk(realDisk);
      await using test = await testStore(2, 1, { disk });
      const bucket = await test.bucket();
      if (versioning !== undefined) await test.store.buckets.set(bucket, () => ({ versioning }));
      const { uploads, directories } = test.store;
      const meta = { headers: {}, user: {} };
      const { id } = await uploads.create(bucket, "big", meta);
      const upload = () => uploads.find(bucket, "big", id);
      const put = (number: number) =>
        uploads.putPart(bucket, upload(), number, bodyOf(bytesOf(number, 300_000)));
      const complete = () =>
        uploads.complete(bucket, upload(), (parts) => ({ parts, etag: "x", meta }));
      await put(1);
      const faults = [1, 2].map((at) => ({ path: test.blobs[at] ?? "", broken: true }));
      for (const fault of faults) disk.faults.add(fault);
      await assert.rejects(
        failed === "completion" ? complete() : uploads.abort(bucket, upload()),
        /Too few storage directories/,
      );
      for (const fault of faults) disk.faults.delete(fault);
      await directories.inspect();
      assert.equal(directories.online.length, 3);
      await put(2);
      const { version } = await complete();
      await test.reopen({ rebuild: true });
      const { objects, index } = test.store;
      const expected = Buffer.concat([bytesOf(1, 300_000), bytesOf(2, 300_000)]);
      same(await contentOf(test.store, objects.find(bucket, "big")), expected);
      const versions = index.objects.listVersionsFrom(bucket.id, new Uint8Array(0), Infinity, 9);
      assert.deepEqual(versions.map((one) => one.version), [version ?? "null"]);
      assert.deepEqual(index.uploads.listFrom(bucket.id, new Uint8Array(0), "", 9), []);
      assert.deepEqual(index.wrongCounts(), []);
    });
  }
}
