/** What becomes of images and volumes after they are made, as two tenants of the SDK see it. */
import assert from "node:assert/strict";
import { newId } from "../../services/resources/ids.ts";
import { testConfig } from "../kit/compute.ts";
import { type Scenario, startScenario } from "../kit/ec2_scenario.ts";
import { otherAccount, testAccount } from "../kit/gateway.ts";
import { until } from "../kit/until.ts";

const SourceRegion = testConfig.region;

/** A snapshot that the block store has. */
async function giveSnapshot({ world }: Scenario, account_id: string): Promise<string> {
  const snapshot_id = newId("snap-");
  await world.state.snapshots.create({
    snapshot_id,
    account_id,
    size_gib: 2,
    state: "completed",
    start_time: new Date().toISOString(),
    tags: {},
  });
  world.store.snapshots.set(snapshot_id, {
    snapshot_id,
    size_bytes: 2 * 2 ** 30,
    stored_bytes: 0,
  });
  return snapshot_id;
}

const register = async (ec2: Scenario, caller: Pick<Scenario, "call">, account: string) => {
  const { ImageId = "" } = await caller.call("RegisterImage", {
    Name: `image of ${account}`,
    Architecture: "x86_64",
    BootMode: "uefi",
    RootDeviceName: "/dev/xvda",
    BlockDeviceMappings: [{
      DeviceName: "/dev/xvda",
      Ebs: { SnapshotId: await giveSnapshot(ec2, account) },
    }],
    TagSpecifications: [{ ResourceType: "image", Tags: [{ Key: "team", Value: "blue" }] }],
  });
  return ImageId;
};

