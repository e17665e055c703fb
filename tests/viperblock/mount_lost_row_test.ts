/** What becomes of an engine that has just been started when its volume's row cannot be written, or is somebody else's by then. */
import assert from "node:assert/strict";
import { NbdClient } from "./nbd_client.ts";
import { startOneRow, volume_id } from "./one_row.ts";

Deno.test("an engine whose mount the tables did not take to its end is no more, and the next mount has the log for itself", async () => {
  await using world = await startOneRow();
  const { mounts, socket } = world;
  // Whole again: the row has to be told so when its engine is there.
  world.row = { ...world.row, damage: "its files were damaged" };
  world.changed = () => world.isAway = true;
  await assert.rejects(mounts.mount(volume_id), { code: "ServiceUnavailable" });
  assert.equal(world.openLogs(), 0);
  world.changed = () => {};
  world.isAway = false;
  await mounts.mount(volume_id);
  assert.equal(world.row.damage, undefined);
  await using client = await NbdClient.connect(socket, volume_id);
  await client.write(0, new Uint8Array(4096).fill(7));
});

Deno.test("a volume that another node takes over while its engine starts is not served here", async () => {
  await using world = await startOneRow();
  const { mounts } = world;
  world.changed = () => {
    world.changed = () => {};
    world.row = { ...world.row, epoch: world.row.epoch + 1, mounted_on: "node-2" };
  };
  await assert.rejects(mounts.mount(volume_id), { code: "VolumeInUse" });
  assert.equal(mounts.count, 0);
  await mounts.stop();
  assert.equal(world.openLogs(), 0);
});
