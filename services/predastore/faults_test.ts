/** Directories that vanish, lie, come back empty or stale, with a client that checks every byte. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { IoError } from "../../ffi/direct_io.ts";
import type { Disk } from "./disk/disk.ts";
import { FaultyDisk } from "./disk/faulty_disk.ts";
import { realDisk } from "./disk/real_disk.ts";
import { Fsck } from "./upkeep/fsck.ts";
import type { Store } from "./store.ts";
import { newSealingKey, parseSealingKeys } from "./encryption/sealing.ts";
import { empty, flipBits, segmentsOf, truncate, zero } from "./test_damage.ts";
import { bodyOf, bytesOf, contentOf, testStore } from "./test_store.ts";

const same = (a: Uint8Array, b: Uint8Array) =>
  assert.ok(Buffer.compare(a, b) === 0, "bytes differ");

/** What can happen to one directory while nobody looks. */
const faults: Readonly<Record<string, (blob: string) => Promise<void>>> = {
  "is removed": (blob) => Deno.remove(blob, { recursive: true }),
  "comes back empty": empty,
  "has flipped bits everywhere": (blob) => flipBits(blob, 5000, 9973),
  "is truncated": truncate,
  "is zeroed": zero,
};

const objects = [0, 300, 16_384, 20_000, 500_000, 1_048_576, 2_500_000];

type Bucket = Awaited<ReturnType<Store["buckets"]["create"]>>["bucket"];

async function fill(store: Store, bucket: Bucket) {
  for (const size of objects) {
    await store.objects.put(bucket, `k${size}`, bodyOf(bytesOf(size, size), `${size}`));
  }
}

/** What `fill` has put there is there, byte for byte. */
async function readsBack(store: Store, bucket: Bucket) {
  for (const size of objects) {
    const found = store.objects.find(bucket, `k${size}`);
    same(await contentOf(store, found), bytesOf(size, size));
  }
}

for (const [what, harm] of Object.entries(faults)) {
  for (let victim = 0; victim < 3; victim++) {
    Deno.test(`RS(2,1): every byte is read, and written, when directory ${victim} ${what}`, async () => {
      const sealing = parseSealingKeys(newSealingKey(), "key");
      await using test = await testStore(2, 1, { sealing });
      const bucket = await test.bucket();
      await fill(test.store, bucket);
      const secret = { ...bodyOf(bytesOf(8, 3_100_000)), seal: sealing.newSeal() };
      await test.store.objects.put(bucket, "sealed", secret);
      await test.reopen();
      await harm(test.blobs[victim] ?? "");
      for (const reopened of [false, true]) {
        if (reopened) await test.reopen();
        await readsBack(test.store, bucket);
        const sealed = test.store.objects.find(bucket, "sealed");
        const whole = bytesOf(8, 3_100_000);
        same(await contentOf(test.store, sealed), whole);
        same(await contentOf(test.store, sealed, 77, 2_999_999), whole.subarray(77, 2_999_999));
        await test.store.objects.put(bucket, "after", bodyOf(bytesOf(7, 800_000)));
        same(
          await contentOf(test.store, test.store.objects.find(bucket, "after")),
          bytesOf(7, 800_000),
        );
      }
      if (what !== "is removed") {
        assert.ok(test.store.degraded_reads > 0 || what === "is truncated");
      }
    });
  }
}

Deno.test("RS(2,1): the index is rebuilt whole from any two of three directories", async () => {
  for (let victim = 0; victim < 3; victim++) {
    await using test = await testStore(2, 1);
    const bucket = await test.bucket();
    await fill(test.store, bucket);
    await test.store.objects.put(bucket, "deleted", bodyOf(bytesOf(1, 100_000)));
    await test.store.objects.delete(bucket, "deleted");
    await test.store[Symbol.asyncDispose]();
    await Deno.remove(test.blobs[victim] ?? "", { recursive: true });
    await test.reopen({ rebuild: true });
    for (const size of objects) {
      same(
        await contentOf(test.store, test.store.objects.find(bucket, `k${size}`)),
        bytesOf(size, size),
      );
    }
    assert.equal(test.store.objects.find(bucket, "deleted"), undefined);
    assert.equal(test.store.index.buckets.totals().objects, objects.length);
  }
});

