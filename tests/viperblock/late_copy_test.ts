/** An encrypted copy that failed and is made again, while the store still has something of the first to come. */
import assert from "node:assert/strict";
import { directBlockBytes } from "../../services/viperblock/contract.ts";
import { blockBytes } from "../../services/viperblock/format.ts";
import type { SavedMap } from "../../services/viperblock/maps/map_objects.ts";
import { readBlocks, readStoredMap } from "../../services/viperblock/maps/stored_map.ts";
import { until } from "../kit/until.ts";
import { encryptedCopy, startLateWorld } from "./late_world.ts";

const size_bytes = 2 * directBlockBytes;
const blocks = size_bytes / blockBytes;

for (const late of ["chunks/", "maps/"] as const) {
  for (const what of ["volume", "snapshot"] as const) {
    Deno.test(`what a failed encrypted copy had on its way to ${late} is not in the ${what} that is made after it`, async () => {
      await using world = await startLateWorld();
      const { late: held, store, tables } = world;
      const direct = world.process();
      await direct.open({ snapshot_id: "snap-plain", size_bytes });
      for (const index of [0, 1]) {
        await direct.write("snap-plain", index, new Uint8Array(directBlockBytes).fill(7));
      }
      await direct.seal({ snapshot_id: "snap-plain" });
      const copy = () => encryptedCopy(world, what, size_bytes);
      held.holds = late;
      const failing = copy();
      await until("something of it is under way", () => held.held.length === 1);
      held.holds = undefined;
      held.held[0]?.fail();
      await assert.rejects(failing);
      await copy();
      held.held[0]?.land();
      const row = what === "volume"
        ? await tables.volumes.read("vol-1")
        : await tables.snapshots.read("snap-1");
      const map = row?.value.map as SavedMap;
      const found = await readBlocks(store, await readStoredMap(store, map, blocks), 0, blocks);
      assert.ok(found.every((byte) => byte === 7));
    });
  }
}
