/** A write that fails is none: neither in the index that stands nor in one that is made again. */
import assert from "node:assert/strict";
import { IoError } from "../../ffi/direct_io.ts";
import type { Disk } from "./disk/disk.ts";
import { realDisk } from "./disk/real_disk.ts";
import type { BucketRow, UploadRow } from "./index/rows.ts";
import type { Store } from "./store.ts";
import { bodyOf, bytesOf, contentOf, same, type TestStore, testStore } from "./test_store.ts";
import { FaultyDisk } from "./disk/faulty_disk.ts";

/** A disk where a write or a sync of paths fails as long as it is wanted. */
function failing() {
  const wanted: { noRoom?: string; noSync?: string; lost?: string } = {};
  const at = (path: string, prefix: string | undefined) =>
    prefix !== undefined && path.startsWith(`${prefix}/`);
  const disk: Disk = {
    ...realDisk,
    async open(path, options) {
      const file = await realDisk.open(path, options);
      return {
        async write(bytes, offset) {
          if (at(path, wanted.noRoom)) throw new IoError("ENOSPC", "pwrite", path);
          await file.write(bytes, offset);
        },
        read: (bytes, offset) => file.read(bytes, offset),
        async sync() {
          if (at(path, wanted.noSync)) throw new IoError("EIO", "fdatasync", path);
          await file.sync();
        },
        [Symbol.dispose]: () => file[Symbol.dispose](),
      };
    },
  };
  return { disk, wanted };
}

/** RS(2,1) with an object, of which one directory can be synced: another cannot, and the third is away. */
async function oneThatSyncs() {
  const { disk, wanted } = failing();
  const test = await testStore(2, 1, { disk });
  const bucket = await test.bucket();
  await test.store.objects.put(bucket, "k", bodyOf(bytesOf(1, 100)));
  wanted.noSync = test.blobs[0] ?? "";
  test.store.directories.all[2]?.goOffline(new Error("unplugged"));
  return { test, bucket, wanted };
}

Deno.test("RS(2,1): what has fewer durable shards than it takes is not acknowledged, although its record is durable", async () => {
  const { disk, wanted } = failing();
  await using test = await testStore(2, 1, { disk });
  const bucket = await test.bucket();
  await test.store.objects.put(bucket, "k", bodyOf(bytesOf(1, 3 << 20)));
  const body = bodyOf(bytesOf(2, 3 << 20));
  wanted.noRoom = test.blobs[0] ?? "";
  await assert.rejects(
    test.store.objects.put(bucket, "k", {
      ...body,
      finish: async (size) => {
        // Its shards are written by now, and there is room again for its record.
        delete wanted.noRoom;
        wanted.noSync = test.blobs[1] ?? "";
        return await body.finish(size);
      },
    }),
    /Too few storage/,
  );
  delete wanted.noSync;
  for (const rebuild of [false, true]) {
    await test.reopen({ rebuild });
    same(await contentOf(test.store, test.store.objects.find(bucket, "k")), bytesOf(1, 3 << 20));
  }
});

Deno.test("RS(1,0): a record whose sync failed is none when its directory is back, also when the index is lost", async () => {
  const { disk, wanted } = failing();
  await using test = await testStore(1, 0, { disk });
  const bucket = await test.bucket();
  await test.store.objects.put(bucket, "k", bodyOf(bytesOf(1, 100)));
  wanted.noSync = test.blobs[0] ?? "";
  await assert.rejects(test.store.objects.put(bucket, "k", bodyOf(bytesOf(2, 100))));
  delete wanted.noSync;
  await test.store.directories.inspect();
  same(await contentOf(test.store, test.store.objects.find(bucket, "k")), bytesOf(1, 100));
  await test.store.objects.put(bucket, "other", bodyOf(bytesOf(3, 100)));
  await test.reopen({ rebuild: true });
  same(await contentOf(test.store, test.store.objects.find(bucket, "k")), bytesOf(1, 100));
});

Deno.test("RS(2,1): a record whose sync failed in two directories is none when they are back and the third is away", async () => {
  const { test: made, bucket, wanted } = await oneThatSyncs();
  await using test = made;
  await assert.rejects(test.store.objects.put(bucket, "k", bodyOf(bytesOf(2, 100))));
  delete wanted.noSync;
  await test.store.directories.inspect();
  assert.equal(test.store.directories.online.length, 3);
  await test.reopen({
    rebuild: true,
    between: () => Deno.remove(test.blobs[1] ?? "", { recursive: true }),
  });
  same(await contentOf(test.store, test.store.objects.find(bucket, "k")), bytesOf(1, 100));
});

