import assert from "node:assert/strict";
import { join } from "node:path";
import { AwsError } from "../aws/errors.ts";
import { DataLost } from "./extents/extent_reader.ts";
import { bodyOf, bytesOf, contentOf, same, testStore } from "./test_store.ts";

const code = (wanted: string) => (error: unknown) => {
  assert.ok(error instanceof AwsError, String(error));
  assert.equal(error.code, wanted);
  return true;
};

const sizes = [0, 1, 4095, 16_384, 16_385, 262_144, 1 << 20, (1 << 20) + 1, 3_000_001];

for (const [k, m] of [[1, 0], [2, 1], [3, 2]] as const) {
  Deno.test(`RS(${k},${m}): objects of every size read back whole and by ranges, also rebuilt`, async () => {
    await using test = await testStore(k, m);
    const bucket = await test.bucket();
    for (const size of sizes) {
      await test.store.objects.put(bucket, `k${size}`, bodyOf(bytesOf(size, size)));
    }
    // A length that is not known beforehand makes full stripes.
    const { expected_bytes: _unknown, ...unknown } = bodyOf(bytesOf(9, 2_500_000));
    await test.store.objects.put(bucket, "unknown", unknown);
    for (const rebuild of [false, true]) {
      await test.reopen({ rebuild });
      for (const size of sizes) {
        const object = test.store.objects.find(bucket, `k${size}`);
        const expected = bytesOf(size, size);
        same(await contentOf(test.store, object), expected);
        for (
          const [from, to] of [[0, 1], [size - 1, size], [65_535, 65_537], [1_000_000, 1_100_000]]
        ) {
          const end = Math.min(to ?? 0, size);
          if ((from ?? 0) < 0 || (from ?? 0) >= end) continue;
          same(await contentOf(test.store, object, from, end), expected.subarray(from, end));
        }
      }
      same(
        await contentOf(test.store, test.store.objects.find(bucket, "unknown")),
        bytesOf(9, 2_500_000),
      );
      assert.equal(test.store.index.buckets.totals().objects, sizes.length + 1);
    }
  });
}

Deno.test("an overwrite, a delete and a bucket's deletion hold after a rebuild from segments", async () => {
  await using test = await testStore(2, 1);
  const bucket = await test.bucket();
  const other = await test.bucket("other");
  await test.store.objects.put(bucket, "over", bodyOf(bytesOf(1, 100_000)));
  await test.store.objects.put(bucket, "over", bodyOf(bytesOf(2, 50_000), "new"));
  await test.store.objects.put(bucket, "gone", bodyOf(bytesOf(3, 100_000)));
  assert.equal((await test.store.objects.delete(bucket, "gone")).existed, true);
  assert.equal((await test.store.objects.delete(bucket, "gone")).existed, false);
  await test.store.objects.put(other, "x", bodyOf(bytesOf(4, 10)));
  await test.store.objects.delete(other, "x");
  await test.store.buckets.delete(other);
  for (const rebuild of [false, true]) {
    await test.reopen({ rebuild });
    assert.equal(test.store.objects.find(bucket, "gone"), undefined);
    assert.equal(test.store.objects.find(bucket, "over")?.etag, "new");
    same(await contentOf(test.store, test.store.objects.find(bucket, "over")), bytesOf(2, 50_000));
    assert.equal(test.store.buckets.find("other"), undefined);
    assert.equal(test.store.buckets.find("bucket")?.id, bucket.id);
    assert.deepEqual(
      { ...test.store.index.buckets.totals() },
      { buckets: 1, objects: 1, bytes: 50_000, missing: 0 },
    );
  }
});

Deno.test("what was acknowledged is there after the process died without closing", async () => {
  await using test = await testStore(2, 1);
  const bucket = await test.bucket();
  for (let at = 0; at < 20; at++) {
    await test.store.objects.put(bucket, `k${at % 7}`, bodyOf(bytesOf(at, 1000 * at * at)));
  }
  await test.crash();
  for (let at = 13; at < 20; at++) {
    same(
      await contentOf(test.store, test.store.objects.find(bucket, `k${at % 7}`)),
      bytesOf(at, 1000 * at * at),
    );
  }
});

Deno.test("what was acknowledged is there after a power cut that took the index back to before compaction's last segments went", async () => {
  await using test = await testStore(1, 0);
  const bucket = await test.bucket();
  await test.store.objects.put(bucket, "a", bodyOf(bytesOf(1, 1 << 20)));
  await test.reopen();
  const failed = {
    ...bodyOf(bytesOf(2, 3 << 20)),
    finish: () => Promise.reject(new Error("cut off")),
  };
  await assert.rejects(test.store.objects.put(bucket, "b", failed));
  await test.reopen();
  await test.store.compactor.run();
  assert.equal(test.store.compactor.segments_removed, 1);
  const index = join(test.directory, "index.db");
  // With nothing written since, what was there is what a power cut may bring back.
  await test.reopen({ between: () => Deno.copyFile(index, `${index}.before`) });
  await test.store.objects.put(bucket, "b", bodyOf(bytesOf(3, 1 << 20)));
  await test.reopen({ between: () => Deno.rename(`${index}.before`, index) });
  same(await contentOf(test.store, test.store.objects.find(bucket, "b")), bytesOf(3, 1 << 20));
});

