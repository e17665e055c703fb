/** A directory that could not be read as the store started: what stands there alone is found later. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { FaultyDisk } from "./disk/faulty_disk.ts";
import { realDisk } from "./disk/real_disk.ts";
import { removeIndex } from "./store.ts";
import { bodyOf, bytesOf, contentOf, same, testStore } from "./test_store.ts";

for (const back of ["as it stops", "while it runs"] as const) {
  Deno.test(`RS(1,1): what one directory alone has is found although the index was set back and the directory not there at a start, back ${back}`, async () => {
    const disk = new FaultyDisk(realDisk);
    await using test = await testStore(1, 1, { disk });
    const bucket = await test.bucket();
    const put = (key: string, seed: number) =>
      test.store.objects.put(bucket, key, bodyOf(bytesOf(seed, 30_000)));
    const files = ["index.db", "index.db-wal"].map((name) => join(test.directory, name));
    await put("before", 1);
    for (const file of files) await Deno.copyFile(file, `${file}.saved`);
    const [one = "", other = ""] = test.blobs;
    await Deno.rename(other, `${other}.away`);
    await Deno.writeTextFile(other, "");
    await test.store.directories.inspect();
    await put("alone", 2);
    const fault = { path: join(one, "segments"), broken: true };
    await test.reopen({
      between: async () => {
        // As a power cut leaves the index.
        await removeIndex(files[0] ?? "");
        for (const file of files) await Deno.rename(`${file}.saved`, file);
        await Deno.remove(other);
        await Deno.rename(`${other}.away`, other);
        disk.faults.add(fault);
      },
    });
    assert.deepEqual(test.store.directories.online.map(({ number }) => number), [1]);
    await put("after", 3);
    if (back === "while it runs") {
      disk.faults.delete(fault);
      await test.store.directories.inspect();
      assert.equal(test.store.directories.online.length, 2);
      await put("more", 4);
      // What is in no index looks dead.
      await test.store.compactor.run(1);
    }
    await test.reopen({ between: () => Promise.resolve(void disk.faults.clear()) });
    for (const [seed, key] of [[1, "before"], [2, "alone"], [3, "after"]] as const) {
      const found = test.store.objects.find(bucket, key);
      same(await contentOf(test.store, found), bytesOf(seed, 30_000), key);
    }
  });
}
