import assert from "node:assert/strict";
import { testLog } from "../../../tests/kit/nats.ts";
import { until } from "../../../tests/kit/until.ts";
import type { SnapshotRow } from "../records.ts";
import { FastRestores, type FastRestoresOptions } from "./fast_restores.ts";

Deno.test("a store that answers nothing holds up a stop for a while only", async () => {
  const row: SnapshotRow = {
    snapshot_id: "snap-1",
    size_bytes: 4096,
    state: "ok",
    fast_restore: true,
    map: { key: "maps/vol-1/1", parts: 1, epoch: 1, mapped_blocks: 1, owners: ["vol-1"] },
  };
  let asked = 0;
  const restores = new FastRestores({
    tables: { snapshots: { list: () => [{ value: row }], watch: () => () => {} } },
    objects: { keys: () => [] },
    store: {
      get() {
        asked++;
        return new Promise(() => {});
      },
    },
    availableBytes: () => 1 << 30,
    log: testLog,
    stopPatienceMs: 10,
  } as unknown as FastRestoresOptions);
  restores.look();
  await until("the store is asked", () => asked > 0);
  let isStopped = false;
  void restores.stop().then(() => isStopped = true);
  await until("it has stopped", () => isStopped);
  restores.look();
  assert.equal(asked, 1);
});