Deno.test("a write that was torn leaves the older object", async () => {
  await using test = await testStore(1, 0);
  const bucket = await test.bucket();
  await test.store.objects.put(bucket, "k", bodyOf(bytesOf(1, 200_000), "old"));
  await test.store.objects.put(bucket, "k", bodyOf(bytesOf(2, 200_000), "new"));
  const place = test.store.index.extents.find(
    test.store.objects.find(bucket, "k")?.extents?.[0]?.[0] ?? 0,
  )
    ?.stripes[0]?.shards[0];
  assert.ok(place !== undefined);
  // The record of the second is there, but a page of its data never reached the disk.
  const path = join(
    test.blobs[0] ?? "",
    "segments",
    `${String(place.segment).padStart(10, "0")}.seg`,
  );
  using file = await Deno.open(path, { write: true });
  await file.seek(place.offset + 8192, Deno.SeekMode.Start);
  await file.write(new Uint8Array(4096));
  await test.reopen({ rebuild: true });
  assert.equal(test.store.objects.find(bucket, "k")?.etag, "old");
  same(await contentOf(test.store, test.store.objects.find(bucket, "k")), bytesOf(1, 200_000));
});

Deno.test("a failed body stores nothing and leaves the old object", async () => {
  await using test = await testStore();
  const bucket = await test.bucket();
  await test.store.objects.put(bucket, "k", bodyOf(bytesOf(1, 100), "old"));
  await assert.rejects(
    test.store.objects.put(bucket, "k", {
      ...bodyOf(bytesOf(2, 2_000_000)),
      finish: () => Promise.reject(new AwsError("BadDigest", "no")),
    }),
    code("BadDigest"),
  );
  assert.equal(test.store.objects.find(bucket, "k")?.etag, "old");
  assert.equal(test.store.objects.find(bucket, "never"), undefined);
});

Deno.test("one of many writers with the same condition wins, and a whole object stands", async () => {
  await using test = await testStore();
  const bucket = await test.bucket();
  const onlyNew = (current: unknown) => {
    if (current !== undefined) throw new AwsError("PreconditionFailed", "", { status: 412 });
  };
  const results = await Promise.allSettled(
    Array.from(
      { length: 16 },
      (_, at) =>
        test.store.objects.put(bucket, "k", bodyOf(bytesOf(at, 300_000), `${at}`), onlyNew),
    ),
  );
  assert.equal(results.filter(({ status }) => status === "fulfilled").length, 1);
  const object = test.store.objects.find(bucket, "k");
  same(await contentOf(test.store, object), bytesOf(Number(object?.etag), 300_000));
});

Deno.test("a bucket with an object is not deleted, and one being deleted takes no write", async () => {
  await using test = await testStore();
  const bucket = await test.bucket();
  await test.store.objects.put(bucket, "k", bodyOf(bytesOf(1, 1)));
  await assert.rejects(test.store.buckets.delete(bucket), code("BucketNotEmpty"));
  await test.store.objects.delete(bucket, "k");
  const [deleted, put] = await Promise.allSettled([
    test.store.buckets.delete(bucket),
    test.store.objects.put(bucket, "late", bodyOf(bytesOf(1, 1))),
  ]);
  assert.notEqual(deleted.status, put.status, "both or neither happened");
});

