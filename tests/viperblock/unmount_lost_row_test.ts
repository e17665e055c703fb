/** The state tables go away just when an unmount has moved everything to the object store: nobody is left without the volume. */
import assert from "node:assert/strict";
import { Conflict } from "../../services/state/table.ts";
import { until } from "../kit/until.ts";
import { NbdClient } from "./nbd_client.ts";
import { startOneRow, volume_id } from "./one_row.ts";

const block = 4096;

Deno.test("a volume whose unmount the tables did not take is served again, and unmounted when they are back", async () => {
  await using world = await startOneRow();
  const { mounts, socket } = world;
  await mounts.mount(volume_id);
  const content = new Uint8Array(block).fill(7);
  const client = await NbdClient.connect(socket, volume_id);
  await client.write(0, content);
  world.isAway = true;
  await assert.rejects(mounts.unmount(volume_id));
  assert.equal(world.row.mounted_on, "node-1");
  world.isAway = false;
  const again = await until(
    "the volume is served again",
    () => NbdClient.connect(socket, volume_id).catch(() => undefined),
  );
  assert.deepEqual(await again.read(0, block), content);
  await again.write(block, content);
  await again[Symbol.asyncDispose]();
  assert.equal(await mounts.unmount(volume_id), true);
  assert.deepEqual([world.row.mounted_on, world.row.map?.mapped_blocks], [undefined, 2]);
});

Deno.test("a volume whose unmount lands late in the tables is not mounted again by whoever served it on", async () => {
  await using world = await startOneRow();
  const { mounts } = world;
  await mounts.mount(volume_id);
  world.isAway = true;
  await assert.rejects(mounts.unmount(volume_id));
  // Just when the next engine is to begin, what the tables were sent before is taken.
  let updates = 0;
  world.updating = () => {
    if (updates++ > 0) return;
    const { mounted_on: _, ...unmounted } = world.row;
    world.row = unmounted;
    world.isAway = false;
    throw new Conflict(volume_id);
  };
  await until("it was begun", () => updates > 0);
  await mounts.settled(volume_id);
  assert.deepEqual([world.row.mounted_on, mounts.count, updates], [undefined, 0, 1]);
});
