import assert from "node:assert/strict";
import { hugePages } from "./huge_pages.ts";
import { hugePageBytes } from "./libc.ts";

Deno.test("huge pages are zeroed memory that starts on one, whether or not the kernel has any", () => {
  for (const count of [1, 3]) {
    const memory = hugePages(count * hugePageBytes);
    assert.equal(memory.length, count * hugePageBytes);
    const address = Deno.UnsafePointer.value(Deno.UnsafePointer.of(memory)) as bigint;
    assert.equal(address % BigInt(hugePageBytes), 0n);
    assert.ok(memory.every((byte) => byte === 0));
    memory.fill(1);
    assert.equal(memory.at(-1), 1);
  }
  assert.throws(() => hugePages(4096), RangeError);
});
