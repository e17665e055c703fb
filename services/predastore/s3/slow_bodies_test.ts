import assert from "node:assert/strict";
import { SlowBodies } from "./slow_bodies.ts";

Deno.test("a body that stops is cut off, and one that moves is not", async () => {
  using watch = new SlowBodies(200);
  const stopped = Promise.withResolvers<void>();
  let cut = false;
  const moving = watch.begin(() => {
    cut = true;
  });
  const moves = setInterval(() => moving.progress(), 1);
  watch.begin(() => stopped.resolve());
  try {
    await stopped.promise;
  } finally {
    clearInterval(moves);
  }
  assert.equal(cut, false);
  moving.end();
});
