import assert from "node:assert/strict";
import { crc32c, crc32cOf, crc32cPortable } from "./crc32c.ts";
import { mapMemory } from "./libc.ts";

Deno.test("the checksum is the standard one, by whichever way it is computed", () => {
  const digits = new TextEncoder().encode("123456789");
  assert.equal(crc32c(digits), 0xe3069283);
  assert.equal(crc32cPortable(digits), 0xe3069283);
  assert.equal(crc32c(digits.subarray(4), crc32c(digits.subarray(0, 4))), 0xe3069283);
  const memory = mapMemory(65536, { low: true });
  crypto.getRandomValues(memory.bytes);
  for (const length of [0, 1, 7, 8, 9, 4096, 65521]) {
    const part = memory.bytes.subarray(3, 3 + length);
    assert.equal(crc32cOf(memory, 3, length), crc32cPortable(part));
    assert.equal(crc32c(part), crc32cPortable(part));
  }
});
