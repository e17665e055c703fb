import assert from "node:assert/strict";
import { join } from "node:path";
import { testLog } from "../../../tests/kit/nats.ts";
import type { BlockStore } from "../maps/map_objects.ts";
import { KeptObjects } from "./kept_objects.ts";

/** A store in memory that counts what is read of it, and can be away. */
class Store implements BlockStore {
  readonly objects = new Map<string, Uint8Array<ArrayBuffer>>();
  reads = 0;
  isAway = false;
  put(key: string, body: Uint8Array<ArrayBuffer>) {
    this.objects.set(key, body);
    return Promise.resolve();
  }
  get(key: string, range?: { offset: number; length: number }) {
    this.reads++;
    if (this.isAway) return Promise.reject(new Error("away"));
    const object = this.objects.get(key);
    const { offset, length } = range ?? { offset: 0, length: Infinity };
    return Promise.resolve(object?.slice(offset, offset + length));
  }
  delete(key: string) {
    this.objects.delete(key);
    return Promise.resolve();
  }
  async *list() {}
}

const key = "chunks/vol-a/00000001-00000002";

async function withCopy(
  length: number,
  work: (world: {
    store: Store;
    directory: string;
    kept: KeptObjects;
    object: Uint8Array<ArrayBuffer>;
    path: string;
  }) => Promise<void>,
) {
  const directory = await Deno.makeTempDir({ prefix: "mulga-kept-" });
  try {
    const store = new Store();
    const object = new Uint8Array(length);
    for (let at = 0; at < length; at += 65536) {
      crypto.getRandomValues(object.subarray(at, at + 65536));
    }
    await store.put(key, object);
    const kept = await KeptObjects.open(store, directory, testLog);
    await kept.keep(key);
    store.reads = 0;
    await work({ store, directory, kept, object, path: join(directory, encodeURIComponent(key)) });
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("a kept object answers any range as the store does, without the store", async () => {
  for (const length of [0, 1, 65_535, 65_536, 65_537, 300_000]) {
    await withCopy(length, async ({ store, directory, object }) => {
      // Another life finds the copy.
      const kept = await KeptObjects.open(store, directory, testLog);
      store.isAway = true;
      assert.deepEqual(await kept.get(key), object);
      for (
        const [offset, count] of [
          [0, 1],
          [0, length],
          [65_530, 12],
          [65_536, 65_536],
          [length, 5],
          [7, 200_000],
          [Math.max(0, length - 1), 100],
        ] as const
      ) {
        assert.deepEqual(
          await kept.get(key, { offset, length: count }),
          object.slice(offset, offset + count),
          `${count} bytes from ${offset} of ${length}`,
        );
      }
      assert.equal(store.reads, 0);
    });
  }
});

Deno.test("a copy that is damaged anywhere is read from the store, and goes", async () => {
  for (const at of [0, 5, 13, 16, 70_000, 65_536 + 16 + 1, 200_000 + 16 + 3 * 4]) {
    await withCopy(200_001, async ({ store, kept, object, path }) => {
      using file = await Deno.open(path, { read: true, write: true });
      const byte = new Uint8Array(1);
      await file.seek(at, Deno.SeekMode.Start);
      assert.equal(await file.read(byte), 1);
      byte[0] = (byte[0] as number) ^ 0x10;
      await file.seek(at, Deno.SeekMode.Start);
      await file.write(byte);
      let lost = 0;
      kept.lost = () => lost++;
      assert.deepEqual(await kept.get(key), object, `byte ${at}`);
      assert.equal(store.reads, 1);
      assert.equal(lost, 1);
      assert.equal(kept.has(key), false);
      assert.equal(kept.bytes, 0);
      await assert.rejects(Deno.stat(path), Deno.errors.NotFound);
    });
  }
});

Deno.test("a copy that is cut off or gone is read from the store", async () => {
  for (const length of [undefined, 0, 10, 65_552, 100_000]) {
    await withCopy(200_000, async ({ store, kept, object, path }) => {
      if (length === undefined) await Deno.remove(path);
      else await Deno.truncate(path, length);
      assert.deepEqual(
        await kept.get(key, { offset: 150_000, length: 10 }),
        object.slice(150_000, 150_010),
      );
      assert.equal(store.reads, 1);
      assert.equal(kept.has(key), false);
    });
  }
});

Deno.test("what is deleted or written anew has no copy any more, and half of a copy is none", async () => {
  await withCopy(1000, async ({ store, directory, kept, path }) => {
    await kept.put(key, new Uint8Array([1, 2, 3]));
    assert.deepEqual(await kept.get(key), new Uint8Array([1, 2, 3]));
    await kept.keep(key);
    await kept.delete(key);
    assert.equal(await kept.get(key), undefined);
    await assert.rejects(kept.keep(key), /is not in the object store/);
    await Deno.writeFile(`${path}.part`, new Uint8Array(10));
    const next = await KeptObjects.open(store, directory, testLog);
    assert.deepEqual(next.keys(), []);
    await assert.rejects(Deno.stat(`${path}.part`), Deno.errors.NotFound);
  });
});

Deno.test("copies that the disk does not give are no reason not to begin: their objects are read from the store", async () => {
  await withCopy(100_000, async ({ store, directory, object, path }) => {
    await Deno.remove(path);
    // What it leads to is not there.
    await Deno.symlink(`${directory}/gone`, path);
    const again = await KeptObjects.open(store, directory, testLog);
    assert.equal(again.has(key), false);
    assert.deepEqual(await again.get(key), object);
    await again.put(key, object);
    await assert.rejects(Deno.lstat(path), Deno.errors.NotFound, "no later start finds it");
    await Deno.writeTextFile(`${directory}/file`, "");
    const none = await KeptObjects.open(store, `${directory}/file`, testLog);
    assert.deepEqual(await none.get(key), object);
  });
});
