import assert from "node:assert/strict";
import { FaultyDisk } from "../disk/faulty_disk.ts";
import { realDisk } from "../disk/real_disk.ts";
import { segmentsOf } from "../test_damage.ts";
import { bodyOf, bytesOf, contentOf, same, testStore } from "../test_store.ts";
import { testSeed } from "../../../tests/kit/random.ts";

for (const [k, m] of [[1, 0], [2, 1]] as const) {
  Deno.test(`RS(${k},${m}): compaction gives dead space back and keeps every byte that lives`, async () => {
    await using test = await testStore(k, m, { segment_bytes: 4 << 20 });
    const bucket = await test.bucket();
    const meta = { headers: {}, user: {} };
    const upload = await test.store.uploads.create(bucket, "parts", meta);
    const row = test.store.uploads.find(bucket, "parts", upload.id);
    await test.store.uploads.putPart(bucket, row, 1, bodyOf(bytesOf(100, 900_000), "p"));
    for (let at = 0; at < 40; at++) {
      await test.store.objects.put(
        bucket,
        `k${at}`,
        bodyOf(bytesOf(at, at % 3 === 0 ? 9_000 : 700_000)),
      );
    }
    for (let at = 0; at < 40; at++) {
      if (at % 5 === 0) continue;
      if (at % 2 === 0) await test.store.objects.delete(bucket, `k${at}`);
      else await test.store.objects.put(bucket, `k${at}`, bodyOf(bytesOf(1000 + at, 3_000)));
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
        const object = test.store.objects.find(bucket, `k${at}`);
        if (at % 5 === 0) {
          same(await contentOf(test.store, object), bytesOf(at, at % 3 === 0 ? 9_000 : 700_000));
        } else if (at % 2 === 0) assert.equal(object, undefined, `k${at} came back`);
        else same(await contentOf(test.store, object), bytesOf(1000 + at, 3_000));
      }
      assert.equal(test.store.index.uploads.parts(upload.id).length, 1);
    }
    await test.store.uploads.complete(
      bucket,
      test.store.uploads.find(bucket, "parts", upload.id),
      (parts) => ({ parts, etag: "x-1", meta }),
    );
    same(
      await contentOf(test.store, test.store.objects.find(bucket, "parts")),
      bytesOf(100, 900_000),
    );
  });
}

Deno.test("small records are copied as they are read, not held until the segment's end", async () => {
  await using test = await testStore(1, 0, { segment_bytes: 16 << 20 });
  const bucket = await test.bucket();
  for (let at = 0; at < 1300; at++) {
    await test.store.objects.put(bucket, `k${at}`, bodyOf(bytesOf(at, at < 700 ? 12_000 : 100)));
  }
  await test.store.objects.put(bucket, "another segment", bodyOf(bytesOf(1, 12 << 20)));
  const { commits, directories } = test.store;
  const sizes: number[] = [];
  const rewrite = commits.rewrite.bind(commits);
  commits.rewrite = (to, records, apply) => {
    sizes.push(records.reduce((sum, { payload }) => sum + (payload?.length ?? 0) + 512, 0));
    assert.ok(records.length <= 256);
    return rewrite(to, records, apply);
  };
  const [directory] = directories.online;
  const first = (await directory?.segments())?.[0];
  assert.ok(directory !== undefined && first !== undefined);
  let readSince = 0;
  const read = directory.read.bind(directory);
  directory.read = (segment, ...rest) => {
    if (sizes.length > 0 && segment === first) readSince++;
    return read(segment, ...rest);
  };
  await test.store.compactor.compact(directory, first);
  assert.ok(sizes.length >= 3 && Math.max(...sizes) < 5 << 20, `batches of ${sizes}`);
  assert.ok(readSince > 0, "the segment is read on after the first batch");
  for (const at of [0, 699, 700, 1299]) {
    const object = test.store.objects.find(bucket, `k${at}`);
    same(await contentOf(test.store, object), bytesOf(at, at < 700 ? 12_000 : 100));
  }
});

Deno.test("a reader that began before compaction reads on to its end", async () => {
  await using test = await testStore(1, 0, { segment_bytes: 4 << 20 });
  const bucket = await test.bucket();
  const content = bytesOf(5, 6 << 20);
  await test.store.objects.put(bucket, "k", bodyOf(content));
  const object = test.store.objects.find(bucket, "k");
  assert.ok(object !== undefined);
  const reading = test.store.objects.read(object, 0, object.size);
  const parts = [(await reading.next()).value as Uint8Array];
  await test.store.objects.put(bucket, "k", bodyOf(bytesOf(6, 10)));
  const compacting = test.store.compactor.run(1);
  for await (const piece of reading) parts.push(piece);
  same(Buffer.concat(parts), content);
  await compacting;
  assert.ok(test.store.compactor.segments_removed > 0);
});