const meta = { headers: {}, user: {} };

/** What a client sees of everything. */
async function seen({ store }: TestStore): Promise<unknown> {
  const buckets = store.index.buckets.all().sort((a, b) => a.name < b.name ? -1 : 1);
  return await Promise.all(buckets.map(async (bucket) => ({
    name: bucket.name,
    settings: bucket.settings,
    uploads: store.index.uploads.listFrom(bucket.id, new Uint8Array(0), "", 9)
      .map(({ key, id }) => ({ key, parts: store.index.uploads.parts(id).map((one) => one.etag) })),
    objects: await Promise.all(
      store.index.objects.listVersionsFrom(bucket.id, new Uint8Array(0), Infinity, 9)
        .map(async ({ key, version }) => {
          const object = store.objects.find(bucket, key, version ?? "null");
          const { etag, meta: { tags } } = object ?? { meta: {} };
          const bytes = object?.marker === true ? 0 : (await contentOf(store, object)).length;
          return { key, version, etag, tags, bytes };
        }),
    ),
  })));
}

const tagged = (value: string) => () => ({ tags: [{ key: "t", value }] });

/** Everything that writes records, once beside what is there. */
const writes: Readonly<
  Record<string, (store: Store, bucket: BucketRow, upload: UploadRow) => Promise<unknown>>
> = {
  "putting a small object": ({ objects }, bucket) =>
    objects.put(bucket, "small", bodyOf(bytesOf(9, 90), "new")),
  "putting a large object": ({ objects }, bucket) =>
    objects.put(bucket, "small", bodyOf(bytesOf(9, 400_000), "new")),
  "deleting an object": ({ objects }, bucket) => objects.delete(bucket, "small"),
  "changing tags": ({ objects }, bucket) =>
    objects.annotate(bucket, "small", undefined, tagged("new")),
  "making a bucket": ({ buckets }) => buckets.create("another", "123456789012", "r"),
  "deleting a bucket": ({ buckets }) => buckets.delete(buckets.find("empty") as BucketRow),
  "setting up a bucket": ({ buckets }, bucket) =>
    buckets.set(bucket, () => ({ versioning: "Enabled" })),
  "beginning an upload": ({ uploads }, bucket) => uploads.create(bucket, "another", meta),
  "uploading a part": ({ uploads }, bucket, upload) =>
    uploads.putPart(bucket, upload, 1, bodyOf(bytesOf(9, 200), "new")),
  "completing an upload": ({ uploads }, bucket, upload) =>
    uploads.complete(bucket, upload, (parts) => ({ parts, etag: "new", meta })),
  "aborting an upload": ({ uploads }, bucket, upload) => uploads.abort(bucket, upload),
};

for (const [what, write] of Object.entries(writes)) {
  Deno.test(`RS(2,1): ${what} that the index does not take changes nothing, also when it is lost`, async () => {
    await using test = await testStore(2, 1);
    const bucket = await test.bucket();
    await test.bucket("empty");
    const { store } = test;
    await store.objects.put(bucket, "small", bodyOf(bytesOf(1, 100), "old"));
    await store.objects.annotate(bucket, "small", undefined, tagged("old"));
    const { id } = await store.uploads.create(bucket, "big", meta);
    const upload = store.uploads.find(bucket, "big", id);
    await store.uploads.putPart(bucket, upload, 1, bodyOf(bytesOf(2, 300_000), "old"));
    const before = await seen(test);
    store.index.beforeCommit(() => {
      throw new Error("the disk of the index is full");
    });
    await assert.rejects(write(store, bucket, upload), /the disk of the index is full/);
    store.index.beforeCommit(() => store.progress.storePositions(false));
    assert.deepEqual(await seen(test), before);
    await test.reopen({ rebuild: true });
    assert.deepEqual(await seen(test), before);
    // What is then asked for once more is done, and stays so.
    const again = test.store;
    const found = again.buckets.find("bucket") as BucketRow;
    await write(again, found, again.uploads.find(found, "big", id));
    const after = await seen(test);
    await test.reopen({ rebuild: true });
    assert.deepEqual(await seen(test), after);
    assert.deepEqual(test.store.index.wrongCounts(), []);
  });
}

Deno.test("tags that could not be set are none beside those that were set after them, also when the index is lost", async () => {
  const { test: made, bucket, wanted } = await oneThatSyncs();
  await using test = made;
  const tag = (value: string) => test.store.objects.annotate(bucket, "k", undefined, tagged(value));
  await assert.rejects(tag("failed"));
  delete wanted.noSync;
  await test.store.directories.inspect();
  await tag("set");
  for (const rebuild of [false, true]) {
    await test.reopen({ rebuild });
    const { tags } = test.store.objects.find(bucket, "k")?.meta ?? {};
    assert.deepEqual(tags, [{ key: "t", value: "set" }]);
  }
});

