/** A snapshot that is begun while the tables go away: its volume is that of a snapshot being written, or not there. */
import assert from "node:assert/strict";
import { unavailable } from "../../services/aws/errors.ts";
import { directBlockBytes } from "../../services/viperblock/contract.ts";
import type { VolumeRow } from "../../services/viperblock/records.ts";
import type { Table } from "../../services/state/table.ts";
import { until, untilWorks } from "../kit/until.ts";
import { startLateWorld } from "./late_world.ts";

const size_bytes = 2 * directBlockBytes;

/** After so many changes the table takes no more, until it is let go. */
function goesAway(table: Table<VolumeRow>, changes: number): Disposable {
  const { create, update } = table;
  const counted = <T>(change: () => Promise<T>) => {
    if (changes-- > 0) return change();
    return Promise.reject(unavailable("The state store"));
  };
  table.create = (...row) => counted(() => create.apply(table, row));
  table.update = (...row) => counted(() => update.apply(table, row));
  return {
    [Symbol.dispose]() {
      table.create = create;
      table.update = update;
    },
  };
}

for (const encrypted of [false, true]) {
  Deno.test(`a${encrypted ? "n encrypted" : ""} snapshot whose begin the tables cut off is being written or not there`, async () => {
    await using world = await startLateWorld({ namePatienceMs: 1 });
    const { tables } = world;
    const parent = world.process();
    await parent.open({ snapshot_id: "snap-plain", size_bytes });
    await parent.write("snap-plain", 0, new Uint8Array(directBlockBytes).fill(7));
    await parent.seal({ snapshot_id: "snap-plain" });
    for (const changes of [0, 1, 2]) {
      const direct = world.process();
      const snapshot_id = `snap-${changes}`;
      const request = { snapshot_id, size_bytes, parent_id: "snap-plain", encrypted };
      {
        using _away = goesAway(tables.volumes, changes);
        await direct.open(request).catch((error) => assert.equal(error.code, "ServiceUnavailable"));
      }
      const row = (await tables.volumes.read(`vol-direct-${changes}`))?.value;
      assert.equal(row !== undefined, changes > 0);
      if (row === undefined) continue;
      // Of an encrypted one the tables learn when they are back.
      await untilWorks(
        "it is being written",
        async () => (await direct.describe(snapshot_id)).state === "pending",
      );
      await untilWorks("whoever asks again is told so", () => direct.open(request));
    }
  });
}

Deno.test("an encrypted snapshot that is deleted while it is begun is deleted, with all that came of it", async () => {
  await using world = await startLateWorld();
  const { late, tables } = world;
  const direct = world.process();
  await direct.open({ snapshot_id: "snap-plain", size_bytes });
  await direct.write("snap-plain", 0, new Uint8Array(directBlockBytes).fill(7));
  await direct.seal({ snapshot_id: "snap-plain" });
  late.holds = "chunks/vol-direct-1/";
  const request = { snapshot_id: "snap-1", size_bytes, parent_id: "snap-plain", encrypted: true };
  const opening = Promise.allSettled([direct.open(request)]);
  await until("it is being filled", () => late.held.length > 0);
  const deleting = direct.delete("snap-1");
  late.holds = undefined;
  for (const { land } of late.held) land();
  await opening;
  await deleting;
  assert.equal(await tables.volumes.read("vol-direct-1"), undefined);
  assert.deepEqual([...late.objects.keys()].filter((key) => key.includes("vol-direct-1/")), []);
});
