import assert from "node:assert/strict";
import { SmallBodies } from "./small_bodies.ts";

const most_bytes = 4 << 20;
const body = (of: number, bytes = 4096) => new Uint8Array(bytes).fill(of);
/** So many of 4 KiB fit. */
const fit = most_bytes / 4096;

Deno.test("a small body that was written is found, and nobody's copy of it changes", () => {
  const bodies = new SmallBodies(most_bytes);
  bodies.written(1, body(7, 100));
  const found = bodies.find(1);
  assert.deepEqual(found, body(7, 100));
  found?.fill(0);
  assert.deepEqual(bodies.find(1), body(7, 100));
  assert.equal(bodies.find(2), undefined);
});

Deno.test("the oldest bodies go where there is no room, and the memory keeps its bound", () => {
  const bodies = new SmallBodies(most_bytes);
  for (let at = 0; at < 3 * fit; at++) bodies.written(at, body(at));
  assert.equal(bodies.find(0), undefined);
  for (let at = 2 * fit; at < 3 * fit; at++) assert.deepEqual(bodies.find(at), body(at));
  assert.equal(bodies.memory_bytes, most_bytes);
});

Deno.test("a body that is asked for stays while others come and go", () => {
  const bodies = new SmallBodies(most_bytes);
  for (let at = 0; at < 5 * fit; at++) {
    bodies.written(at, body(at));
    if (at >= 100) assert.deepEqual(bodies.find(100), body(100));
  }
  assert.equal(bodies.find(101), undefined);
});

Deno.test("bodies of all lengths are what they were after many turns", () => {
  const bodies = new SmallBodies(most_bytes);
  let found = 0;
  for (let at = 0; at < 20_000; at++) {
    bodies.written(at, body(at, 1 + at * 7919 % 16_400));
    for (const back of [1, 100, at % 5000]) {
      const known = bodies.find(at - back);
      if (known === undefined) continue;
      found++;
      const expected = body(at - back, 1 + (at - back) * 7919 % 16_400);
      assert.equal(Buffer.compare(known, expected), 0);
    }
  }
  assert.ok(found > 20_000);
});

Deno.test("who reads everything once drives nothing out", () => {
  const bodies = new SmallBodies(most_bytes);
  for (let at = 0; at < fit; at++) bodies.written(at, body(at));
  for (let at = fit; at < 10 * fit; at++) bodies.read(at, body(at));
  for (let at = 0; at < fit; at++) assert.notEqual(bodies.find(at), undefined);
  assert.equal(bodies.find(10 * fit - 1), undefined);
  bodies.read(10 * fit - 1, body(1));
  assert.deepEqual(bodies.find(10 * fit - 1), body(1));
});

Deno.test("many long bodies get the memory, and it is taken again when they are through", () => {
  const bodies = new SmallBodies(most_bytes);
  bodies.written(1, body(1));
  const long = Array.from({ length: 8 }, () => bodies.beside());
  assert.notEqual(bodies.find(1), undefined);
  {
    using _ninth = bodies.beside();
    assert.equal(bodies.find(1), undefined);
    bodies.written(2, body(2));
    assert.equal(bodies.find(2), undefined);
    assert.equal(bodies.memory_bytes, 0);
  }
  bodies.written(2, body(2));
  assert.deepEqual(bodies.find(2), body(2));
  for (const one of long) one[Symbol.dispose]();
});

Deno.test("without memory nothing is kept", () => {
  const bodies = new SmallBodies(0);
  bodies.written(1, body(1));
  for (let time = 0; time < 3; time++) bodies.read(2, body(2));
  assert.equal(bodies.find(1) ?? bodies.find(2), undefined);
});
