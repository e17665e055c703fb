/** Directories that vanish, lie, come back empty or stale, with a client that checks every byte. */
import assert from "node:assert/strict";
import { IoError } from "../../ffi/direct_io.ts";
import type { Disk } from "./disk/disk.ts";
import { realDisk } from "./disk/real_disk.ts";
import { newSealingKey, parseSealingKeys } from "./encryption/sealing.ts";
import { empty, flipBits, segmentsOf, truncate, zero } from "./test_damage.ts";
import {
  bodyOf,
  bytesOf,
  contentOf,
  fill,
  readsBack,
  same,
  sizes,
  testStore,
} from "./test_store.ts";

/** What can happen to one directory while nobody looks. */
const faults: Readonly<Record<string, (blob: string) => Promise<void>>> = {
  "is removed": (blob) => Deno.remove(blob, { recursive: true }),
  "comes back empty": empty,
  "has flipped bits everywhere": (blob) => flipBits(blob, 5000, 9973),
  "is truncated": truncate,
  "is zeroed": zero,
};

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
    await readsBack(test.store, bucket);
    assert.equal(test.store.objects.find(bucket, "deleted"), undefined);
    assert.equal(test.store.index.buckets.totals().objects, sizes.length);
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

/** A disk of which some sectors cannot be read. */
function unreadable(bad: { path?: string }): Disk {
  return {
    ...realDisk,
    async open(path, options) {
      const file = await realDisk.open(path, options);
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
  assert.equal(test.store.index.buckets.totals().objects, sizes.length);
});

Deno.test("RS(1,0): a rotten record takes none of those with it that stand in the same page", async () => {
  await using test = await testStore(1, 0);
  const bucket = await test.bucket();
  const keys = ["a", "b", "c", "d"];
  await Promise.all(
    keys.map((key) => test.store.objects.put(bucket, key, bodyOf(bytesOf(1, 100)))),
  );
  const [place] = test.store.objects.find(bucket, "a")?.locations ?? [];
  const sharing = keys.filter((key) =>
    key !== "a" &&
    Math.floor((test.store.objects.find(bucket, key)?.locations[0]?.offset ?? 0) / 4096) ===
      Math.floor((place?.offset ?? 0) / 4096)
  );
  assert.ok(sharing.length > 0);
  await test.reopen({
    rebuild: true,
    between: async () => {
      const [path = ""] = await segmentsOf(test.blobs[0] ?? "");
      const bytes = await Deno.readFile(path);
      const at = (place?.offset ?? 0) + 70;
      bytes[at] = (bytes[at] ?? 0) ^ 0x10;
      await Deno.writeFile(path, bytes);
    },
  });
  const listed = test.store.index.objects.listFrom(bucket.id, new Uint8Array(0), true, 9);
  assert.deepEqual(listed.map(({ key }) => key), ["b", "c", "d"]);
  for (const key of sharing) {
    same(await contentOf(test.store, test.store.objects.find(bucket, key)), bytesOf(1, 100));
  }
});
