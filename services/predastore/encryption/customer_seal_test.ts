/** Objects under keys of clients' own: nothing of the store opens them, and nothing of its upkeep has to. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { Fsck } from "../upkeep/fsck.ts";
import { empty } from "../test_damage.ts";
import { bodyOf, bytesOf, same, type TestStore, testStore } from "../test_store.ts";
import { CustomerKeyError, opens } from "./customer_seal.ts";
import { newSealingKey, parseSealingKeys } from "./sealing.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const sealing = parseSealingKeys(newSealingKey(), "key");
const key = bytesOf(77, 32);
const other = bytesOf(78, 32);
const sizes = [0, 1, 300, 16_368, 16_369, 16_384, 700_000, 2_500_000];

async function putAll(test: TestStore) {
  const bucket = await test.bucket();
  for (const size of sizes) {
    const body = {
      ...bodyOf(bytesOf(size, size)),
      seal: sealing.newCustomerSeal(key),
      customer_key: key,
    };
    await test.store.objects.put(bucket, `k${size}`, body);
  }
  return bucket;
}

async function read(test: TestStore, name: string, with_key: Bytes | undefined): Promise<Bytes> {
  const bucket = test.store.buckets.find("bucket");
  const object = bucket && test.store.objects.find(bucket, name);
  assert.ok(object !== undefined, name);
  const parts: Bytes[] = [];
  const { objects } = test.store;
  for await (const piece of objects.read(object, 0, object.size, undefined, with_key)) {
    parts.push(piece.slice());
  }
  return new Uint8Array(Buffer.concat(parts));
}

async function readsBack(test: TestStore): Promise<void> {
  for (const size of sizes) same(await read(test, `k${size}`, key), bytesOf(size, size), `${size}`);
}

Deno.test("customer keys: objects of every size open with their key alone, from memory, disk and a new index", async () => {
  await using test = await testStore(2, 1, { sealing, small_bodies_bytes: 4 << 20 });
  await putAll(test);
  for (const rebuild of [undefined, false, true]) {
    if (rebuild !== undefined) await test.reopen({ rebuild });
    await readsBack(test);
    for (const size of sizes) {
      if (size === 0) continue;
      await assert.rejects(read(test, `k${size}`, undefined), CustomerKeyError);
      await assert.rejects(read(test, `k${size}`, other), CustomerKeyError);
    }
  }
});

Deno.test("customer keys: repair, scrub, fsck and compaction need none", async () => {
  await using test = await testStore(2, 1, { sealing, segment_bytes: 4 << 20 });
  const bucket = await putAll(test);
  for (let at = 0; at < 8; at++) {
    await test.store.objects.put(bucket, "again", bodyOf(bytesOf(at, 1_500_000)));
  }
  // Tags are written with the record again, and with it what stands in it.
  await test.store.objects.annotate(
    bucket,
    "k300",
    undefined,
    () => ({ tags: [{ key: "a", value: "b" }] }),
  );
  await test.store.compactor.run(1);
  assert.ok(test.store.compactor.segments_removed > 0);
  await empty(test.blobs[1] ?? "");
  await test.reopen();
  for (let look = 0; look < 3; look++) await test.store.directories.inspect();
  await test.store.repair.run();
  await test.store.scrub.run();
  const report = await new Fsck(test.store).run(new AbortController().signal);
  assert.deepEqual(report.findings, []);
  assert.equal(report.full_redundancy, true);
  await readsBack(test);
});

Deno.test("customer keys: a seal knows its key, and neither that key nor what it seals is on the disks", async () => {
  const seal = sealing.newCustomerSeal(key);
  assert.equal(opens(seal, key), true);
  assert.equal(opens(seal, other), false);
  assert.notEqual(sealing.newCustomerSeal(key).customer.salt, seal.customer.salt);
  await using test = await testStore(1, 0, { sealing });
  const bucket = await test.bucket();
  const secret = new TextEncoder().encode("the quick brown fox ".repeat(60));
  for (const [name, times] of [["small", 1], ["large", 400]] as const) {
    const bytes = new Uint8Array(secret.length * times);
    for (let at = 0; at < times; at++) bytes.set(secret, at * secret.length);
    await test.store.objects.put(bucket, name, {
      ...bodyOf(bytes),
      seal: sealing.newCustomerSeal(key),
      customer_key: key,
    });
  }
  await test.store[Symbol.asyncDispose]();
  const files = [join(test.directory, "index.db")];
  const folder = join(test.blobs[0] ?? "", "segments");
  for await (const { name } of Deno.readDir(folder)) files.push(join(folder, name));
  const text = new TextEncoder();
  for (const path of files) {
    const bytes = Buffer.from(await Deno.readFile(path));
    assert.equal(bytes.indexOf("brown fox"), -1, path);
    for (const form of [key, text.encode(key.toBase64()), text.encode(key.toHex())]) {
      assert.equal(bytes.indexOf(form), -1, path);
    }
  }
});
