import assert from "node:assert/strict";
import { createLog } from "../log/log.ts";
import { until } from "../../tests/kit/until.ts";
import { EncryptedCopies, type EncryptedCopiesOptions } from "./encrypted_copies.ts";
import type { SnapshotRow, VolumeRow } from "./records.ts";
import { References, type ReferencesOptions } from "./references.ts";

/** Rows of volumes that are being deleted, in a store that does not answer at first. */
function deleting(...ids: string[]) {
  let revision = 0;
  const rows = new Map<string, { key: string; value: VolumeRow; revision: number }>();
  const put = (key: string, state: VolumeRow["state"]) => {
    const value = { volume_id: key, size_bytes: 4096, epoch: 1, state };
    rows.set(key, { key, value, revision: ++revision });
  };
  for (const id of ids) put(id, "deleting");
  const isAway = new Set<string>();
  const removed: string[] = [];
  const store = {
    list(prefix: string) {
      for (const id of isAway) if (prefix.includes(id)) throw new Error("the store is away");
      return ReadableStream.from([]);
    },
    get(key: string) {
      throw new Error(`the store is away and ${key} in it`);
    },
  };
  const log = createLog("test", { write: () => {} });
  const references = new References({
    tables: {
      volumes: {
        get: (key: string) => rows.get(key),
        list: () => [...rows.values()],
        delete: (key: string) => Promise.resolve(void rows.delete(key)),
      },
      snapshots: { list: () => [] },
    },
    store,
    mounts: { held: () => undefined, forget: (id: string) => void removed.push(id) },
    keys: { discard: () => {} },
    log,
    firstPauseMs: 1,
  } as unknown as ReferencesOptions);
  const copies = new EncryptedCopies(
    { store, log, references } as unknown as EncryptedCopiesOptions,
  );
  return { references, copies, rows, put, isAway, removed };
}

Deno.test("deletions that a crash cut off are taken up until all are done, whatever hinders one of them", async () => {
  const { references, rows, isAway } = deleting("vol-a", "vol-b", "vol-c");
  isAway.add("vol-a");
  const resumed = references.resume();
  await until("the others are gone", () => rows.size === 1);
  assert.ok(rows.has("vol-a"));
  isAway.clear();
  await resumed;
  assert.equal(rows.size, 0);
});

Deno.test("a volume that was made anew meanwhile is not what the crash left", async () => {
  const { references, rows, put, isAway, removed } = deleting("vol-a", "vol-b");
  isAway.add("vol-a");
  const resumed = references.resume();
  await until("the other is gone", () => rows.size === 1);
  // Its deletion was repeated from outside, and one that nobody sees yet is being filled.
  put("vol-a", "deleting");
  isAway.clear();
  await resumed;
  assert.deepEqual([rows.has("vol-a"), removed], [true, ["vol-b"]]);
});

Deno.test("an engine that stops waits for no deletion that cannot go on", async () => {
  const { references, rows, isAway } = deleting("vol-a");
  isAway.add("vol-a");
  const resumed = references.resume();
  references.stop();
  await resumed;
  assert.equal(rows.size, 1);
});

Deno.test("a volume that could not be filled, for the store was away, is removed when that is back", async () => {
  const { copies, rows, isAway } = deleting("vol-a");
  isAway.add("vol-a");
  const map = { key: "maps/vol-1/00000002", parts: 1, epoch: 2, mapped_blocks: 3, owners: [] };
  const source: SnapshotRow = { snapshot_id: "snap-1", size_bytes: 8192, state: "ok", map };
  const row: VolumeRow = { volume_id: "vol-a", size_bytes: 8192, epoch: 1, state: "deleting" };
  await assert.rejects(copies.fill(row, source, () => Promise.resolve()), /maps.vol-1/);
  assert.ok(rows.has("vol-a"));
  isAway.clear();
  await until("it is gone", () => rows.size === 0);
});
