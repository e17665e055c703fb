import assert from "node:assert/strict";
import { seeded } from "../../../tests/kit/random.ts";
import type { BlockStore } from "../maps/map_objects.ts";
import { PackedChunks } from "./packed_chunks.ts";

class Memory implements BlockStore {
  readonly objects = new Map<string, Uint8Array<ArrayBuffer>>();
  read = 0;
  put(key: string, body: Uint8Array<ArrayBuffer>): Promise<void> {
    this.objects.set(key, body.slice());
    return Promise.resolve();
  }
  get(key: string, range?: { offset: number; length: number }) {
    const bytes = this.objects.get(key);
    const part = range === undefined
      ? bytes?.slice()
      : bytes?.slice(range.offset, range.offset + range.length);
    this.read += part?.length ?? 0;
    return Promise.resolve(part);
  }
  delete(key: string): Promise<void> {
    this.objects.delete(key);
    return Promise.resolve();
  }
  async *list(prefix: string) {
    yield* [...this.objects.keys()].filter((key) => key.startsWith(prefix));
  }
}

function text(length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = 97 + (i * i >> 5) % 23;
  return bytes;
}

Deno.test("whatever part of a chunk is asked for is what was stored, packed or not", async () => {
  await seeded(async (random) => {
    for (const length of [12288 + 4096, 12288 + 4096 * 100, 12288 + 4096 * 1024]) {
      for (const content of ["text", "noise"] as const) {
        const body = text(length);
        if (content === "noise") {
          for (let at = 0; at < length; at += 65536) {
            crypto.getRandomValues(body.subarray(at, Math.min(length, at + 65536)));
          }
        }
        const inner = new Memory();
        const store = new PackedChunks(inner);
        await store.put("chunks/vol-1/a", body);
        const stored = inner.objects.get("chunks/vol-1/a")?.length ?? 0;
        if (content === "noise" || length < 65536) assert.equal(stored, length);
        else assert.ok(stored < length / 2);
        // Another process knows nothing of how it was stored.
        for (const reader of [store, new PackedChunks(inner)]) {
          assert.deepEqual(await reader.get("chunks/vol-1/a"), body);
          for (let i = 0; i < 10; i++) {
            const offset = random.below(length);
            const range = { offset, length: 1 + random.below(length) };
            assert.deepEqual(
              await reader.get("chunks/vol-1/a", range),
              body.slice(offset, offset + range.length),
            );
          }
        }
        assert.equal(await store.get("chunks/vol-1/none"), undefined);
      }
    }
  });
});

Deno.test("a window of a packed chunk is read without the rest", async () => {
  const inner = new Memory();
  const body = text(12288 + 4096 * 1024);
  await new PackedChunks(inner).put("chunks/vol-1/a", body);
  const store = new PackedChunks(inner);
  const packed = inner.objects.get("chunks/vol-1/a")?.length ?? 0;
  inner.read = 0;
  await store.get("chunks/vol-1/a", { offset: 12288 + (1 << 20), length: 1 << 20 });
  assert.ok(inner.read < packed / 3, `${inner.read} of ${packed}`);
});

Deno.test("damage in a packed chunk reads as something else, and never throws", async () => {
  const inner = new Memory();
  const body = text(12288 + 4096 * 300);
  await new PackedChunks(inner).put("chunks/vol-1/a", body);
  const whole = inner.objects.get("chunks/vol-1/a") as Uint8Array<ArrayBuffer>;
  for (let at = 0; at < whole.length; at += 997) {
    const broken = whole.slice();
    broken[at] = (broken[at] as number) ^ 0x10;
    inner.objects.set("chunks/vol-1/a", broken);
    const read = await new PackedChunks(inner).get("chunks/vol-1/a");
    assert.ok(read !== undefined);
  }
  inner.objects.set("chunks/vol-1/a", whole.slice(0, 500));
  assert.ok(await new PackedChunks(inner).get("chunks/vol-1/a") !== undefined);
});

Deno.test("maps and what else is no chunk pass as they are", async () => {
  const inner = new Memory();
  const store = new PackedChunks(inner);
  const body = text(1 << 20);
  await store.put("maps/vol-1/a", body);
  assert.deepEqual(inner.objects.get("maps/vol-1/a"), body);
  assert.deepEqual(await store.get("maps/vol-1/a"), body);
});
