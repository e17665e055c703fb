/** What was being deleted as the store was killed, and is gone since then, does not come back. */
import assert from "node:assert/strict";
import { FaultyDisk } from "./disk/faulty_disk.ts";
import { realDisk } from "./disk/real_disk.ts";
import { recordTypes } from "./segments/record.ts";
import { scanSegment } from "./segments/segment_scan.ts";
import { bodyOf, bytesOf, type TestStore, testStore } from "./test_store.ts";

/** Whether a record of the type stands in the directory. */
async function stands({ store }: TestStore, number: number, type: number): Promise<boolean> {
  const directory = store.directories.byNumber(number);
  assert.ok(directory !== undefined);
  for (const segment of await directory.segments()) {
    for await (const { header } of scanSegment(directory, segment)) {
      if (header.type === type) return true;
    }
  }
  return false;
}

const meta = { headers: {}, user: {} };

for (const what of ["object", "upload"] as const) {
  Deno.test(`RS(2,1): an ${what} of which one directory had heard that it is gone, as the store was killed, does not come back without that`, async () => {
    const disk = new FaultyDisk(realDisk);
    await using test = await testStore(2, 1, { disk, answer_ms: 1_000 });
    const bucket = await test.bucket();
    await test.store.objects.put(bucket, "k", bodyOf(bytesOf(1, 100)));
    const { id } = await test.store.uploads.create(bucket, "up", meta);
    const type = what === "object" ? recordTypes.tombstone : recordTypes.uploadGone;
    for (const blob of test.blobs.slice(1)) {
      disk.faults.add({ path: `${blob}/segments/`, hung: new Promise(() => {}) });
    }
    const { objects, uploads } = test.store;
    const removing = what === "object"
      ? objects.delete(bucket, "k")
      : uploads.abort(bucket, uploads.find(bucket, "up", id));
    void removing.catch(() => {});
    while (!await stands(test, 0, type)) await new Promise((next) => setTimeout(next, 5));
    // What was on its way to the others is never written.
    disk.faults.clear();
    await test.crash();
    const isThere = () =>
      what === "object"
        ? test.store.objects.find(bucket, "k") !== undefined
        : test.store.index.uploads.exists(id);
    assert.equal(isThere(), false);
    await test.reopen({
      rebuild: true,
      between: () => Deno.remove(test.blobs[0] ?? "", { recursive: true }),
    });
    assert.equal(isThere(), false);
  });
}
