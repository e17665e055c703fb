import assert from "node:assert/strict";
import { bodyOf, bytesOf, contentOf, testStore } from "./test_store.ts";

const same = (a: Uint8Array, b: Uint8Array) =>
  assert.ok(Buffer.compare(a, b) === 0, "bytes differ");

for (const [k, m] of [[1, 0], [2, 1]] as const) {
  Deno.test(`RS(${k},${m}): compaction gives dead space back and keeps every byte that lives`, async () => {
    await using test = await testStore(k, m, { segment_bytes: 4 << 20 });
    const bucket = await test.bucket();
    const meta = { headers: {}, user: {} };
    const upload = await test.store.createUpload(bucket, "parts", meta);
    const row = test.store.upload(bucket, "parts", upload.id);
    await test.store.putPart(bucket, row, 1, bodyOf(bytesOf(100, 900_000), "p"));
    for (let at = 0; at < 40; at++) {
      await test.store.put(bucket, `k${at}`, bodyOf(bytesOf(at, at % 3 === 0 ? 9_000 : 700_000)));
    }
    for (let at = 0; at < 40; at++) {
      if (at % 5 === 0) continue;
      if (at % 2 === 0) await test.store.delete(bucket, `k${at}`);
      else await test.store.put(bucket, `k${at}`, bodyOf(bytesOf(1000 + at, 3_000)));
    }
    const used = async () => {
      let bytes = 0;
      for (const directory of test.store.directories.all) {
        for (const id of await directory.segments()) bytes += await directory.segmentSize(id);
      }
      return bytes;
    };
    const before = await used();
    await test.store.compactor.run(1);
    assert.ok(test.store.compactor.segments_removed > 0);
    const after = await used();
    assert.ok(after < before / 2, `${before} bytes became ${after}`);
    for (const rebuild of [undefined, false, true]) {
      if (rebuild !== undefined) await test.reopen({ rebuild });
      for (let at = 0; at < 40; at++) {
        const object = test.store.object(bucket, `k${at}`);
        if (at % 5 === 0) {
          same(await contentOf(test.store, object), bytesOf(at, at % 3 === 0 ? 9_000 : 700_000));
        } else if (at % 2 === 0) assert.equal(object, undefined, `k${at} came back`);
        else same(await contentOf(test.store, object), bytesOf(1000 + at, 3_000));
      }
      assert.equal(test.store.index.parts(upload.id).length, 1);
    }
    await test.store.completeUpload(
      bucket,
      test.store.upload(bucket, "parts", upload.id),
      (parts) => ({ parts, etag: "x-1", meta }),
    );
    same(await contentOf(test.store, test.store.object(bucket, "parts")), bytesOf(100, 900_000));
  });
}

Deno.test("a reader that began before compaction reads on to its end", async () => {
  await using test = await testStore(1, 0, { segment_bytes: 4 << 20 });
  const bucket = await test.bucket();
  const content = bytesOf(5, 6 << 20);
  await test.store.put(bucket, "k", bodyOf(content));
  const object = test.store.object(bucket, "k");
  assert.ok(object !== undefined);
  const reading = test.store.read(object, 0, object.size);
  const parts = [(await reading.next()).value as Uint8Array];
  await test.store.put(bucket, "k", bodyOf(bytesOf(6, 10)));
  const compacting = test.store.compactor.run(1);
  for await (const piece of reading) parts.push(piece);
  same(Buffer.concat(parts), content);
  await compacting;
  assert.ok(test.store.compactor.segments_removed > 0);
});
