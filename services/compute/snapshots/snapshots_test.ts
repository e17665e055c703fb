import assert from "node:assert/strict";
import { instanceRecord, testConfig } from "../../../tests/kit/compute.ts";
import { alice, type ResourceWorld, startResourceSide } from "../../../tests/kit/resource_side.ts";
import { until } from "../../../tests/kit/until.ts";
import { AwsError } from "../../aws/errors.ts";

async function volumeIn({ ask, state }: ResourceWorld): Promise<string> {
  const { VolumeId = "" } = await ask("CreateVolume", {
    AvailabilityZone: testConfig.az,
    Size: 1,
  });
  await until("the volume", () => state.volumes.get(alice, VolumeId)?.state === "available");
  return VolumeId;
}

/** Records of snapshots go only when they are let go. */
function holdRecords({ state: { snapshots } }: ResourceWorld) {
  const going = Promise.withResolvers<void>();
  const letGo = Promise.withResolvers<void>();
  const remove = snapshots.delete.bind(snapshots);
  snapshots.delete = async (...args) => {
    going.resolve();
    await letGo.promise;
    await remove(...args);
  };
  return { going: going.promise, letGo: letGo.resolve };
}

const recorded = ({ state }: ResourceWorld) =>
  [...state.snapshots.all(alice)].map(({ snapshot_id }) => snapshot_id);

const nothingLeft = (world: ResourceWorld) =>
  until("nothing is left", () => recorded(world).length === 0 && world.store.snapshots.size === 0);

Deno.test("a snapshot that is on its way out when the block store has made it is answered to nobody, and goes", async () => {
  await using world = await startResourceSide();
  const { ask, side, store } = world;
  const VolumeId = await volumeIn(world);
  const { going, letGo } = holdRecords(world);
  store.before = async (call) => {
    if (call !== "ebs.snapshot.create") return;
    // The block store knows of none yet: there is only its record to remove.
    assert.equal(await side.snapshots.remove(alice, recorded(world)[0] ?? ""), true);
    await going;
  };
  try {
    await assert.rejects(ask("CreateSnapshot", { VolumeId }), {
      code: "InvalidSnapshot.NotFound",
    });
  } finally {
    letGo();
  }
  await nothingLeft(world);
});

Deno.test("a snapshot that was to be taken at a reboot, and is deleted before, does not come back", async () => {
  for (const isGone of [false, true]) {
    await using world = await startResourceSide();
    const { instances, side, store } = world;
    const volume_id = await volumeIn(world);
    const instance = await instances.create(instanceRecord({ account_id: alice }));
    const snapshot_id = "snap-00000000000000009";
    await world.state.snapshots.create({
      snapshot_id,
      account_id: alice,
      volume_id,
      size_gib: 1,
      awaits_reboot_of: instance.instance_id,
      state: "pending",
      start_time: new Date().toISOString(),
      tags: {},
    });
    const { going, letGo } = holdRecords(world);
    if (isGone) letGo();
    store.before = async (call) => {
      if (call !== "ebs.snapshot.create") return;
      assert.equal(await side.snapshots.remove(alice, snapshot_id), true);
      await going;
      if (isGone) await until("its record is gone", () => recorded(world).length === 0);
    };
    try {
      await side.snapshots.freezeDown(instance);
    } finally {
      letGo();
    }
    await nothingLeft(world);
  }
});

Deno.test("who takes back snapshots that somebody else has removed meanwhile is told why it did", async () => {
  await using world = await startResourceSide();
  const { ask, state: { snapshots }, store } = world;
  const VolumeId = await volumeIn(world);
  store.before = (call) => {
    if (call === "ebs.snapshot.create") throw new AwsError("IncorrectState", "It is damaged.");
  };
  const modify = snapshots.modify.bind(snapshots);
  snapshots.modify = async (account, id, change) => {
    await snapshots.delete(account, id);
    return await modify(account, id, change);
  };
  await assert.rejects(ask("CreateSnapshot", { VolumeId }), { code: "IncorrectState" });
  await nothingLeft(world);
});

Deno.test("of two who delete a snapshot at once, the later one hears that it is not there", async () => {
  await using world = await startResourceSide();
  const { ask, state: { snapshots } } = world;
  const { SnapshotId = "" } = await ask("CreateSnapshot", { VolumeId: await volumeIn(world) });
  const modify = snapshots.modify.bind(snapshots);
  snapshots.modify = async (account, id, change) => {
    await snapshots.delete(account, id);
    return await modify(account, id, change);
  };
  await assert.rejects(ask("DeleteSnapshot", { SnapshotId }), { code: "InvalidSnapshot.NotFound" });
});