Deno.test("a multipart object is its parts, and replaced parts and aborted uploads leave nothing", async () => {
  await using test = await testStore(2, 1);
  const bucket = await test.bucket();
  const meta = { headers: { "content-type": "text/plain" }, user: {} };
  const upload = await test.store.uploads.create(bucket, "big", meta);
  const row = () => test.store.uploads.find(bucket, "big", upload.id);
  await test.store.uploads.putPart(bucket, row(), 2, bodyOf(bytesOf(2, 700_000), "b"));
  await test.store.uploads.putPart(bucket, row(), 1, bodyOf(bytesOf(9, 100), "replaced"));
  await test.reopen({ rebuild: true });
  await test.store.uploads.putPart(bucket, row(), 1, bodyOf(bytesOf(1, 1_200_000), "a"));
  await test.store.uploads.putPart(bucket, row(), 3, bodyOf(bytesOf(3, 10), "c"));
  const aborted = await test.store.uploads.create(bucket, "aborted", meta);
  const abortedRow = test.store.uploads.find(bucket, "aborted", aborted.id);
  await test.store.uploads.putPart(bucket, abortedRow, 1, bodyOf(bytesOf(4, 400_000), "d"));
  await test.store.uploads.abort(bucket, abortedRow);
  await test.store.uploads.complete(bucket, row(), (parts) => {
    assert.deepEqual(parts.map(({ etag }) => etag), ["a", "b", "c"]);
    return { parts, etag: "whole-3", meta };
  });
  assert.throws(row, code("NoSuchUpload"));
  const whole = Buffer.concat([bytesOf(1, 1_200_000), bytesOf(2, 700_000), bytesOf(3, 10)]);
  for (const rebuild of [false, true]) {
    await test.reopen({ rebuild });
    const object = test.store.objects.find(bucket, "big");
    assert.equal(object?.etag, "whole-3");
    assert.deepEqual(object?.meta.parts, [1_200_000, 700_000, 10]);
    same(await contentOf(test.store, object), whole);
    same(
      await contentOf(test.store, object, 1_199_999, 1_900_005),
      whole.subarray(1_199_999, 1_900_005),
    );
    assert.equal([...test.store.index.extents.ids()].length, 3);
    assert.throws(row, code("NoSuchUpload"));
    assert.equal(test.store.index.uploads.listFrom(bucket.id, new Uint8Array(0), "", 10).length, 0);
  }
});

for (const how of ["overwritten", "deleted"]) {
  Deno.test(`who reads an object of parts has all of it, although it is ${how} meanwhile`, async () => {
    await using test = await testStore(2, 1);
    const bucket = await test.bucket();
    const { objects, uploads, compactor } = test.store;
    const { id } = await uploads.create(bucket, "big", { headers: {}, user: {} });
    const upload = uploads.find(bucket, "big", id);
    const bodies = [1, 2, 3].map((seed) => bytesOf(seed, 1_500_000));
    for (const [at, body] of bodies.entries()) {
      await uploads.putPart(bucket, upload, at + 1, bodyOf(body));
    }
    const meta = { headers: {}, user: {} };
    await uploads.complete(bucket, upload, (parts) => ({ parts, etag: "e", meta }));
    const object = objects.find(bucket, "big");
    assert.ok(object !== undefined);
    const pieces: Uint8Array[] = [];
    let compacting: Promise<void> | undefined;
    for await (const piece of objects.read(object, 0, object.size)) {
      pieces.push(piece);
      if (pieces.length > 1) continue;
      if (how === "deleted") await objects.delete(bucket, "big");
      else await objects.put(bucket, "big", bodyOf(bytesOf(4, 100_000)));
      // What its segments hold is dead; they stay until this reader is done.
      for (const directory of test.store.directories.all) directory.goOffline("a new segment");
      await test.store.directories.inspect();
      compacting = compactor.run(1);
    }
    same(Buffer.concat(pieces), Buffer.concat(bodies));
    await compacting;
    // Who comes later does not find it.
    await assert.rejects(contentOf(test.store, object), DataLost);
  });
}

Deno.test("a store without room above its reserve refuses and harms nothing", async () => {
  await using test = await testStore(1, 0, { reserve_bytes: 2 ** 52 });
  const bucket = await test.bucket();
  await assert.rejects(
    test.store.objects.put(bucket, "k", bodyOf(bytesOf(1, 100))),
    code("InsufficientCapacity"),
  );
  assert.equal(test.store.objects.find(bucket, "k"), undefined);
});

Deno.test("an object with too few sound shards is an error and never wrong bytes", async () => {
  await using test = await testStore(1, 0);
  const bucket = await test.bucket();
  await test.store.objects.put(bucket, "k", bodyOf(bytesOf(1, 500_000)));
  const object = test.store.objects.find(bucket, "k");
  const place = test.store.index.extents.find(object?.extents?.[0]?.[0] ?? 0)?.stripes[0]
    ?.shards[0];
  const path = join(
    test.blobs[0] ?? "",
    "segments",
    `${String(place?.segment).padStart(10, "0")}.seg`,
  );
  using file = await Deno.open(path, { write: true });
  await file.seek((place?.offset ?? 0) + 4096 + 100_000, Deno.SeekMode.Start);
  await file.write(new Uint8Array([0xff, 0x00, 0xff]));
  await test.reopen();
  await assert.rejects(contentOf(test.store, test.store.objects.find(bucket, "k")), DataLost);
  // A range that does not touch the damage is still served.
  same(
    await contentOf(test.store, test.store.objects.find(bucket, "k"), 300_000, 310_000),
    bytesOf(1, 500_000).subarray(300_000, 310_000),
  );
});
