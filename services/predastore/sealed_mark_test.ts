/** Each directory says which key sealed here; that it cannot be written down keeps no store from starting. */
import assert from "node:assert/strict";
import { FaultyDisk } from "./disk/faulty_disk.ts";
import { realDisk } from "./disk/real_disk.ts";
import { newSealingKey, parseSealingKeys } from "./encryption/sealing.ts";
import { Store } from "./store.ts";
import { bodyOf, bytesOf, contentOf, same, testStore } from "./test_store.ts";

const markOf = async (blob = "") => (await Deno.readTextFile(`${blob}/sealed`)).trim();

Deno.test("RS(2,1): a store of objects that another key sealed is not opened, also by the mark of one directory", async () => {
  const sealing = parseSealingKeys(newSealingKey(), "/the/key");
  await using test = await testStore(2, 1, { sealing });
  for (const blob of test.blobs) assert.equal(await markOf(blob), sealing.id);
  await test.reopen({
    between: async () => {
      for (const blob of test.blobs.slice(0, 2)) await Deno.remove(`${blob}/sealed`);
      const { options } = test.store;
      const other = parseSealingKeys(newSealingKey(), "/another/key");
      await assert.rejects(
        Store.open({ ...options, sealing: other }),
        /another\/key is not the key that sealed .*blob2/,
      );
    },
  });
  for (const blob of test.blobs) assert.equal(await markOf(blob), sealing.id);
});

Deno.test("RS(2,1): a directory that takes another's place is marked", async () => {
  const sealing = parseSealingKeys(newSealingKey(), "key");
  await using test = await testStore(2, 1, { sealing });
  const [, blob = ""] = test.blobs;
  await Deno.remove(blob, { recursive: true });
  await test.store.directories.inspect();
  await Deno.mkdir(blob);
  for (let look = 0; look < 2; look++) await test.store.directories.inspect();
  assert.equal(test.store.directories.online.length, 3);
  assert.equal(await markOf(blob), sealing.id);
});

for (const fault of ["full", "broken"] as const) {
  Deno.test(`RS(2,1): the store starts with a key that is new although a directory is ${fault} and takes no mark`, async () => {
    const disk = new FaultyDisk(realDisk);
    const old = newSealingKey();
    await using test = await testStore(2, 1, { disk, sealing: parseSealingKeys(old, "key") });
    const bucket = await test.bucket();
    await test.store.objects.put(bucket, "k", bodyOf(bytesOf(1, 900_000)));
    const { options } = test.store;
    const before = await markOf(test.blobs[1]);
    await test.store[Symbol.asyncDispose]();
    disk.faults.add({ path: `${test.blobs[1]}/sealed`, [fault]: true });
    const sealing = parseSealingKeys(newSealingKey() + old, "key");
    test.store = await Store.open({ ...options, sealing });
    assert.equal(test.store.directories.online.length, 3);
    assert.equal(await markOf(test.blobs[0]), sealing.id);
    assert.equal(await markOf(test.blobs[1]), before);
    same(await contentOf(test.store, test.store.objects.find(bucket, "k")), bytesOf(1, 900_000));
  });
}
