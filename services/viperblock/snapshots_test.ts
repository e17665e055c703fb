import assert from "node:assert/strict";
import { unavailable } from "../aws/errors.ts";
import { createLog } from "../log/log.ts";
import { until } from "../../tests/kit/until.ts";
import type { SnapshotRow, VolumeRow } from "./records.ts";
import { Snapshots, type SnapshotsOptions } from "./snapshots.ts";

const map = { key: "maps/vol-1/00000002-000001", parts: 1, epoch: 2, mapped_blocks: 3, owners: [] };

const size_bytes = 8192;

/** A mounted volume, and tables that do not answer when told so. */
function mounted(
  freeze: () => Promise<{ readonly size_bytes: number; readonly stored: Promise<typeof map> }>,
) {
  const rows = new Map<string, SnapshotRow>();
  const volume: VolumeRow = {
    volume_id: "vol-1",
    size_bytes,
    epoch: 2,
    state: "ok",
    mounted_on: "node-1",
  };
  const tables = { isAway: false, tries: 0, isDeaf: false };
  const asked = () => {
    tables.tries++;
    if (tables.isAway) throw new Error("NATS is away");
  };
  const snapshots = new Snapshots({
    tables: {
      volumes: { read: () => Promise.resolve({ value: volume }) },
      snapshots: {
        read: (key: string) =>
          Promise.resolve(rows.has(key) ? { value: rows.get(key) } : undefined),
        create: (key: string, value: SnapshotRow) => {
          rows.set(key, value);
          if (tables.isDeaf) return Promise.reject(unavailable("the state store"));
          return Promise.resolve({ value });
        },
        // deno-lint-ignore require-await
        modify: async (key: string, change: (row: SnapshotRow | undefined) => SnapshotRow) => {
          asked();
          const value = change(rows.get(key));
          rows.set(key, value);
          return { value };
        },
        // deno-lint-ignore require-await
        delete: async (key: string) => {
          asked();
          rows.delete(key);
        },
      },
    },
    mounts: {
      settled: () => Promise.resolve(),
      volumes: new Map([["vol-1", { epoch: 2, freeze }]]),
    },
    references: { alone: <T>(work: () => Promise<T>) => work() },
    copies: {},
    log: createLog("test", { write: () => {} }),
    firstPauseMs: 1,
  } as unknown as SnapshotsOptions);
  const state = () => rows.get("snap-1")?.state;
  return { snapshots, tables, state, rows };
}

Deno.test("a snapshot that was stored while the tables were away is complete when they are back", async () => {
  const { promise, resolve } = Promise.withResolvers<typeof map>();
  const { snapshots, tables, state, rows } = mounted(() =>
    Promise.resolve({ size_bytes, stored: promise })
  );
  assert.equal((await snapshots.freeze("vol-1", "snap-1")).state, "pending");
  tables.isAway = true;
  resolve(map);
  await until("it was tried again", () => tables.tries > 2);
  assert.equal(state(), "pending");
  tables.isAway = false;
  await until("it is complete", () => state() === "ok");
  assert.deepEqual(rows.get("snap-1")?.map, map);
});

Deno.test("a snapshot that could neither be begun nor taken back does not stay pending", async () => {
  const { snapshots, tables, state } = mounted(() => {
    tables.isAway = true;
    return Promise.reject(new Error("the engine has ended"));
  });
  await assert.rejects(snapshots.freeze("vol-1", "snap-1"));
  await until("it was tried again", () => tables.tries > 2);
  tables.isAway = false;
  await until("it has failed", () => state() === "error");
});

Deno.test("an engine that stops leaves what it cannot finish to the next", async () => {
  const { snapshots, tables, state } = mounted(() =>
    Promise.resolve({ size_bytes, stored: Promise.resolve(map) })
  );
  tables.isAway = true;
  await snapshots.freeze("vol-1", "snap-1");
  await until("it was tried", () => tables.tries > 0);
  snapshots.stop();
  tables.isAway = false;
  const { tries } = tables;
  for (let turn = 0; turn < 100; turn++) await Promise.resolve();
  assert.deepEqual([state(), tables.tries], ["pending", tries]);
});

Deno.test("a snapshot is as large as its volume was at its moment, though that grew while the row was written", async () => {
  const { snapshots, state, rows } = mounted(() =>
    Promise.resolve({ size_bytes: 2 * size_bytes, stored: Promise.resolve(map) })
  );
  const taken = await snapshots.freeze("vol-1", "snap-1");
  assert.equal(taken.size_bytes, 2 * size_bytes);
  await until("it is complete", () => state() === "ok");
  assert.equal(rows.get("snap-1")?.size_bytes, 2 * size_bytes);
});

Deno.test("a snapshot whose row was written and seemed not to be is not pending for ever, nor mistaken for the one that is made of it next", async () => {
  const stored = Promise.withResolvers<typeof map>();
  const { snapshots, rows, tables } = mounted(() =>
    Promise.resolve({ size_bytes, stored: stored.promise })
  );
  tables.isDeaf = tables.isAway = true;
  await assert.rejects(snapshots.freeze("vol-1", "snap-1"), { code: "ServiceUnavailable" });
  await assert.rejects(snapshots.freeze("vol-1", "snap-2"), { code: "ServiceUnavailable" });
  // That one was not taken after all, and is asked for again.
  rows.delete("snap-2");
  tables.isDeaf = false;
  const again = await snapshots.freeze("vol-1", "snap-2");
  assert.equal(again.state, "pending");
  tables.isAway = false;
  await until("it is given up", () => rows.get("snap-1")?.state === "error");
  assert.equal(rows.get("snap-2")?.state, "pending");
  stored.resolve(map);
  await until("it is stored", () => rows.get("snap-2")?.state === "ok");
});