Deno.test("RS(2,1): a directory that fails while clients write and read is noticed by none", async () => {
  await using test = await testStore(2, 1);
  const bucket = await test.bucket();
  let stop = false;
  let done = 0;
  const clients = Array.from({ length: 12 }, async (_, client) => {
    for (let round = 0; !stop || round < 3; round++) {
      const size = 5_000 + 40_000 * ((client + round) % 9);
      const seed = client * 1000 + round;
      await test.store.objects.put(bucket, `c${client}`, bodyOf(bytesOf(seed, size)));
      same(
        await contentOf(test.store, test.store.objects.find(bucket, `c${client}`)),
        bytesOf(seed, size),
      );
      done++;
    }
  });
  const until = async (count: number) => {
    const limit = performance.now() + 60_000;
    while (done < count && performance.now() < limit) {
      await new Promise((next) => setTimeout(next, 1));
    }
  };
  await until(30);
  const victim = test.store.directories.all[1];
  await Deno.rename(test.blobs[1] ?? "", `${test.blobs[1]}.gone`);
  await test.store.directories.inspect();
  assert.equal(victim?.online, false);
  await until(done + 60);
  await Deno.rename(`${test.blobs[1]}.gone`, test.blobs[1] ?? "");
  await test.store.directories.inspect();
  assert.equal(victim?.online, true);
  await until(done + 60);
  stop = true;
  await Promise.all(clients);
  assert.ok(test.store.index.buckets.totals().missing >= 0);
});

Deno.test("shards that could not be written are journalled and told", async () => {
  await using test = await testStore(2, 1);
  const bucket = await test.bucket();
  await Deno.rename(test.blobs[2] ?? "", `${test.blobs[2]}.gone`);
  await test.store.directories.inspect();
  await test.store.objects.put(bucket, "k", bodyOf(bytesOf(1, 3 << 20)));
  assert.equal(test.store.index.buckets.totals().missing, 3);
  await test.store.objects.delete(bucket, "k");
  assert.equal(test.store.index.buckets.totals().missing, 0);
  await Deno.rename(`${test.blobs[2]}.gone`, test.blobs[2] ?? "");
});

Deno.test("with a spare directory, a write goes round the one that is away", async () => {
  await using test = await testStore(2, 1, { directories: 4 });
  const bucket = await test.bucket();
  await Deno.rename(test.blobs[0] ?? "", `${test.blobs[0]}.gone`);
  await test.store.directories.inspect();
  for (let at = 0; at < 8; at++) {
    await test.store.objects.put(bucket, `k${at}`, bodyOf(bytesOf(at, 700_000)));
  }
  assert.equal(test.store.index.buckets.totals().missing, 0);
  await Deno.rename(`${test.blobs[0]}.gone`, test.blobs[0] ?? "");
});

Deno.test("no directory gets the number of one that is away, also when the index is lost", async () => {
  await using test = await testStore(1, 1, { directories: 3 });
  const bucket = await test.bucket();
  await fill(test.store, bucket);
  await test.store[Symbol.asyncDispose]();
  const last = test.blobs[2] ?? "";
  for (const round of [1, 2]) {
    await Deno.rename(last, `${last}.away${round}`);
    await test.reopen({ rebuild: true });
    assert.deepEqual(test.store.directories.all.map(({ number }) => number), [0, 1, 2 + round]);
    await test.store[Symbol.asyncDispose]();
  }
  await Deno.rename(last, `${last}.third`);
  await Deno.rename(`${last}.away1`, last);
  await test.reopen();
  assert.deepEqual(test.store.directories.all.map(({ number }) => number), [0, 1, 2]);
  for (const size of objects) {
    same(
      await contentOf(test.store, test.store.objects.find(bucket, `k${size}`)),
      bytesOf(size, size),
    );
  }
});

