/** What was refused stays so, whichever directory is replaced. */
import assert from "node:assert/strict";
import { pageBytes } from "../../ffi/direct_io.ts";
import { recordTypes } from "./segments/record.ts";
import { scanSegment } from "./segments/segment_scan.ts";
import { empty, segmentsOf } from "./test_damage.ts";
import { bodyOf, bytesOf, contentOf, same, type TestStore, testStore } from "./test_store.ts";

/** Changes a byte of a segment. */
async function flip(blob: string, segment: number, at: number): Promise<void> {
  const name = `${String(segment).padStart(10, "0")}.seg`;
  const path = (await segmentsOf(blob)).find((one) => one.endsWith(name)) ?? "";
  using file = await Deno.open(path, { read: true, write: true });
  const byte = new Uint8Array(1);
  await file.seek(at, Deno.SeekMode.Start);
  await file.read(byte);
  byte[0] = (byte[0] ?? 0) ^ 1;
  await file.seek(at, Deno.SeekMode.Start);
  await file.write(byte);
}

async function refusalsIn(test: TestStore, at: number) {
  const directory = test.store.directories.all[at];
  assert.ok(directory !== undefined);
  const found: { segment: number; offset: number }[] = [];
  for (const segment of await directory.segments()) {
    for await (const { header, location } of scanSegment(directory, segment)) {
      if (header.type === recordTypes.refused) found.push(location);
    }
  }
  return found;
}

Deno.test("RS(1,1): a body that was torn stays refused when one directory was replaced and the other loses what says so", async () => {
  await using test = await testStore(1, 1);
  const bucket = await test.bucket();
  await test.store.objects.put(bucket, "k", bodyOf(bytesOf(1, 100_000)));
  const [first = "", second = ""] = test.blobs;
  await Deno.rename(second, `${second}.away`);
  await test.store.directories.inspect();
  await test.store.objects.put(bucket, "k", bodyOf(bytesOf(2, 100_000)));
  const [[id = 0] = []] = test.store.objects.find(bucket, "k")?.extents ?? [];
  const shards = test.store.index.extents.find(id)?.stripes[0]?.shards ?? [];
  await test.reopen({
    rebuild: true,
    between: async () => {
      for (const place of shards) {
        if (place === undefined) continue;
        assert.equal(place.directory, 0);
        await flip(first, place.segment, place.offset + pageBytes + 5);
      }
      await Deno.rename(`${second}.away`, second);
    },
  });
  assert.equal(test.store.recovery?.extents_refused, 1);
  same(await contentOf(test.store, test.store.objects.find(bucket, "k")), bytesOf(1, 100_000));
  // Both have heard of it.
  assert.equal((await refusalsIn(test, 1)).length, 1);
  await empty(second);
  for (let look = 0; look < 3; look++) await test.store.directories.inspect();
  await test.store.repair.run();
  assert.deepEqual(test.store.directories.all.map(({ number }) => number), [0, 2]);
  const refusals = await refusalsIn(test, 0);
  assert.equal(refusals.length, 1);
  await test.reopen({
    rebuild: true,
    between: async () => {
      for (const { segment, offset } of refusals) {
        await flip(first, segment, offset + 5);
      }
    },
  });
  same(await contentOf(test.store, test.store.objects.find(bucket, "k")), bytesOf(1, 100_000));
});
