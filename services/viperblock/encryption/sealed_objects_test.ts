import assert from "node:assert/strict";
import { seeded } from "../../../tests/kit/random.ts";
import type { BlockStore } from "../maps/map_objects.ts";
import { CheckpointSeal, openCheckpoint, sealedHeadBytes, sealedPiece } from "./sealed_bytes.ts";
import { KeyGone, SealedObjects } from "./sealed_objects.ts";
import { VolumeKey } from "./volume_key.ts";

class MemoryStore implements BlockStore {
  readonly objects = new Map<string, Uint8Array<ArrayBuffer>>();
  put(key: string, body: Uint8Array<ArrayBuffer>): Promise<void> {
    this.objects.set(key, body.slice());
    return Promise.resolve();
  }
  get(key: string, range?: { readonly offset: number; readonly length: number }) {
    const { offset, length } = range ?? { offset: 0, length: Infinity };
    return Promise.resolve(this.objects.get(key)?.slice(offset, offset + length));
  }
  delete(key: string): Promise<void> {
    this.objects.delete(key);
    return Promise.resolve();
  }
  async *list(prefix: string): AsyncGenerator<string> {
    yield* [...this.objects.keys()].filter((key) => key.startsWith(prefix));
  }
}

const key = "chunks/vol-1/00000001-00000001";
const bytesOf = (random: { below(end: number): number }, length: number) =>
  Uint8Array.from({ length }, () => random.below(256));

function stores() {
  const memory = new MemoryStore();
  const keys = new Map([["vol-1", VolumeKey.make()], ["vol-2", VolumeKey.make()]]);
  return { memory, keys, sealed: new SealedObjects(memory, { of: (id) => keys.get(id) }) };
}

Deno.test("whatever range of a sealed object is asked for is what was stored", () =>
  seeded(async (random) => {
    const { memory, sealed } = stores();
    for (const length of [0, 1, 65_535, 65_536, 65_537, 300_000]) {
      const body = bytesOf(random, length);
      await sealed.put(key, body);
      assert.deepEqual(await sealed.get(key), body);
      const stored = Buffer.from(memory.objects.get(key) as Uint8Array<ArrayBuffer>);
      if (length > 64) assert.equal(stored.includes(Buffer.from(body.subarray(9, 25))), false);
      for (let i = 0; i < 20 && length > 0; i++) {
        const range = { offset: random.below(length), length: random.below(length + 1000) };
        assert.deepEqual(
          await sealed.get(key, range),
          body.subarray(range.offset, range.offset + range.length),
        );
      }
    }
    assert.equal(await sealed.get("chunks/vol-1/00000001-00000002"), undefined);
  }));

Deno.test("what was altered or stands under another's name reads as zeros, and only that piece", async () => {
  const { memory, sealed } = stores();
  const body = new Uint8Array(200_000).fill(7);
  await sealed.put(key, body);
  const stored = memory.objects.get(key) as Uint8Array<ArrayBuffer>;
  const at = sealedHeadBytes + sealedPiece + 1000;
  stored[at] = (stored[at] as number) ^ 4;
  const expected = body.slice().fill(0, 65_536, 131_072);
  assert.deepEqual(await sealed.get(key), expected);
  const moved = "chunks/vol-1/00000001-00000009";
  memory.objects.set(moved, stored);
  assert.ok((await sealed.get(moved))?.every((byte) => byte === 0));
  // Two pieces that changed places.
  await sealed.put(key, body);
  const swapped = memory.objects.get(key) as Uint8Array<ArrayBuffer>;
  const first = swapped.slice(sealedHeadBytes, sealedHeadBytes + sealedPiece);
  swapped.copyWithin(
    sealedHeadBytes,
    sealedHeadBytes + sealedPiece,
    sealedHeadBytes + 2 * sealedPiece,
  );
  swapped.set(first, sealedHeadBytes + sealedPiece);
  assert.deepEqual(await sealed.get(key), body.slice().fill(0, 0, 131_072));
});

Deno.test("the same content is never stored as the same bytes", async () => {
  const { memory, sealed } = stores();
  const body = new Uint8Array(70_000).fill(7);
  const kept: string[] = [];
  for (
    const name of [key, key, "chunks/vol-1/00000001-00000002", "chunks/vol-2/00000001-00000001"]
  ) {
    await sealed.put(name, body);
    const stored = memory.objects.get(name) as Uint8Array<ArrayBuffer>;
    kept.push(
      stored.slice(80, 112).toHex(),
      stored.slice(sealedHeadBytes + sealedPiece + 20).toHex(),
    );
  }
  assert.equal(new Set(kept).size, kept.length);
});

Deno.test("without its key an object is an error that names the volume; others pass as they are", async () => {
  const { keys, memory, sealed } = stores();
  await sealed.put(key, new Uint8Array(5000));
  keys.delete("vol-1");
  await assert.rejects(
    sealed.get(key),
    (error) => error instanceof KeyGone && /vol-1/.test(error.message),
  );
  const plain = Uint8Array.from({ length: 5000 }, (_, i) => i);
  await sealed.put("chunks/vol-3/00000001-00000001", plain);
  assert.deepEqual(memory.objects.get("chunks/vol-3/00000001-00000001"), plain);
  assert.deepEqual(await sealed.get("chunks/vol-3/00000001-00000001"), plain);
});

Deno.test("a checkpoint opens as a whole or not at all", () => {
  const volumeKey = VolumeKey.make();
  const seal = new CheckpointSeal(volumeKey, "vol-1");
  const pieces = [70_000, 1, 300].map((length) => new Uint8Array(length).fill(length));
  const parts = pieces.map((piece, i) => seal.next(piece, i === 0));
  seal.close();
  const whole = new Uint8Array(Buffer.concat(parts));
  const plain = new Uint8Array(Buffer.concat(pieces));
  assert.deepEqual(openCheckpoint(volumeKey, "vol-1", whole), plain);
  assert.throws(() => openCheckpoint(volumeKey, "vol-2", whole), { name: "DamagedData" });
  assert.throws(() => openCheckpoint(VolumeKey.make(), "vol-1", whole), { name: "DamagedData" });
  assert.throws(() => openCheckpoint(volumeKey, "vol-1", plain), { name: "DamagedData" });
  for (const at of [5, 30, 64, 70, 40_000, whole.length - 1]) {
    const damaged = whole.slice();
    damaged[at] = (damaged[at] as number) ^ 1;
    assert.throws(
      () => openCheckpoint(volumeKey, "vol-1", damaged),
      { name: "DamagedData" },
      `${at}`,
    );
  }
  assert.throws(() => openCheckpoint(volumeKey, "vol-1", whole.slice(0, -2)), {
    name: "DamagedData",
  });
});