Deno.test("a commit that names shards of before an outage fails, since they may not be durable", async () => {
  await using test = await testStore(1, 0);
  const bucket = await test.bucket();
  const directory = test.store.directories.all[0];
  const body = bodyOf(bytesOf(1, 3 << 20));
  await assert.rejects(test.store.objects.put(bucket, "k", {
    ...body,
    finish: async (size) => {
      directory?.goOffline(new Error("unplugged"));
      await directory?.comeBack();
      return await body.finish(size);
    },
  }));
  assert.equal(test.store.objects.find(bucket, "k"), undefined);
  await test.store.objects.put(bucket, "k", bodyOf(bytesOf(2, 3 << 20)));
  same(await contentOf(test.store, test.store.objects.find(bucket, "k")), bytesOf(2, 3 << 20));
});

Deno.test("RS(2,1): a write that failed never takes the place of the object that was there, although compaction took its shards", async () => {
  const disk = new FaultyDisk(realDisk);
  await using test = await testStore(2, 1, { disk });
  const bucket = await test.bucket();
  await test.store.objects.put(bucket, "k", bodyOf(bytesOf(1, 3 << 20)));
  const faults = [1, 2].map((at) => ({ path: test.blobs[at] ?? "", broken: true }));
  const body = bodyOf(bytesOf(2, 3 << 20));
  const failing = {
    ...body,
    finish: async (size: number) => {
      // Its shards are written by now.
      for (const fault of faults) disk.faults.add(fault);
      return await body.finish(size);
    },
  };
  await assert.rejects(test.store.objects.put(bucket, "k", failing), /Too few storage/);
  for (const fault of faults) disk.faults.delete(fault);
  const { directories, compactor } = test.store;
  await directories.inspect();
  assert.equal(directories.online.length, 3);
  for (const directory of directories.all.slice(1)) {
    for (const segment of await directory.segments()) await compactor.compact(directory, segment);
  }
  same(await contentOf(test.store, test.store.objects.find(bucket, "k")), bytesOf(1, 3 << 20));
  await test.reopen({ rebuild: true });
  same(await contentOf(test.store, test.store.objects.find(bucket, "k")), bytesOf(1, 3 << 20));
});

for (const kept of [true, false]) {
  Deno.test(`RS(2,1): what is in a bucket whose deletion failed stays, ${kept ? "after kill -9" : "also when the index is lost"}`, async () => {
    const disk = new FaultyDisk(realDisk);
    await using test = await testStore(2, 1, { disk });
    const bucket = await test.bucket();
    const faults = [1, 2].map((at) => ({ path: test.blobs[at] ?? "", broken: true }));
    for (const fault of faults) disk.faults.add(fault);
    await assert.rejects(test.store.buckets.delete(bucket), /Too few storage/);
    for (const fault of faults) disk.faults.delete(fault);
    await test.store.directories.inspect();
    await test.store.objects.put(bucket, "k", bodyOf(bytesOf(1, 3 << 20)));
    if (kept) await test.crash();
    else await test.reopen({ rebuild: true });
    same(await contentOf(test.store, test.store.objects.find(bucket, "k")), bytesOf(1, 3 << 20));
    await test.store.objects.delete(bucket, "k");
    await test.store.buckets.delete(bucket);
    await test.reopen({ rebuild: true });
    assert.equal(test.store.buckets.find("bucket"), undefined);
  });
}

Deno.test("RS(2,1): a deletion that failed is none, also when the index is lost", async () => {
  const disk = new FaultyDisk(realDisk);
  await using test = await testStore(2, 1, { disk });
  const bucket = await test.bucket();
  for (const key of ["k", "gone"]) {
    await test.store.objects.put(bucket, key, bodyOf(bytesOf(1, 3_000)));
  }
  const faults = [1, 2].map((at) => ({ path: test.blobs[at] ?? "", broken: true }));
  for (const fault of faults) disk.faults.add(fault);
  await assert.rejects(test.store.objects.delete(bucket, "k"), /Too few storage/);
  for (const fault of faults) disk.faults.delete(fault);
  await test.store.directories.inspect();
  await test.store.objects.delete(bucket, "gone");
  await test.reopen({ rebuild: true });
  same(await contentOf(test.store, test.store.objects.find(bucket, "k")), bytesOf(1, 3_000));
  assert.equal(test.store.objects.find(bucket, "gone"), undefined);
});

