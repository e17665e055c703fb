/** Whatever happens to one directory, full redundancy comes back, and fsck says so. */
import assert from "node:assert/strict";
import { IoError } from "../../../ffi/direct_io.ts";
import type { Disk } from "../disk/disk.ts";
import { FaultyDisk } from "../disk/faulty_disk.ts";
import { realDisk } from "../disk/real_disk.ts";
import { bucketCode } from "../operator/bucket_code.ts";
import { Fsck } from "./fsck.ts";
import type { Store } from "../store.ts";
import { recordOf } from "./verify.ts";
import { empty, flipBits, segmentsOf, truncate, zero } from "../test_damage.ts";
import {
  bodyOf,
  bytesOf,
  contentOf,
  fill,
  readsBack,
  same,
  type TestStore,
  testStore,
} from "../test_store.ts";

const check = (store: Store) => new Fsck(store).run(new AbortController().signal);

type Bucket = Awaited<ReturnType<Store["buckets"]["create"]>>["bucket"];

async function fillAll(store: Store, bucket: Bucket): Promise<void> {
  await fill(store, bucket);
  const upload = await store.uploads.create(bucket, "parts", { headers: {}, user: {} });
  const row = store.uploads.find(bucket, "parts", upload.id);
  await store.uploads.putPart(bucket, row, 1, bodyOf(bytesOf(5, 100_000)));
}

/** Until repair has nothing left to do. */
async function repaired(test: TestStore): Promise<void> {
  for (let look = 0; look < 3; look++) await test.store.directories.inspect();
  await test.store.repair.run();
}

/** What happens to a directory behind a running store's back. */
const harms: Readonly<Record<string, (blob: string, others: readonly string[]) => Promise<void>>> =
  {
    "comes back empty": empty,
    "has flipped bits everywhere": (blob) => flipBits(blob, 100, 4099),
    "is truncated": truncate,
    "is zeroed": zero,
    "has another directory's segments": async (blob, others) => {
      const [mine] = await segmentsOf(blob);
      const [theirs] = await segmentsOf(others[0] ?? "");
      await Deno.copyFile(theirs ?? "", mine ?? "");
    },
    "has lost its segments": async (blob) => {
      for (const path of await segmentsOf(blob)) await Deno.remove(path);
    },
  };

for (const [what, harm] of Object.entries(harms)) {
  Deno.test(`RS(2,1): a directory that ${what} is made whole again, and no client notices`, async () => {
    await using test = await testStore(2, 1);
    const bucket = await test.bucket();
    await fillAll(test.store, bucket);
    await test.reopen();
    assert.equal((await check(test.store)).full_redundancy, true);
    await harm(test.blobs[1] ?? "", [test.blobs[0] ?? ""]);
    if (what === "is zeroed") await test.reopen();
    const hurt = await check(test.store);
    // What is open already may be read on from a file without a name.
    if (what !== "comes back empty" && what !== "has lost its segments") {
      assert.equal(hurt.full_redundancy, false);
    }
    assert.equal(hurt.lost, 0);
    await readsBack(test.store, bucket);
    await test.reopen();
    await repaired(test);
    await test.store.scrub.run();
    await readsBack(test.store, bucket);
    const report = await check(test.store);
    assert.deepEqual(report.findings, []);
    assert.equal(report.full_redundancy, true);
    assert.equal(test.store.index.buckets.totals().missing, 0);
    // And what was made anew is sound by itself: another directory may go now.
    await test.store[Symbol.asyncDispose]();
    await Deno.remove(test.blobs[0] ?? "", { recursive: true });
    await test.reopen({ rebuild: true });
    await readsBack(test.store, bucket);
  });
}

Deno.test("RS(2,1): a directory that came back empty to a running store is adopted and filled", async () => {
  await using test = await testStore(2, 1);
  const bucket = await test.bucket();
  await fillAll(test.store, bucket);
  await harms["comes back empty"]?.(test.blobs[2] ?? "", []);
  await repaired(test);
  assert.deepEqual(test.store.directories.all.map(({ number }) => number), [0, 1, 3]);
  assert.deepEqual((await check(test.store)).findings, []);
  await readsBack(test.store, bucket);
});

