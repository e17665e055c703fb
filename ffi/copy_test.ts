/** Copies by address are those by views. */
import assert from "node:assert/strict";
import { copyLow, isLow } from "./copy.ts";
import { mapMemory, unmap } from "./libc.ts";

Deno.test({
  name: "a copy by address takes what was asked and touches nothing beside it",
  // Elsewhere nobody can ask for memory below 4 GiB.
  ignore: Deno.build.arch !== "x86_64",
  fn() {
    const from = mapMemory(8192, { low: true });
    const to = mapMemory(8192, { low: true });
    assert.ok(isLow(from.address + from.length) && isLow(to.address + to.length));
    for (let i = 0; i < from.length; i++) from.bytes[i] = (i * 7 + (i >> 8)) & 255;
    to.bytes.fill(0xee);
    copyLow(to.address + 100, from.address + 28, 4096);
    const expected = new Uint8Array(8192).fill(0xee);
    expected.set(from.bytes.subarray(28, 28 + 4096), 100);
    assert.deepEqual(to.bytes, expected);
    unmap(from);
    unmap(to);
  },
});

Deno.test("what ends above 4 GiB is not low", () => {
  assert.ok(isLow(0xffff_ffff));
  assert.ok(!isLow(0x1_0000_0000));
});
