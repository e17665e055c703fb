/** Compaction and repair that come to one extent at once. */
import assert from "node:assert/strict";
import { recordTypes } from "../segments/record.ts";
import { scanSegment } from "../segments/segment_scan.ts";
import { bodyOf, bytesOf, contentOf, same, type TestStore, testStore } from "../test_store.ts";
import { Fsck } from "./fsck.ts";

/** An object of which one shard is missing, in a store that has room for it. */
async function withoutOneShard(): Promise<TestStore> {
  const test = await testStore(2, 1);
  const bucket = await test.bucket();
  await test.store.objects.put(bucket, "k", bodyOf(bytesOf(1, 900_000)));
  await test.reopen();
  const [, , blob = ""] = test.blobs;
  await Deno.remove(blob, { recursive: true });
  await test.store.directories.inspect();
  await Deno.mkdir(blob);
  for (let look = 0; look < 2; look++) await test.store.directories.inspect();
  assert.equal(test.store.directories.online.length, 3);
  return test;
}

async function compactFirst({ store }: TestStore): Promise<void> {
  const [directory] = store.directories.all;
  const [segment] = await directory?.segments() ?? [];
  assert.ok(directory !== undefined && segment !== undefined);
  await store.compactor.compact(directory, segment);
}

async function isWhole(test: TestStore): Promise<void> {
  const report = await new Fsck(test.store).run(new AbortController().signal);
  assert.deepEqual(report.findings, []);
  assert.equal(report.full_redundancy, true);
  const bucket = test.store.buckets.find("bucket");
  assert.ok(bucket !== undefined);
  same(await contentOf(test.store, test.store.objects.find(bucket, "k")), bytesOf(1, 900_000));
}

async function refusals({ store }: TestStore): Promise<number> {
  let found = 0;
  for (const directory of store.directories.online) {
    for (const segment of await directory.segments()) {
      for await (const { header } of scanSegment(directory, segment)) {
        if (header.type === recordTypes.refused) found++;
      }
    }
  }
  return found;
}

Deno.test("RS(2,1): repair brings a shard back although compaction moves another of the extent meanwhile", async () => {
  await using test = await withoutOneShard();
  const { reader, repair } = test.store;
  const reconstruct = reader.reconstruct.bind(reader);
  reader.reconstruct = async (...args) => {
    const payload = await reconstruct(...args);
    // Repair goes on with the extent as it was.
    reader.reconstruct = reconstruct;
    await compactFirst(test);
    return payload;
  };
  await repair.run();
  assert.equal(reader.reconstruct, reconstruct);
  await isWhole(test);
  assert.equal(await refusals(test), 0);
  for (const rebuild of [false, true]) {
    await test.reopen({ rebuild });
    await isWhole(test);
  }
});

Deno.test("RS(2,1): of two who move shards of one extent at once none writes what the other has to refuse", async () => {
  await using test = await withoutOneShard();
  await Promise.all([test.store.repair.run(), compactFirst(test)]);
  assert.equal(await refusals(test), 0);
  await test.store.repair.run();
  await isWhole(test);
  await test.reopen({ rebuild: true });
  await isWhole(test);
});
