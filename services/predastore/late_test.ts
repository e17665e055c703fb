/** A disk that answers late at the start keeps its name, and what it holds. */
import assert from "node:assert/strict";
import { FaultyDisk } from "./disk/faulty_disk.ts";
import { realDisk } from "./disk/real_disk.ts";
import { removeIndex, Store } from "./store.ts";
import { bodyOf, bytesOf, contentOf, testStore } from "./test_store.ts";

/** The first looks at a directory's name have no answer: a start looks once. */
class LateDisk extends FaultyDisk {
  path = "";
  late = 0;

  override readWhole(path: string): Promise<Uint8Array<ArrayBuffer>> {
    if (this.path !== "" && path.startsWith(this.path) && this.late-- > 0) {
      return new Promise(() => {});
    }
    return super.readWhole(path);
  }
}

Deno.test("RS(2,1): a directory that answers late as the store starts is not taken for a new one", async () => {
  const disk = new LateDisk(realDisk);
  await using test = await testStore(2, 1, { disk, answer_ms: 1_000 });
  const bucket = await test.bucket();
  await test.store.objects.put(bucket, "k", bodyOf(bytesOf(1, 900_000)));
  const name = `${test.blobs[1]}/mulga-store.json`;
  const before = JSON.parse(await Deno.readTextFile(name));
  await test.reopen({
    between: async () => {
      disk.path = await Promise.resolve(name);
      disk.late = 1;
    },
  });
  assert.equal(JSON.parse(await Deno.readTextFile(name)).directory, before.directory);
  await test.reopen();
  assert.deepEqual(test.store.directories.all.map(({ number }) => number), [0, 1, 2]);
  assert.equal(test.store.directories.online.length, 3);
  const content = await contentOf(test.store, test.store.objects.find(bucket, "k"));
  assert.ok(Buffer.compare(content, bytesOf(1, 900_000)) === 0);
});

Deno.test("RS(1,0): no store is made where one may be that answers late, and whose index is lost", async () => {
  const disk = new LateDisk(realDisk);
  await using test = await testStore(1, 0, { disk, answer_ms: 1_000 });
  const bucket = await test.bucket();
  await test.store.objects.put(bucket, "k", bodyOf(bytesOf(1, 900_000)));
  const { options } = test.store;
  await test.reopen({
    between: async () => {
      await removeIndex(`${test.directory}/index.db`);
      disk.path = test.blobs[0] ?? "";
      disk.late = 1;
      await assert.rejects(Store.open(options), /cannot be read/);
    },
  });
  const content = await contentOf(test.store, test.store.objects.find(bucket, "k"));
  assert.ok(Buffer.compare(content, bytesOf(1, 900_000)) === 0);
});
