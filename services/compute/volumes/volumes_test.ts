import assert from "node:assert/strict";
import { unavailable } from "../../aws/errors.ts";
import { instanceRecord, testConfig } from "../../../tests/kit/compute.ts";
import { alice, bob, startResourceSide } from "../../../tests/kit/resource_side.ts";
import { newId } from "../../resources/ids.ts";
import { VolumeKeeper } from "./volume_keeper.ts";
import { performanceOf } from "./volume_performance.ts";
import { until } from "../../../tests/kit/until.ts";

const az = testConfig.az;

Deno.test("gp3's sizes and speeds have EC2's limits", () => {
  const volume_type = "gp3";
  const of = (size_gib: number, iops?: number, throughput?: number) =>
    performanceOf({ volume_type, size_gib, iops, throughput });
  assert.deepEqual(of(1), { volume_type, iops: 3000, throughput: 125 });
  assert.deepEqual(of(100, 16_000, 1000), { volume_type, iops: 16_000, throughput: 1000 });
  assert.deepEqual(of(16_384, 80_000, 2000), { volume_type, iops: 80_000, throughput: 2000 });
  const refused = (code: string, ...values: Parameters<typeof of>) =>
    assert.throws(() => of(...values), { code });
  refused("InvalidParameterValue", 0, undefined, undefined);
  refused("InvalidParameterValue", -1, undefined, undefined);
  // The block store's largest; gp3 has 64 TiB at AWS.
  refused("InvalidParameterValue", 16_385, undefined, undefined);
  refused("InvalidParameterValue", 65_536, undefined, undefined);
  refused("InvalidParameterValue", 10, 2999, undefined);
  refused("InvalidParameterValue", 1000, 80_001, undefined);
  refused("InvalidParameterValue", 10, undefined, 124);
  refused("InvalidParameterValue", 10, undefined, 2001);
  refused("InvalidParameterValue", 10, 5001, undefined);
  refused("InvalidParameterCombination", 10, 3000, 751);
});

