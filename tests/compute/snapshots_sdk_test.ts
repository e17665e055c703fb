/** Snapshots, images and changes of volumes through the SDK, with the real engine and a real machine. */
import assert from "node:assert/strict";
import * as Ec2 from "@aws-sdk/client-ec2";
import * as Iam from "@aws-sdk/client-iam";
import { killProcessOf } from "../../ffi/process.ts";
import { machinePaths } from "../../services/compute/machines/machine_paths.ts";
import { startEc2Cloud } from "../kit/ec2_cloud.ts";
import { until } from "../kit/until.ts";
import { smallest } from "./launches.ts";

const architecture = Deno.build.arch === "aarch64" ? "arm64" : "x86_64";

const soon = (what: string, holds: () => Promise<boolean>) => until(what, holds, 120_000);

const failed = (name: string) => (error: unknown) => {
  assert.ok(error instanceof Error);
  assert.equal(error.name, name, String(error));
  return true;
};

Deno.test("a volume grows and is frozen, copied, made an image of and launched from, by the SDK", async () => {
  await using cloud = await startEc2Cloud();
  const ec2 = new Ec2.EC2Client(cloud.settings());
  const iam = new Iam.IAMClient(cloud.settings());
  const snapshotState = async (id: string | undefined) =>
    (await ec2.send(new Ec2.DescribeSnapshotsCommand({ SnapshotIds: [id ?? ""] })))
      .Snapshots?.[0]?.State;
  const isStored = (id: string | undefined) =>
    soon(`${id} stored`, async () => await snapshotState(id) === "completed");

  const { VolumeId = "" } = await ec2.send(
    new Ec2.CreateVolumeCommand({
      AvailabilityZone: cloud.node.config.az,
      Size: 1,
      VolumeType: "gp3",
    }),
  );
  const volume = async () =>
    (await ec2.send(new Ec2.DescribeVolumesCommand({ VolumeIds: [VolumeId] }))).Volumes?.[0];
  await soon("the volume", async () => (await volume())?.State === "available");
  await ec2.send(new Ec2.ModifyVolumeCommand({ VolumeId, Size: 8, Iops: 4000 }));
  await soon("the change", async () => {
    const { VolumesModifications: [change] = [] } = await ec2.send(
      new Ec2.DescribeVolumesModificationsCommand({ VolumeIds: [VolumeId] }),
    );
    return change?.ModificationState === "completed" && change.TargetSize === 8;
  });
  assert.deepEqual([(await volume())?.Size, (await volume())?.Iops], [8, 4000]);
  await assert.rejects(
    ec2.send(new Ec2.ModifyVolumeCommand({ VolumeId, Size: 1 })),
    failed("InvalidParameterValue"),
  );

  const made = await ec2.send(
    new Ec2.CreateSnapshotCommand({
      VolumeId,
      Description: "first",
      TagSpecifications: [{ ResourceType: "snapshot", Tags: [{ Key: "team", Value: "blue" }] }],
    }),
  );
  await isStored(made.SnapshotId);
  const found = await ec2.send(
    new Ec2.DescribeSnapshotsCommand({ Filters: [{ Name: "tag:team", Values: ["blue"] }] }),
  );
  assert.deepEqual(found.Snapshots?.map((one) => [one.SnapshotId, one.VolumeSize]), [
    [made.SnapshotId, 8],
  ]);
  const restores = {
    SourceSnapshotIds: [made.SnapshotId ?? ""],
    AvailabilityZones: [cloud.node.config.az],
  };
  const enabled = await ec2.send(new Ec2.EnableFastSnapshotRestoresCommand(restores));
  assert.deepEqual(enabled.Successful?.map((one) => one.State), ["enabling"]);
  const restoreIs = (state: string) =>
    soon(`the fast restore is ${state}`, async () => {
      const { FastSnapshotRestores: [one] = [] } = await ec2.send(
        new Ec2.DescribeFastSnapshotRestoresCommand({
          Filters: [{ Name: "snapshot-id", Values: [made.SnapshotId ?? ""] }],
        }),
      );
      return one?.State === state;
    });
  await restoreIs("enabled");
  const fast = await ec2.send(
    new Ec2.CreateVolumeCommand({
      AvailabilityZone: cloud.node.config.az,
      SnapshotId: made.SnapshotId,
    }),
  );
  assert.equal(fast.FastRestored, true);
  await ec2.send(new Ec2.DeleteVolumeCommand({ VolumeId: fast.VolumeId }));
  await ec2.send(new Ec2.DisableFastSnapshotRestoresCommand(restores));
  await restoreIs("disabled");
  const { Unsuccessful: [refused] = [] } = await ec2.send(
    new Ec2.EnableFastSnapshotRestoresCommand({
      ...restores,
      SourceSnapshotIds: ["snap-0123456789abcdef0"],
    }),
  );
  assert.equal(
    refused?.FastSnapshotRestoreStateErrors?.[0]?.Error?.Code,
    "InvalidSnapshot.NotFound",
  );
  const copy = await ec2.send(
    new Ec2.CopySnapshotCommand({
      SourceRegion: cloud.node.config.region,
      SourceSnapshotId: made.SnapshotId,
    }),
  );
  await isStored(copy.SnapshotId);
  const SnapshotId = copy.SnapshotId ?? "";
  const Attribute = "createVolumePermission";
  const permissions = async () =>
    (await ec2.send(new Ec2.DescribeSnapshotAttributeCommand({ SnapshotId, Attribute })))
      .CreateVolumePermissions;
  await ec2.send(
    new Ec2.ModifySnapshotAttributeCommand({
      SnapshotId,
      CreateVolumePermission: { Add: [{ UserId: "123456789012" }, { Group: "all" }] },
    }),
  );
  assert.deepEqual(await permissions(), [{ Group: "all" }, { UserId: "123456789012" }]);
  await ec2.send(new Ec2.ResetSnapshotAttributeCommand({ SnapshotId, Attribute }));
  assert.deepEqual(await permissions() ?? [], []);
  const sealed = await ec2.send(
    new Ec2.CopySnapshotCommand({
      SourceRegion: cloud.node.config.region,
      SourceSnapshotId: SnapshotId,
      Encrypted: true,
    }),
  );
  await isStored(sealed.SnapshotId);
  await ec2.send(new Ec2.DeleteSnapshotCommand({ SnapshotId: copy.SnapshotId }));
  await assert.rejects(
    ec2.send(new Ec2.DescribeSnapshotsCommand({ SnapshotIds: [copy.SnapshotId ?? ""] })),
    failed("InvalidSnapshot.NotFound"),
  );

  const { ImageId } = await ec2.send(
    new Ec2.RegisterImageCommand({
      Name: "of-a-snapshot",
      Architecture: architecture,
      BootMode: "uefi",
      RootDeviceName: "/dev/xvda",
      BlockDeviceMappings: [{
        DeviceName: "/dev/xvda",
        Ebs: { SnapshotId: made.SnapshotId },
      }],
    }),
  );
  await assert.rejects(
    ec2.send(new Ec2.DeleteSnapshotCommand({ SnapshotId: made.SnapshotId })),
    failed("InvalidSnapshot.InUse"),
  );
  const { Instances: [instance] = [] } = await ec2.send(
    new Ec2.RunInstancesCommand({ ImageId, InstanceType: smallest, MinCount: 1, MaxCount: 1 }),
  );
  const InstanceId = instance?.InstanceId ?? "";
  const state = async () =>
    (await ec2.send(new Ec2.DescribeInstancesCommand({ InstanceIds: [InstanceId] })))
      .Reservations?.[0]?.Instances?.[0]?.State?.Name;
  try {
    await soon("the instance", async () => await state() === "running");
    const all = await ec2.send(
      new Ec2.CreateSnapshotsCommand({ InstanceSpecification: { InstanceId } }),
    );
    assert.equal(all.Snapshots?.length, 1);
    await isStored(all.Snapshots?.[0]?.SnapshotId);
    const image = await ec2.send(
      new Ec2.CreateImageCommand({ InstanceId, Name: "of-an-instance", NoReboot: true }),
    );
    await soon("the image", async () => {
      const { Images: [one] = [] } = await ec2.send(
        new Ec2.DescribeImagesCommand({ ImageIds: [image.ImageId ?? ""] }),
      );
      return one?.State === "available";
    });
    await ec2.send(new Ec2.DeregisterImageCommand({ ImageId: image.ImageId }));

    for (const name of ["one", "two"]) {
      await iam.send(new Iam.CreateInstanceProfileCommand({ InstanceProfileName: name }));
    }
    const given = await ec2.send(
      new Ec2.AssociateIamInstanceProfileCommand({
        InstanceId,
        IamInstanceProfile: { Name: "one" },
      }),
    );
    await ec2.send(
      new Ec2.ReplaceIamInstanceProfileAssociationCommand({
        AssociationId: given.IamInstanceProfileAssociation?.AssociationId,
        IamInstanceProfile: { Name: "two" },
      }),
    );
    const { IamInstanceProfileAssociations: [now] = [] } = await ec2.send(
      new Ec2.DescribeIamInstanceProfileAssociationsCommand({}),
    );
    assert.match(now?.IamInstanceProfile?.Arn ?? "", /instance-profile\/two$/);
    await ec2.send(
      new Ec2.DisassociateIamInstanceProfileCommand({ AssociationId: now?.AssociationId }),
    );
    // There is no system on its disk that would hear the power button.
    await ec2.send(new Ec2.StopInstancesCommand({ InstanceIds: [InstanceId], Force: true }));
    await soon("its stop", async () => await state() === "stopped");
    await ec2.send(new Ec2.TerminateInstancesCommand({ InstanceIds: [InstanceId] }));
    await soon("its end", async () => await state() === "terminated");
  } finally {
    // A guest outlives its services; a test that failed must not leave one behind.
    await Deno.readTextFile(machinePaths(cloud.node.paths, InstanceId).pid)
      .then((pid) => killProcessOf(Number.parseInt(pid, 10), InstanceId)).catch(() => {});
  }
});