Deno.test("what was deleted while a directory was away stays deleted when it returns to an index made again", async () => {
  await using test = await testStore(2, 1);
  const bucket = await test.bucket();
  for (const key of ["small", "large", "kept"]) {
    const size = key === "small" ? 100 : 100_000;
    await test.store.objects.put(bucket, key, bodyOf(bytesOf(1, size)));
  }
  const meta = { headers: {}, user: {} };
  const { id } = await test.store.uploads.create(bucket, "upload", meta);
  const away = `${test.blobs[2]}.away`;
  await Deno.rename(test.blobs[2] ?? "", away);
  await test.store.directories.inspect();
  await test.store.uploads.abort(bucket, test.store.uploads.find(bucket, "upload", id));
  await test.store.objects.delete(bucket, "small");
  await test.store.objects.put(bucket, "large", bodyOf(bytesOf(2, 100_000)));
  await test.store.objects.delete(bucket, "large");
  await test.store.objects.put(bucket, "kept", bodyOf(bytesOf(3, 100_000)));
  await test.reopen({ rebuild: true });
  await test.store[Symbol.asyncDispose]();
  await Deno.remove(test.blobs[2] ?? "", { recursive: true });
  await Deno.rename(away, test.blobs[2] ?? "");
  for (const rebuild of [false, false, true]) {
    await test.reopen({ rebuild });
    const { index, objects } = test.store;
    const listed = index.objects.listFrom(bucket.id, new Uint8Array(0), true, 9);
    assert.deepEqual(listed.map(({ key }) => key), ["kept"]);
    same(await contentOf(test.store, objects.find(bucket, "kept")), bytesOf(3, 100_000));
    assert.deepEqual([...index.uploads.all()], []);
    // What they were made of is no longer counted either.
    await test.store.repair.run();
    const report = await new Fsck(test.store).run(new AbortController().signal);
    assert.deepEqual(report.findings, []);
  }
});

Deno.test("what was deleted after a directory was replaced stays deleted when that is put back within a month", async () => {
  let clock = Date.now();
  await using test = await testStore(1, 1, { now: () => ++clock });
  const bucket = await test.bucket();
  await test.store.objects.put(bucket, "k", bodyOf(bytesOf(1, 100)));
  const replaced = `${test.blobs[1]}.replaced`;
  await Deno.rename(test.blobs[1] ?? "", replaced);
  await test.reopen();
  await test.store.repair.run();
  await test.store.objects.delete(bucket, "k");
  const compacted = async () => {
    await test.reopen();
    for (const directory of test.store.directories.all) {
      for (const segment of await directory.segments()) {
        if (segment < directory.activeSegment) {
          await test.store.compactor.compact(directory, segment);
        }
      }
    }
  };
  for (let round = 0; round < 3; round++) await compacted();
  await test.reopen({ rebuild: true });
  await test.store[Symbol.asyncDispose]();
  await Deno.rename(test.blobs[1] ?? "", `${test.blobs[1]}.newer`);
  await Deno.rename(replaced, test.blobs[1] ?? "");
  await test.reopen();
  assert.equal(test.store.objects.find(bucket, "k"), undefined);
  // And nothing is kept for ever.
  assert.equal(test.store.directories.mayReturn(clock), true);
  clock += 31 * 86_400_000;
  assert.equal(test.store.directories.mayReturn(clock), false);
});

Deno.test("RS(2,1): what was acknowledged without one directory is not refused for good when another is away after a crash", async () => {
  await using test = await testStore(2, 1);
  const bucket = await test.bucket();
  const leave = (at: number) => Deno.rename(test.blobs[at] ?? "", `${test.blobs[at]}.gone`);
  const come = (at: number) => Deno.rename(`${test.blobs[at]}.gone`, test.blobs[at] ?? "");
  await leave(1);
  await test.store.directories.inspect();
  await test.store.objects.put(bucket, "k", bodyOf(bytesOf(1, 3 << 20)));
  await come(1);
  await leave(2);
  // Where no folder can be made.
  await Deno.writeTextFile(test.blobs[2] ?? "", "");
  await test.crash();
  assert.equal(test.store.directories.online.length, 2);
  await test.reopen({
    rebuild: true,
    between: async () => {
      await Deno.remove(test.blobs[2] ?? "");
      await come(2);
    },
  });
  same(await contentOf(test.store, test.store.objects.find(bucket, "k")), bytesOf(1, 3 << 20));
});

