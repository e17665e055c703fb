/**
 * A directory that is full, over its quota, read-only, of another size or without files to open, while clients write and
 * read: none of them hears of it, the operator does, and nothing is lost when it is well again.
 */
import assert from "node:assert/strict";
import type { DirectoryStatus } from "./contract.ts";
import { type DiskFault, FaultyDisk } from "./disk/faulty_disk.ts";
import { realDisk } from "./disk/real_disk.ts";
import { storeStatus } from "./operator/status.ts";
import { segmentsOf } from "./test_damage.ts";
import { bodyOf, bytesOf, contentOf, same, type TestStore, testStore } from "./test_store.ts";
import { Fsck } from "./upkeep/fsck.ts";

const sizes = [100, 9_000, 60_000, 400_000];

/** Objects of all sizes, written over again and again; each is read after it was written. */
async function load(test: TestStore, keys: Map<string, number>, rounds: number): Promise<void> {
  const bucket = test.store.buckets.find("bucket");
  assert.ok(bucket !== undefined);
  await Promise.all(Array.from({ length: 6 }, async (_, client) => {
    for (let round = 0; round < rounds; round++) {
      const key = `c${client}-${round % 3}`;
      const seed = (keys.get(key) ?? client) + 6;
      const bytes = bytesOf(seed, sizes[seed % sizes.length] ?? 0);
      await test.store.objects.put(bucket, key, bodyOf(bytes, `${seed}`));
      keys.set(key, seed);
      same(await contentOf(test.store, test.store.objects.find(bucket, key)), bytes, key);
    }
  }));
}

async function allAreThere(test: TestStore, keys: ReadonlyMap<string, number>): Promise<void> {
  const bucket = test.store.buckets.find("bucket");
  assert.ok(bucket !== undefined);
  for (const [key, seed] of keys) {
    const bytes = bytesOf(seed, sizes[seed % sizes.length] ?? 0);
    same(await contentOf(test.store, test.store.objects.find(bucket, key)), bytes, key);
  }
}

const unwell: Readonly<
  Record<string, {
    readonly fault: Omit<DiskFault, "path">;
    readonly state: DirectoryStatus["state"];
    readonly reason?: RegExp;
    readonly remedy?: RegExp;
  }>
> = {
  "is full": { fault: { full: true }, state: "full" },
  "is over its quota": {
    fault: { quota: true },
    state: "full",
    reason: /EDQUOT/,
    remedy: /quota/,
  },
  "is mounted read-only": {
    fault: { readOnly: true },
    state: "away",
    reason: /EROFS/,
    remedy: /read-only.*mount it writable/,
  },
  "has become small": {
    fault: { space: { free: 4096, total: 1 << 20 } },
    state: "full",
  },
  "has become large": {
    fault: { space: { free: 1e15, total: 2e15 } },
    state: "roomy",
  },
  "opens no more files": {
    fault: { noFiles: true },
    state: "roomy",
    reason: /EMFILE/,
    remedy: /LimitNOFILE/,
  },
};

for (const [what, { fault, state, reason, remedy }] of Object.entries(unwell)) {
  Deno.test(`RS(2,1): no client hears of a directory that ${what}, and the operator does`, async () => {
    const disk = new FaultyDisk(realDisk);
    let later_ms = 0;
    await using test = await testStore(2, 1, {
      disk,
      now: () => Date.now() + later_ms,
      reserve_bytes: 1 << 20,
      segment_bytes: 1 << 20,
    });
    await test.bucket();
    const keys = new Map<string, number>();
    await load(test, keys, 3);
    const { directories } = test.store;
    const path = test.blobs[1] ?? "";
    const added = { path, ...fault };
    // It comes while they write.
    const loading = load(test, keys, 6);
    disk.faults.add(added);
    await loading;
    for (let look = 0; look < 3; look++) {
      await directories.inspect();
      await load(test, keys, 3);
    }
    await directories.inspect();
    const told = (await storeStatus(test.store)).directories[1];
    assert.equal(told?.state, state);
    if (reason !== undefined) assert.match(told.reason ?? "", reason);
    if (remedy !== undefined) assert.match(told.remedy ?? "", remedy);
    await allAreThere(test, keys);
    // As often as one looks: what the directories are does not change, so there is nothing new to repair.
    await test.store.repair.run();
    const seen = directories.state();
    for (let look = 0; look < 2; look++) {
      await directories.inspect();
      await test.store.repair.run();
    }
    assert.equal(directories.state(), seen);
    disk.faults.delete(added);
    // What refused a write is left alone for a while.
    later_ms += 60_000;
    await directories.inspect();
    await load(test, keys, 3);
    await directories.inspect();
    assert.equal((await storeStatus(test.store)).directories[1]?.state, "roomy");
    assert.equal((await storeStatus(test.store)).directories[1]?.reason, undefined);
    await test.store.repair.run();
    for (const rebuild of [false, true]) {
      await test.reopen({ rebuild });
      await test.store.repair.run();
      const report = await new Fsck(test.store).run(new AbortController().signal);
      assert.deepEqual(report.findings, []);
      assert.equal(report.full_redundancy, true);
      await allAreThere(test, keys);
    }
  });
}

Deno.test("RS(2,1): no file is made for each deletion that a directory refuses", async () => {
  const disk = new FaultyDisk(realDisk);
  await using test = await testStore(2, 1, { disk });
  const bucket = await test.bucket();
  const [blob = ""] = test.blobs;
  const keys = Array.from({ length: 20 }, (_, at) => `k${at}`);
  for (const key of keys) await test.store.objects.put(bucket, key, bodyOf(bytesOf(1, 100)));
  const fault = { path: blob, quota: true };
  disk.faults.add(fault);
  for (const key of keys) await test.store.objects.delete(bucket, key);
  // The one that had something in it, and the next.
  assert.equal((await segmentsOf(blob)).length, 2);
  disk.faults.delete(fault);
  await test.store.directories.inspect();
  await test.store.objects.put(bucket, "kept", bodyOf(bytesOf(2, 100)));
  for (const lost of test.blobs.slice(1)) {
    await test.reopen({ rebuild: true, between: () => Deno.remove(lost, { recursive: true }) });
    await test.store.repair.run();
    const listed = test.store.index.objects.listFrom(bucket.id, new Uint8Array(0), true, 99);
    assert.deepEqual(listed.map(({ key }) => key), ["kept"]);
  }
});
