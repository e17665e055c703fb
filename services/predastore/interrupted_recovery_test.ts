/** A recovery that is broken off leaves nothing that the next one does not find. */
import assert from "node:assert/strict";
import { IoError } from "../../ffi/direct_io.ts";
import type { Disk } from "./disk/disk.ts";
import { realDisk } from "./disk/real_disk.ts";
import { removeIndex, Store } from "./store.ts";
import { Fsck } from "./upkeep/fsck.ts";
import { bodyOf, bytesOf, contentOf, same, testStore } from "./test_store.ts";
import { FaultyDisk } from "./disk/faulty_disk.ts";

Deno.test("what is replaced by what is read back goes, although the start before broke off", async () => {
  let broken = false;
  const disk: Disk = {
    ...realDisk,
    open: async (path, options) => {
      const file = await realDisk.open(path, options);
      return {
        write: (bytes, offset) => file.write(bytes, offset),
        read: (bytes, offset) => file.read(bytes, offset),
        sync: () => broken ? Promise.reject(new IoError("EIO", "fdatasync", path)) : file.sync(),
        [Symbol.dispose]: () => file[Symbol.dispose](),
      };
    },
  };
  await using test = await testStore(1, 0, { disk });
  const bucket = await test.bucket();
  for (const key of ["replaced", "deleted"]) {
    await test.store.objects.put(bucket, key, bodyOf(bytesOf(1, 100_000)));
  }
  const file = `${test.directory}/index.db`;
  await test.reopen({ between: () => Deno.copyFile(file, `${file}.before`) });
  await test.store.objects.put(bucket, "replaced", bodyOf(bytesOf(2, 100_000)));
  await test.store.objects.delete(bucket, "deleted");
  const { options } = test.store;
  await test.reopen({
    between: async () => {
      await removeIndex(file);
      await Deno.rename(`${file}.before`, file);
      broken = true;
      await assert.rejects(Store.open(options), /EIO/);
      broken = false;
    },
  });
  const report = await new Fsck(test.store).run(new AbortController().signal);
  assert.deepEqual(report.findings, []);
});

Deno.test("RS(1,1): a directory that is read whole and takes no write does not keep the store from starting", async () => {
  const disk = new FaultyDisk(realDisk);
  let broken = "";
  const open = disk.open.bind(disk);
  disk.open = async (path, options) => {
    const file = await open(path, options);
    return {
      ...file,
      sync: () =>
        broken !== "" && path.startsWith(broken)
          ? Promise.reject(new IoError("EIO", "fdatasync", path))
          : file.sync(),
      [Symbol.dispose]: () => file[Symbol.dispose](),
    };
  };
  await using test = await testStore(1, 1, { disk });
  const bucket = await test.bucket();
  await test.store.objects.put(bucket, "k", bodyOf(bytesOf(1, 100_000)));
  broken = test.blobs[1] ?? "";
  for (const rebuild of [false, true]) {
    await test.store[Symbol.asyncDispose]().catch(() => {});
    await test.reopen({ rebuild });
    same(await contentOf(test.store, test.store.objects.find(bucket, "k")), bytesOf(1, 100_000));
    await test.store.objects.put(bucket, "more", bodyOf(bytesOf(2, 100)));
  }
});
