import assert from "node:assert/strict";
import { BlockMap } from "../maps/block_map.ts";
import type { FromWorker } from "../mounts/mailbox.ts";
import { Closing, type ClosingParts } from "./closing.ts";
import { Places } from "./places.ts";

/** An unmount that has come to the drain, beside a snapshot in the given state. */
function unmounting(snapshotter: { idle: boolean; isFailing: boolean }) {
  const posted: FromWorker[] = [];
  let listening = true;
  const map = new BlockMap(1024);
  const closing = new Closing({
    door: {
      anyOpen: false,
      dropClients() {},
      stopListening: () => listening = false,
      listenAgain: () => listening = true,
    },
    partial: { idle: true },
    log: { sealSegment() {}, flushThen: (work: () => void) => work(), advance() {} },
    drainer: { running: false, start: () => false },
    checkpointer: { running: false, start: (_: string, done: (ok: boolean) => void) => done(true) },
    map,
    places: new Places(map),
    snapshotter,
    chunkCache: undefined,
    mapKey: "maps/vol-test/1",
    post: (message: FromWorker) => posted.push(message),
  } as unknown as ClosingParts);
  closing.begin("unmount");
  closing.advance();
  return { closing, posted, isListening: () => listening };
}

Deno.test("an unmount waits for a snapshot that is being stored", () => {
  const snapshotter = { idle: false, isFailing: false };
  const { closing, posted } = unmounting(snapshotter);
  assert.equal(closing.advance(), false);
  assert.deepEqual(posted, []);
  snapshotter.idle = true;
  closing.advance();
  assert.ok(closing.finished);
});

Deno.test("an unmount beside a snapshot that the store does not take is given up, and the volume is served on", () => {
  const { closing, posted, isListening } = unmounting({ idle: false, isFailing: true });
  assert.equal(isListening(), false);
  closing.advance();
  assert.deepEqual(posted.map((each) => each.kind === "unmounted" && each.ok), [false]);
  assert.equal(isListening(), true);
  assert.equal(closing.finished, false);
  assert.equal(closing.underWay, false);
});
