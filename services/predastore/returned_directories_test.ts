/** Directories that are away and come back: each is taken for what it is, and undoes nothing. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { IoError } from "../../ffi/direct_io.ts";
import { FaultyDisk } from "./disk/faulty_disk.ts";
import { realDisk } from "./disk/real_disk.ts";
import { Fsck } from "./upkeep/fsck.ts";
import { bodyOf, bytesOf, contentOf, fill, readsBack, same, testStore } from "./test_store.ts";

Deno.test("with a spare directory, a write goes round the one that is away", async () => {
  await using test = await testStore(2, 1, { directories: 4 });
  const bucket = await test.bucket();
  await Deno.rename(test.blobs[0] ?? "", `${test.blobs[0]}.gone`);
  await test.store.directories.inspect();
  for (let at = 0; at < 8; at++) {
    await test.store.objects.put(bucket, `k${at}`, bodyOf(bytesOf(at, 700_000)));
  }
  assert.equal(test.store.index.buckets.totals().missing, 0);
  await Deno.rename(`${test.blobs[0]}.gone`, test.blobs[0] ?? "");
});

Deno.test("no directory gets the number of one that is away, also when the index is lost", async () => {
  await using test = await testStore(1, 1, { directories: 3 });
  const bucket = await test.bucket();
  await fill(test.store, bucket);
  await test.store[Symbol.asyncDispose]();
  const last = test.blobs[2] ?? "";
  for (const round of [1, 2]) {
    await Deno.rename(last, `${last}.away${round}`);
    await test.reopen({ rebuild: true });
    assert.deepEqual(test.store.directories.all.map(({ number }) => number), [0, 1, 2 + round]);
    await test.store[Symbol.asyncDispose]();
  }
  await Deno.rename(last, `${last}.third`);
  await Deno.rename(`${last}.away1`, last);
  await test.reopen();
  assert.deepEqual(test.store.directories.all.map(({ number }) => number), [0, 1, 2]);
  await readsBack(test.store, bucket);
});

Deno.test("RS(2,1): what stands in the place of a directory and cannot be used takes one number, however often the store starts", async () => {
  await using test = await testStore(2, 1);
  const bucket = await test.bucket();
  await test.store.objects.put(bucket, "k", bodyOf(bytesOf(1, 100)));
  const last = test.blobs[2] ?? "";
  const numbers = () => test.store.directories.all.map(({ number }) => number);
  await test.reopen({
    between: async () => {
      await Deno.rename(last, `${last}.away`);
      await Deno.writeTextFile(last, "");
    },
  });
  for (let start = 0; start < 3; start++) {
    assert.deepEqual(numbers(), [0, 1, 3]);
    await test.reopen();
  }
  await test.reopen({ between: () => Deno.remove(last) });
  assert.deepEqual(numbers(), [0, 1, 3]);
  await test.reopen({
    between: async () => {
      await Deno.rename(last, `${last}.other`);
      await Deno.rename(`${last}.away`, last);
    },
  });
  assert.deepEqual(numbers(), [0, 1, 2]);
  assert.equal(test.store.directories.online.length, 3);
  await test.reopen({ between: () => Deno.rename(last, `${last}.away`) });
  assert.deepEqual(numbers(), [0, 1, 4]);
});

Deno.test("RS(2,1): an empty disk that cannot be written takes one number, however often one looks at it", async () => {
  const disk = new FaultyDisk(realDisk);
  await using test = await testStore(2, 1, { disk });
  const bucket = await test.bucket();
  await test.store.objects.put(bucket, "k", bodyOf(bytesOf(1, 100)));
  const last = test.blobs[2] ?? "";
  await Deno.remove(last, { recursive: true });
  await Deno.mkdir(last);
  const makeFolder = disk.makeFolder.bind(disk);
  disk.makeFolder = async (path) => {
    // It belongs to somebody else.
    if (path.startsWith(last)) throw new IoError("EACCES", "mkdir", path);
    await makeFolder(path);
  };
  const { directories } = test.store;
  for (let look = 0; look < 6; look++) await directories.inspect();
  disk.makeFolder = makeFolder;
  for (let look = 0; look < 2; look++) await directories.inspect();
  assert.deepEqual(directories.all.map(({ number }) => number), [0, 1, 3]);
  assert.equal(directories.online.length, 3);
  // The number is taken by now.
  await Deno.remove(last, { recursive: true });
  await Deno.mkdir(last);
  for (let look = 0; look < 3; look++) await directories.inspect();
  assert.deepEqual(directories.all.map(({ number }) => number), [0, 1, 4]);
  await test.store.repair.run();
  await test.reopen();
  assert.deepEqual(test.store.directories.all.map(({ number }) => number), [0, 1, 4]);
  assert.equal(test.store.index.objects.find(bucket.id, "k")?.locations.length, 3);
});

Deno.test("what was deleted while a directory was away stays deleted when it returns to an index made again", async () => {
  await using test = await testStore(2, 1);
  const bucket = await test.bucket();
  for (const key of ["small", "large", "kept"]) {
    const size = key === "small" ? 100 : 100_000;
    await test.store.objects.put(bucket, key, bodyOf(bytesOf(1, size)));
  }
  const meta = { headers: {}, user: {} };
  const { id } = await test.store.uploads.create(bucket, "upload", meta);
  const away = `${test.blobs[2]}.away`;
  await Deno.rename(test.blobs[2] ?? "", away);
  await test.store.directories.inspect();
  await test.store.uploads.abort(bucket, test.store.uploads.find(bucket, "upload", id));
  await test.store.objects.delete(bucket, "small");
  await test.store.objects.put(bucket, "large", bodyOf(bytesOf(2, 100_000)));
  await test.store.objects.delete(bucket, "large");
  await test.store.objects.put(bucket, "kept", bodyOf(bytesOf(3, 100_000)));
  await test.reopen({ rebuild: true });
  await test.store[Symbol.asyncDispose]();
  await Deno.remove(test.blobs[2] ?? "", { recursive: true });
  await Deno.rename(away, test.blobs[2] ?? "");
  for (const rebuild of [false, false, true]) {
    await test.reopen({ rebuild });
    const { index, objects } = test.store;
    const listed = index.objects.listFrom(bucket.id, new Uint8Array(0), true, 9);
    assert.deepEqual(listed.map(({ key }) => key), ["kept"]);
    same(await contentOf(test.store, objects.find(bucket, "kept")), bytesOf(3, 100_000));
    assert.deepEqual([...index.uploads.all()], []);
    // What they were made of is no longer counted either.
    await test.store.repair.run();
    const report = await new Fsck(test.store).run(new AbortController().signal);
    assert.deepEqual(report.findings, []);
  }
});

Deno.test("what was deleted after a directory was replaced stays deleted when that is put back within a month", async () => {
  let clock = Date.now();
  await using test = await testStore(1, 1, { now: () => ++clock });
  const bucket = await test.bucket();
  await test.store.objects.put(bucket, "k", bodyOf(bytesOf(1, 100)));
  const replaced = `${test.blobs[1]}.replaced`;
  await Deno.rename(test.blobs[1] ?? "", replaced);
  await test.reopen();
  await test.store.repair.run();
  await test.store.objects.delete(bucket, "k");
  const compacted = async () => {
    await test.reopen();
    for (const directory of test.store.directories.all) {
      for (const segment of await directory.segments()) {
        if (segment < directory.activeSegment) {
          await test.store.compactor.compact(directory, segment);
        }
      }
    }
  };
  for (let round = 0; round < 3; round++) await compacted();
  await test.reopen({ rebuild: true });
  await test.store[Symbol.asyncDispose]();
  await Deno.rename(test.blobs[1] ?? "", `${test.blobs[1]}.newer`);
  await Deno.rename(replaced, test.blobs[1] ?? "");
  await test.reopen();
  assert.equal(test.store.objects.find(bucket, "k"), undefined);
  // And nothing is kept for ever.
  assert.equal(test.store.directories.mayReturn(clock), true);
  clock += 31 * 86_400_000;
  assert.equal(test.store.directories.mayReturn(clock), false);
});

Deno.test("RS(2,1): what was acknowledged without one directory is not refused for good when another is away after a crash", async () => {
  await using test = await testStore(2, 1);
  const bucket = await test.bucket();
  const leave = (at: number) => Deno.rename(test.blobs[at] ?? "", `${test.blobs[at]}.gone`);
  const come = (at: number) => Deno.rename(`${test.blobs[at]}.gone`, test.blobs[at] ?? "");
  await leave(1);
  await test.store.directories.inspect();
  await test.store.objects.put(bucket, "k", bodyOf(bytesOf(1, 3 << 20)));
  await come(1);
  await leave(2);
  // Where no folder can be made.
  await Deno.writeTextFile(test.blobs[2] ?? "", "");
  await test.crash();
  assert.equal(test.store.directories.online.length, 2);
  await test.reopen({
    rebuild: true,
    between: async () => {
      await Deno.remove(test.blobs[2] ?? "");
      await come(2);
    },
  });
  same(await contentOf(test.store, test.store.objects.find(bucket, "k")), bytesOf(1, 3 << 20));
});

Deno.test("directories of two stores are not mixed", async () => {
  await using one = await testStore(2, 1);
  await using two = await testStore(2, 1);
  await two.store[Symbol.asyncDispose]();
  await Deno.remove(two.blobs[0] ?? "", { recursive: true });
  await Deno.mkdir(two.blobs[0] ?? "", { recursive: true });
  await Deno.copyFile(
    join(one.blobs[0] ?? "", "mulga-store.json"),
    join(two.blobs[0] ?? "", "mulga-store.json"),
  );
  await assert.rejects(two.reopen(), /another store/);
});

/** RS(2,1): an object is deleted and an upload completed while a directory is away; then the store is killed. */
async function changedMeanwhile() {
  const test = await testStore(2, 1);
  const bucket = await test.bucket();
  const { objects, uploads, directories } = test.store;
  await objects.put(bucket, "small", bodyOf(bytesOf(1, 100)));
  await objects.put(bucket, "large", bodyOf(bytesOf(1, 100_000)));
  const meta = { headers: {}, user: {} };
  const { id } = await uploads.create(bucket, "big", meta);
  const upload = uploads.find(bucket, "big", id);
  await uploads.putPart(bucket, upload, 1, bodyOf(bytesOf(2, 100)));
  const away = `${test.blobs[2]}.away`;
  await Deno.rename(test.blobs[2] ?? "", away);
  await directories.inspect();
  for (const key of ["small", "large"]) await objects.delete(bucket, key);
  await uploads.complete(bucket, upload, (parts) => ({ parts, etag: "big", meta }));
  return {
    test,
    bucket,
    returns: async () => {
      await Deno.remove(test.blobs[2] ?? "", { recursive: true }).catch(() => {});
      await Deno.rename(away, test.blobs[2] ?? "");
    },
    listed: () =>
      test.store.index.objects.listFrom(bucket.id, new Uint8Array(0), true, 9)
        .map(({ key }) => key),
    waiting: () => [...test.store.index.uploads.all()].map(({ key }) => key),
  };
}

