/**
 * What a process that died, or a try that failed, left on its way to the object store lands late: what was acknowledged
 * since is in the snapshot all the same. Tables are real; the store keeps objects in memory, and puts back until told.
 */
import assert from "node:assert/strict";
import { until } from "../../../tests/kit/until.ts";
import { startLateWorld } from "../../../tests/viperblock/late_world.ts";
import { directBlockBytes } from "../contract.ts";
import type { DirectAccess } from "./direct_access.ts";

const size_bytes = 8 << 20;
const block = (fill: number) => new Uint8Array(directBlockBytes).fill(fill);

async function filledWith(direct: DirectAccess, id: string, index: number): Promise<number> {
  const bytes = await direct.read(id, index);
  assert.ok(bytes.every((byte) => byte === bytes[0]));
  return bytes[0] as number;
}

Deno.test("a block that a dead process had under way replaces none that was acknowledged since", async () => {
  await using world = await startLateWorld();
  const { late: store, process } = world;
  const first = process();
  await first.open({ snapshot_id: "snap-1", size_bytes });
  await first.write("snap-1", 0, block(1));
  store.holds = "chunks/";
  const lost = [first.write("snap-1", 5, block(2)), first.write("snap-1", 6, block(2))];
  await until("they are under way", () => store.held.length === 2);
  // One that ends before anything of it has landed.
  const second = process();
  lost.push(second.write("snap-1", 6, block(3)));
  await until("that is too", () => store.held.length === 3);
  store.holds = undefined;
  const third = process();
  await third.write("snap-1", 9, block(4));
  await third.write("snap-1", 5, block(5));
  await third.write("snap-1", 6, block(6));
  for (const { land } of store.held) land();
  await Promise.all(lost);
  await third.seal({ snapshot_id: "snap-1" });
  const found: number[] = [];
  for (const index of [0, 5, 6, 9]) found.push(await filledWith(third, "snap-1", index));
  assert.deepEqual(found, [1, 5, 6, 4]);
});

for (const who of ["the same process", "the next process"] as const) {
  Deno.test(`a map that a sealing had under way when it failed does not replace that of ${who}`, async () => {
    await using world = await startLateWorld();
    const { late: store, process } = world;
    const first = process();
    await first.open({ snapshot_id: "snap-1", size_bytes });
    await first.write("snap-1", 0, block(1));
    store.holds = "maps/";
    const failed = first.seal({ snapshot_id: "snap-1" });
    await until("its map is under way", () => store.held.length === 1);
    store.holds = undefined;
    const [late] = store.held;
    let now = first;
    if (who === "the same process") {
      late?.fail();
      await assert.rejects(failed);
    } else now = process();
    await now.write("snap-1", 1, block(2));
    await now.write("snap-1", 0, block(3));
    await now.seal({ snapshot_id: "snap-1" });
    late?.land();
    await failed.catch(() => {});
    const reader = process();
    assert.equal(await filledWith(reader, "snap-1", 0), 3);
    assert.equal(await filledWith(reader, "snap-1", 1), 2);
  });
}

Deno.test("a snapshot is not given up before what is being written to it is there to be removed", async () => {
  await using world = await startLateWorld();
  const { late: store, process } = world;
  const direct = process();
  await direct.open({ snapshot_id: "snap-1", size_bytes });
  store.holds = "chunks/";
  const writing = direct.write("snap-1", 0, block(1));
  await until("it is under way", () => store.held.length === 1);
  let isOver = false;
  const abandoning = direct.abandon("snap-1").then(() => isOver = true);
  await until(
    "it is not being written any more",
    () => direct.describe("snap-1").then(() => false, () => true),
  );
  assert.equal(isOver, false);
  store.held[0]?.land();
  await Promise.all([writing, abandoning]);
  assert.deepEqual([...store.objects.keys()], []);
});
