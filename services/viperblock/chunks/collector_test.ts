import assert from "node:assert/strict";
import { crc32c } from "../../../ffi/crc32c.ts";
import { chunkContainer, chunkKey } from "../format.ts";
import { emptyMap, saveStoredMap } from "../maps/stored_map.ts";
import { type Books, collect } from "./collector.ts";
import type { Log } from "../../log/log.ts";
import { type BlockStore, mapChunks, mapKey } from "../maps/map_objects.ts";
import type { SnapshotRow, VolumeRow } from "../records.ts";

const silent: Log = { debug() {}, info() {}, warn() {}, error() {}, with: () => silent };

/** A store that has these objects, whatever is in them. */
const storeOf = (objects: Set<string>): BlockStore => ({
  put: () => Promise.resolve(),
  get: () => Promise.resolve(undefined),
  delete: (key) => Promise.resolve(void objects.delete(key)),
  async *list(prefix) {
    yield* [...objects].filter((key) => key.startsWith(prefix));
  },
});

Deno.test("what comes to be while the collector looks is not taken for left over", async () => {
  const objects = new Set(["maps/vol-a/00000001-000001/000000"]);
  const snapshots: { value: SnapshotRow }[] = [];
  let looked = false;
  const store = storeOf(objects);
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
    {
      heldBy: () => Promise.resolve({ keys: [], epoch: 1, sequence: 0, freezes: 0 }),
      unshare: () => Promise.resolve(),
    },
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
  const store = storeOf(objects);
  const books = (rows: SnapshotRow[]): Books => ({
    volumes: { get: () => undefined, list: () => [] },
    snapshots: { list: () => rows.map((value) => ({ value })) },
  });
  assert.equal(await collect(["vol-a"], books([pending]), store, silent), 0);
  assert.equal(await collect(["vol-a"], books([]), store, silent), 1);
  assert.equal(objects.size, 0);
});

Deno.test("while a map is damaged, nothing that it may name is deleted", async () => {
  const objects = new Map<string, Uint8Array<ArrayBuffer>>();
  const store: BlockStore = {
    put: (key, body) => Promise.resolve(void objects.set(key, body.slice())),
    get: (key) => Promise.resolve(objects.get(key)?.slice()),
    delete: (key) => Promise.resolve(void objects.delete(key)),
    async *list(prefix) {
      yield* [...objects.keys()].filter((key) => key.startsWith(prefix));
    },
  };
  const map = emptyMap(64);
  for (const sequence of [1, 2]) {
    const name = { owner: "vol-a", epoch: 1, sequence };
    map.chunks.push({ name, blocks: 1, live: 1 });
    map.blocks.set(sequence, chunkContainer(sequence - 1), 0, sequence);
    objects.set(chunkKey(name), new Uint8Array(1));
  }
  const saved = await saveStoredMap(store, "vol-a", 1, map);
  const row = {
    volume_id: "vol-a",
    size_bytes: 64 * 4096,
    epoch: 1,
    state: "ok",
    map: saved,
  } as const;
  const books: Books = {
    volumes: { get: () => ({ value: row }), list: () => [{ value: row }] },
    snapshots: { list: () => [] },
  };
  const part = objects.get(`${saved.key}/000000`)!;
  for (let bit = 4096 * 8; bit < (4096 + 128) * 8; bit += 37) {
    part[bit >> 3] = (part[bit >> 3] as number) ^ (1 << (bit & 7));
    assert.equal(await collect(["vol-a"], books, store, silent), 0);
    part[bit >> 3] = (part[bit >> 3] as number) ^ (1 << (bit & 7));
  }
  // As older releases wrote it, without a checksum of the table.
  part.fill(0, 152, 156);
  part.fill(0, 8, 12);
  new DataView(part.buffer, part.byteOffset).setUint32(8, crc32c(part.subarray(0, 4096)), true);
  const end = part.length - 8;
  const tail = new DataView(part.buffer, part.byteOffset);
  tail.setUint32(end, crc32c(part.subarray(0, end)), true);
  assert.equal((await mapChunks(store, saved)).length, 2);
  part[4096] = (part[4096] as number) ^ 1;
  assert.equal(await collect(["vol-a"], books, store, silent), 0);
  assert.equal(objects.size, 3);
});

Deno.test("maps that a refused unmount left go when the next has stored its own", async () => {
  const left = [mapKey("vol-a", 3), mapKey("vol-a", 3, 2)];
  const saved = mapKey("vol-a", 3, 3);
  const objects = new Set([...left, saved].map((key) => `${key}/000000`));
  const store = storeOf(objects);
  const row: VolumeRow = { volume_id: "vol-a", size_bytes: 4096, epoch: 3, state: "ok" };
  const books = (value: VolumeRow): Books => ({
    volumes: { get: () => ({ value }), list: () => [{ value }] },
    snapshots: { list: () => [] },
  });
  const held = {
    heldBy: () => Promise.resolve({ keys: [], epoch: 3, sequence: 0, freezes: 0 }),
    unshare: () => Promise.resolve(),
  };
  // Amid an unmount nobody can say which of them it will be.
  const mounted: VolumeRow = { ...row, mounted_on: "here" };
  assert.equal(await collect(["vol-a"], books(mounted), store, silent, held), 0);
  const map = { key: saved, parts: 1, epoch: 3, mapped_blocks: 0, owners: [] };
  assert.equal(await collect(["vol-a"], books({ ...row, map }), store, silent), 2);
  assert.deepEqual([...objects], [`${saved}/000000`]);
});