Deno.test("RS(2,1): a directory that comes back stale brings back nothing that was deleted", async () => {
  await using test = await testStore(2, 1);
  const bucket = await test.bucket();
  await fillAll(test.store, bucket);
  await test.store.objects.put(bucket, "doomed", bodyOf(bytesOf(1, 200_000)));
  await test.store.objects.put(bucket, "doomed small", bodyOf(bytesOf(1, 200)));
  const blob = test.blobs[1] ?? "";
  await Deno.rename(blob, `${blob}.away`);
  await test.store.directories.inspect();
  await test.store.objects.delete(bucket, "doomed");
  await test.store.objects.delete(bucket, "doomed small");
  await test.store.objects.put(bucket, "k300", bodyOf(bytesOf(300, 300), "newer"));
  await test.store.objects.put(bucket, "k500000", bodyOf(bytesOf(500_000, 500_000), "newer"));
  await Deno.rename(`${blob}.away`, blob);
  await repaired(test);
  assert.deepEqual((await check(test.store)).findings, []);
  await test.reopen({ rebuild: true });
  for (const key of ["doomed", "doomed small"]) {
    assert.equal(test.store.objects.find(bucket, key), undefined);
  }
  assert.equal(test.store.objects.find(bucket, "k300")?.etag, "newer");
  assert.equal(test.store.objects.find(bucket, "k500000")?.etag, "newer");
  await readsBack(test.store, bucket);
});

Deno.test("RS(2,1) of four: shards of a directory that is gone are made anew in the spare one", async () => {
  await using test = await testStore(2, 1, { directories: 4 });
  const bucket = await test.bucket();
  await fillAll(test.store, bucket);
  await test.store[Symbol.asyncDispose]();
  await Deno.remove(test.blobs[3] ?? "", { recursive: true });
  await test.reopen();
  await repaired(test);
  assert.deepEqual((await check(test.store)).findings, []);
  await readsBack(test.store, bucket);
});

Deno.test("RS(2,1): a directory that is full takes nothing, and is filled up when it has room", async () => {
  const disk = new FaultyDisk(realDisk);
  await using test = await testStore(2, 1, { disk });
  const bucket = await test.bucket();
  const fault = { path: test.blobs[0] ?? "", full: true };
  disk.faults.add(fault);
  await fillAll(test.store, bucket);
  await readsBack(test.store, bucket);
  assert.equal((await check(test.store)).full_redundancy, false);
  disk.faults.delete(fault);
  await repaired(test);
  assert.deepEqual((await check(test.store)).findings, []);
});

/** A disk that loses what was not synced, and says so once, while it is `failing`. */
class ForgetfulDisk {
  failing = "";
  readonly #unsynced: { path: string; offset: number; length: number }[] = [];

  readonly disk: Disk = {
    ...realDisk,
    open: async (path, options) => {
      const file = await realDisk.open(path, options);
      const fails = () => this.failing !== "" && path.startsWith(this.failing);
      return {
        read: (bytes, offset) => file.read(bytes, offset),
        write: async (bytes, offset) => {
          await file.write(bytes, offset);
          if (fails()) this.#unsynced.push({ path, offset, length: bytes.length });
        },
        sync: async () => {
          if (!fails()) return await file.sync();
          for (const { path, offset, length } of this.#unsynced.splice(0)) {
            using lost = await Deno.open(path, { write: true });
            await lost.seek(offset, Deno.SeekMode.Start);
            await lost.write(new Uint8Array(length));
          }
          throw new IoError("EIO", "fdatasync", path);
        },
        [Symbol.dispose]: () => file[Symbol.dispose](),
      };
    },
  };
}

