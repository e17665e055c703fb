import assert from "node:assert/strict";
import { mapMemory } from "../../../ffi/libc.ts";
import { seeded } from "../../../tests/kit/random.ts";
import { blockBytes } from "../format.ts";
import { ReadCache } from "./read_cache.ts";

const block = (value: number) => new Uint8Array(blockBytes).fill(value);

Deno.test("the cache holds exactly the most recently used blocks, as a plain list does", () => {
  seeded((random) => {
    const capacity = 50;
    const cache = new ReadCache(mapMemory(capacity * blockBytes));
    // Most recently used last.
    const model: string[] = [];
    for (let step = 0; step < 20_000; step++) {
      const container = 1 + random.below(5);
      const index = random.below(30);
      const key = `${container}.${index}`;
      const at = cache.lookup(container, index);
      const known = model.indexOf(key);
      assert.equal(at >= 0, known >= 0, key);
      if (at >= 0) {
        assert.equal(cache.bytes[at], container * 30 + index);
        model.splice(known, 1);
      } else {
        cache.insert(container, index, block(container * 30 + index), 0);
        if (model.length === capacity) model.shift();
      }
      model.push(key);
    }
  });
});