/** A disk of which some sectors cannot be read. */
function unreadable(bad: { path?: string }): Disk {
  return {
    ...realDisk,
    open(path, options) {
      const file = realDisk.open(path, options);
      return {
        write: (bytes, offset) => file.write(bytes, offset),
        async read(bytes, offset) {
          if (path === bad.path && offset < 8192) throw new IoError("EIO", "pread", path);
          return await file.read(bytes, offset);
        },
        sync: () => file.sync(),
        [Symbol.dispose]: () => file[Symbol.dispose](),
      };
    },
  };
}

Deno.test("RS(2,1): the index is made again although one directory has sectors that cannot be read", async () => {
  for (let victim = 0; victim < 3; victim++) {
    const bad: { path?: string } = {};
    await using test = await testStore(2, 1, { disk: unreadable(bad) });
    const bucket = await test.bucket();
    await fill(test.store, bucket);
    const [first] = await segmentsOf(test.blobs[victim] ?? "");
    await test.reopen({
      rebuild: true,
      between: async () => {
        bad.path = await Promise.resolve(first ?? "");
      },
    });
    await test.store.directories.inspect();
    assert.equal(test.store.directories.online.length, 3);
    await test.store.repair.run();
    for (const reopened of [false, true]) {
      if (reopened) await test.reopen();
      await readsBack(test.store, bucket);
    }
  }
});

Deno.test("RS(1,1): what may stand in no other directory is not done without, although it cannot be read", async () => {
  const bad: { path?: string } = {};
  await using test = await testStore(1, 1, { disk: unreadable(bad) });
  const bucket = await test.bucket();
  await fill(test.store, bucket);
  const [first] = await segmentsOf(test.blobs[0] ?? "");
  const between = async () => {
    bad.path = await Promise.resolve(first ?? "");
  };
  await assert.rejects(test.reopen({ rebuild: true, between }), IoError);
  delete bad.path;
  await test.reopen();
  assert.equal(test.store.index.buckets.totals().objects, objects.length);
});

Deno.test("directories of two stores are not mixed", async () => {
  await using one = await testStore(2, 1);
  await using two = await testStore(2, 1);
  await two.store[Symbol.asyncDispose]();
  await Deno.remove(two.blobs[0] ?? "", { recursive: true });
  await Deno.mkdir(two.blobs[0] ?? "", { recursive: true });
  await Deno.copyFile(
    join(one.blobs[0] ?? "", "mulga-store.json"),
    join(two.blobs[0] ?? "", "mulga-store.json"),
  );
  await assert.rejects(two.reopen(), /another store/);
});

Deno.test("a commit that names shards of before an outage fails, since they may not be durable", async () => {
  await using test = await testStore(1, 0);
  const bucket = await test.bucket();
  const directory = test.store.directories.all[0];
  const body = bodyOf(bytesOf(1, 3 << 20));
  await assert.rejects(test.store.objects.put(bucket, "k", {
    ...body,
    finish: async (size) => {
      directory?.goOffline(new Error("unplugged"));
      await directory?.comeBack();
      return await body.finish(size);
    },
  }));
  assert.equal(test.store.objects.find(bucket, "k"), undefined);
  await test.store.objects.put(bucket, "k", bodyOf(bytesOf(2, 3 << 20)));
  same(await contentOf(test.store, test.store.objects.find(bucket, "k")), bytesOf(2, 3 << 20));
});

