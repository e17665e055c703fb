/** What is said of an image when it is registered and later, and with whom it is shared, through the SDK. */
import assert from "node:assert/strict";
import { instanceRecord, testConfig } from "../kit/compute.ts";
import { type SdkInput, startScenario } from "../kit/ec2_scenario.ts";
import { otherAccount, testAccount } from "../kit/gateway.ts";
import { until } from "../kit/until.ts";

const AvailabilityZone = testConfig.az;

Deno.test("an image is as it was registered, changed by its owner, and shared by name", async (t) => {
  await using ec2 = await startScenario();
  const { call, refused, other } = ec2;
  const { VolumeId = "" } = await call("CreateVolume", { AvailabilityZone, Size: 2 });
  const { SnapshotId = "" } = await call("CreateSnapshot", { VolumeId });
  const register = async (input: Partial<SdkInput<"RegisterImage">>) => {
    const { ImageId = "" } = await call("RegisterImage", {
      Name: `image ${crypto.randomUUID()}`,
      BlockDeviceMappings: [{ DeviceName: "/dev/sda1", Ebs: { SnapshotId } }],
      ...input,
    });
    return ImageId;
  };
  const shown = async (id: string) =>
    (await call("DescribeImages", { ImageIds: [id] })).Images?.[0];
  const attribute = (id: string, Attribute: SdkInput<"DescribeImageAttribute">["Attribute"]) =>
    call("DescribeImageAttribute", { ImageId: id, Attribute });

  await t.step("what was not said is not shown; empty words are none", async () => {
    const image = await shown(
      await register({
        Architecture: "x86_64",
        Description: "",
        EnaSupport: false,
        ImageLocation: "",
        KernelId: "",
        RootDeviceName: "",
        SriovNetSupport: "simple",
        VirtualizationType: "hvm",
      }),
    );
    assert.deepEqual(
      [
        image?.BootMode,
        image?.EnaSupport,
        image?.ImdsSupport,
        image?.TpmSupport,
        image?.SriovNetSupport,
        image?.Description,
        image?.RootDeviceName,
      ],
      [undefined, undefined, undefined, undefined, "simple", undefined, "/dev/sda1"],
    );
  });

  await t.step("what was said is shown, copied, and found", async () => {
    const id = await register({
      BootMode: "uefi-preferred",
      EnaSupport: true,
      ImdsSupport: "v2.0",
      TpmSupport: "v2.0",
      SriovNetSupport: "simple",
    });
    const { ImageId: copy = "" } = await call("CopyImage", {
      SourceRegion: testConfig.region,
      SourceImageId: id,
      Name: "a copy",
    });
    for (const image of [await shown(id), await shown(copy)]) {
      assert.deepEqual(
        [
          image?.BootMode,
          image?.EnaSupport,
          image?.ImdsSupport,
          image?.TpmSupport,
          image?.SriovNetSupport,
        ],
        ["uefi-preferred", true, "v2.0", "v2.0", "simple"],
      );
    }
    const { Images = [] } = await call("DescribeImages", {
      Owners: ["self"],
      Filters: [{ Name: "ena-support", Values: ["true"] }],
    });
    assert.deepEqual(new Set(Images.map(({ ImageId }) => ImageId)), new Set([id, copy]));
    assert.equal((await attribute(id, "bootMode")).BootMode?.Value, "uefi-preferred");
    assert.equal((await attribute(id, "imdsSupport")).ImdsSupport?.Value, "v2.0");
    assert.equal((await attribute(id, "blockDeviceMapping")).BlockDeviceMappings?.length, 1);
    await refused("InvalidParameterValue", "RegisterImage", {
      Name: "bad",
      SriovNetSupport: "double",
      BlockDeviceMappings: [{ DeviceName: "/dev/sda1", Ebs: { SnapshotId } }],
    });
  });

  await t.step("its description is changed in either way of asking", async () => {
    const ImageId = await register({ Description: "one" });
    await call("ModifyImageAttribute", { ImageId, Description: { Value: "two" } });
    assert.equal((await shown(ImageId))?.Description, "two");
    await call("ModifyImageAttribute", { ImageId, Attribute: "description", Value: "three" });
    assert.equal((await attribute(ImageId, "description")).Description?.Value, "three");
    await call("ModifyImageAttribute", { ImageId, ImdsSupport: { Value: "v2.0" } });
    assert.equal((await shown(ImageId))?.ImdsSupport, "v2.0");
  });

  await t.step("an account that is named sees it, and nobody else does", async () => {
    const ImageId = await register({});
    const theirs = async (input: SdkInput<"DescribeImages">) =>
      (await other.call("DescribeImages", input)).Images?.map((image) => image.ImageId);
    await other.refused("InvalidAMIID.NotFound", "DescribeImages", { ImageIds: [ImageId] });
    await call("ModifyImageAttribute", {
      ImageId,
      LaunchPermission: { Add: [{ UserId: otherAccount }] },
    });
    await until(
      "they see it",
      () => theirs({ ImageIds: [ImageId] }).then((ids) => ids?.length === 1, () => false),
    );
    assert.deepEqual(await theirs({ ExecutableUsers: ["self"] }), [ImageId]);
    assert.deepEqual(await theirs({ Owners: [testAccount] }), [ImageId]);
    assert.deepEqual(
      (await call("DescribeImages", { ExecutableUsers: [otherAccount] })).Images?.length,
      1,
    );
    assert.equal((await shown(ImageId))?.Public, false);
    assert.deepEqual((await attribute(ImageId, "launchPermission")).LaunchPermissions, [
      { UserId: otherAccount },
    ]);
    await other.refused("AuthFailure", "DescribeImageAttribute", {
      ImageId,
      Attribute: "launchPermission",
    });
    await other.refused("AuthFailure", "ModifyImageAttribute", {
      ImageId,
      Description: { Value: "mine" },
    });
    const remove = { ImageId, OperationType: "remove" as const, UserIds: [otherAccount] };
    await call("ModifyImageAttribute", remove);
    await call("ModifyImageAttribute", remove);
    assert.deepEqual((await attribute(ImageId, "launchPermission")).LaunchPermissions, []);
    await until(
      "they see it no more",
      () => theirs({ ImageIds: [ImageId] }).then(() => false, () => true),
    );
  });

  await t.step("who names accounts in both ways at once means them once", async () => {
    const ImageId = await register({});
    // As image builders do.
    await call("ModifyImageAttribute", {
      ImageId,
      UserIds: [otherAccount],
      LaunchPermission: { Add: [{ UserId: otherAccount }] },
    });
    assert.deepEqual((await attribute(ImageId, "launchPermission")).LaunchPermissions, [
      { UserId: otherAccount },
    ]);
    await call("ModifySnapshotAttribute", {
      SnapshotId,
      GroupNames: ["all"],
      CreateVolumePermission: { Add: [{ Group: "all" }] },
    });
    const permissions = async () =>
      (await call("DescribeSnapshotAttribute", {
        SnapshotId,
        Attribute: "createVolumePermission",
      })).CreateVolumePermissions;
    assert.deepEqual(await permissions(), [{ Group: "all" }]);
    await call("ResetSnapshotAttribute", { SnapshotId, Attribute: "createVolumePermission" });
    assert.deepEqual(await permissions(), []);
    // What is named by a member needs no name of an attribute, and a wrong one does not matter.
    await call("ModifyImageAttribute", {
      ImageId,
      Attribute: "Description ",
      Description: { Value: "as some write it" },
    });
    assert.equal((await shown(ImageId))?.Description, "as some write it");
    await call("ModifyImageAttribute", {
      ImageId,
      OperationType: "remove",
      UserIds: [otherAccount],
      Value: "string",
    });
    assert.deepEqual((await attribute(ImageId, "launchPermission")).LaunchPermissions, []);
    await refused("InvalidParameterValue", "ModifyImageAttribute", {
      ImageId,
      Attribute: "colour",
      Value: "blue",
    });
  });

  await t.step("everybody, where the account lets it", async () => {
    const ImageId = await register({});
    const everybody = { ImageId, LaunchPermission: { Add: [{ Group: "all" as const }] } };
    await refused("OperationNotPermitted", "ModifyImageAttribute", everybody);
    await call("DisableImageBlockPublicAccess", {});
    await call("ModifyImageAttribute", everybody);
    assert.equal((await shown(ImageId))?.Public, true);
    assert.deepEqual((await attribute(ImageId, "launchPermission")).LaunchPermissions, [
      { Group: "all" },
    ]);
    await call("ResetImageAttribute", { ImageId, Attribute: "launchPermission" });
    assert.equal((await shown(ImageId))?.Public, false);
  });

  await t.step("what is refused changes nothing", async () => {
    const ImageId = await register({});
    const add = (input: object) => ({ ImageId, OperationType: "add" as const, ...input });
    await refused(
      "InvalidAMIAttributeItemValue",
      "ModifyImageAttribute",
      add({ UserGroups: ["everyone"] }),
      'Invalid attribute item value "everyone" for userGroup item type.',
    );
    await refused(
      "InvalidAMIAttributeItemValue",
      "ModifyImageAttribute",
      add({ UserIds: [otherAccount, "12345678901A"] }),
      'Invalid attribute item value "12345678901A" for userId item type.',
    );
    await refused("MissingParameter", "ModifyImageAttribute", { ImageId });
    await refused("InvalidParameterValue", "ModifyImageAttribute", {
      ImageId,
      UserIds: [otherAccount],
    });
    await refused("InvalidAMIID.NotFound", "ModifyImageAttribute", {
      ImageId: "ami-abcd1234",
      OperationType: "add",
      UserGroups: ["all"],
    });
    await refused("UnsupportedOperation", "ModifyImageAttribute", {
      ImageId,
      LaunchPermission: {
        Add: [{ OrganizationArn: "arn:aws:organizations::123456789012:organization/o-1" }],
      },
    });
    assert.deepEqual((await attribute(ImageId, "launchPermission")).LaunchPermissions, []);
  });

  await t.step("an image of an instance has its devices as the request changes them", async () => {
    const instance = instanceRecord({
      account_id: testAccount,
      state: "stopped",
      root_device_name: "/dev/sda1",
    });
    await ec2.world.instances.create(instance);
    const attach = async (Device: string, input: object) => {
      const { VolumeId = "" } = await call("CreateVolume", { AvailabilityZone, Size: 4, ...input });
      await call("AttachVolume", { VolumeId, InstanceId: instance.instance_id, Device });
    };
    await attach("/dev/sda1", { VolumeType: "gp3", Throughput: 200 });
    await attach("/dev/sdf", { VolumeType: "io1", Iops: 150 });
    await attach("/dev/sdg", {});
    const { ImageId = "" } = await call("CreateImage", {
      InstanceId: instance.instance_id,
      Name: "of an instance",
      BlockDeviceMappings: [
        { DeviceName: "/dev/sda1", Ebs: { VolumeSize: 6, DeleteOnTermination: true } },
        { DeviceName: "/dev/sdf", Ebs: { VolumeType: "gp3" } },
        { DeviceName: "/dev/sdg", NoDevice: "" },
        { DeviceName: "/dev/sdh", Ebs: { VolumeSize: 1, VolumeType: "gp3" } },
      ],
    });
    const image = await shown(ImageId);
    assert.equal(image?.SourceInstanceId, instance.instance_id);
    assert.deepEqual(
      image?.BlockDeviceMappings?.map(({ DeviceName, Ebs }) => [
        DeviceName,
        Ebs?.VolumeType,
        Ebs?.VolumeSize,
        Ebs?.Iops,
        Ebs?.Throughput,
        Ebs?.SnapshotId === undefined,
        Ebs?.DeleteOnTermination,
      ]),
      [
        ["/dev/sda1", "gp3", 6, 3000, 200, false, true],
        ["/dev/sdf", "gp3", 4, undefined, undefined, false, false],
        ["/dev/sdh", "gp3", 1, undefined, undefined, true, true],
      ],
    );
    const of = (mapping: object) => ({
      InstanceId: instance.instance_id,
      Name: "another",
      BlockDeviceMappings: [{ DeviceName: "/dev/sda1", ...mapping }],
    });
    await refused("InvalidBlockDeviceMapping", "CreateImage", of({ Ebs: { VolumeSize: 3 } }));
    await refused("InvalidBlockDeviceMapping", "CreateImage", of({ Ebs: { SnapshotId } }));
    await refused("InvalidBlockDeviceMapping", "CreateImage", of({ Ebs: { Encrypted: true } }));
    await refused("InvalidParameterValue", "CreateImage", of({ NoDevice: "" }));
  });
});
