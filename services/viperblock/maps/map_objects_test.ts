import assert from "node:assert/strict";
import { type BlockStore, untilAborted } from "./map_objects.ts";

/** A store whose list says when it was let go of. */
function listing(keys: () => AsyncGenerator<string>) {
  const { promise: closed, resolve } = Promise.withResolvers<void>();
  const store = {
    async *list() {
      try {
        yield* keys();
      } finally {
        resolve();
      }
    },
  };
  return { store: store as unknown as BlockStore, closed };
}

Deno.test("a list that is not read to its end is let go of", async () => {
  const { store, closed } = listing(async function* () {
    yield "a";
    yield "b";
  });
  const { signal } = new AbortController();
  for await (const key of untilAborted(store, signal).list("")) {
    assert.equal(key, "a");
    break;
  }
  await closed;
});

Deno.test("a list that nobody waits for any more is let go of as soon as it is answered", async () => {
  const answer = Promise.withResolvers<void>();
  const { store, closed } = listing(async function* () {
    await answer.promise;
    yield "a";
  });
  const stopping = new AbortController();
  const listed = Array.fromAsync(untilAborted(store, stopping.signal).list(""));
  stopping.abort(new Error("the service stops"));
  await assert.rejects(listed, /the service stops/);
  answer.resolve();
  await closed;
});
