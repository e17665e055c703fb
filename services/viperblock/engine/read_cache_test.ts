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

Deno.test("a block that is held keeps its place and its content, whatever comes into the cache", () => {
  seeded((random) => {
    const capacity = 12;
    const cache = new ReadCache(mapMemory(capacity * blockBytes));
    const held: { readonly entry: number; readonly at: number; readonly value: number }[] = [];
    for (let step = 0; step < 20_000; step++) {
      const container = 1 + random.below(4);
      const index = random.below(20);
      const value = valueOf(container, index);
      const entry = random.below(2) === 0 && held.length < 40 ? cache.hold(container, index) : -1;
      if (entry >= 0) held.push({ entry, at: cache.placeOf(entry), value });
      else if (random.below(3) === 0) {
        const [one] = held.splice(random.below(Math.max(1, held.length)), 1);
        if (one !== undefined) cache.letGo(one.entry);
      } else {
        cache.insert(container, index, block(value), 0);
        const isFull = new Set(held.map(({ at }) => at)).size === capacity;
        assert(isFull || cache.has(container, index), "there was room");
      }
      for (const { at, value } of held) assert.equal(cache.bytes[at], value);
    }
    for (const { entry } of held) cache.letGo(entry);

    for (let index = 0; index < capacity; index++) cache.insert(9, index, block(index), 0);
    const all = Array.from({ length: capacity }, (_, index) => cache.hold(9, index));
    cache.insert(10, 0, block(77), 0);
    assert.equal(cache.has(10, 0), false, "all of it is held");
    const free = random.below(capacity);
    cache.letGo(all[free] as number);
    cache.insert(10, 0, block(77), 0);
    assert.equal(cache.bytes[cache.lookup(10, 0)], 77);
    for (let index = 0; index < capacity; index++) {
      assert.equal(cache.has(9, index), index !== free);
    }
  });
});

Deno.test("a chunk that is forgotten is found no more, and what is held of it stays until it is let go", () => {
  seeded((random) => {
    const capacity = 16;
    const cache = new ReadCache(mapMemory(capacity * blockBytes));
    /** What each number of a chunk stands for now. */
    const versions = [0, 0, 0, 0];
    const contents = (number: number, index: number) =>
      (versions[number] as number) * 16 + number * 4 + index & 255;
    const held: { readonly entry: number; readonly at: number; readonly value: number }[] = [];
    for (let step = 0; step < 20_000; step++) {
      const number = random.below(4);
      const container = chunkContainer(number);
      const index = random.below(4);
      const value = contents(number, index);
      const at = cache.lookup(container, index);
      if (at >= 0) assert.equal(cache.bytes[at], value, "it is of the chunk that has the number");
      else cache.insert(container, index, block(value), 0);
      if (random.below(4) === 0 && held.length < 10) {
        const entry = cache.hold(container, index);
        if (entry >= 0) held.push({ entry, at: cache.placeOf(entry), value });
      }
      if (random.below(3) === 0) {
        const [one] = held.splice(random.below(Math.max(1, held.length)), 1);
        if (one !== undefined) cache.letGo(one.entry);
      }
      if (random.below(20) === 0) {
        const gone = random.below(4);
        versions[gone] = (versions[gone] as number) + 1;
        cache.forget([gone]);
        for (let i = 0; i < 4; i++) assert.equal(cache.has(chunkContainer(gone), i), false);
      }
      for (const { at, value } of held) assert.equal(cache.bytes[at], value);
    }
  });
});