Deno.test("volumes over the bus", async (t) => {
  await using world = await startResourceSide();
  const { ask, store, instances } = world;
  const create = async () =>
    (await ask("CreateVolume", { AvailabilityZone: az, Size: 8 })).VolumeId ?? "";
  const stateOf = async (id: string) =>
    (await ask("DescribeVolumes", { VolumeIds: [id] })).Volumes?.[0]?.State;

  await t.step("a volume is made, shown and deleted", async () => {
    const made = await ask("CreateVolume", {
      AvailabilityZone: az,
      Size: 8,
      TagSpecifications: [{ ResourceType: "volume", Tags: [{ Key: "Name", Value: "data" }] }],
    });
    const id = made.VolumeId ?? "";
    assert.match(id, /^vol-[0-9a-f]{17}$/);
    assert.equal(store.volumes.get(id)?.size_bytes, 8 * 2 ** 30);
    const { Volumes: [volume] = [] } = await ask("DescribeVolumes", { VolumeIds: [id] });
    assert.ok(!Number.isNaN(Date.parse(volume?.CreateTime ?? "")));
    assert.deepEqual({ ...volume, CreateTime: "" }, {
      Attachments: [],
      AvailabilityZone: az,
      AvailabilityZoneId: "apse2-az1",
      CreateTime: "",
      Encrypted: false,
      Iops: 100,
      MultiAttachEnabled: false,
      Size: 8,
      SnapshotId: "",
      State: "available",
      Tags: [{ Key: "Name", Value: "data" }],
      VolumeId: id,
      VolumeType: "gp2",
    });
    const { VolumeStatuses: [status] = [] } = await ask("DescribeVolumeStatus", {
      VolumeIds: [id],
    });
    assert.equal(status?.VolumeStatus?.Status, "ok");
    await ask("DeleteVolume", { VolumeId: id });
    await until("the deletion", () => !store.volumes.has(id));
    await until("the record goes", () => world.state.volumes.get(alice, id) === undefined);
    await assert.rejects(stateOf(id), { code: "InvalidVolume.NotFound" });
    await assert.rejects(ask("DeleteVolume", { VolumeId: id }), { code: "InvalidVolume.NotFound" });
  });

  await t.step("what cannot be made is refused in EC2's words, and makes nothing", async () => {
    const refused = async (code: string, input: object) =>
      await assert.rejects(ask("CreateVolume", { AvailabilityZone: az, Size: 1, ...input }), {
        code,
      });
    await refused("InvalidZone.NotFound", { AvailabilityZone: "ap-southeast-2b" });
    await refused("UnknownVolumeType", { VolumeType: "gp4" });
    await refused("InvalidParameterValue", { Size: 0 });
    await refused("InvalidParameterValue", { Size: 16_385 });
    await refused("InvalidParameterDependency", { KmsKeyId: "alias/aws/ebs" });
    await refused("InvalidParameterValue", { Encrypted: true, KmsKeyId: "alias/other" });
    await refused("InvalidParameterCombination", { MultiAttachEnabled: true });
    await refused("InvalidSnapshotID.Malformed", { SnapshotId: "snap-zz" });
    await refused("InvalidParameterValue", { SnapshotId: "zz" });
    await refused("InvalidSnapshot.NotFound", { SnapshotId: newId("snap-") });
    await refused("DryRunOperation", { DryRun: true });
    await refused("InvalidZone.NotFound", { DryRun: true, AvailabilityZone: "x" });
    await refused("InvalidParameterCombination", { AvailabilityZoneId: "apse2-az1" });
    await assert.rejects(ask("CreateVolume", { Size: 1 }), { code: "MissingParameter" });
    await assert.rejects(ask("CreateVolume", { AvailabilityZone: az }), {
      code: "MissingParameter",
    });
    store.available_bytes = 2 ** 30;
    await refused("InsufficientVolumeCapacity", { Size: 2 });
    store.available_bytes = 2 ** 40;
    store.before = (call) => {
      if (call === "ebs.volume.create") throw new Error("disk full");
    };
    await refused("InternalError", {});
    store.before = () => {};
    await until("nothing is left", () => [...world.state.volumes.all()].length === 0);
    assert.equal(store.volumes.size, 0);
  });

  await t.step("a client token makes one volume, also of many requests at once", async () => {
    const request = { AvailabilityZone: az, Size: 1, ClientToken: "once" };
    const made = await Promise.all(
      Array.from({ length: 10 }, () => ask("CreateVolume", request)),
    );
    const ids = new Set(made.map((one) => one.VolumeId));
    assert.equal(ids.size, 1);
    assert.equal(store.volumes.size, 1);
    await assert.rejects(ask("CreateVolume", { ...request, Size: 2 }), {
      code: "IdempotentParameterMismatch",
    });
    const [id = ""] = ids;
    await ask("DeleteVolume", { VolumeId: id });
    await until("the deletion", () => world.state.volumes.get(alice, id) === undefined);
    await assert.rejects(ask("CreateVolume", request), { code: "IdempotentParameterMismatch" });
  });

  await t.step("attach and detach follow EC2's rules", async () => {
    const volume = await create();
    const running = instanceRecord({ account_id: alice });
    const elsewhere = instanceRecord({ account_id: alice, az: "ap-southeast-2b" });
    const pending = instanceRecord({ account_id: alice, state: "pending" });
    const other = instanceRecord({ account_id: bob });
    for (const one of [running, elsewhere, pending, other]) await instances.create(one);
    const attach = (InstanceId: string, more: object = {}) =>
      ask("AttachVolume", { VolumeId: volume, InstanceId, Device: "/dev/sdf", ...more });
    const refused = async (code: string, work: Promise<unknown>) =>
      await assert.rejects(work, { code });
    await refused("InvalidInstanceID.NotFound", attach(newId("i-")));
    await refused("InvalidInstanceID.Malformed", attach("i-xyz"));
    await refused("InvalidInstanceID.NotFound", attach(other.instance_id));
    await refused("InvalidVolume.ZoneMismatch", attach(elsewhere.instance_id));
    await refused("IncorrectState", attach(pending.instance_id));
    await refused("InvalidParameterValue", attach(running.instance_id, { Device: "/dev/zz" }));
    await refused("DryRunOperation", attach(running.instance_id, { DryRun: true }));
    await refused("IncorrectState", ask("DetachVolume", { VolumeId: volume }));
    assert.equal(await stateOf(volume), "available");

    const attached = await attach(running.instance_id);
    assert.equal(attached.State, "attached");
    assert.equal(attached.Device, "/dev/sdf");
    assert.equal(attached.InstanceId, running.instance_id);
    await refused("VolumeInUse", attach(running.instance_id, { Device: "/dev/sdg" }));
    await refused("VolumeInUse", ask("DeleteVolume", { VolumeId: volume }));
    const second = await create();
    await refused(
      "InvalidParameterValue",
      ask("AttachVolume", {
        VolumeId: second,
        InstanceId: running.instance_id,
        Device: "/dev/xvdf",
      }),
    );
    const chosen = await ask("AttachVolume", {
      VolumeId: second,
      InstanceId: running.instance_id,
      Device: "",
    });
    assert.equal(chosen.Device, "/dev/sdg");
    const found = await ask("DescribeVolumes", {
      Filters: [{ Name: "attachment.instance-id", Values: [running.instance_id] }, {
        Name: "attachment.device",
        Values: ["/dev/sd?"],
      }],
    });
    assert.equal(found.Volumes?.length, 2);
    await refused(
      "InvalidAttachment.NotFound",
      ask("DetachVolume", { VolumeId: volume, InstanceId: elsewhere.instance_id }),
    );
    await refused(
      "InvalidAttachment.NotFound",
      ask("DetachVolume", { VolumeId: volume, Device: "/dev/sdg" }),
    );
    world.plugger.before = (step) => {
      if (step === "unplug") throw unavailable("The guest");
    };
    const detaching = await ask("DetachVolume", { VolumeId: volume });
    assert.equal(detaching.State, "detaching");
    // While the guest does not let go of it, asking again is no error: who hears `IncorrectState` takes it for detached.
    const again = await ask("DetachVolume", {
      VolumeId: volume,
      InstanceId: running.instance_id,
    });
    assert.deepEqual([again.State, again.InstanceId], ["detaching", running.instance_id]);
    const forced = await ask("DetachVolume", { VolumeId: volume, Force: true });
    assert.deepEqual([forced.State, forced.InstanceId], ["detaching", running.instance_id]);
    await refused(
      "InvalidAttachment.NotFound",
      ask("DetachVolume", { VolumeId: volume, InstanceId: elsewhere.instance_id, Force: true }),
    );
    world.plugger.before = () => {};
    await until("the detaching", async () => await stateOf(volume) === "available");
    assert.ok(!store.mounted.has(volume));
  });

  await t.step("the root volume leaves only a stopped instance", async () => {
    const root = await create();
    const instance = instanceRecord({ account_id: alice });
    await instances.create(instance);
    const request = { VolumeId: root, InstanceId: instance.instance_id, Device: "/dev/xvda" };
    await ask("AttachVolume", request);
    assert.equal(instances.get(alice, instance.instance_id)?.attachments[0]?.slot, 0);
    await assert.rejects(ask("DetachVolume", { VolumeId: root }), {
      code: "OperationNotPermitted",
    });
    assert.equal(
      (await ask("DescribeVolumes", { VolumeIds: [root] })).Volumes?.[0]?.Attachments?.[0]?.State,
      "attached",
    );
    await instances.modify(
      alice,
      instance.instance_id,
      (one) => ({ ...one, state: "stopped" }),
    );
    await ask("DetachVolume", { VolumeId: root });
    await until("the detaching", async () => await stateOf(root) === "available");
  });

  await t.step(
    "the status of a volume says how it came by its content, and who has it",
    async () => {
      const plain = await create();
      const { SnapshotId } = await ask("CreateSnapshot", { VolumeId: plain });
      const restore = async (more: object) =>
        (await ask("CreateVolume", { AvailabilityZone: az, SnapshotId, ...more })).VolumeId ?? "";
      const restored = await restore({});
      const quick = await restore({ VolumeInitializationRate: 100 });
      const statusOf = async (id: string) =>
        (await ask("DescribeVolumeStatus", { VolumeIds: [id] })).VolumeStatuses?.[0];
      assert.equal((await statusOf(plain))?.InitializationStatusDetails, undefined);
      const status = await statusOf(restored);
      assert.deepEqual(status?.InitializationStatusDetails, {
        InitializationType: "default",
        Progress: 100,
      });
      assert.deepEqual(status?.VolumeStatus?.Details?.at(-1), {
        Name: "initialization-state",
        Status: "completed",
      });
      assert.deepEqual((await statusOf(quick))?.InitializationStatusDetails, {
        InitializationType: "provisioned-rate",
        Progress: 100,
        EstimatedTimeToCompleteInSeconds: 0,
      });
      const { Volumes: [copy] = [] } = await ask("CopyVolumes", { SourceVolumeId: plain });
      const copied = copy?.VolumeId ?? "";
      await until("it is copied", async () => await stateOf(copied) === "available");
      assert.equal(
        (await statusOf(copied))?.InitializationStatusDetails?.InitializationType,
        "volume-copy",
      );
      const found = async (Name: string, value: string) =>
        (await ask("DescribeVolumeStatus", { Filters: [{ Name, Values: [value] }] })).VolumeStatuses
          ?.map((one) => one.VolumeId).sort();
      assert.deepEqual(
        await found("volume-status.details-name", "initialization-state"),
        [restored, quick, copied].sort(),
      );
      const instance = instanceRecord({ account_id: alice });
      await instances.create(instance);
      const InstanceId = instance.instance_id;
      await ask("AttachVolume", { VolumeId: plain, InstanceId, Device: "/dev/sdf" });
      assert.deepEqual(await found("attachment-status.instance-id", InstanceId), [plain]);
      assert.deepEqual((await statusOf(plain))?.AttachmentStatuses, [{
        InstanceId,
        IoPerformance: "not-applicable",
      }]);
    },
  );

  await t.step("a volume that the block store lost is impaired, and is found by that", async () => {
    const volume = await create();
    store.volumes.delete(volume);
    const { VolumeStatuses: impaired = [] } = await ask("DescribeVolumeStatus", {
      Filters: [{ Name: "volume-status.status", Values: ["impaired"] }],
    });
    assert.deepEqual(impaired.map((one) => one.VolumeId), [volume]);
  });

  await t.step("a volume that can only be read, because it is damaged, is impaired", async () => {
    const volume = await create();
    const stored = store.volumes.get(volume);
    assert.ok(stored !== undefined);
    store.volumes.set(volume, { ...stored, damage: "batch 7 cannot be read" });
    const { VolumeStatuses: [status] = [] } = await ask("DescribeVolumeStatus", {
      VolumeIds: [volume],
    });
    assert.equal(status?.VolumeStatus?.Status, "impaired");
  });

  await t.step("another account's volume is not there", async () => {
    const volume = await create();
    const refused = async (work: Promise<unknown>) =>
      await assert.rejects(work, { code: "InvalidVolume.NotFound" });
    const Resources = [volume];
    await refused(ask("DescribeVolumes", { VolumeIds: [volume] }, bob));
    await refused(ask("DeleteVolume", { VolumeId: volume }, bob));
    await refused(ask("DetachVolume", { VolumeId: volume }, bob));
    await refused(ask("CreateTags", { Resources, Tags: [{ Key: "a", Value: "b" }] }, bob));
    assert.deepEqual((await ask("DescribeVolumes", {}, bob)).Volumes, []);
  });
});