Deno.test("an image is copied, disabled, deprecated and protected, and others see what they may", async (t) => {
  await using ec2 = await startScenario();
  const { call, refused, other, world } = ec2;
  const ImageId = await register(ec2, ec2, testAccount);
  const shown = async (caller: Pick<Scenario, "call"> = ec2, more = {}) =>
    (await caller.call("DescribeImages", { ImageIds: [ImageId], ...more })).Images?.[0];
  const publish = () =>
    world.state.images.modify(testAccount, ImageId, (image) => ({ ...image, public: true }));

  await t.step("a copy stands on snapshots of its own and may be asked for twice", async () => {
    const request = {
      SourceImageId: ImageId,
      SourceRegion,
      Name: "the copy",
      Description: "mine",
      CopyImageTags: true,
      ClientToken: "copy-1",
    };
    const { ImageId: copy = "" } = await call("CopyImage", request);
    assert.equal((await call("CopyImage", request)).ImageId, copy);
    const { Images: [image] = [] } = await call("DescribeImages", { ImageIds: [copy] });
    assert.deepEqual(
      [image?.State, image?.SourceImageId, image?.SourceImageRegion, image?.Public, image?.Tags],
      ["available", ImageId, SourceRegion, false, [{ Key: "team", Value: "blue" }]],
    );
    const snapshot = image?.BlockDeviceMappings?.[0]?.Ebs?.SnapshotId ?? "";
    assert.notEqual(snapshot, (await shown())?.BlockDeviceMappings?.[0]?.Ebs?.SnapshotId);
    assert.ok(world.store.snapshots.has(snapshot), "the block store has it");
    const { Snapshots: [described] = [] } = await call("DescribeSnapshots", {
      SnapshotIds: [snapshot],
    });
    assert.equal(described?.VolumeSize, 2);
    await call("DeregisterImage", { ImageId: copy, DeleteAssociatedSnapshots: true });
    await until("the copy's end", () => Promise.resolve(!world.store.snapshots.has(snapshot)));
    assert.equal((await shown())?.State, "available", "the source is as it was");
  });

  await t.step("a copy that is refused leaves nothing", async () => {
    const there = () => [
      world.store.snapshots.size,
      [...world.state.snapshots.all()].filter((one) => one.state === "completed").length,
    ];
    const before = there();
    const request = { SourceImageId: ImageId, SourceRegion, Name: "image two" };
    await refused("InvalidAMIName.Duplicate", "CopyImage", {
      ...request,
      Name: `image of ${testAccount}`,
    });
    await refused("InvalidAMIName.Malformed", "CopyImage", { ...request, Name: "x" });
    await refused("InvalidParameterValue", "CopyImage", { ...request, SourceRegion: "moon-1" });
    await refused("InvalidParameterDependency", "CopyImage", { ...request, KmsKeyId: "alias/x" });
    await refused("InvalidAMIID.NotFound", "CopyImage", {
      ...request,
      SourceImageId: newId("ami-"),
    });
    await refused("InvalidAMIID.Malformed", "CopyImage", { ...request, SourceImageId: "ami-x" });
    await other.refused("InvalidAMIID.NotFound", "CopyImage", request);
    let asked = 0;
    world.store.before = (name) => {
      if (name === "ebs.snapshot.copy" && asked++ === 0) throw new Error("the disk is full");
    };
    await refused("InternalError", "CopyImage", request);
    world.store.before = () => {};
    assert.deepEqual(there(), before);
  });

  await t.step("another account copies what is public, without its tags", async () => {
    await publish();
    const { ImageId: copy = "" } = await other.call("CopyImage", {
      SourceImageId: ImageId,
      SourceRegion,
      Name: "theirs",
      CopyImageTags: true,
    });
    const { Images: [image] = [] } = await other.call("DescribeImages", { ImageIds: [copy] });
    assert.deepEqual([image?.OwnerId, image?.Tags, image?.Public], [otherAccount, [], false]);
    await refused("InvalidAMIID.NotFound", "DescribeImages", { ImageIds: [copy] });
  });

  await t.step(
    "a deprecated image is shown to its owner, and to others who name it or ask for such",
    async () => {
      const listed = async (caller: Pick<Scenario, "call"> = ec2, more = {}) =>
        (await caller.call("DescribeImages", more)).Images?.find((one) => one.ImageId === ImageId);
      const soon = new Date(Date.now() + 3600_000);
      await call("EnableImageDeprecation", { ImageId, DeprecateAt: soon });
      assert.equal(
        Math.abs(Date.parse((await shown())?.DeprecationTime ?? "") - soon.getTime()) <= 30_000,
        true,
      );
      assert.equal((await shown(other))?.ImageId, ImageId);
      await world.state.images.modify(testAccount, ImageId, (image) => ({
        ...image,
        deprecation_time: "2026-01-01T00:00:00.000Z",
      }));
      assert.equal((await listed())?.ImageId, ImageId);
      assert.equal(await listed(other), undefined);
      assert.equal((await listed(other, { IncludeDeprecated: true }))?.ImageId, ImageId);
      assert.equal((await shown(other))?.ImageId, ImageId);
      await refused("OperationNotPermitted", "DisableImageDeprecation", { ImageId });
      for (const DeprecateAt of [new Date(0), new Date("2090-01-01")]) {
        await refused("InvalidParameterValue", "EnableImageDeprecation", { ImageId, DeprecateAt });
      }
      await world.state.images.modify(testAccount, ImageId, (image) => ({
        ...image,
        public: false,
      }));
      await call("DisableImageDeprecation", { ImageId });
      assert.equal((await shown())?.DeprecationTime, undefined);
      await publish();
    },
  );

  await t.step("others may not change what they see", async () => {
    for (const action of ["DisableImage", "EnableImage", "DeregisterImage"] as const) {
      await other.refused("AuthFailure", action, { ImageId });
    }
    assert.equal((await shown())?.State, "available");
  });

  await t.step("a disabled image is hidden, private from then on, and enabled again", async () => {
    await call("DisableImage", { ImageId });
    await call("DisableImage", { ImageId });
    assert.equal(await shown(), undefined);
    assert.equal((await shown(ec2, { IncludeDisabled: true }))?.State, "disabled");
    await other.refused("InvalidAMIID.NotFound", "DescribeImages", {
      ImageIds: [ImageId],
      IncludeDisabled: true,
    });
    await refused("InvalidAMIID.Unavailable", "CopyImage", {
      SourceImageId: ImageId,
      SourceRegion,
      Name: "of a disabled one",
    });
    await refused("InvalidAMIName.Duplicate", "RegisterImage", {
      Name: `image of ${testAccount}`,
      RootDeviceName: "/dev/xvda",
      BlockDeviceMappings: [{
        DeviceName: "/dev/xvda",
        Ebs: { SnapshotId: await giveSnapshot(ec2, testAccount) },
      }],
    });
    await call("EnableImage", { ImageId });
    assert.deepEqual([(await shown())?.State, (await shown())?.Public], ["available", false]);
    await other.refused("InvalidAMIID.NotFound", "EnableImage", { ImageId });
  });

  await t.step(
    "what is protected is not deregistered, with a cooldown for a day after",
    async () => {
      const protection = async () => (await shown())?.DeregistrationProtection;
      assert.equal(await protection(), "disabled");
      await call("EnableImageDeregistrationProtection", { ImageId, WithCooldown: true });
      assert.equal(await protection(), "enabled-with-cooldown");
      await refused("OperationNotPermitted", "DeregisterImage", { ImageId });
      await call("DisableImageDeregistrationProtection", { ImageId });
      assert.match(await protection() ?? "", /^disabled-after-\d{4}-/);
      await refused("OperationNotPermitted", "DeregisterImage", { ImageId });
      await call("EnableImageDeregistrationProtection", { ImageId });
      assert.equal(await protection(), "enabled-without-cooldown");
      await call("DisableImageDeregistrationProtection", { ImageId });
      assert.equal(await protection(), "disabled");
      await call("DeregisterImage", { ImageId });
      await refused("InvalidAMIID.NotFound", "DisableImage", { ImageId });
    },
  );
});

