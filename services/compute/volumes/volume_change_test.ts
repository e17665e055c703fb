/** Changes of volumes in use and their snapshots, over the bus, with a block store of names and sizes. */
import assert from "node:assert/strict";
import { AwsError } from "../../aws/errors.ts";
import { instanceRecord, testConfig } from "../../../tests/kit/compute.ts";
import { alice, startResourceSide } from "../../../tests/kit/resource_side.ts";
import { newId } from "../../resources/ids.ts";
import { until } from "../../../tests/kit/until.ts";

const az = testConfig.az;
const gib = 2 ** 30;

Deno.test("volumes change and are frozen while they are used", async (t) => {
  await using world = await startResourceSide();
  const { ask, store, instances, plugger } = world;
  const create = async (Size = 8) =>
    (await ask("CreateVolume", { AvailabilityZone: az, Size, VolumeType: "gp3" })).VolumeId ?? "";
  const instance = instanceRecord({ account_id: alice });
  await instances.ensure(instance);
  const attached = async (Device: string) => {
    const VolumeId = await create();
    await ask("AttachVolume", { VolumeId, InstanceId: instance.instance_id, Device });
    return VolumeId;
  };
  const modification = async (VolumeId: string) =>
    (await ask("DescribeVolumesModifications", { VolumeIds: [VolumeId] })).VolumesModifications
      ?.[0];

  await t.step(
    "a volume that is attached grows, its guest is told, its record says so",
    async () => {
      const VolumeId = await attached("/dev/sdf");
      const { VolumeModification: begun } = await ask("ModifyVolume", {
        VolumeId,
        Size: 20,
        Iops: 4000,
        Throughput: 250,
      });
      assert.deepEqual(
        { ...begun, StartTime: "" },
        {
          VolumeId,
          ModificationState: "modifying",
          OriginalSize: 8,
          OriginalIops: 3000,
          OriginalThroughput: 125,
          OriginalVolumeType: "gp3",
          OriginalMultiAttachEnabled: false,
          TargetSize: 20,
          TargetIops: 4000,
          TargetThroughput: 250,
          TargetVolumeType: "gp3",
          TargetMultiAttachEnabled: false,
          Progress: 0,
          StartTime: "",
        },
      );
      await until(
        "it is modified",
        async () => (await modification(VolumeId))?.ModificationState === "completed",
      );
      assert.equal((await modification(VolumeId))?.Progress, 100);
      assert.equal(store.volumes.get(VolumeId)?.size_bytes, 20 * gib);
      assert.equal(plugger.grown.get(VolumeId), 20 * gib);
      const { Volumes: [volume] = [] } = await ask("DescribeVolumes", { VolumeIds: [VolumeId] });
      assert.deepEqual([volume?.Size, volume?.Iops, volume?.Throughput, volume?.State], [
        20,
        4000,
        250,
        "in-use",
      ]);
    },
  );

  await t.step("a machine that does not answer is asked again until it does", async () => {
    const VolumeId = await attached("/dev/sdg");
    let refusals = 2;
    plugger.before = (step) => {
      if (step === "grow" && refusals-- > 0) throw new Error("QEMU is busy");
    };
    await ask("ModifyVolume", { VolumeId, Size: 9 });
    await assert.rejects(ask("ModifyVolume", { VolumeId, Size: 10 }), {
      code: "IncorrectModificationState",
    });
    await until(
      "it is modified",
      async () => (await modification(VolumeId))?.ModificationState === "completed",
    );
    plugger.before = () => {};
    assert.equal(plugger.grown.get(VolumeId), 9 * gib);
  });

  await t.step(
    "a change that the block store refuses for good has failed, and another may follow",
    async () => {
      const VolumeId = await create();
      store.before = (call) => {
        if (call === "ebs.volume.resize") throw new AwsError("IncorrectState", "it is damaged");
      };
      await ask("ModifyVolume", { VolumeId, Size: 9 });
      await until(
        "it has failed",
        async () => (await modification(VolumeId))?.ModificationState === "failed",
      );
      store.before = () => {};
      assert.match((await modification(VolumeId))?.StatusMessage ?? "", /damaged/);
      const { Volumes: [volume] = [] } = await ask("DescribeVolumes", { VolumeIds: [VolumeId] });
      assert.equal(volume?.Size, 8);
      await ask("ModifyVolume", { VolumeId, Size: 10 });
      await until(
        "it is modified",
        async () => (await modification(VolumeId))?.ModificationState === "completed",
      );
    },
  );

  await t.step(
    "a root volume becomes none of the hard disk types, nor does an image's",
    async () => {
      const booted = instanceRecord({ account_id: alice });
      await instances.ensure(booted);
      const [root, data] = [await create(), await create()];
      const InstanceId = booted.instance_id;
      await ask("AttachVolume", { VolumeId: root, InstanceId, Device: booted.root_device_name });
      await ask("AttachVolume", { VolumeId: data, InstanceId, Device: "/dev/sdf" });
      for (const VolumeType of ["st1", "sc1"] as const) {
        await assert.rejects(ask("ModifyVolume", { VolumeId: root, Size: 125, VolumeType }), {
          code: "InvalidParameterValue",
        });
        await assert.rejects(
          ask("CreateImage", {
            InstanceId,
            Name: `on ${VolumeType}`,
            BlockDeviceMappings: [{
              DeviceName: booted.root_device_name,
              Ebs: { VolumeSize: 125, VolumeType },
            }],
          }),
          { code: "InvalidBlockDeviceMapping" },
        );
      }
      await assert.rejects(modification(root), { code: "InvalidVolumeModification.NotFound" });
      await ask("ModifyVolume", { VolumeId: data, Size: 125, VolumeType: "st1" });
      await until(
        "it is modified",
        async () => (await modification(data))?.ModificationState === "completed",
      );
    },
  );

  await t.step("what cannot be is refused in EC2's words, and changes nothing", async () => {
    const VolumeId = await create();
    const refused = async (code: string, input: object) =>
      await assert.rejects(ask("ModifyVolume", { VolumeId, ...input }), { code });
    await refused("InvalidParameterValue", { Size: 7 });
    await refused("InvalidParameterValue", { Size: 65_537 });
    await refused("InvalidParameterValue", { Iops: 100 });
    await refused("InvalidParameterValue", { Iops: 10_000 });
    await refused("InvalidParameterValue", { VolumeType: "io1", Iops: 401 });
    await refused("UnknownVolumeType", { VolumeType: "gp4" });
    await refused("MissingParameter", {});
    await refused("InvalidVolume.NotFound", { VolumeId: newId("vol-"), Size: 9 });
    await refused("DryRunOperation", { Size: 9, DryRun: true });
    await assert.rejects(modification(VolumeId), { code: "InvalidVolumeModification.NotFound" });
    assert.equal(store.volumes.get(VolumeId)?.size_bytes, 8 * gib);
  });

  await t.step(
    "what is made of a volume that is growing is as large as what was frozen",
    async () => {
      const grower = instanceRecord({ account_id: alice });
      await instances.ensure(grower);
      const VolumeId = await create();
      const Device = grower.root_device_name;
      await ask("AttachVolume", { VolumeId, InstanceId: grower.instance_id, Device });
      // So that what is frozen is stored at once.
      store.mounted.delete(VolumeId);
      // The block store has grown it, and the machine does not hear of it yet.
      plugger.before = (step) => {
        if (step === "grow") throw new Error("QEMU is busy");
      };
      await ask("ModifyVolume", { VolumeId, Size: 12 });
      await until("it grows", () => store.volumes.get(VolumeId)?.size_bytes === 12 * gib);
      assert.equal((await modification(VolumeId))?.ModificationState, "modifying");
      const frozen = await ask("CreateSnapshot", { VolumeId });
      assert.equal(frozen.VolumeSize, 12);
      const restored = await ask("CreateVolume", {
        AvailabilityZone: az,
        SnapshotId: frozen.SnapshotId,
      });
      assert.equal(restored.Size, 12);
      const { Volumes: [copy] = [] } = await ask("CopyVolumes", { SourceVolumeId: VolumeId });
      const copied = async () =>
        (await ask("DescribeVolumes", { VolumeIds: [copy?.VolumeId ?? ""] })).Volumes?.[0];
      await until("it is copied", async () => (await copied())?.State === "available");
      assert.equal((await copied())?.Size, 12);
      assert.equal(store.volumes.get(copy?.VolumeId ?? "")?.size_bytes, 12 * gib);
      const { ImageId = "" } = await ask("CreateImage", {
        InstanceId: grower.instance_id,
        Name: "while it grows",
        NoReboot: true,
      });
      const image = async () => (await ask("DescribeImages", { ImageIds: [ImageId] })).Images?.[0];
      await until("it is available", async () => (await image())?.State === "available");
      assert.equal((await image())?.BlockDeviceMappings?.[0]?.Ebs?.VolumeSize, 12);
      plugger.before = () => {};
      await until(
        "it is modified",
        async () => (await modification(VolumeId))?.ModificationState === "completed",
      );
    },
  );

  await t.step("a snapshot of a volume in use is pending until it is stored", async () => {
    const VolumeId = await attached("/dev/sdh");
    store.mounted.add(VolumeId);
    const made = await ask("CreateSnapshot", {
      VolumeId,
      Description: "before the update",
      TagSpecifications: [{ ResourceType: "snapshot", Tags: [{ Key: "k", Value: "v" }] }],
    });
    const SnapshotId = made.SnapshotId ?? "";
    assert.match(SnapshotId, /^snap-[0-9a-f]{17}$/);
    assert.deepEqual([made.State, made.VolumeId, made.VolumeSize], ["pending", VolumeId, 8]);
    store.settle(SnapshotId, "completed");
    const stateOf = async (id: string) =>
      (await ask("DescribeSnapshots", { SnapshotIds: [id] })).Snapshots?.[0]?.State;
    await until("it is stored", async () => await stateOf(SnapshotId) === "completed");
    const { Snapshots: mine = [] } = await ask("DescribeSnapshots", {
      OwnerIds: ["self"],
      Filters: [{ Name: "volume-id", Values: [VolumeId] }],
    });
    assert.deepEqual(mine.map((each) => each.SnapshotId), [SnapshotId]);
    const copy = await ask("CopySnapshot", {
      SourceRegion: testConfig.region,
      SourceSnapshotId: SnapshotId,
      CompletionDurationMinutes: 15,
    });
    assert.equal(await stateOf(copy.SnapshotId ?? ""), "completed");
    const { Snapshots: [timed, ...others] = [] } = await ask("DescribeSnapshots", {
      Filters: [{ Name: "transfer-type", Values: ["time-based"] }],
    });
    assert.deepEqual(
      [timed?.SnapshotId, timed?.TransferType, timed?.CompletionDurationMinutes, others],
      [copy.SnapshotId, "time-based", 15, []],
    );
    await ask("DeleteSnapshot", { SnapshotId });
    await until("it is gone", () => !store.snapshots.has(SnapshotId));
    await assert.rejects(stateOf(SnapshotId), { code: "InvalidSnapshot.NotFound" });
    await ask("DeleteSnapshot", { SnapshotId: copy.SnapshotId ?? "" });

    const lost = (await ask("CreateSnapshot", { VolumeId })).SnapshotId ?? "";
    store.settle(lost, "error");
    await until("it has failed", async () => await stateOf(lost) === "error");
    store.before = (call) => {
      if (call === "ebs.snapshot.create") throw new Error("not now");
    };
    await assert.rejects(ask("CreateSnapshot", { VolumeId }));
    store.before = () => {};
  });

  await t.step("an image of an instance is available when all its snapshots are", async () => {
    const root = await attached(instance.root_device_name);
    store.mounted.add(root);
    await assert.rejects(
      ask("CreateImage", { InstanceId: newId("i-"), Name: "an image" }),
      { code: "InvalidInstanceID.NotFound" },
    );
    const ImageId = (await ask("CreateImage", {
      InstanceId: instance.instance_id,
      Name: "an image",
      NoReboot: true,
    })).ImageId ?? "";
    const shown = async () => (await ask("DescribeImages", { ImageIds: [ImageId] })).Images?.[0];
    assert.equal((await shown())?.State, "pending");
    const snapshots = (await shown())?.BlockDeviceMappings?.map((each) =>
      each.Ebs?.SnapshotId ?? ""
    ) ?? [];
    assert.equal((await shown())?.BlockDeviceMappings?.[0]?.DeviceName, instance.root_device_name);
    assert.ok(snapshots.length >= 2);
    for (const id of snapshots) store.settle(id, "completed");
    await until("it is available", async () => (await shown())?.State === "available");
    await assert.rejects(ask("DeleteSnapshot", { SnapshotId: snapshots[0] ?? "" }), {
      code: "InvalidSnapshot.InUse",
    });
    const set = await ask("CreateSnapshots", {
      InstanceSpecification: { InstanceId: instance.instance_id, ExcludeBootVolume: true },
    });
    assert.equal(set.Snapshots?.length, snapshots.length - 1);
    assert.ok(set.Snapshots?.every((each) => each.VolumeId !== root));
    const data = set.Snapshots?.[0]?.VolumeId ?? "";
    const count = store.snapshots.size;
    for (
      const [ExcludeDataVolumeIds, code] of [
        [[root], "InvalidParameterValue"],
        [[data, "vol-none"], "InvalidVolumeID.Malformed"],
        [Array.from({ length: 41 }, () => newId("vol-")), "InvalidParameterValue"],
      ] as const
    ) {
      const InstanceSpecification = {
        InstanceId: instance.instance_id,
        ExcludeDataVolumeIds: [...ExcludeDataVolumeIds],
      };
      await assert.rejects(ask("CreateSnapshots", { InstanceSpecification, DryRun: true }), {
        code,
      });
      await assert.rejects(ask("CreateSnapshots", { InstanceSpecification }), { code });
    }
    assert.equal(store.snapshots.size, count);
    const without = await ask("CreateSnapshots", {
      InstanceSpecification: { InstanceId: instance.instance_id, ExcludeDataVolumeIds: [data] },
    });
    assert.ok(without.Snapshots?.some((each) => each.VolumeId === root));
    assert.ok(without.Snapshots?.every((each) => each.VolumeId !== data));
    // As of a copy, EC2 says which image it goes back to: the one that the instance was launched from.
    assert.deepEqual(
      [(await shown())?.SourceImageId, (await shown())?.SourceImageRegion],
      [instance.image_id, testConfig.region],
    );
    await assert.rejects(
      ask("CreateImage", {
        InstanceId: instance.instance_id,
        Name: "too much",
        Description: "x".repeat(256),
      }),
      { code: "InvalidParameterValue" },
    );
    await assert.rejects(
      ask("CopyImage", {
        SourceRegion: testConfig.region,
        SourceImageId: ImageId,
        Name: "too much",
        Description: "x".repeat(256),
      }),
      { code: "InvalidParameterValue" },
    );
  });

  await t.step("without NoReboot its snapshots are taken while the guest is down", async () => {
    const { instance_id } = instance;
    const ImageId = (await ask("CreateImage", { InstanceId: instance_id, Name: "rebooted" }))
      .ImageId ?? "";
    const shown = async () => (await ask("DescribeImages", { ImageIds: [ImageId] })).Images?.[0];
    const image = await shown();
    const snapshots = image?.BlockDeviceMappings?.map((each) => each.Ebs?.SnapshotId ?? "") ?? [];
    assert.ok(snapshots.length >= 2);
    const isTaken = (id: string) => store.snapshots.has(id);
    assert.equal(image?.State, "pending");
    assert.equal(instances.get(alice, instance_id)?.rebooting, true);
    world.side.snapshots.sweep();
    assert.ok(!snapshots.some(isTaken), "nothing is taken while the guest may still write");
    store.before = (call) => {
      if (call === "ebs.snapshot.create") throw new Error("not now");
    };
    await assert.rejects(world.side.snapshots.freezeDown(instance));
    store.before = () => {};
    await world.side.snapshots.freezeDown(instance);
    assert.ok(snapshots.every(isTaken));
    await world.side.snapshots.freezeDown(instance);
    for (const id of snapshots) store.settle(id, "completed");
    await until("it is available", async () => (await shown())?.State === "available");
    await instances.modify(alice, instance_id, ({ rebooting: _, ...now }) => now);
  });

  await t.step("a reboot that never came leaves no image pending", async () => {
    const { instance_id } = instance;
    const ImageId = (await ask("CreateImage", { InstanceId: instance_id, Name: "missed" }))
      .ImageId ?? "";
    await instances.modify(alice, instance_id, ({ rebooting: _, ...now }) => now);
    const shown = async () => (await ask("DescribeImages", { ImageIds: [ImageId] })).Images?.[0];
    const snapshots = (await shown())?.BlockDeviceMappings?.map((each) =>
      each.Ebs?.SnapshotId ?? ""
    ) ?? [];
    for (const id of snapshots) {
      const start_time = new Date(Date.now() - 60_000).toISOString();
      await world.state.snapshots.modify(alice, id, (now) => ({ ...now, start_time }));
    }
    world.side.snapshots.sweep();
    await until("they are taken", () => snapshots.every((id) => store.snapshots.has(id)));
    for (const id of snapshots) store.settle(id, "completed");
    await until("it is available", async () => (await shown())?.State === "available");
  });
});
