/** A directory whose disk answers nothing holds up nobody but those who wait for it, and those not for long. */
import assert from "node:assert/strict";
import { FaultyDisk } from "./disk/faulty_disk.ts";
import { realDisk } from "./disk/real_disk.ts";
import { storeStatus } from "./operator/status.ts";
import { segmentsOf } from "./test_damage.ts";
import { bodyOf, bytesOf, contentOf, type TestStore, testStore } from "./test_store.ts";

const same = (a: Uint8Array, b: Uint8Array) =>
  assert.ok(Buffer.compare(a, b) === 0, "bytes differ");

/** Nothing that is asked of the directory is answered until what is returned is called. */
function hang(disk: FaultyDisk, path: string): () => void {
  const answer = Promise.withResolvers<void>();
  const fault = { path, hung: answer.promise };
  disk.faults.add(fault);
  return () => {
    disk.faults.delete(fault);
    answer.resolve();
  };
}

async function hungStore(): Promise<{ test: TestStore; disk: FaultyDisk }> {
  const disk = new FaultyDisk(realDisk);
  return { disk, test: await testStore(2, 1, { disk, answer_ms: 1_000 }) };
}

Deno.test("RS(2,1): a directory that answers nothing goes offline, and the others are looked after and served", async () => {
  const { test: made, disk } = await hungStore();
  await using test = made;
  const bucket = await test.bucket();
  await test.store.objects.put(bucket, "k", bodyOf(bytesOf(1, 900_000)));
  const release = hang(disk, test.blobs[0] ?? "");
  const status = await storeStatus(test.store);
  assert.deepEqual(status.directories.map(({ state }) => state), ["away", "roomy", "roomy"]);
  await test.store.directories.inspect();
  assert.deepEqual(test.store.directories.all.map(({ online }) => online), [false, true, true]);
  await test.store.objects.put(bucket, "other", bodyOf(bytesOf(2, 900_000)));
  same(await contentOf(test.store, test.store.objects.find(bucket, "k")), bytesOf(1, 900_000));
  // As often as one looks: it is not asked again while it has not answered.
  for (let look = 0; look < 3; look++) await test.store.directories.inspect();
  release();
  while (!test.store.directories.all[0]?.online) await test.store.directories.inspect();
  await test.store.repair.run();
  assert.equal(test.store.index.buckets.totals().missing, 0);
});

Deno.test("RS(2,1): a write that waits for a directory that answers nothing is made with the others", async () => {
  const { test: made, disk } = await hungStore();
  await using test = made;
  const bucket = await test.bucket();
  for (const [key, size] of [["small", 100], ["large", 900_000]] as const) {
    const release = hang(disk, test.blobs[0] ?? "");
    const putting = test.store.objects.put(bucket, key, bodyOf(bytesOf(size, size)));
    await Promise.all([putting, test.store.directories.inspect()]);
    release();
    while (!test.store.directories.all[0]?.online) await test.store.directories.inspect();
  }
  await test.reopen({ rebuild: true });
  for (const [key, size] of [["small", 100], ["large", 900_000]] as const) {
    same(await contentOf(test.store, test.store.objects.find(bucket, key)), bytesOf(size, size));
  }
});

for (const rebuild of [false, true]) {
  Deno.test(`RS(2,1): the store starts although a directory answers nothing, index lost: ${rebuild}`, async () => {
    const { test: made, disk } = await hungStore();
    await using test = made;
    const bucket = await test.bucket();
    await test.store.objects.put(bucket, "k", bodyOf(bytesOf(1, 900_000)));
    let release = () => {};
    await test.reopen({
      rebuild,
      between: async () => {
        release = await Promise.resolve(hang(disk, test.blobs[1] ?? ""));
      },
    });
    assert.deepEqual(test.store.directories.all.map(({ online }) => online), [true, false, true]);
    same(await contentOf(test.store, test.store.objects.find(bucket, "k")), bytesOf(1, 900_000));
    release();
    await test.reopen();
    assert.equal(test.store.directories.online.length, 3);
    same(await contentOf(test.store, test.store.objects.find(bucket, "k")), bytesOf(1, 900_000));
  });
}

Deno.test("RS(2,1): the index is made again although one directory stops answering as it is read", async () => {
  const { test: made, disk } = await hungStore();
  await using test = made;
  const bucket = await test.bucket();
  await test.store.objects.put(bucket, "k", bodyOf(bytesOf(1, 900_000)));
  let release = () => {};
  await test.reopen({
    rebuild: true,
    between: async () => {
      release = await Promise.resolve(hang(disk, `${test.blobs[1]}/segments/`));
    },
  });
  same(await contentOf(test.store, test.store.objects.find(bucket, "k")), bytesOf(1, 900_000));
  release();
});

