/** What becomes of an engine that has just been started when its volume's row cannot be written, or is somebody else's by then. */
import assert from "node:assert/strict";
import { unavailable } from "../../services/aws/errors.ts";
import { until } from "../kit/until.ts";
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

Deno.test("a damaged volume that was set aside, and is deleted while it is mounted again, is served no more", async () => {
  await using world = await startOneRow();
  const { mounts } = world;
  await mounts.mount(volume_id);
  await mounts.volumes.get(volume_id)?.stop();
  await until("it has ended", () => mounts.count === 0);
  world.row = { ...world.row, damage: "its files were damaged", set_aside: true };
  world.changed = () => {
    world.changed = () => {};
    world.row = { ...world.row, state: "deleting" };
  };
  await assert.rejects(mounts.mount(volume_id), { code: "InvalidVolume.NotFound" });
  assert.deepEqual([mounts.count, world.openLogs()], [0, 0]);
  assert.equal(world.row.set_aside, true);
});

Deno.test("a volume that grew while its engine started has its size, and counts as served, though the tables went away just then", async () => {
  await using world = await startOneRow();
  const { mounts, socket } = world;
  await mounts.mount(volume_id);
  await mounts.volumes.get(volume_id)?.stop();
  await until("it has ended", () => mounts.count === 0);
  let reads = 0;
  world.reading = () => {
    if (++reads !== 2) return;
    world.row = { ...world.row, size_bytes: 32 << 20 };
    throw unavailable("The state store");
  };
  await mounts.restore();
  await until("it was tried again", () => reads > 3);
  await mounts.settled(volume_id);
  assert.deepEqual([mounts.count, [...mounts.down]], [1, []]);
  await using client = await NbdClient.connect(socket, volume_id);
  await client.write((32 << 20) - 4096, new Uint8Array(4096).fill(7));
});
