import assert from "node:assert/strict";
import { type Books, collect } from "./collector.ts";
import type { Log } from "../../log/log.ts";
import type { BlockStore } from "../maps/map_objects.ts";
import type { SnapshotRow } from "../records.ts";

const silent: Log = { debug() {}, info() {}, warn() {}, error() {}, with: () => silent };

Deno.test("what comes to be while the collector looks is not taken for left over", async () => {
  const objects = new Set(["maps/vol-a/00000001-000001/000000"]);
  const snapshots: { value: SnapshotRow }[] = [];
  let looked = false;
  const store: BlockStore = {
    put: () => Promise.resolve(),
    get: () => Promise.resolve(undefined),
    delete: (key) => Promise.resolve(void objects.delete(key)),
    async *list(prefix) {
      yield* [...objects].filter((key) => key.startsWith(prefix));
    },
  };
  const books: Books = {
    volumes: {
      get: () => ({
        value: {
          volume_id: "vol-a",
          size_bytes: 4096,
          epoch: 1,
          state: "ok",
          mounted_on: "here",
        },
      }),
      list: () => [],
    },
    snapshots: {
      list: () => {
        if (!looked) {
          // A snapshot that began after this look has stored its map before the next.
          looked = true;
          objects.add("maps/vol-a/00000001-000002/000000");
        }
        return snapshots;
      },
    },
  };
  await collect(
    ["vol-a"],
    books,
    store,
    silent,
    () => Promise.resolve({ keys: [], epoch: 1, sequence: 0 }),
  );
  assert.deepEqual([...objects], ["maps/vol-a/00000001-000002/000000"]);
});

Deno.test("while a snapshot is on its way to the store nothing of its volume is collected", async () => {
  const objects = new Set(["chunks/vol-a/00000001-00000001"]);
  const pending: SnapshotRow = {
    snapshot_id: "snap-a",
    volume_id: "vol-a",
    size_bytes: 4096,
    state: "pending",
  };
  const store: BlockStore = {
    put: () => Promise.resolve(),
    get: () => Promise.resolve(undefined),
    delete: (key) => Promise.resolve(void objects.delete(key)),
    async *list(prefix) {
      yield* [...objects].filter((key) => key.startsWith(prefix));
    },
  };
  const books = (rows: SnapshotRow[]): Books => ({
    volumes: { get: () => undefined, list: () => [] },
    snapshots: { list: () => rows.map((value) => ({ value })) },
  });
  assert.equal(await collect(["vol-a"], books([pending]), store, silent), 0);
  assert.equal(await collect(["vol-a"], books([]), store, silent), 1);
  assert.equal(objects.size, 0);
});
