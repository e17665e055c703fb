/** Small objects that are read from memory are those that stand. */
import assert from "node:assert/strict";
import { randomFrom } from "../disk/simulated_disk.ts";
import { newSealingKey, parseSealingKeys } from "../encryption/sealing.ts";
import { DataLost } from "../extents/extent_reader.ts";
import { bodyOf, bytesOf, contentOf, same, testStore } from "../test_store.ts";
import { zero } from "../test_damage.ts";

const small_bodies_bytes = 1 << 20;
Deno.test("what is read is what was written last, whatever is in memory", async () => {
  const seed = Math.floor(Math.random() * 2 ** 31);
  const pick = randomFrom(seed);
  const sealing = parseSealingKeys(newSealingKey(), "key");
  await using test = await testStore(2, 1, { small_bodies_bytes, sealing });
  const bucket = await test.bucket();
  const model = new Map<string, Uint8Array>();
  let inMemory = 0;
  for (let step = 0; step < 60; step++) {
    // Keys of one turn differ, so that the order of the writes is known.
    const keys = new Set(Array.from({ length: 16 }, () => `k${pick(150)}`));
    await Promise.all([...keys].map(async (key) => {
      const { objects } = test.store;
      const kind = pick(10);
      if (kind === 0) {
        await objects.delete(bucket, key);
        model.delete(key);
      } else if (kind === 1 && model.has(key)) {
        await objects.annotate(bucket, key, undefined, () => ({ tags: [] }));
      } else {
        const bytes = bytesOf(step * 1000 + pick(1000), pick(20) === 0 ? 20_000 : 1 + pick(16_384));
        const body = bodyOf(bytes);
        await objects.put(bucket, key, pick(2) === 0 ? { ...body, seal: sealing.newSeal() } : body);
        model.set(key, bytes);
      }
    }));
    for (let read = 0; read < 60; read++) {
      const key = `k${pick(150)}`;
      const object = test.store.objects.find(bucket, key);
      const expected = model.get(key);
      assert.equal(object === undefined, expected === undefined, `seed ${seed}, ${key}`);
      if (object === undefined || expected === undefined) continue;
      const known = test.store.objects.inMemory(object);
      if (known !== undefined) {
        inMemory++;
        same(known, expected);
      }
      same(await contentOf(test.store, object), expected);
      const from = pick(expected.length);
      same(await contentOf(test.store, object, from), expected.subarray(from));
    }
  }
  assert.ok(inMemory > 100, `seed ${seed}: ${inMemory} were in memory`);
});

Deno.test("a small object outlives its record's rot as long as it is in memory, and is sealed there as on the disk", async () => {
  const sealing = parseSealingKeys(newSealingKey(), "key");
  await using test = await testStore(1, 0, { small_bodies_bytes, sealing });
  const bucket = await test.bucket();
  const bytes = bytesOf(1, 4096);
  await test.store.objects.put(bucket, "plain", bodyOf(bytes));
  await test.store.objects.put(bucket, "sealed", { ...bodyOf(bytes), seal: sealing.newSeal() });
  const find = (key: string) => test.store.objects.find(bucket, key);
  for (const blob of test.blobs) await zero(blob);
  for (const key of ["plain", "sealed"]) same(await contentOf(test.store, find(key)), bytes);
  const [plain, sealed] = [find("plain"), find("sealed")];
  assert.ok(plain !== undefined && sealed !== undefined);
  same(test.store.objects.inMemory(plain), bytes);
  assert.equal(test.store.objects.inMemory(sealed), undefined);
  await test.reopen();
  for (const key of ["plain", "sealed"]) {
    await assert.rejects(contentOf(test.store, find(key)), DataLost);
  }
});