Deno.test("compaction while clients write, delete and read loses and resurrects nothing", async () => {
  await using test = await testStore(2, 1, { segment_bytes: 2 << 20 });
  const bucket = await test.bucket();
  const seed = testSeed();
  console.log(`MULGA_TEST_SEED=${seed}`);
  const known = new Map<string, number>();
  let number = seed % 1_000_000;
  const sizeOf = (of: number) => [300, 20_000, 400_000, 1_300_000][of % 4] ?? 1;
  let busy = true;
  const clients = Array.from({ length: 6 }, async (_, client) => {
    for (let round = 0; round < 60; round++) {
      const key = `c${client}/k${(number * 7 + round) % 5}`;
      const mine = ++number;
      if (mine % 5 === 0) {
        await test.store.objects.delete(bucket, key);
        known.delete(key);
      } else {
        await test.store.objects.put(bucket, key, bodyOf(bytesOf(mine, sizeOf(mine))));
        known.set(key, mine);
      }
      const [other, held] = [...known][mine % Math.max(1, known.size)] ?? ["", 0];
      if (other.startsWith(`c${client}/`)) {
        same(
          await contentOf(test.store, test.store.objects.find(bucket, other)),
          bytesOf(held, sizeOf(held)),
        );
      }
    }
  });
  const compacting = (async () => {
    while (busy) {
      await test.store.compactor.run(0.9);
      await new Promise((next) => setTimeout(next, 1));
    }
  })();
  await Promise.all(clients);
  busy = false;
  await compacting;
  await test.store.compactor.run(0.9);
  assert.ok(test.store.compactor.segments_removed > 3);
  for (const how of ["as it is", "reopened", "rebuilt", "after a crash"]) {
    if (how === "reopened") await test.reopen();
    if (how === "rebuilt") await test.reopen({ rebuild: true });
    if (how === "after a crash") await test.crash();
    assert.equal(
      test.store.index.buckets.totals().objects,
      known.size,
      `${how} with MULGA_TEST_SEED=${seed}`,
    );
    for (const [key, held] of known) {
      same(
        await contentOf(test.store, test.store.objects.find(bucket, key)),
        bytesOf(held, sizeOf(held)),
      );
    }
    // What is accounted as living is what the rows name, neither more nor less.
    for (const directory of test.store.directories.all) {
      for (const [segment, bytes] of test.store.index.segments.liveBytes(directory.number)) {
        assert.ok(bytes >= 0 && bytes <= await directory.segmentSize(segment), `${how} ${segment}`);
      }
    }
  }
});

Deno.test("compaction leaves alone what a slow upload has written and not yet committed", async () => {
  await using test = await testStore(1, 0, { segment_bytes: 2 << 20 });
  const bucket = await test.bucket();
  const content = bytesOf(1, 5 << 20);
  const halfway = Promise.withResolvers<void>();
  const goOn = Promise.withResolvers<void>();
  const slow = test.store.objects.put(bucket, "slow", {
    ...bodyOf(content),
    chunks: (async function* () {
      yield content.subarray(0, 3 << 20);
      halfway.resolve();
      await goOn.promise;
      yield content.subarray(3 << 20);
    })(),
  });
  await halfway.promise;
  for (let at = 0; at < 6; at++) {
    await test.store.objects.put(bucket, "k", bodyOf(bytesOf(at, 1 << 20)));
  }
  await test.store.compactor.run(1);
  goOn.resolve();
  await slow;
  for (const rebuild of [undefined, true]) {
    if (rebuild === true) await test.reopen({ rebuild });
    same(await contentOf(test.store, test.store.objects.find(bucket, "slow")), content);
    same(await contentOf(test.store, test.store.objects.find(bucket, "k")), bytesOf(5, 1 << 20));
    await test.store.compactor.run(1);
  }
  assert.ok(test.store.compactor.segments_removed > 0);
});

Deno.test("RS(2,1): a segment that cannot be read keeps no other from being compacted", async () => {
  const disk = new FaultyDisk(realDisk);
  await using test = await testStore(2, 1, { disk, segment_bytes: 4 << 20 });
  const bucket = await test.bucket();
  await test.store.objects.put(bucket, "lives", bodyOf(bytesOf(77, 700_000)));
  for (let at = 0; at < 40; at++) {
    await test.store.objects.put(bucket, `k${at}`, bodyOf(bytesOf(at, 700_000)));
  }
  for (let at = 0; at < 40; at++) await test.store.objects.delete(bucket, `k${at}`);
  await test.reopen();
  const [unreadable = "", ...others] = await segmentsOf(test.blobs[0] ?? "");
  assert.ok(others.length > 2);
  disk.faults.add({ path: unreadable, broken: true });
  await test.store.compactor.run();
  assert.deepEqual((await segmentsOf(test.blobs[0] ?? "")).slice(0, 1), [unreadable]);
  for (const blob of test.blobs) {
    const left = await segmentsOf(blob);
    assert.ok(left.length <= 3, `${blob} has ${left.length} segments`);
  }
  same(
    await contentOf(test.store, test.store.objects.find(bucket, "lives")),
    bytesOf(77, 700_000),
  );
});
