import assert from "node:assert/strict";
import { BlockMap } from "../maps/block_map.ts";
import type { FromWorker } from "../mounts/mailbox.ts";
import { Closing, type ClosingParts } from "./closing.ts";
import { Places } from "./places.ts";

const noSnapshot = { idle: true, isFailing: false };

/** The end of a mount, and what of its parts tells whether they have something under way. */
function ending(
  how: "unmount" | "stop",
  snapshotter: { idle: boolean; isFailing: boolean },
  save: (key: string) => boolean = () => true,
  isSyncing = false,
) {
  const busy = { log: false, drainer: false, syncing: false };
  const flushes: (() => void)[] = [];
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
    log: {
      get idle() {
        return !busy.log;
      },
      sealSegment() {},
      flushThen: (work: () => void) => busy.syncing ? void flushes.push(work) : work(),
      advance() {},
      markAtEnd: () => false,
    },
    drainer: {
      running: false,
      get reading() {
        return busy.drainer;
      },
      start: () => false,
    },
    maintenance: { dropSpares() {} },
    checkpointer: {
      running: false,
      start: (key: string, done: (ok: boolean) => void) => done(save(key)),
    },
    map,
    places: new Places(map),
    snapshotter,
    chunkCache: undefined,
    mapKey: (attempt: number) => `maps/vol-test/1.${attempt}`,
    post: (message: FromWorker) => posted.push(message),
  } as unknown as ClosingParts);
  busy.syncing = isSyncing;
  closing.begin(how);
  closing.advance();
  const synced = () => {
    busy.syncing = false;
    for (const work of flushes.splice(0)) work();
  };
  return { closing, busy, posted, synced, isListening: () => listening };
}

/** An unmount that has come to the drain, beside a snapshot in the given state. */
const unmounting = (snapshotter: { idle: boolean; isFailing: boolean }) =>
  ending("unmount", snapshotter);

for (const part of ["drainer", "log"] as const) {
  Deno.test(`a stop is not told while the disk reads or writes the memory of the ${part}`, () => {
    const { closing, busy, posted } = ending("stop", noSnapshot);
    busy[part] = true;
    assert.equal(closing.advance(), false);
    assert.deepEqual(posted, []);
    assert.equal(closing.finished, false);
    busy[part] = false;
    assert.ok(closing.advance());
    assert.deepEqual(posted.map(({ kind }) => kind), ["stopped"]);
    assert.ok(closing.finished);
  });
}

Deno.test("an unmount waits for a snapshot that is being stored", () => {
  const snapshotter = { idle: false, isFailing: false };
  const { closing, posted } = unmounting(snapshotter);
  assert.equal(closing.advance(), false);
  assert.deepEqual(posted, []);
  snapshotter.idle = true;
  closing.advance();
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

Deno.test("an unmount that is tried again stores its map under another key, and tells which", () => {
  const keys: string[] = [];
  const { closing, posted } = ending("unmount", noSnapshot, (key) => keys.push(key) > 1);
  closing.advance();
  closing.begin("unmount");
  for (let turn = 0; turn < 3; turn++) closing.advance();
  assert.ok(closing.finished);
  const [first, second] = keys;
  assert.equal(keys.length, 2);
  assert.notEqual(first, second);
  assert.deepEqual(
    posted.map((each) => each.kind === "unmounted" && [each.ok, each.key]),
    [[false, first], [true, second]],
  );
});

Deno.test("a stop that comes during an unmount is done when the store does not take the volume", () => {
  const { closing, posted, isListening } = ending("unmount", noSnapshot, () => false);
  closing.begin("stop");
  for (let turn = 0; turn < 4; turn++) closing.advance();
  assert.deepEqual(posted.map(({ kind }) => kind), ["unmounted", "stopped"]);
  assert.ok(closing.finished);
  assert.equal(isListening(), false);
});

Deno.test("an unmount that comes during a stop stores nothing: the log stays behind, with all that is in it", () => {
  const saved: string[] = [];
  const { closing, posted, synced } = ending(
    "stop",
    noSnapshot,
    (key) => saved.push(key) > 0,
    true,
  );
  closing.begin("unmount");
  synced();
  for (let turn = 0; turn < 4; turn++) closing.advance();
  assert.deepEqual(posted.map(({ kind }) => kind), ["stopped"]);
  assert.deepEqual(saved, []);
});
