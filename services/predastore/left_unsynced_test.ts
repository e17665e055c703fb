/**
 * What a directory has of a write that it could not make durable: when the directory is there again, it brings nothing back
 * that was removed while it was away. And what one has alone of a removal that a crash broke off stays removed without it.
 */
import assert from "node:assert/strict";
import { IoError } from "../../ffi/direct_io.ts";
import { cp } from "node:fs/promises";
import type { Disk } from "./disk/disk.ts";
import { realDisk } from "./disk/real_disk.ts";
import { until } from "../../tests/kit/until.ts";
import { bodyOf, bytesOf, type TestStore, testStore } from "./test_store.ts";

const meta = { headers: {}, user: {} };

/** RS(2,1) with a third directory that writes what it is told, and says that it could not make it durable while it `fails`. */
async function storeWithFailingSyncs(most_untold: number, code: "EIO" | "ENOSPC") {
  const failing = { fails: false, path: "" };
  const disk: Disk = {
    ...realDisk,
    open: async (path, options) => {
      const file = await realDisk.open(path, options);
      return {
        write: async (bytes, offset) => {
          await file.write(bytes, offset);
          if (code === "ENOSPC" && failing.fails && path.startsWith(failing.path)) {
            throw new IoError(code, "pwrite", path);
          }
        },
        read: (bytes, offset) => file.read(bytes, offset),
        sync: async () => {
          if (failing.fails && path.startsWith(failing.path)) {
            throw new IoError(code, "fdatasync", path);
          }
          await file.sync();
        },
        [Symbol.dispose]: () => file[Symbol.dispose](),
      };
    },
  };
  const test = await testStore(2, 1, { disk, most_untold });
  failing.path = test.blobs[2] ?? "";
  return { test, failing };
}

const begin = async ({ store }: TestStore, key: string) => {
  const bucket = store.buckets.find("bucket");
  assert.ok(bucket !== undefined);
  const { id } = await store.uploads.create(bucket, key, meta);
  return { bucket, upload: store.uploads.find(bucket, key, id) };
};

interface Made {
  remove(): Promise<unknown>;
  /** What is still to be done then that nothing is left. */
  afterwards?(): Promise<unknown>;
}

/** What is made, and then removed. */
const removed: Readonly<Record<string, (test: TestStore) => Promise<Made>>> = {
  "an upload that was given up": async (test) => {
    const { bucket, upload } = await begin(test, "k");
    return { remove: () => test.store.uploads.abort(bucket, upload) };
  },
  "an upload that was completed": async (test) => {
    const { bucket, upload } = await begin(test, "k");
    await test.store.uploads.putPart(bucket, upload, 1, bodyOf(bytesOf(1, 100)));
    const choose: Parameters<typeof test.store.uploads.complete>[2] = (parts) => ({
      parts,
      etag: "e",
      meta,
    });
    return {
      remove: () => test.store.uploads.complete(bucket, upload, choose),
      afterwards: () => test.store.objects.delete(bucket, "k"),
    };
  },
  "an object that was deleted": async (test) => {
    const bucket = test.store.buckets.find("bucket");
    assert.ok(bucket !== undefined);
    await test.store.objects.put(bucket, "k", bodyOf(bytesOf(1, 100)));
    return { remove: () => test.store.objects.delete(bucket, "k") };
  },
  "a version that was deleted": async (test) => {
    const bucket = test.store.buckets.find("versions");
    assert.ok(bucket !== undefined);
    const { version = "" } = await test.store.objects.put(bucket, "k", bodyOf(bytesOf(1, 100)));
    return { remove: () => test.store.objects.deleteVersion(bucket, "k", version) };
  },
  "a bucket that was removed": async (test) => {
    const { bucket } = await test.store.buckets.create("removed", "123456789012", "r");
    return { remove: () => test.store.buckets.delete(bucket) };
  },
};

/** Nothing but these two buckets. */
function nothingIsLeft({ store: { directories, index } }: TestStore): void {
  assert.equal(directories.online.length, 3);
  assert.deepEqual(index.buckets.all().map(({ name }) => name), ["bucket", "versions"]);
  for (const { id } of index.buckets.all()) {
    const left = index.objects.listVersionsFrom(id, new Uint8Array(0), Infinity, 9);
    assert.deepEqual(left.map(({ key }) => key), []);
  }
  assert.deepEqual([...index.uploads.all()].map(({ key }) => key), []);
  assert.deepEqual([...index.extents.ids()], []);
}

for (const [what, make] of Object.entries(removed)) {
  for (const list of ["", ", which has more to hear than is listed", " for want of room"]) {
    Deno.test(`RS(2,1): ${what} does not come back with a directory that had failed to make it durable${list}`, async () => {
      const { test: opened, failing } = await storeWithFailingSyncs(
        list.includes("listed") ? 5 : 100,
        list.includes("room") ? "ENOSPC" : "EIO",
      );
      await using test = opened;
      const bucket = await test.bucket();
      const versions = await test.bucket("versions");
      await test.store.buckets.set(versions, () => ({ versioning: "Enabled" }));
      failing.fails = true;
      const made = await make(test);
      failing.fails = false;
      assert.equal(test.store.directories.writable().length, 2);
      await made.remove();
      await made.afterwards?.();
      for (let at = 0; at < 10; at++) {
        await test.store.objects.put(bucket, "other", bodyOf(bytesOf(at, 100)));
        await test.store.objects.delete(bucket, "other");
      }
      // It is there again at the next start, which reads what it has beyond what the index knows.
      await test.reopen();
      nothingIsLeft(test);
      // And has heard of it: the others may go.
      await until("it has caught up", async () => {
        await test.store.directories.inspect();
        return test.store.index.value("directory_behind 2") === undefined;
      });
      for (const other of test.blobs.slice(0, 2)) {
        await test.reopen({ between: () => Deno.remove(other, { recursive: true }) });
        await test.store.repair.run();
      }
      await test.reopen({ rebuild: true });
      nothingIsLeft(test);
    });
  }
}

for (const [what, make] of Object.entries(removed)) {
  for (const away of [false, true]) {
    Deno.test(`RS(1,2): ${what} as a crash broke that off, which one directory alone had heard of${away ? " while another was away" : ""}, is not there again without it`, async () => {
      await using test = await testStore(1, 2);
      await test.bucket();
      const versions = await test.bucket("versions");
      await test.store.buckets.set(versions, () => ({ versioning: "Enabled" }));
      const made = await make(test);
      const [heard, ...others] = test.blobs;
      for (const blob of others) await cp(blob, `${blob}.before`, { recursive: true });
      await made.remove();
      const lose = (blob = "") => Deno.remove(blob, { recursive: true });
      const putBack = async (blob = "") => {
        await lose(blob);
        await Deno.rename(`${blob}.before`, blob);
      };
      const [second, third] = others;
      await test.reopen({
        rebuild: true,
        between: async () => {
          await putBack(second);
          if (!away) return await putBack(third);
          await lose(third);
          await Deno.writeTextFile(third ?? "", "");
        },
      });
      await made.afterwards?.();
      await test.reopen({ rebuild: true });
      if (away) await test.reopen({ between: () => putBack(third) });
      nothingIsLeft(test);
      for (const blob of [heard, second]) {
        await test.reopen({ between: () => lose(blob) });
        await test.store.repair.run();
      }
      await test.reopen({ rebuild: true });
      nothingIsLeft(test);
    });
  }
}
