/** Volume types through the SDK: what each may be asked for, and what is shown of it, in EC2's words. */
import assert from "node:assert/strict";
import { testConfig } from "../kit/compute.ts";
import { type SdkInput, startScenario } from "../kit/ec2_scenario.ts";
import { until } from "../kit/until.ts";

const AvailabilityZone = testConfig.az;

Deno.test("volumes are of every type that EC2 has, gp2 unless one is named", async (t) => {
  await using ec2 = await startScenario();
  const { world } = ec2;
  world.store.available_bytes = 2 ** 44;
  const create = async (input: Partial<SdkInput<"CreateVolume">>) =>
    await ec2.call("CreateVolume", { AvailabilityZone, ...input });
  const shown = async (id: string | undefined) =>
    (await ec2.call("DescribeVolumes", { VolumeIds: [id ?? ""] })).Volumes?.[0];
  const refused = async (
    input: Partial<SdkInput<"CreateVolume">>,
    code: string,
    message: string,
  ) => await ec2.refused(code, "CreateVolume", { AvailabilityZone, ...input }, message);

  await t.step("what is shown of each is what was asked for, or EC2's baseline", async () => {
    const cases: [Partial<SdkInput<"CreateVolume">>, (string | number | undefined)[]][] = [
      [{ Size: 1 }, ["gp2", 100, undefined]],
      [{ Size: 100 }, ["gp2", 300, undefined]],
      [{ Size: 6000, VolumeType: "gp2" }, ["gp2", 16_000, undefined]],
      [{ Size: 1, VolumeType: "gp3" }, ["gp3", 3000, 125]],
      [{ Size: 10, VolumeType: "gp3", Iops: 4000, Throughput: 500 }, ["gp3", 4000, 500]],
      [{ Size: 4, VolumeType: "io1", Iops: 200 }, ["io1", 200, undefined]],
      [{ Size: 4, VolumeType: "io2", Iops: 4000 }, ["io2", 4000, undefined]],
      [{ Size: 125, VolumeType: "st1" }, ["st1", undefined, undefined]],
      [{ Size: 125, VolumeType: "sc1" }, ["sc1", undefined, undefined]],
      [{ Size: 1, VolumeType: "standard" }, ["standard", undefined, undefined]],
    ];
    for (const [input, expected] of cases) {
      const made = await create(input);
      const read = await shown(made.VolumeId);
      for (const volume of [made, read]) {
        assert.deepEqual([volume?.VolumeType, volume?.Iops, volume?.Throughput], expected);
        assert.deepEqual([volume?.MultiAttachEnabled, volume?.OutpostArn], [false, undefined]);
      }
      await ec2.call("DeleteVolume", { VolumeId: made.VolumeId ?? "" });
    }
  });

  await t.step("what a type does not have is refused", async () => {
    await refused(
      { Size: 1, VolumeType: "gp2", Iops: 3000 },
      "InvalidParameterCombination",
      "The parameter iops is not supported for gp2 volumes.",
    );
    await refused(
      { Size: 1, Throughput: 125 },
      "InvalidParameterCombination",
      "The parameter throughput is not supported for gp2 volumes.",
    );
    await refused(
      { Size: 10, VolumeType: "io2" },
      "InvalidParameterCombination",
      "The parameter iops must be specified for io2 volumes.",
    );
    await refused(
      { Size: 4, VolumeType: "io1", Iops: 99 },
      "InvalidParameterValue",
      "Volume iops of 99 is too low; minimum is 100.",
    );
    await refused(
      { Size: 3, VolumeType: "io1", Iops: 100 },
      "InvalidParameterValue",
      "The volume size is invalid for io1 volumes: 3 GiB. io1 volumes must be at least 4 GiB in size. Please specify a volume size above the minimum limit.",
    );
    await refused(
      { Size: 20, VolumeType: "gp3", Iops: 15_000 },
      "InvalidParameterValue",
      "Iops to volume size ratio of 750.000000 is too high; maximum is 500",
    );
    await refused(
      { Size: 20, VolumeType: "gp3", Throughput: 1000 },
      "InvalidParameterCombination",
      "Throughput (MiBps) to iops ratio of 0.333333 is too high; maximum is 0.250000 MiBps per iops.",
    );
    await refused(
      { Size: 2000, VolumeType: "standard" },
      "InvalidParameterValue",
      "The volume size is invalid for standard volumes: 2000 GiB. standard volumes must be at most 1024 GiB in size. Please specify a volume size below the maximum limit.",
    );
    await refused(
      { Size: 1, VolumeType: "gp4" as never },
      "UnknownVolumeType",
      "Unsupported volume type 'gp4' for volume creation.",
    );
    await refused(
      { Size: 1, MultiAttachEnabled: true },
      "InvalidParameterCombination",
      "The parameter multiAttachEnabled is not supported for gp2 volumes.",
    );
    await refused(
      { Size: 4, VolumeType: "io2", Iops: 100, MultiAttachEnabled: true },
      "UnsupportedOperation",
      "Multi-Attach is not offered: a volume has one instance at a time.",
    );
  });

  await t.step("a type is changed like a size, and what is left unsaid is the type's", async () => {
    const { VolumeId = "" } = await create({ Size: 10 });
    const change = async (input: Partial<SdkInput<"ModifyVolume">>) => {
      const { VolumeModification: begun } = await ec2.call("ModifyVolume", { VolumeId, ...input });
      await until(
        "it is modified",
        async () =>
          (await ec2.call("DescribeVolumesModifications", { VolumeIds: [VolumeId] }))
            .VolumesModifications?.[0]?.ModificationState === "completed",
      );
      const volume = await shown(VolumeId);
      assert.deepEqual([volume?.VolumeType, volume?.Iops, volume?.Throughput, volume?.Size], [
        begun?.TargetVolumeType,
        begun?.TargetIops,
        begun?.TargetThroughput,
        begun?.TargetSize,
      ]);
      return begun;
    };
    const fields = (of: Awaited<ReturnType<typeof change>>) => [
      [of?.OriginalVolumeType, of?.OriginalIops, of?.OriginalThroughput],
      [of?.TargetVolumeType, of?.TargetIops, of?.TargetThroughput],
    ];
    assert.deepEqual(fields(await change({ VolumeType: "gp3" })), [
      ["gp2", 100, undefined],
      ["gp3", 3000, 125],
    ]);
    assert.deepEqual(fields(await change({ Throughput: 200 })), [
      ["gp3", 3000, 125],
      ["gp3", 3000, 200],
    ]);
    assert.deepEqual(fields(await change({ Iops: 3500 })), [
      ["gp3", 3000, 200],
      ["gp3", 3500, 200],
    ]);
    assert.deepEqual(fields(await change({ VolumeType: "io2", Iops: 1000 })), [
      ["gp3", 3500, 200],
      ["io2", 1000, undefined],
    ]);
    assert.deepEqual(fields(await change({ Size: 200 })), [
      ["io2", 1000, undefined],
      ["io2", 1000, undefined],
    ]);
    assert.deepEqual(fields(await change({ VolumeType: "st1" })), [
      ["io2", 1000, undefined],
      ["st1", undefined, undefined],
    ]);
    const { Volumes: found } = await ec2.call("DescribeVolumes", {
      Filters: [{ Name: "volume-type", Values: ["st1"] }],
    });
    assert.deepEqual(found?.map((one) => one.VolumeId), [VolumeId]);
    const { VolumesModifications: last } = await ec2.call("DescribeVolumesModifications", {
      Filters: [{ Name: "original-volume-type", Values: ["io2"] }],
    });
    assert.equal(last?.length, 1);
    assert.equal(world.store.volumes.get(VolumeId)?.size_bytes, 200 * 2 ** 30);
  });

  await t.step("a rate of initialization is kept with a volume of a snapshot", async () => {
    const { VolumeId: source = "" } = await create({ Size: 1 });
    const { SnapshotId = "" } = await ec2.call("CreateSnapshot", { VolumeId: source });
    const made = await create({ SnapshotId, VolumeInitializationRate: 150 });
    assert.equal((await shown(made.VolumeId))?.VolumeInitializationRate, 150);
    assert.equal((await shown(source))?.VolumeInitializationRate, undefined);
    await ec2.refused("InvalidParameterCombination", "CreateVolume", {
      AvailabilityZone,
      Size: 1,
      VolumeInitializationRate: 150,
    });
    await ec2.refused("InvalidParameterValue", "CreateVolume", {
      AvailabilityZone,
      SnapshotId,
      VolumeInitializationRate: 301,
    });
  });

  await t.step("images keep the types of their devices", async () => {
    const { VolumeId = "" } = await create({ Size: 4 });
    const { SnapshotId = "" } = await ec2.call("CreateSnapshot", { VolumeId });
    const { ImageId = "" } = await ec2.call("RegisterImage", {
      Name: "typed",
      RootDeviceName: "/dev/sda1",
      BlockDeviceMappings: [
        { DeviceName: "/dev/sda1", Ebs: { SnapshotId, VolumeType: "standard" } },
        { DeviceName: "/dev/sdb", Ebs: { VolumeSize: 8 } },
        { DeviceName: "/dev/sdc", Ebs: { VolumeSize: 8, VolumeType: "io1", Iops: 100 } },
        {
          DeviceName: "/dev/sdd",
          Ebs: { VolumeSize: 8, VolumeType: "gp3", Iops: 3100, Throughput: 130 },
        },
      ],
    });
    const { Images: [image] = [] } = await ec2.call("DescribeImages", { ImageIds: [ImageId] });
    assert.deepEqual(
      image?.BlockDeviceMappings?.map(({ DeviceName, Ebs }) => [
        DeviceName,
        Ebs?.VolumeType,
        Ebs?.Iops,
        Ebs?.Throughput,
      ]),
      [
        ["/dev/sda1", "standard", undefined, undefined],
        ["/dev/sdb", "gp2", undefined, undefined],
        ["/dev/sdc", "io1", 100, undefined],
        ["/dev/sdd", "gp3", 3100, 130],
      ],
    );
  });
});