Deno.test("RS(2,1): what was deleted while a directory was away stays so when it is back after a crash, although the index has gone on", async () => {
  const { test: made, bucket, returns, listed, waiting } = await changedMeanwhile();
  await using test = made;
  // So much that the index notes how far it has read the others.
  await test.store.objects.put(bucket, "much", bodyOf(bytesOf(3, 40 << 20)));
  await test.store.objects.put(bucket, "more", bodyOf(bytesOf(4, 100)));
  await returns();
  await test.crash();
  assert.equal(test.store.directories.online.length, 3);
  assert.deepEqual(listed(), ["big", "more", "much"]);
  assert.deepEqual(waiting(), []);
});

Deno.test("RS(2,1): what was deleted while a directory was away stays so when it is back at a start after one without it", async () => {
  const { test: made, returns, listed, waiting } = await changedMeanwhile();
  await using test = made;
  await test.crash();
  assert.deepEqual(listed(), ["big"]);
  await test.store[Symbol.asyncDispose]();
  await returns();
  await test.reopen();
  assert.deepEqual(test.store.directories.online.map(({ number }) => number), [0, 1, 2]);
  assert.deepEqual(listed(), ["big"]);
  assert.deepEqual(waiting(), []);
});

Deno.test("RS(2,1): where a body stood before it was moved is not looked at when a directory that was away at a start says it", async () => {
  await using test = await testStore(2, 1);
  const bucket = await test.bucket();
  await test.store.objects.put(bucket, "k", bodyOf(bytesOf(1, 900_000)));
  const away = `${test.blobs[2]}.away`;
  await Deno.rename(test.blobs[2] ?? "", away);
  await test.crash();
  await test.store.compactor.run(2);
  assert.ok(test.store.compactor.segments_removed >= 2);
  await test.reopen({
    between: async () => {
      await Deno.remove(test.blobs[2] ?? "", { recursive: true });
      await Deno.rename(away, test.blobs[2] ?? "");
    },
  });
  assert.deepEqual(test.store.directories.online.map(({ number }) => number), [0, 1, 2]);
  assert.equal(test.store.recovery?.extents_refused, 0);
  same(await contentOf(test.store, test.store.objects.find(bucket, "k")), bytesOf(1, 900_000));
});