for (const after of ["at once", "after a rebuild of the index"]) {
  Deno.test(`RS(2,1): shards that a directory lost as it failed to sync them are brought back ${after}`, async () => {
    const forgetful = new ForgetfulDisk();
    await using test = await testStore(2, 1, { disk: forgetful.disk });
    const bucket = await test.bucket();
    await fillAll(test.store, bucket);
    forgetful.failing = test.blobs[1] ?? "";
    await test.store.objects.put(bucket, "k2500000", bodyOf(bytesOf(2_500_000, 2_500_000)));
    forgetful.failing = "";
    await test.store.directories.inspect();
    assert.equal(test.store.directories.online.length, 3);
    if (after !== "at once") await test.reopen({ rebuild: true });
    await repaired(test);
    assert.deepEqual((await check(test.store)).findings, []);
    assert.equal(test.store.index.buckets.totals().missing, 0);
    await readsBack(test.store, bucket);
  });
}

Deno.test("RS(2,1): what a read found damaged is repaired although the store is opened anew before that", async () => {
  await using test = await testStore(2, 1);
  const bucket = await test.bucket();
  await fillAll(test.store, bucket);
  await repaired(test);
  await flipBits(test.blobs[0] ?? "", 100, 4099);
  await readsBack(test.store, bucket);
  await test.reopen();
  await repaired(test);
  const { findings } = await check(test.store);
  const damaged = findings.filter(({ what }) => what.includes("shards"));
  // Nobody has read that.
  assert.deepEqual(damaged.map(({ key }) => key), ["parts"]);
});

Deno.test("RS(2,1): while a directory is away, nothing is read in vain to repair what cannot be", async () => {
  const disk = new FaultyDisk(realDisk);
  await using test = await testStore(2, 1, { disk });
  const bucket = await test.bucket();
  const fault = { path: test.blobs[2] ?? "", broken: true };
  disk.faults.add(fault);
  await test.store.directories.inspect();
  await fillAll(test.store, bucket);
  await test.store.repair.run();
  const { unrepaired } = test.store.repair;
  const before = disk.reads;
  for (let look = 0; look < 3; look++) await test.store.repair.run();
  assert.equal(disk.reads, before);
  assert.equal(test.store.repair.unrepaired, unrepaired);
  disk.faults.delete(fault);
  await repaired(test);
  assert.deepEqual((await check(test.store)).findings, []);
  assert.equal(test.store.repair.unrepaired, 0);
});

/** Runs fsck, and `meanwhile` while it waits for the first read at which `at` holds. */
async function checkWhile(
  test: TestStore,
  disk: FaultyDisk,
  at: (done: Fsck["done"]) => boolean,
  meanwhile: () => Promise<unknown>,
) {
  const fsck = new Fsck(test.store);
  const reading = Promise.withResolvers<void>();
  const answers = Promise.withResolvers<void>();
  let held = false;
  const fault = {
    path: test.directory,
    get slow() {
      if (held || !at(fsck.done)) return Promise.resolve();
      held = true;
      reading.resolve();
      return answers.promise;
    },
  };
  disk.faults.add(fault);
  const running = fsck.run(new AbortController().signal);
  await reading.promise;
  await meanwhile();
  disk.faults.delete(fault);
  answers.resolve();
  return await running;
}

Deno.test("RS(2,1): fsck finds nothing wrong with an object that is replaced while it reads", async () => {
  const disk = new FaultyDisk(realDisk);
  await using test = await testStore(2, 1, { disk });
  const bucket = await test.bucket();
  const put = (seed: number) =>
    test.store.objects.put(bucket, "k", bodyOf(bytesOf(seed, 500_000), `${seed}`));
  await put(1);
  // The records of the bucket, the object and the extent come before the extent's shards.
  const inRecord = await checkWhile(test, disk, ({ records }) => records === 2, () => put(2));
  assert.deepEqual(inRecord.findings, []);
  let before: number | undefined;
  const inShards = ({ records, bytes }: Fsck["done"]) =>
    records === 3 && bytes > (before ??= bytes);
  const report = await checkWhile(test, disk, inShards, () => put(3));
  assert.deepEqual(report.findings, []);
  assert.equal(report.full_redundancy, true);
});

