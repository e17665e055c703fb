/** What is removed while a directory is away stays removed, whichever directories are lost after its return. */
import assert from "node:assert/strict";
import { FaultyDisk } from "./disk/faulty_disk.ts";
import { realDisk } from "./disk/real_disk.ts";
import type { TombstoneMeta } from "./index/gone_meta.ts";
import { readMeta } from "./index/recovery.ts";
import { recordTypes, smallRecord } from "./segments/record.ts";
import { scanSegment } from "./segments/segment_scan.ts";
import { replaceOthers, segmentsOf } from "./test_damage.ts";
import { removeIndex } from "./store.ts";
import { bodyOf, bytesOf, contentOf, type TestStore, testStore } from "./test_store.ts";

const meta = { headers: {}, user: {} };

/** Everything that can be removed, and what is left after it was. */
async function fill(test: TestStore) {
  const kept = await test.bucket();
  const removed = await test.bucket("removed");
  const { store } = test;
  for (const key of ["small", "large", "kept"]) {
    await store.objects.put(kept, key, bodyOf(bytesOf(1, key === "small" ? 100 : 100_000)));
  }
  const { id } = await store.uploads.create(kept, "upload", meta);
  return async () => {
    const { store } = test;
    await store.buckets.delete(removed);
    await store.uploads.abort(kept, store.uploads.find(kept, "upload", id));
    for (const key of ["small", "large"]) await store.objects.delete(kept, key);
  };
}

async function onlyKeptIsThere(test: TestStore): Promise<void> {
  const { index, objects } = test.store;
  assert.deepEqual(index.buckets.all().map(({ name }) => name), ["bucket"]);
  const bucket = await test.bucket();
  const listed = index.objects.listFrom(bucket.id, new Uint8Array(0), true, 9);
  assert.deepEqual(listed.map(({ key }) => key), ["kept"]);
  assert.deepEqual([...index.uploads.all()].map(({ key }) => key), []);
  const content = await contentOf(test.store, objects.find(bucket, "kept"));
  assert.ok(Buffer.compare(content, bytesOf(1, 100_000)) === 0, "bytes differ");
}

for (
  const crash of [
    "goes on",
    "is killed at once",
    "is started again",
    "loses its index",
    "takes another in its place",
  ] as const
) {
  Deno.test(`RS(2,1): what was removed while a directory was away stays so when the others are replaced; the store ${crash}`, async () => {
    await using test = await testStore(2, 1);
    const remove = await fill(test);
    const blob = test.blobs[2] ?? "";
    await Deno.rename(blob, `${blob}.away`);
    await test.store.directories.inspect();
    if (crash === "takes another in its place") {
      await Deno.mkdir(blob);
      for (let look = 0; look < 2; look++) await test.store.directories.inspect();
      assert.equal(test.store.directories.online.length, 3);
    } else await Deno.writeTextFile(blob, "");
    await remove();
    if (crash === "is killed at once") await test.crash();
    if (crash === "is started again" || crash === "loses its index") {
      await test.reopen({ rebuild: crash === "loses its index" });
    }
    await Deno.rename(blob, `${blob}.other`);
    await Deno.rename(`${blob}.away`, blob);
    if (crash !== "goes on") await test.reopen();
    await test.store.directories.inspect();
    assert.equal(test.store.directories.online.length, 3);
    await test.store.repair.run();
    await replaceOthers(test, 2);
    await test.reopen({ rebuild: true });
    await onlyKeptIsThere(test);
  });
}

Deno.test("RS(2,1): what was removed while a directory was away stays so where a power cut set the index back as well", async () => {
  await using test = await testStore(2, 1);
  const remove = await fill(test);
  const file = `${test.directory}/index.db`;
  await test.reopen({ between: () => Deno.copyFile(file, `${file}.before`) });
  const blob = test.blobs[2] ?? "";
  await Deno.rename(blob, `${blob}.away`);
  await test.store.directories.inspect();
  await remove();
  await test.reopen({
    between: async () => {
      await removeIndex(file);
      await Deno.rename(`${file}.before`, file);
      await Deno.rename(`${blob}.away`, blob);
    },
  });
  assert.equal(test.store.directories.online.length, 3);
  await test.store.repair.run();
  await replaceOthers(test, 2);
  await test.reopen({ rebuild: true });
  await onlyKeptIsThere(test);
});

Deno.test("RS(2,1): a directory is told once what it did not hear, however often the store is killed", async () => {
  await using test = await testStore(2, 1);
  const remove = await fill(test);
  const blob = test.blobs[2] ?? "";
  await Deno.rename(blob, `${blob}.away`);
  await test.store.directories.inspect();
  await remove();
  await Deno.rename(`${blob}.away`, blob);
  await test.store.directories.inspect();
  for (let start = 0; start < 3; start++) await test.crash();
  for (const directory of test.store.directories.all) {
    const keys: string[] = [];
    for (const segment of await directory.segments()) {
      for await (const record of scanSegment(directory, segment)) {
        if (record.header.type !== recordTypes.tombstone) continue;
        keys.push(readMeta<TombstoneMeta>(record).key);
      }
    }
    assert.deepEqual(keys.sort(), ["large", "small"]);
  }
});

Deno.test("RS(2,1): what was torn at a crash is not believed of a directory that was away at the start after it", async () => {
  const disk = new FaultyDisk(realDisk);
  await using test = await testStore(2, 1, { disk });
  const bucket = await test.bucket();
  await test.store.objects.put(bucket, "k", bodyOf(bytesOf(1, 900_000)));
  const body = bodyOf(bytesOf(2, 900_000));
  const faults = [0, 1].map((at) => ({ path: test.blobs[at] ?? "", broken: true }));
  // The machine stops when only one directory has the record: nobody comes to say that it failed.
  test.store.directories.refuse = () => Promise.resolve();
  await assert.rejects(test.store.objects.put(bucket, "k", {
    ...body,
    finish: async (size) => {
      for (const fault of faults) disk.faults.add(fault);
      return await body.finish(size);
    },
  }));
  disk.faults.clear();
  // What another client had written there next: it says that all before it is durable in this directory.
  const next = smallRecord(recordTypes.uploadGone, test.store.progress.nextSequence(), {
    upload: "x",
  });
  await test.store.directories.all[2]?.commit([next]);
  for (const blob of test.blobs.slice(0, 2)) {
    // The shards that were written last.
    const [segment = ""] = (await segmentsOf(blob)).slice(-1);
    using file = await Deno.open(segment, { read: true, write: true });
    const { size } = await file.stat();
    await file.seek(size - 400_000, Deno.SeekMode.Start);
    await file.write(new Uint8Array(400_000));
  }
  const blob = test.blobs[2] ?? "";
  await Deno.rename(blob, `${blob}.away`);
  await Deno.writeTextFile(blob, "");
  await test.crash();
  const isOld = async () => {
    const found = test.store.objects.find(bucket, "k");
    assert.ok(Buffer.compare(await contentOf(test.store, found), bytesOf(1, 900_000)) === 0);
  };
  await isOld();
  await test.store.objects.put(bucket, "other", bodyOf(bytesOf(3, 900_000)));
  await test.reopen({
    between: async () => {
      await Deno.remove(blob);
      await Deno.rename(`${blob}.away`, blob);
    },
  });
  assert.equal(test.store.directories.online.length, 3);
  await isOld();
});
