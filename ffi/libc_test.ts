import assert from "node:assert/strict";
import { mapMemory, unmap } from "./libc.ts";

Deno.test("memory in huge pages is zeroed, whole and aligned to them", () => {
  for (const length of [4096, (4 << 20) + 12_288, 2 << 20]) {
    const memory = mapMemory(length, { low: true, huge: true });
    assert.deepEqual(memory.address % (2 << 20), 0);
    assert.deepEqual(memory.bytes.length, length);
    assert(memory.bytes.every((byte) => byte === 0));
    memory.bytes.fill(7);
    unmap(memory);
  }
});