Deno.test("RS(2,1): fsck finds nothing wrong with an extent whose shards move while it reads", async () => {
  const disk = new FaultyDisk(realDisk);
  await using test = await testStore(2, 1, { disk });
  const bucket = await test.bucket();
  const fault = { path: test.blobs[0] ?? "", full: true };
  disk.faults.add(fault);
  await test.store.objects.put(bucket, "k", bodyOf(bytesOf(1, 500_000)));
  disk.faults.delete(fault);
  const report = await checkWhile(test, disk, ({ records }) => records === 3, async () => {
    await test.store.directories.inspect();
    await test.store.repair.run();
  });
  // The object's record had one copy too few when it was read; nothing else is told.
  assert.equal(report.lost + report.index_errors + report.shards_damaged, 0);
  assert.equal(report.records_short, 1);
  assert.equal((await check(test.store)).full_redundancy, true);
});

Deno.test("RS(2,1): whoever goes through the extents has an end, though others write all the while", async () => {
  await using test = await testStore(2, 1);
  const bucket = await test.bucket();
  const put = (seed: number) =>
    test.store.objects.put(bucket, `${seed}`, bodyOf(bytesOf(seed, 200_000), `${seed}`));
  await put(0);
  let seen = 0;
  for (const _ of test.store.index.extents.ids()) {
    assert.ok(++seen < 10, "it follows what is written");
    await put(seen);
  }
  assert.equal(seen, 1);
});

Deno.test("RS(2,1): fsck tells of an object and of a part whose extents the index has lost", async () => {
  await using test = await testStore(2, 1);
  const bucket = await test.bucket();
  await fillAll(test.store, bucket);
  const { index } = test.store;
  const [[whole] = [0]] = test.store.objects.find(bucket, "k500000")?.extents ?? [];
  const [upload] = index.uploads.listFrom(bucket.id, new Uint8Array(0), "", 1);
  const part = index.uploads.part(upload?.id ?? "", 1)?.extent ?? 0;
  index.transaction(() => [whole, part].forEach((id) => index.extents.drop(id)));
  const { findings, lost, full_redundancy } = await check(test.store);
  assert.deepEqual(findings.map(({ what, key }) => [key, what]).sort(), [
    ["k500000", `its extent ${whole} is not in the index`],
    ["parts", `its extent ${part} is not in the index`],
  ]);
  assert.equal(lost, 2);
  assert.equal(full_redundancy, false);
});

Deno.test("RS(2,1): a disk that does not answer delays no read", async () => {
  const disk = new FaultyDisk(realDisk);
  await using test = await testStore(2, 1, { disk, hedge_ms: 20 });
  const bucket = await test.bucket();
  await fillAll(test.store, bucket);
  const answers = Promise.withResolvers<void>();
  for (let victim = 0; victim < 3; victim++) {
    const fault = { path: test.blobs[victim] ?? "", slow: answers.promise };
    disk.faults.add(fault);
    await readsBack(test.store, bucket);
    disk.faults.delete(fault);
  }
  assert.ok(test.store.reader.hedged_reads > 0);
  answers.resolve();
});

Deno.test("a copy of an object's record that another directory's file replaced is never served", async () => {
  await using test = await testStore(2, 1, { directories: 4 });
  const bucket = await test.bucket();
  // Of the same size, so that the records of different objects stand at the same places.
  for (let at = 0; at < 40; at++) {
    await test.store.objects.put(bucket, `k${10 + at}`, bodyOf(bytesOf(at, 700)));
  }
  await test.store[Symbol.asyncDispose]();
  const [a] = await segmentsOf(test.blobs[0] ?? "");
  const [b] = await segmentsOf(test.blobs[1] ?? "");
  await Deno.rename(a ?? "", `${a}.x`);
  await Deno.rename(b ?? "", a ?? "");
  await Deno.rename(`${a}.x`, b ?? "");
  await test.reopen();
  for (let at = 0; at < 40; at++) {
    same(
      await contentOf(test.store, test.store.objects.find(bucket, `k${10 + at}`)),
      bytesOf(at, 700),
      `k${10 + at}`,
    );
  }
});