Deno.test("a volume is copied as it is at that moment, in use or not", async (t) => {
  await using ec2 = await startScenario();
  const { call, refused, other, world } = ec2;
  const { VolumeId = "" } = await call("CreateVolume", {
    AvailabilityZone: testConfig.az,
    Size: 8,
    VolumeType: "gp3",
    Iops: 3500,
  });
  const volume = async (id: string) =>
    (await call("DescribeVolumes", { VolumeIds: [id] })).Volumes?.[0];
  const reaches = (id: string, state: string) =>
    until(`${id} ${state}`, async () => (await volume(id))?.State === state);

  await t.step("a free one", async () => {
    const request = {
      SourceVolumeId: VolumeId,
      Size: 9,
      ClientToken: "c1",
      TagSpecifications: [{ ResourceType: "volume" as const, Tags: [{ Key: "a", Value: "b" }] }],
    };
    const { Volumes: [copy] = [] } = await call("CopyVolumes", request);
    const id = copy?.VolumeId ?? "";
    assert.deepEqual(
      [copy?.State, copy?.SourceVolumeId, copy?.Size, copy?.Iops],
      ["creating", VolumeId, 9, 3500],
    );
    assert.equal((await call("CopyVolumes", request)).Volumes?.[0]?.VolumeId, id);
    await reaches(id, "available");
    assert.equal(world.store.volumes.get(id)?.size_bytes, 9 * 2 ** 30);
    assert.equal(world.store.snapshots.size, 0, "nothing in between stays");
    assert.deepEqual((await call("DescribeSnapshots", {})).Snapshots, []);
    await call("DeleteVolume", { VolumeId: id });
  });

  await t.step("one in use, whose content is stored first", async () => {
    world.store.mounted.add(VolumeId);
    const { Volumes: [copy] = [] } = await call("CopyVolumes", { SourceVolumeId: VolumeId });
    const id = copy?.VolumeId ?? "";
    const [point = ""] = world.store.snapshots.keys();
    assert.equal(world.store.snapshots.get(point)?.state, "pending");
    assert.equal((await volume(id))?.State, "creating");
    world.store.settle(point, "completed");
    await reaches(id, "available");
    assert.equal(world.store.snapshots.size, 0);

    const { Volumes: [lost] = [] } = await call("CopyVolumes", { SourceVolumeId: VolumeId });
    const [second = ""] = world.store.snapshots.keys();
    world.store.settle(second, "error");
    await reaches(lost?.VolumeId ?? "", "error");
    await call("DeleteVolume", { VolumeId: lost?.VolumeId ?? "" });
    world.store.mounted.delete(VolumeId);
  });

  await t.step("what is refused", async () => {
    const before = [...world.store.volumes.keys()].length;
    await refused("InvalidParameterValue", "CopyVolumes", { SourceVolumeId: VolumeId, Size: 1 });
    await refused("UnknownVolumeType", "CopyVolumes", {
      SourceVolumeId: VolumeId,
      VolumeType: "gp4" as never,
    });
    await refused("InvalidParameterValue", "CopyVolumes", {
      SourceVolumeId: VolumeId,
      Encrypted: true,
      KmsKeyId: "alias/not-there",
    });
    await other.refused("InvalidVolume.NotFound", "CopyVolumes", { SourceVolumeId: VolumeId });
    world.store.available_bytes = 1000;
    await assert.rejects(call("CopyVolumes", { SourceVolumeId: VolumeId }), /Insufficient/);
    world.store.available_bytes = 2 ** 40;
    world.store.before = (name) => {
      if (name === "ebs.snapshot.create") throw new Error("away");
    };
    await assert.rejects(call("CopyVolumes", { SourceVolumeId: VolumeId }), /InternalError/);
    world.store.before = () => {};
    await until(
      "nothing is left",
      async () => (await call("DescribeVolumes", {})).Volumes?.length === before,
    );
  });

  await t.step("attributes", async () => {
    const attribute = async (Attribute: "autoEnableIO" | "productCodes") =>
      await call("DescribeVolumeAttribute", { VolumeId, Attribute });
    assert.equal((await attribute("autoEnableIO")).AutoEnableIO?.Value, false);
    await call("ModifyVolumeAttribute", { VolumeId, AutoEnableIO: { Value: true } });
    const shown = await attribute("autoEnableIO");
    assert.deepEqual([shown.AutoEnableIO?.Value, shown.VolumeId], [true, VolumeId]);
    assert.deepEqual((await attribute("productCodes")).ProductCodes, []);
    await refused("InvalidParameterCombination", "ModifyVolumeAttribute", { VolumeId });
    await refused("InvalidParameterValue", "DescribeVolumeAttribute", {
      VolumeId,
      Attribute: "size" as "productCodes",
    });
    await other.refused("InvalidVolume.NotFound", "DescribeVolumeAttribute", {
      VolumeId,
      Attribute: "productCodes",
    });
  });
});