Deno.test("RS(2,1): a directory that is back and takes no write holds up no look at the others", async () => {
  const { test: made, disk } = await hungStore();
  await using test = made;
  const bucket = await test.bucket();
  for (const key of ["k", "gone"]) {
    await test.store.objects.put(bucket, key, bodyOf(bytesOf(1, 900_000)));
  }
  const [blob = "", other = ""] = test.blobs;
  await Deno.rename(blob, `${blob}.away`);
  await test.store.directories.inspect();
  await test.store.objects.delete(bucket, "gone");
  await Deno.rename(`${blob}.away`, blob);
  // Its names can be read: they are in memory.
  const release = hang(disk, `${blob}/segments/`);
  // As often as one looks: what it was to write has no answer yet.
  for (let look = 0; look < 3; look++) await test.store.directories.inspect();
  assert.equal(test.store.directories.byNumber(0)?.online, false);
  await Deno.rename(other, `${other}.away`);
  await test.store.directories.inspect();
  assert.equal(test.store.directories.byNumber(1)?.online, false);
  await Deno.rename(`${other}.away`, other);
  release();
  while (test.store.directories.online.length < 3) await test.store.directories.inspect();
  same(await contentOf(test.store, test.store.objects.find(bucket, "k")), bytesOf(1, 900_000));
});

Deno.test("RS(2,2): with one directory away an object is read although another one answers nothing", async () => {
  const disk = new FaultyDisk(realDisk);
  await using test = await testStore(2, 2, { disk, answer_ms: 1_000 });
  const bucket = await test.bucket();
  await test.store.objects.put(bucket, "k", bodyOf(bytesOf(1, 900_000)));
  const [, away = "", ...others] = test.blobs;
  await Deno.rename(away, `${away}.away`);
  await test.store.directories.inspect();
  for (const blob of others) {
    const release = hang(disk, blob);
    same(await contentOf(test.store, test.store.objects.find(bucket, "k")), bytesOf(1, 900_000));
    release();
  }
});

Deno.test("RS(2,1): repair goes on with the others where a directory stops answering as it reads", async () => {
  const { test: made, disk } = await hungStore();
  await using test = made;
  const bucket = await test.bucket();
  const [blob = "", , last = ""] = test.blobs;
  await test.store.objects.put(bucket, "k", bodyOf(bytesOf(1, 100)));
  await test.reopen({ between: () => Deno.remove(last, { recursive: true }) });
  const release = hang(disk, `${blob}/segments/`);
  await test.store.repair.run();
  assert.equal(test.store.index.objects.find(bucket.id, "k")?.locations.length, 3);
  release();
});

Deno.test("RS(2,1): a directory that answers nothing is asked once as the store starts", async () => {
  const { test: made, disk } = await hungStore();
  await using test = made;
  let release = () => {};
  await test.reopen({
    between: async () => {
      release = await Promise.resolve(hang(disk, test.blobs[1] ?? ""));
    },
  });
  assert.equal(disk.unanswered, 1);
  release();
});

Deno.test("RS(2,1): scrub takes nothing for damaged that had no answer", async () => {
  const { test: made, disk } = await hungStore();
  await using test = made;
  const bucket = await test.bucket();
  await test.store.objects.put(bucket, "k", bodyOf(bytesOf(1, 900_000)));
  const release = hang(disk, `${test.blobs[0]}/segments/`);
  await test.store.scrub.run();
  assert.equal(test.store.scrub.state().damaged, 0);
  assert.equal(test.store.index.objects.find(bucket.id, "k")?.locations.length, 3);
  release();
});

/** Fails where the store waits for the disk. */
async function closes(test: TestStore): Promise<void> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error("the store does not close")), 30_000);
  await Promise.race([test.store[Symbol.asyncDispose](), late.promise]);
  clearTimeout(timer);
}

Deno.test("RS(2,1): the store stops although a segment is being removed where nothing is answered", async () => {
  const { test: made, disk } = await hungStore();
  await using test = made;
  const bucket = await test.bucket();
  await test.store.objects.put(bucket, "k", bodyOf(bytesOf(1, 900_000)));
  await test.store.objects.delete(bucket, "k");
  await test.reopen();
  const answer = Promise.withResolvers<void>();
  const asked = Promise.withResolvers<void>();
  disk.remove = async () => {
    asked.resolve();
    await answer.promise;
  };
  void test.store.compactor.run(1);
  await asked.promise;
  await closes(test);
  answer.resolve();
});