Deno.test("what was written before a sync that failed for want of room is not taken for durable by the next", async () => {
  let isFull = false;
  const disk: Disk = {
    ...realDisk,
    async open(path, options) {
      const file = await realDisk.open(path, options);
      return {
        write: (bytes, offset) => file.write(bytes, offset),
        read: (bytes, offset) => file.read(bytes, offset),
        async sync() {
          if (isFull) throw new IoError("ENOSPC", "fdatasync", path);
          await file.sync();
        },
        [Symbol.dispose]: () => file[Symbol.dispose](),
      };
    },
  };
  await using test = await testStore(1, 0, { disk });
  const bucket = await test.bucket();
  const body = bodyOf(bytesOf(1, 3 << 20));
  await assert.rejects(test.store.objects.put(bucket, "k", {
    ...body,
    finish: async (size) => {
      // Its shards are written by now; the kernel tells of what it lost in a sync, and of that only once.
      isFull = true;
      await assert.rejects(test.store.objects.put(bucket, "other", bodyOf(bytesOf(2, 100))));
      isFull = false;
      await test.store.directories.inspect();
      return await body.finish(size);
    },
  }));
  assert.equal(test.store.objects.find(bucket, "k"), undefined);
  await test.store.objects.put(bucket, "k", bodyOf(bytesOf(3, 3 << 20)));
  same(await contentOf(test.store, test.store.objects.find(bucket, "k")), bytesOf(3, 3 << 20));
});

Deno.test("RS(2,1): where too few directories take writes nothing is written into those that do, however often it is tried", async () => {
  await using test = await testStore(2, 1);
  const bucket = await test.bucket();
  await test.store.objects.put(bucket, "k", bodyOf(bytesOf(1, 100)));
  const [one, ...others] = test.store.directories.all;
  for (const other of others) other.goOffline(new Error("unplugged"));
  const size = async () => await one?.segmentSize(one.activeSegment);
  const before = await size();
  for (let attempt = 0; attempt < 5; attempt++) {
    const putting = test.store.objects.put(bucket, "k", bodyOf(bytesOf(2, 100)));
    await assert.rejects(putting, /Too few storage/);
    await assert.rejects(test.store.objects.delete(bucket, "k"), /Too few storage/);
  }
  assert.equal(await size(), before);
  assert.equal(test.store.index.untold.count(1), 0);
  same(await contentOf(test.store, test.store.objects.find(bucket, "k")), bytesOf(1, 100));
});

for (const how of ["after a stop", "after kill -9", "with an index that is lost"] as const) {
  for (
    const what of [
      "an object",
      "an upload that was completed",
      "an upload that was given up",
    ] as const
  ) {
    Deno.test(`RS(2,1): of what one directory failed to sync nothing that was gone before it was back returns with it: ${what}, ${how}`, async () => {
      const { disk, wanted } = failing();
      await using test = await testStore(2, 1, { disk });
      const bucket = await test.bucket();
      const { uploads, objects, directories, index } = test.store;
      // It takes the record, and does not say so.
      wanted.noSync = test.blobs[0] ?? "";
      if (what === "an object") {
        await objects.put(bucket, "k", bodyOf(bytesOf(1, 100)));
        await objects.delete(bucket, "k");
      } else {
        const { id } = await uploads.create(bucket, "k", { headers: {}, user: {} });
        const upload = uploads.find(bucket, "k", id);
        await uploads.putPart(bucket, upload, 1, bodyOf(bytesOf(2, 200)));
        if (what === "an upload that was given up") await uploads.abort(bucket, upload);
        else {
          const meta = { headers: {}, user: {} };
          await uploads.complete(bucket, upload, (parts) => ({ parts, etag: "e", meta }));
        }
      }
      assert.equal(directories.all[0]?.online, false);
      // So much that the index notes how far it has read the others.
      await objects.put(bucket, "much", bodyOf(bytesOf(3, 40 << 20)));
      await objects.put(bucket, "more", bodyOf(bytesOf(4, 100)));
      assert.ok((index.segments.position(1)?.offset ?? 0) > 1 << 20);
      delete wanted.noSync;
      if (how === "after kill -9") await test.crash();
      else await test.reopen({ rebuild: how === "with an index that is lost" });
      assert.equal(test.store.directories.online.length, 3);
      const listed = test.store.index.objects.listFrom(bucket.id, new Uint8Array(0), true, 9);
      const left = what === "an upload that was completed"
        ? ["k", "more", "much"]
        : ["more", "much"];
      assert.deepEqual(listed.map(({ key }) => key), left);
      assert.deepEqual([...test.store.index.uploads.all()].map(({ key }) => key), []);
    });
  }
}
