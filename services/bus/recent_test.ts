import assert from "node:assert/strict";
import { Recent } from "./recent.ts";

Deno.test("what is used stays, what is not goes, and the bound holds", () => {
  const recent = new Recent<number, string>(1000, (value) => value.length);
  recent.set(-1, "x".repeat(10));
  for (let key = 0; key < 1000; key++) {
    recent.set(key, "y".repeat(10));
    assert.equal(recent.get(-1)?.length, 10, `used before each of ${key} others`);
  }
  const kept = Array.from({ length: 1000 }, (_, key) => recent.get(key)).filter((one) => one);
  assert.ok(kept.length <= 100, `${kept.length * 10} bytes are kept`);
  assert.equal(recent.get(0), undefined);
  assert.equal(recent.get(999)?.length, 10);
});

Deno.test("a value that is replaced counts once", () => {
  const recent = new Recent<string, string>(1000, (value) => value.length);
  recent.set("kept", "k");
  for (let round = 0; round < 100; round++) recent.set("same", "z".repeat(400));
  assert.equal(recent.get("kept"), "k");
});
