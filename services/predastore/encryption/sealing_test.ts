/** Encryption at rest: what is on the disks tells nothing, and what was altered never becomes an answer. */
import assert from "node:assert/strict";
import { createDecipheriv, hkdfSync } from "node:crypto";
import { join } from "node:path";
import { newPieceBytes, newSealingKey, parseSealingKeys } from "./sealing.ts";
import { sealedBytes, type SealedSource } from "./sealed_body.ts";
import { copied } from "./body_source.ts";
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

Deno.test("a sealed body opens with the key file alone, however many keys were made since", async () => {
  const plain = bytesOf(5, 5000);
  const seal = sealing.newSeal();
  const parts: Uint8Array[] = [];
  let given = new Uint8Array(0);
  const sink = {
    room: (wanted: number) => Promise.resolve(given = new Uint8Array(wanted)),
    filled: (count: number) => Promise.resolve(void parts.push(given.subarray(0, count))),
  };
  await sealing.seal(seal, 7, copied(bodyOf(plain).chunks), [], sink, () => {}, plain.length);
  const sealed = new Uint8Array(Buffer.concat(parts));
  for (let made = 0; made < 1100; made++) sealing.newSeal();
  async function* read(from: number, to: number) {
    yield await Promise.resolve(sealed.slice(from, to));
  }
  const source: SealedSource = { read, give: () => {}, readChecked: read };
  for (const one of [sealing, parseSealingKeys(text, "key")]) {
    const opened: Uint8Array[] = [];
    const range = { size: plain.length, from: 0, to: plain.length };
    for await (const piece of one.open(seal, 7, range, source)) opened.push(piece);
    assert.deepEqual(new Uint8Array(Buffer.concat(opened)), plain);
  }
});

Deno.test("an object's key stands in its seal as nonce, AES-256-GCM under a key of the master's, and tag", () => {
  const master = Uint8Array.fromBase64(text.trim());
  const wrapping = hkdfSync("sha256", master, "", "mulga/predastore/object-keys/v1", 32);
  const opened = Array.from({ length: 3 }, () => {
    const key = Buffer.from(sealing.newSeal().key, "base64");
    assert.equal(key.length, 12 + 32 + 16);
    const cipher = createDecipheriv("aes-256-gcm", new Uint8Array(wrapping), key.subarray(0, 12));
    cipher.setAuthTag(key.subarray(-16));
    return Buffer.concat([cipher.update(key.subarray(12, -16)), cipher.final()]).toString("hex");
  });
  assert.equal(new Set(opened).size, 3);
});
