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

/** A copy that the block store is encrypting until it is let go. */
async function copyingIn(world: ResourceWorld) {
  const { ask, store } = world;
  const { SnapshotId: SourceSnapshotId = "" } = await ask("CreateSnapshot", {
    VolumeId: await volumeIn(world),
  });
  const asked = Promise.withResolvers<void>();
  const letGo = Promise.withResolvers<void>();
  store.before = async (call) => {
    if (call !== "ebs.snapshot.copy") return;
    asked.resolve();
    await letGo.promise;
  };
  const { SnapshotId = "" } = await ask("CopySnapshot", {
    SourceRegion: testConfig.region,
    SourceSnapshotId,
    Encrypted: true,
  });
  await asked.promise;
  return { SourceSnapshotId, SnapshotId, letGo: letGo.resolve };
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

Deno.test("a keeper that stops waits also for what was begun while it waited", async () => {
  await using world = await startResourceSide();
  const { instances, side, state, store } = world;
  const volume_id = await volumeIn(world);
  const instance = await instances.create(instanceRecord({ account_id: alice }));
  const snapshot_id = "snap-00000000000000008";
  await state.snapshots.create({
    snapshot_id,
    account_id: alice,
    volume_id,
    size_gib: 1,
    awaits_reboot_of: instance.instance_id,
    state: "pending",
    start_time: new Date(Date.now() - 3600_000).toISOString(),
    tags: {},
  });
  const freezing = Promise.withResolvers<void>();
  const frozen = Promise.withResolvers<void>();
  const deleting = Promise.withResolvers<void>();
  const deleted = Promise.withResolvers<void>();
  store.before = async (call) => {
    if (call === "ebs.snapshot.create") {
      freezing.resolve();
      await frozen.promise;
    }
    if (call === "ebs.snapshot.delete") {
      deleting.resolve();
      await deleted.promise;
    }
  };
  side.snapshots.sweep();
  await freezing.promise;
  // Its record goes meanwhile, so that what the block store has made is to be removed again.
  await state.snapshots.delete(alice, snapshot_id);
  let isStopped = false;
  const stopped = side.snapshots.stop().then(() => isStopped = true);
  frozen.resolve();
  try {
    await deleting.promise;
    // A stop that waited for the first work alone would be over by the end of this round trip.
    await state.snapshots.table.read("nobody.none");
    assert.equal(isStopped, false);
  } finally {
    deleted.resolve();
  }
  await stopped;
  assert.deepEqual(recorded(world), []);
});

Deno.test("what is being copied and encrypted is kept by the block store until the copy is whole", async () => {
  await using world = await startResourceSide();
  const { ask, side, state, store } = world;
  const { SourceSnapshotId, SnapshotId, letGo } = await copyingIn(world);
  try {
    await ask("DeleteSnapshot", { SnapshotId: SourceSnapshotId });
    await assert.rejects(ask("DescribeSnapshots", { SnapshotIds: [SourceSnapshotId] }), {
      code: "InvalidSnapshot.NotFound",
    });
    const source = [...state.snapshots.all(alice)]
      .find((one) => one.snapshot_id === SourceSnapshotId);
    assert.ok(source);
    assert.equal(await side.snapshots.finish(source), false);
  } finally {
    letGo();
  }
  await until(
    "the copy is settled",
    () => state.snapshots.get(alice, SnapshotId)?.state !== "pending",
  );
  assert.equal(state.snapshots.get(alice, SnapshotId)?.state, "completed");
  await until("its source is gone", () => recorded(world).length === 1);
  assert.deepEqual([...store.snapshots.keys()], [SnapshotId]);
});

Deno.test("a copy that is deleted while it is being encrypted leaves nothing in the block store", async () => {
  await using world = await startResourceSide();
  const { ask, store } = world;
  const { SourceSnapshotId, SnapshotId, letGo } = await copyingIn(world);
  try {
    await ask("DeleteSnapshot", { SnapshotId });
    await until("its record is gone", () => recorded(world).length === 1);
  } finally {
    letGo();
  }
  await until(
    "it was copied",
    () => store.calls.filter((one) => one === "ebs.snapshot.delete").length > 1,
  );
  await until("it is gone", () => !store.snapshots.has(SnapshotId) && recorded(world).length === 1);
  assert.deepEqual([...store.snapshots.keys()], [SourceSnapshotId]);
});

Deno.test("what a launch has yet to make a volume of is kept by the block store until it is made", async () => {
  await using world = await startResourceSide();
  const { ask, instances, side, state, store } = world;
  const { SnapshotId = "" } = await ask("CreateSnapshot", { VolumeId: await volumeIn(world) });
  // As RunInstances leaves it, or a stop that came before the launch had begun.
  const { instance_id } = await instances.create(instanceRecord({
    account_id: alice,
    planned_volumes: [{
      volume_id: "vol-00000000000000001",
      size_gib: 1,
      snapshot_id: SnapshotId,
      tags: {},
    }],
  }));
  await ask("DeleteSnapshot", { SnapshotId });
  const [going] = [...state.snapshots.all(alice)];
  assert.equal(going?.state, "deleting");
  assert.equal(await side.snapshots.finish(going), false);
  assert.ok(store.snapshots.has(SnapshotId));
  await instances.modify(alice, instance_id, ({ planned_volumes: _made, ...now }) => now);
  side.snapshots.sweep();
  await nothingLeft(world);
});

Deno.test("a deletion that was cut off after an image had been registered of the snapshot leaves the image what it stands on", async () => {
  await using world = await startResourceSide();
  const { ask, side, state, store } = world;
  const { SnapshotId = "" } = await ask("CreateSnapshot", { VolumeId: await volumeIn(world) });
  await until("it is stored", () => state.snapshots.get(alice, SnapshotId)?.state === "completed");
  const { ImageId = "" } = await ask("RegisterImage", {
    Name: "standing",
    RootDeviceName: "/dev/xvda",
    BlockDeviceMappings: [{ DeviceName: "/dev/xvda", Ebs: { SnapshotId } }],
  });
  // As who looked for images before there was this one, marked it, and died before looking again.
  const mark = () =>
    state.snapshots.modify(alice, SnapshotId, (now) => ({ ...now, state: "deleting" }));
  assert.equal(await side.snapshots.finish(await mark()), false);
  side.snapshots.sweep();
  await until("it is kept", () => state.snapshots.get(alice, SnapshotId)?.state === "completed");
  assert.ok(store.snapshots.has(SnapshotId));

  // Where the image is going this node has but not heard of it yet.
  const { images } = state;
  const { all } = images;
  const known = [...images.all(alice)];
  await images.delete(alice, ImageId);
  images.all = () => known.values() as ReturnType<typeof all>;
  await mark();
  side.snapshots.sweep();
  await side.snapshots.stop();
  assert.deepEqual([...state.snapshots.all(alice)].map((one) => one.state), ["deleting"]);
  images.all = all;
});
