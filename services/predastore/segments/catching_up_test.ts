/** A directory that was away for long hears of all that was removed, whoever is there to tell it. */
import assert from "node:assert/strict";
import { createLog } from "../../log/log.ts";
import { FaultyDisk } from "../disk/faulty_disk.ts";
import { realDisk } from "../disk/real_disk.ts";
import { bodyOf, bytesOf, type TestStore, testStore } from "../test_store.ts";

const keys = Array.from({ length: 40 }, (_, at) => `k${at}`);

async function removeSome({ store }: TestStore, some: readonly string[]): Promise<void> {
  const bucket = store.buckets.find("bucket");
  assert.ok(bucket !== undefined);
  for (const key of some) await store.objects.delete(bucket, key);
}

async function fill(test: TestStore): Promise<void> {
  const bucket = await test.bucket();
  for (const key of keys) await test.store.objects.put(bucket, key, bodyOf(bytesOf(1, 100)));
}

async function leaves(test: TestStore, at: number): Promise<void> {
  const [blob = ""] = test.blobs.slice(at);
  await Deno.rename(blob, `${blob}.away`);
  await Deno.writeTextFile(blob, "");
  await test.store.directories.inspect();
}

async function returns(test: TestStore, at: number): Promise<void> {
  const [blob = ""] = test.blobs.slice(at);
  await Deno.remove(blob, { recursive: true });
  await Deno.rename(`${blob}.away`, blob);
  await test.store.directories.inspect();
}

/** An empty disk comes to its place. */
async function isReplaced(test: TestStore, at: number): Promise<void> {
  const [blob = ""] = test.blobs.slice(at);
  await Deno.remove(blob, { recursive: true });
  await Deno.mkdir(blob);
  const was = test.store.directories.all[at]?.number;
  const isAdopted = () => test.store.directories.all[at]?.number !== was;
  await until(isAdopted, () => test.store.directories.inspect());
}

const isBehind = ({ store }: TestStore, number: number) =>
  store.index.value(`directory_behind ${number}`) !== undefined;

async function until(condition: () => boolean, work: () => Promise<void> = async () => {}) {
  const limit = performance.now() + 30_000;
  while (!condition()) {
    assert.ok(performance.now() < limit, "it does not come true");
    await work();
    await new Promise((next) => setTimeout(next, 5));
  }
}

async function catchesUp(test: TestStore, number: number): Promise<void> {
  await until(
    () => !isBehind(test, number) && test.store.index.untold.count(number) === 0,
    () => test.store.directories.inspect(),
  );
}

/** Nothing comes back with an index that is made again where the others are lost. */
async function staysRemoved(test: TestStore, lost: readonly number[]): Promise<void> {
  await test.store.repair.run();
  await test.reopen({
    rebuild: true,
    between: async () => {
      for (const at of lost) await Deno.remove(test.blobs[at] ?? "", { recursive: true });
    },
  });
  const bucket = test.store.buckets.find("bucket");
  assert.ok(bucket !== undefined);
  const listed = test.store.index.objects.listFrom(bucket.id, new Uint8Array(0), true, 99);
  assert.deepEqual(listed.map(({ key }) => key), []);
}

Deno.test("RS(2,1): a directory is told later where the index does not take that it was told all", async () => {
  const lines: string[] = [];
  const log = createLog("test", { write: (line) => lines.push(line) });
  await using test = await testStore(2, 1, { most_untold: 10, log });
  await fill(test);
  await leaves(test, 2);
  await removeSome(test, keys);
  assert.ok(isBehind(test, 2));
  const { index, progress } = test.store;
  index.beforeCommit(() => {
    throw new Error("the disk of the index is full");
  });
  await returns(test, 2);
  await until(() => lines.some((line) => line.includes("blob_directory_behind")));
  assert.ok(isBehind(test, 2));
  index.beforeCommit(() => progress.storePositions(false));
  await catchesUp(test, 2);
  await staysRemoved(test, [1]);
});

Deno.test("RS(2,1): a directory hears of what was removed before another was replaced, also when it falls behind after that", async () => {
  await using test = await testStore(2, 1, { most_untold: 30 });
  await fill(test);
  await leaves(test, 2);
  await removeSome(test, keys.slice(0, 20));
  assert.ok(!isBehind(test, 2));
  await isReplaced(test, 0);
  await removeSome(test, keys.slice(20));
  assert.ok(isBehind(test, 2));
  await returns(test, 2);
  await catchesUp(test, 2);
  await staysRemoved(test, [1]);
});

Deno.test("RS(1,2): a directory that is behind waits for one that is away and knows more than those that are there", async () => {
  await using test = await testStore(1, 2, { most_untold: 10 });
  await fill(test);
  await leaves(test, 2);
  await removeSome(test, keys);
  assert.ok(isBehind(test, 2));
  await leaves(test, 0);
  await test.store.repair.run();
  await isReplaced(test, 1);
  await returns(test, 2);
  for (let look = 0; look < 5; look++) {
    await test.store.directories.inspect();
    await new Promise((next) => setTimeout(next, 5));
  }
  assert.ok(isBehind(test, 2));
  await returns(test, 0);
  await catchesUp(test, 2);
  await catchesUp(test, 3);
  await staysRemoved(test, [0, 1]);
});

Deno.test("RS(2,1): one that takes no write is not told all again at each look", async () => {
  const disk = new FaultyDisk(realDisk);
  await using test = await testStore(2, 1, { most_untold: 10, disk });
  await fill(test);
  await leaves(test, 2);
  await removeSome(test, keys);
  assert.ok(isBehind(test, 2));
  const fault = { path: test.blobs[2] ?? "", quota: true };
  disk.faults.add(fault);
  await returns(test, 2);
  const looks = async () => {
    for (let look = 0; look < 5; look++) {
      await test.store.directories.inspect();
      await new Promise((next) => setTimeout(next, 20));
    }
    return disk.reads;
  };
  const reads = await looks();
  assert.equal(await looks(), reads);
  disk.faults.delete(fault);
  // As it is taken up again after a while.
  test.store.directories.byNumber(2)?.goOffline(new Error("unplugged"));
  await catchesUp(test, 2);
  await staysRemoved(test, [1]);
});
