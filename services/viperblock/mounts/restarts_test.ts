import assert from "node:assert/strict";
import { Restarts } from "./restarts.ts";

Deno.test("an engine that fails soon, again and again, is begun ever more seldom, and each volume has its own count", () => {
  const restarts = new Restarts();
  const pauses = (count: number) =>
    Array.from({ length: count }, () => restarts.pauseAfter("vol-a"));
  assert.deepEqual(pauses(9), [0, 100, 200, 400, 800, 1600, 3200, 6400, 10_000]);
  assert.deepEqual(pauses(2), [10_000, 10_000]);
  assert.equal(restarts.pauseAfter("vol-b"), 0);
  restarts.forget("vol-a");
  assert.equal(restarts.pauseAfter("vol-a"), 0, "guests wait for what served long");
  assert.equal(restarts.pauseAfter("vol-a"), 100);
});