Deno.test("RS(2,1): an aborted upload does not come back with a directory that failed as it was aborted", async () => {
  const disk = new FaultyDisk(realDisk);
  await using test = await testStore(2, 1, { disk });
  const bucket = await test.bucket();
  const { uploads, directories, compactor } = test.store;
  const { id } = await uploads.create(bucket, "big", { headers: {}, user: {} });
  await uploads.putPart(bucket, uploads.find(bucket, "big", id), 1, bodyOf(bytesOf(1, 300_000)));
  const fault = { path: test.blobs[2] ?? "", broken: true };
  disk.faults.add(fault);
  await uploads.abort(bucket, uploads.find(bucket, "big", id));
  disk.faults.delete(fault);
  await directories.inspect();
  assert.equal(directories.online.length, 3);
  // Those that heard of it give up all that is dead.
  const heard = directories.all.slice(0, 2);
  for (const directory of heard) directory.goOffline("it begins a new segment");
  await directories.inspect();
  for (const directory of heard) {
    for (const segment of await directory.segments()) await compactor.compact(directory, segment);
  }
  await test.reopen({ rebuild: true });
  const left = test.store.index.uploads.listFrom(bucket.id, new Uint8Array(0), "", 10);
  assert.deepEqual(left, []);
});

for (const failed of ["completion", "abortion"] as const) {
  for (const versioning of [undefined, "Enabled"] as const) {
    Deno.test(`RS(2,1): a failed ${failed} of an upload takes nothing from the one that succeeds, versions ${versioning}`, async () => {
      const disk = new FaultyDisk(realDisk);
      await using test = await testStore(2, 1, { disk });
      const bucket = await test.bucket();
      if (versioning !== undefined) await test.store.buckets.set(bucket, () => ({ versioning }));
      const { uploads, directories } = test.store;
      const meta = { headers: {}, user: {} };
      const { id } = await uploads.create(bucket, "big", meta);
      const upload = () => uploads.find(bucket, "big", id);
      const put = (number: number) =>
        uploads.putPart(bucket, upload(), number, bodyOf(bytesOf(number, 300_000)));
      const complete = () =>
        uploads.complete(bucket, upload(), (parts) => ({ parts, etag: "x", meta }));
      await put(1);
      const faults = [1, 2].map((at) => ({ path: test.blobs[at] ?? "", broken: true }));
      for (const fault of faults) disk.faults.add(fault);
      await assert.rejects(
        failed === "completion" ? complete() : uploads.abort(bucket, upload()),
        /Too few storage directories/,
      );
      for (const fault of faults) disk.faults.delete(fault);
      await directories.inspect();
      assert.equal(directories.online.length, 3);
      await put(2);
      const { version } = await complete();
      await test.reopen({ rebuild: true });
      const { objects, index } = test.store;
      const expected = Buffer.concat([bytesOf(1, 300_000), bytesOf(2, 300_000)]);
      same(await contentOf(test.store, objects.find(bucket, "big")), expected);
      const versions = index.objects.listVersionsFrom(bucket.id, new Uint8Array(0), Infinity, 9);
      assert.deepEqual(versions.map((one) => one.version), [version ?? "null"]);
      assert.deepEqual(index.uploads.listFrom(bucket.id, new Uint8Array(0), "", 9), []);
      assert.deepEqual(index.wrongCounts(), []);
    });
  }
}

Deno.test("RS(2,1): a write that failed never takes the place of the object that was there, although compaction took its shards", async () => {
  const disk = new FaultyDisk(realDisk);
  await using test = await testStore(2, 1, { disk });
  const bucket = await test.bucket();
  await test.store.objects.put(bucket, "k", bodyOf(bytesOf(1, 3 << 20)));
  const faults = [1, 2].map((at) => ({ path: test.blobs[at] ?? "", broken: true }));
  const body = bodyOf(bytesOf(2, 3 << 20));
  const failing = {
    ...body,
    finish: async (size: number) => {
      // Its shards are written by now.
      for (const fault of faults) disk.faults.add(fault);
      return await body.finish(size);
    },
  };
  await assert.rejects(test.store.objects.put(bucket, "k", failing), /Too few storage/);
  for (const fault of faults) disk.faults.delete(fault);
  const { directories, compactor } = test.store;
  await directories.inspect();
  assert.equal(directories.online.length, 3);
  for (const directory of directories.all.slice(1)) {
    for (const segment of await directory.segments()) await compactor.compact(directory, segment);
  }
  same(await contentOf(test.store, test.store.objects.find(bucket, "k")), bytesOf(1, 3 << 20));
  await test.reopen({ rebuild: true });
  same(await contentOf(test.store, test.store.objects.find(bucket, "k")), bytesOf(1, 3 << 20));
});

