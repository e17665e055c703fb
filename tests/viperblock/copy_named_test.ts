/** The state tables do not answer when an encrypted copy is whole: it gets its name as soon as they do. */
import assert from "node:assert/strict";
import { directBlockBytes } from "../../services/viperblock/contract.ts";
import { blockBytes } from "../../services/viperblock/format.ts";
import type { SavedMap } from "../../services/viperblock/maps/map_objects.ts";
import { readBlocks, readStoredMap } from "../../services/viperblock/maps/stored_map.ts";
import { until } from "../kit/until.ts";
import { startLateWorld } from "./late_world.ts";

const size_bytes = directBlockBytes;
const blocks = size_bytes / blockBytes;

/** The first calls of a method fail, before or after they have done what they are for. */
function failing<Name extends string>(
  of: { [name in Name]: (...values: never[]) => Promise<unknown> },
  name: Name,
  when: "before" | "after",
): () => number {
  const real = of[name].bind(of) as (...values: unknown[]) => Promise<unknown>;
  let failures = 0;
  const fails = async (...values: unknown[]) => {
    if (failures === 3) return await real(...values);
    failures++;
    if (when === "after" && failures === 1) await real(...values);
    throw new Error("the tables do not answer");
  };
  of[name] = fails as typeof of[Name];
  return () => failures;
}

for (const when of ["before", "after"] as const) {
  for (const what of ["volume", "snapshot"] as const) {
    Deno.test(`an encrypted ${what} is made although the tables fail ${when} they have taken its row`, async () => {
      await using world = await startLateWorld();
      const { store, tables, volumes, snapshots } = world;
      const direct = world.process();
      await direct.open({ snapshot_id: "snap-plain", size_bytes });
      await direct.write("snap-plain", 0, new Uint8Array(directBlockBytes).fill(7));
      await direct.seal({ snapshot_id: "snap-plain" });
      const request = {
        volume_id: "vol-1",
        size_bytes,
        snapshot_id: "snap-plain",
        encrypted: true,
      };
      const failures = what === "volume"
        ? failing(tables.volumes, "modify", when)
        : failing(tables.snapshots, "create", when);
      const copy = () =>
        what === "volume" ? volumes.create(request) : snapshots.copy("snap-plain", "snap-1", true);
      const made = await copy();
      assert.ok(failures() > 0);
      assert.deepEqual(await copy(), made, "whoever asks again is told the same");
      const row = what === "volume"
        ? await tables.volumes.read("vol-1")
        : await tables.snapshots.read("snap-1");
      assert.equal(row?.value.state, "ok");
      const left = tables.volumes.list().filter(({ value }) => value.state === "deleting");
      assert.deepEqual(left, [], "nothing half made is left");
      const map = row.value.map as SavedMap;
      const found = await readBlocks(store, await readStoredMap(store, map, blocks), 0, blocks);
      assert.ok(found.every((byte) => byte === 7));
    });
  }
}

Deno.test("an encrypted copy whose id has become another snapshot's says so, and nothing of it is left", async () => {
  await using world = await startLateWorld();
  const { late, tables, snapshots } = world;
  const direct = world.process();
  await direct.open({ snapshot_id: "snap-plain", size_bytes });
  await direct.write("snap-plain", 0, new Uint8Array(directBlockBytes).fill(7));
  await direct.seal({ snapshot_id: "snap-plain" });
  late.holds = "chunks/vol-copy-1/";
  const copying = snapshots.copy("snap-plain", "snap-1", true);
  await until("it is being filled", () => late.held.length > 0);
  await direct.open({ snapshot_id: "snap-1", size_bytes });
  await direct.seal({ snapshot_id: "snap-1" });
  late.holds = undefined;
  for (const { land } of late.held) land();
  await assert.rejects(copying, { code: "IdempotentParameterMismatch" });
  assert.equal((await snapshots.describe("snap-1")).stored_bytes, 0, "the other is as it was");
  assert.equal(await tables.volumes.read("vol-copy-1"), undefined);
  assert.deepEqual([...late.objects.keys()].filter((key) => key.includes("vol-copy-1/")), []);
});