Deno.test("RS(2,1): an object is read although a file of one directory does not open", async () => {
  await using test = await testStore(2, 1);
  const bucket = await test.bucket();
  await test.store.objects.put(bucket, "k", bodyOf(bytesOf(1, 900_000)));
  await test.reopen();
  const pipes: string[] = [];
  for (const segment of await segmentsOf(test.blobs[0] ?? "")) {
    await Deno.remove(segment);
    // Without a writer it opens for no reader.
    await new Deno.Command("mkfifo", { args: [segment] }).output();
    pipes.push(segment);
  }
  same(await contentOf(test.store, test.store.objects.find(bucket, "k")), bytesOf(1, 900_000));
  for (const pipe of pipes) {
    using _writer = await Deno.open(pipe, { read: true, write: true });
    await test.store.directories.inspect();
  }
});

Deno.test("RS(2,1): objects are read and written although no file of one directory opens, of more than the process has threads", async () => {
  await using test = await testStore(2, 1, { segment_bytes: 64 << 10, answer_ms: 1_000 });
  const bucket = await test.bucket();
  const keys = Array.from({ length: 60 }, (_, at) => `k${at}`);
  for (const [at, key] of keys.entries()) {
    await test.store.objects.put(bucket, key, bodyOf(bytesOf(at, 100_000)));
  }
  await test.reopen();
  const pipes = await segmentsOf(test.blobs[0] ?? "");
  for (const pipe of pipes) {
    await Deno.remove(pipe);
    await new Deno.Command("mkfifo", { args: [pipe] }).output();
  }
  const readAll = () =>
    Promise.all(keys.map(async (key, at) => {
      const found = test.store.objects.find(bucket, key);
      same(await contentOf(test.store, found), bytesOf(at, 100_000));
    }));
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error("nothing is answered any more")), 30_000);
  const open: Disposable[] = [];
  try {
    for (let round = 0; round < 3; round++) {
      await Promise.race([readAll(), late.promise]);
      const key = `new ${round}`;
      const putting = test.store.objects.put(bucket, key, bodyOf(bytesOf(round, 100_000)));
      await Promise.race([putting, late.promise]);
    }
  } finally {
    clearTimeout(timer);
    // Without threads, as there may be none.
    for (const pipe of pipes) open.push(Deno.openSync(pipe, { read: true, write: true }));
  }
  while (!test.store.directories.all[0]?.online) await test.store.directories.inspect();
  for (const one of open) one[Symbol.dispose]();
});

for (const call of ["open", "syncFolder"] as const) {
  Deno.test(`RS(2,1): a write that needs a new segment is made with the others where ${call} has no answer`, async () => {
    const { test: made, disk } = await hungStore();
    await using test = made;
    const bucket = await test.bucket();
    await test.store.objects.put(bucket, "k", bodyOf(bytesOf(1, 900_000)));
    const [blob = ""] = test.blobs;
    for (const [key, size] of [["small", 100], ["large", 900_000]] as const) {
      // Nothing has been written yet, so that each directory begins a segment.
      await test.reopen();
      const answer = Promise.withResolvers<void>();
      const real = disk[call].bind(disk) as (...args: unknown[]) => Promise<unknown>;
      Object.assign(disk, {
        [call]: async (path: string, ...more: unknown[]) => {
          if (path.startsWith(blob)) await answer.promise;
          return await real(path, ...more);
        },
      });
      await test.store.objects.put(bucket, key, bodyOf(bytesOf(size, size)));
      same(await contentOf(test.store, test.store.objects.find(bucket, "k")), bytesOf(1, 900_000));
      assert.equal(test.store.directories.all[0]?.online, false);
      await test.store.directories.inspect();
      assert.equal(test.store.directories.all[0]?.online, false);
      Object.assign(disk, { [call]: real });
      answer.resolve();
      while (!test.store.directories.all[0]?.online) await test.store.directories.inspect();
      await test.store.repair.run();
      assert.equal(test.store.index.buckets.totals().missing, 0);
    }
    await test.reopen({ rebuild: true });
    for (const [key, size] of [["small", 100], ["large", 900_000]] as const) {
      same(await contentOf(test.store, test.store.objects.find(bucket, key)), bytesOf(size, size));
    }
  });
}