Deno.test("a scrub that was broken off goes on, and its age is kept", async () => {
  await using test = await testStore(2, 1);
  const bucket = await test.bucket();
  await fillAll(test.store, bucket);
  assert.equal(test.store.scrub.isDue(), true);
  await test.store.scrub.run();
  assert.equal(test.store.scrub.isDue(), false);
  await test.reopen();
  assert.ok((test.store.scrub.state().finished_ms ?? 0) > 0);
  assert.equal(test.store.scrub.isDue(), false);
});

Deno.test("a deleted object stays deleted when compaction copied its record meanwhile", async () => {
  await using test = await testStore(1, 0, { segment_bytes: 256 * 1024 });
  const bucket = await test.bucket();
  for (let round = 0; round < 20; round++) {
    await Promise.all([
      ...Array.from(
        { length: 30 },
        (_, at) => test.store.objects.put(bucket, `k${at}`, bodyOf(bytesOf(at, 1000))),
      ),
    ]);
    const compacting = test.store.compactor.run(2);
    await Promise.all(
      Array.from({ length: 30 }, (_, at) => test.store.objects.delete(bucket, `k${at}`)),
    );
    await compacting;
    await test.store.compactor.run(2);
  }
  await test.reopen({ rebuild: true });
  assert.equal(test.store.index.buckets.totals().objects, 0);
});

Deno.test("RS(2,1): what a directory did not take as it failed is brought back when it takes writes again, also where it is back before repair looks again", async () => {
  const disk = new FaultyDisk(realDisk);
  await using test = await testStore(2, 1, { disk });
  const bucket = await test.bucket();
  await fillAll(test.store, bucket);
  const { directories, repair } = test.store;
  await empty(test.blobs[2] ?? "");
  for (let look = 0; look < 3; look++) await directories.inspect();
  assert.deepEqual(directories.all.map(({ number }) => number), [0, 1, 3]);
  const fault = { path: test.blobs[2] ?? "", readOnly: true };
  disk.faults.add(fault);
  await repair.run();
  assert.equal(directories.online.length, 2);
  disk.faults.delete(fault);
  await repaired(test);
  assert.deepEqual((await check(test.store)).findings, []);
});

Deno.test("a bucket whose code is raised while repair goes through everything has copies in more directories after the next time", async () => {
  const disk = new FaultyDisk(realDisk);
  await using test = await testStore(1, 1, { disk, directories: 3 });
  const bucket = await test.bucket();
  const { directories, repair, index } = test.store;
  const copy = index.buckets.all()[0]?.locations[0];
  await empty(test.blobs[copy?.directory ?? 0] ?? "");
  for (let look = 0; look < 3; look++) await directories.inspect();
  const { promise: slow, resolve: release } = Promise.withResolvers<void>();
  disk.faults.add({ path: test.directory, slow });
  const { reads } = disk;
  const running = repair.run();
  while (disk.reads === reads) await new Promise((next) => setTimeout(next, 1));
  // It reads the bucket's record by now.
  await bucketCode(test.store, bucket.name, "1+2");
  release();
  await running;
  await repair.run();
  assert.deepEqual((await check(test.store)).findings, []);
});

Deno.test("RS(1,1): a record of which compaction has moved a copy since repair saw it gets those that it lacks", async () => {
  await using test = await testStore(1, 1);
  const bucket = await test.bucket();
  await test.store.objects.put(bucket, "k", bodyOf(bytesOf(1, 100)));
  await test.reopen();
  const { directories, objects, codes, compactor, repair } = test.store;
  await empty(test.blobs[1] ?? "");
  for (let look = 0; look < 3; look++) await directories.inspect();
  assert.deepEqual(directories.all.map(({ number }) => number), [0, 2]);
  const find = () => {
    const object = objects.find(bucket, "k");
    assert.ok(object !== undefined);
    return recordOf(object, codes);
  };
  const seen = find();
  await compactor.run(2);
  assert.notDeepEqual(find().locations, seen.locations);
  assert.equal(await repair.record(seen, false), true);
  assert.deepEqual(find().locations.map(({ directory }) => directory).sort(), [0, 2]);
});