Deno.test("work on volumes that a dead process left is taken up at the next start", async () => {
  await using world = await startResourceSide();
  const { store, state, side } = world;
  await side.stop();
  const record = async (volume_id: string, change: "creating" | "deleting") => {
    await side.keeper.provision({ volume_id, account_id: alice, size_gib: 1, tags: {} });
    await state.volumes.modify(alice, volume_id, (one) => ({ ...one, state: change }));
  };
  const creating = newId("vol-");
  const deleting = newId("vol-");
  await record(creating, "creating");
  await record(deleting, "deleting");
  store.volumes.delete(creating);
  store.mounted.add(deleting);
  const next = new VolumeKeeper(side.keeper.dependencies);
  next.sweep();
  await until("the creation", () => state.volumes.get(alice, creating)?.state === "available");
  await until("the deletion", () => state.volumes.get(alice, deleting) === undefined);
  assert.deepEqual([...store.volumes.keys()], [creating]);
  assert.equal(store.mounted.size, 0);
  await next.stop();
});

Deno.test("volumes of instances that are no more are let go, and never deleted by inference", async () => {
  await using world = await startResourceSide();
  const { state, instances, side, store } = world;
  const held = async (instance_id: string, delete_on_termination: boolean, age_ms: number) => {
    const volume_id = newId("vol-");
    await side.keeper.provision({
      volume_id,
      account_id: alice,
      size_gib: 1,
      tags: {},
      attachment: {
        instance_id,
        node_id: testConfig.node_id,
        device: "/dev/xvda",
        status: "attached",
        attach_time: new Date(Date.now() - age_ms).toISOString(),
        delete_on_termination,
        slot: 0,
      },
    });
    store.mounted.add(volume_id);
    return volume_id;
  };
  const hour = 3600_000;
  const running = await instances.create(instanceRecord({ account_id: alice }));
  const ended = await instances.create(
    instanceRecord({ account_id: alice, state: "terminated" }),
  );
  const inUse = await held(running.instance_id, true, hour);
  const young = await held(newId("i-"), true, 0);
  const goes = await held(ended.instance_id, true, hour);
  const stays = await held(ended.instance_id, false, hour);
  const lost = await held(newId("i-"), true, hour);
  side.keeper.sweep();
  const stateOf = (id: string) => state.volumes.get(alice, id)?.state;
  await until("the deletion", () => stateOf(goes) === undefined);
  await until("the release", () => stateOf(stays) === "available");
  await until("the rescue", () => stateOf(lost) === "available");
  assert.deepEqual([stateOf(inUse), stateOf(young)], ["in-use", "in-use"]);
  assert.deepEqual([...store.mounted].sort(), [inUse, young].sort());

  // The copy that this process has may lack a record that is there: the server is asked.
  const real = instances.table.get.bind(instances.table);
  instances.table.get = (key) => key.endsWith(running.instance_id) ? undefined : real(key);
  side.keeper.sweep();
  await side.keeper.stop();
  assert.equal(stateOf(inUse), "in-use");
});
