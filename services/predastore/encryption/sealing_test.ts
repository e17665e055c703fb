/** Encryption at rest: what is on the disks tells nothing, and what was altered never becomes an answer. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { newPieceBytes, newSealingKey, parseSealingKeys } from "./sealing.ts";
import { sealedBytes } from "./sealed_body.ts";
import { bodyOf, bytesOf, contentOf, testStore } from "../test_store.ts";

const text = newSealingKey();
const sealing = parseSealingKeys(text, "key");
const piece = newPieceBytes;
const sizes = [0, 1, 300, 16_368, 16_369, 16_384, piece - 1, piece, piece + 1, 3 * piece + 77];

Deno.test("sealed objects of every size read back, whole and by ranges, also rebuilt", async () => {
  await using test = await testStore(2, 1, { sealing });
  const bucket = await test.bucket();
  for (const size of sizes) {
    const body = { ...bodyOf(bytesOf(size, size)), seal: sealing.newSeal() };
    await test.store.objects.put(bucket, `k${size}`, body);
  }
  for (const rebuild of [false, true]) {
    await test.reopen({ rebuild });
    for (const size of sizes) {
      const object = test.store.objects.find(bucket, `k${size}`);
      assert.equal(object?.size, size);
      const whole = bytesOf(size, size);
      assert.deepEqual(await contentOf(test.store, object), whole);
      for (const [from, to] of [[0, 1], [size - 1, size], [size >> 1, size], [100, size - 100]]) {
        if (from === undefined || to === undefined || from < 0 || to <= from || to > size) continue;
        assert.deepEqual(await contentOf(test.store, object, from, to), whole.subarray(from, to));
      }
    }
  }
});

Deno.test("a seal that does not say how long its pieces are means 256 KiB", async () => {
  await using test = await testStore(1, 0, { sealing });
  const bucket = await test.bucket();
  const { master, key } = sealing.newSeal();
  const whole = bytesOf(3, 3 * 256 * 1024 + 5);
  await test.store.objects.put(bucket, "old", { ...bodyOf(whole), seal: { master, key } });
  const object = test.store.objects.find(bucket, "old");
  const extent = test.store.index.extents.find(object?.extents?.[0]?.[0] ?? 0);
  assert.equal(extent?.size, whole.length + 4 * 16);
  assert.deepEqual(await contentOf(test.store, object), whole);
  assert.deepEqual(
    await contentOf(test.store, object, 300_000, 800_000),
    whole.subarray(300_000, 800_000),
  );
});

Deno.test("parts of an upload share its key, and a part that is sent again is sealed anew", async () => {
  await using test = await testStore(1, 0, { sealing });
  const bucket = await test.bucket();
  const seal = sealing.newSeal();
  const meta = { headers: {}, user: {}, seal };
  const upload = await test.store.uploads.create(bucket, "big", meta);
  const row = test.store.uploads.find(bucket, "big", upload.id);
  const part = (number: number, seed: number, size: number) =>
    test.store.uploads.putPart(bucket, row, number, { ...bodyOf(bytesOf(seed, size)), seal });
  await part(1, 9, 700_000);
  await part(1, 1, 700_000);
  await part(2, 2, 50);
  await test.store.uploads.complete(bucket, row, (parts) => ({ parts, etag: "x-2", meta }));
  const object = test.store.objects.find(bucket, "big");
  const whole = Buffer.concat([bytesOf(1, 700_000), bytesOf(2, 50)]);
  assert.deepEqual(await contentOf(test.store, object), new Uint8Array(whole));
  assert.deepEqual(
    await contentOf(test.store, object, 699_990, 700_010),
    new Uint8Array(whole.subarray(699_990, 700_010)),
  );
});

Deno.test("nothing of a sealed object is on the disk, and other keys do not open it", async () => {
  await using test = await testStore(1, 0, { sealing });
  const bucket = await test.bucket();
  const secret = new TextEncoder().encode("the quick brown fox ".repeat(60));
  for (const [key, times] of [["small", 1], ["large", 400]] as const) {
    const bytes = new Uint8Array(secret.length * times);
    for (let at = 0; at < times; at++) bytes.set(secret, at * secret.length);
    await test.store.objects.put(bucket, key, { ...bodyOf(bytes), seal: sealing.newSeal() });
  }
  await test.store[Symbol.asyncDispose]();
  const folder = join(test.blobs[0] ?? "", "segments");
  for await (const { name } of Deno.readDir(folder)) {
    assert.equal(Buffer.from(await Deno.readFile(join(folder, name))).indexOf("brown fox"), -1);
  }
  const object = test.store.options;
  assert.ok(object.sealing === sealing);
  const rotated = parseSealingKeys(newSealingKey() + text, "key");
  assert.ok(sealedBytes(0, piece) === 0);
  const seal = sealing.newSeal();
  assert.ok(rotated.knows(seal.master), "an older key still opens");
  assert.ok(!parseSealingKeys(newSealingKey(), "key").knows(seal.master));
});