for (const kept of [true, false]) {
  Deno.test(`RS(2,1): what is in a bucket whose deletion failed stays, ${kept ? "after kill -9" : "also when the index is lost"}`, async () => {
    const disk = new FaultyDisk(realDisk);
    await using test = await testStore(2, 1, { disk });
    const bucket = await test.bucket();
    const faults = [1, 2].map((at) => ({ path: test.blobs[at] ?? "", broken: true }));
    for (const fault of faults) disk.faults.add(fault);
    await assert.rejects(test.store.buckets.delete(bucket), /Too few storage/);
    for (const fault of faults) disk.faults.delete(fault);
    await test.store.directories.inspect();
    await test.store.objects.put(bucket, "k", bodyOf(bytesOf(1, 3 << 20)));
    if (kept) await test.crash();
    else await test.reopen({ rebuild: true });
    same(await contentOf(test.store, test.store.objects.find(bucket, "k")), bytesOf(1, 3 << 20));
    await test.store.objects.delete(bucket, "k");
    await test.store.buckets.delete(bucket);
    await test.reopen({ rebuild: true });
    assert.equal(test.store.buckets.find("bucket"), undefined);
  });
}

Deno.test("RS(2,1): a deletion that failed is none, also when the index is lost", async () => {
  const disk = new FaultyDisk(realDisk);
  await using test = await testStore(2, 1, { disk });
  const bucket = await test.bucket();
  for (const key of ["k", "gone"]) {
    await test.store.objects.put(bucket, key, bodyOf(bytesOf(1, 3_000)));
  }
  const faults = [1, 2].map((at) => ({ path: test.blobs[at] ?? "", broken: true }));
  for (const fault of faults) disk.faults.add(fault);
  await assert.rejects(test.store.objects.delete(bucket, "k"), /Too few storage/);
  for (const fault of faults) disk.faults.delete(fault);
  await test.store.directories.inspect();
  await test.store.objects.delete(bucket, "gone");
  await test.reopen({ rebuild: true });
  same(await contentOf(test.store, test.store.objects.find(bucket, "k")), bytesOf(1, 3_000));
  assert.equal(test.store.objects.find(bucket, "gone"), undefined);
});

Deno.test("what was written before a sync that failed for want of room is not taken for durable by the next", async () => {
  let isFull = false;
  const disk: Disk = {
    ...realDisk,
    open(path, options) {
      const file = realDisk.open(path, options);
      return {
        write: (bytes, offset) => file.write(bytes, offset),
        read: (bytes, offset) => file.read(bytes, offset),
        async sync() {
          if (isFull) throw new IoError("ENOSPC", "fdatasync", path);
          await file.sync();
        },
        [Symbol.dispose]: () => file[Symbol.dispose](),
      };
    },
  };
  await using test = await testStore(1, 0, { disk });
  const bucket = await test.bucket();
  const body = bodyOf(bytesOf(1, 3 << 20));
  await assert.rejects(test.store.objects.put(bucket, "k", {
    ...body,
    finish: async (size) => {
      // Its shards are written by now; the kernel tells of what it lost in a sync, and of that only once.
      isFull = true;
      await assert.rejects(test.store.objects.put(bucket, "other", bodyOf(bytesOf(2, 100))));
      isFull = false;
      await test.store.directories.inspect();
      return await body.finish(size);
    },
  }));
  assert.equal(test.store.objects.find(bucket, "k"), undefined);
  await test.store.objects.put(bucket, "k", bodyOf(bytesOf(3, 3 << 20)));
  same(await contentOf(test.store, test.store.objects.find(bucket, "k")), bytesOf(3, 3 << 20));
});
