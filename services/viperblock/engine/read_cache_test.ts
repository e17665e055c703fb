import assert from "node:assert/strict";
import { mapMemory } from "../../../ffi/libc.ts";
import { seeded } from "../../../tests/kit/random.ts";
import { blockBytes, chunkContainer, isChunk } from "../format.ts";
import { ReadCache } from "./read_cache.ts";

const valueOf = (container: number, index: number) =>
  (container * 30 + index + (isChunk(container) ? 100 : 0)) & 255;
const block = (value: number) => new Uint8Array(blockBytes).fill(value);

Deno.test("the cache holds exactly the most recently used blocks, as a plain list does", () => {
  seeded((random) => {
    const capacity = 50;
    // What lies before the cache in its memory is somebody else's.
    const before = 3 * blockBytes;
    const memory = mapMemory(before + capacity * blockBytes);
    const cache = new ReadCache(memory, before);
    // Most recently used last.
    const model: string[] = [];
    for (let step = 0; step < 20_000; step++) {
      const container = random.below(2) === 0
        ? 1 + random.below(5)
        : chunkContainer(random.below(3));
      const index = random.below(30);
      const key = `${container}.${index}`;
      cache.expect(Uint32Array.of(container, chunkContainer(7)), Int32Array.of(index, 0), 2);
      const at = cache.lookup(container, index);
      const known = model.indexOf(key);
      assert.equal(at >= 0, known >= 0, key);
      if (at >= 0) {
        assert.equal(cache.bytes[at], valueOf(container, index));
        model.splice(known, 1);
      } else {
        cache.insert(container, index, block(valueOf(container, index)), 0);
        if (model.length === capacity) model.shift();
      }
      model.push(key);
    }
    assert(memory.bytes.subarray(0, before).every((byte) => byte === 0));
  });
});
