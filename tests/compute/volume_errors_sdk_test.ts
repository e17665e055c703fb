/** What EC2 says, to the letter where programs read it, of volumes and snapshots that cannot be had. */
import { CopyVolumesCommand, CreateVolumeCommand } from "@aws-sdk/client-ec2";
import assert from "node:assert/strict";
import { instanceRecord, testConfig } from "../kit/compute.ts";
import { startScenario } from "../kit/ec2_scenario.ts";
import { testAccount } from "../kit/gateway.ts";
import { until } from "../kit/until.ts";

const AvailabilityZone = testConfig.az;
const absentInstance = "i-0123456789abcdef0";

Deno.test("volumes and snapshots are refused in EC2's own words", async (t) => {
  await using ec2 = await startScenario();
  const { call, refused, world } = ec2;
  const create = async (input = {}) =>
    (await call("CreateVolume", { AvailabilityZone, Size: 1, ...input })).VolumeId ?? "";
  const VolumeId = await create();

  await t.step("a client token is its volume's for as long as that is there", async () => {
    const request = { AvailabilityZone, Size: 1, ClientToken: "pvc-1" };
    const { VolumeId: first = "" } = await call("CreateVolume", request);
    assert.equal((await call("CreateVolume", request)).VolumeId, first);
    await refused(
      "IdempotentParameterMismatch",
      "CreateVolume",
      { ...request, Size: 2 },
      "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).",
    );
    await call("DeleteVolume", { VolumeId: first });
    await until("it is gone", () => world.state.volumes.get(testAccount, first) === undefined);
    // Drivers of volumes take another token then, and only then.
    await refused("IdempotentParameterMismatch", "CreateVolume", request);
    await call("CreateVolume", { ...request, ClientToken: "pvc-1-2" });
  });

  await t.step("a request that is repeated needs nothing of what it was made of", async () => {
    const source = await create();
    const { SnapshotId = "" } = await call("CreateSnapshot", { VolumeId: source });
    const request = { AvailabilityZone, SnapshotId, ClientToken: "of-a-snapshot" };
    const { VolumeId: first } = await call("CreateVolume", request);
    const copying = { SourceVolumeId: source, ClientToken: "of-a-volume" };
    const { Volumes: [copy] = [] } = await call("CopyVolumes", copying);
    await call("DeleteSnapshot", { SnapshotId });
    await until(
      "the copy is there",
      () => world.state.volumes.get(testAccount, copy?.VolumeId ?? "")?.state === "available",
    );
    await call("DeleteVolume", { VolumeId: source });
    await until("its source is gone", () => !world.state.volumes.get(testAccount, source));
    const send = ec2.client.send.bind(ec2.client);
    assert.equal((await send(new CreateVolumeCommand(request))).VolumeId, first);
    assert.equal(
      (await send(new CopyVolumesCommand(copying))).Volumes?.[0]?.VolumeId,
      copy?.VolumeId,
    );
  });

  await t.step("a page of no size is a page of the usual size", async () => {
    await call("CreateSnapshot", { VolumeId });
    const { Snapshots, NextToken } = await call("DescribeSnapshots", { MaxResults: 0 });
    assert.deepEqual([Snapshots?.length, NextToken], [1, undefined]);
    assert.equal((await call("DescribeVolumes", { MaxResults: 0 })).NextToken, undefined);
    await refused("InvalidParameterValue", "DescribeSnapshots", { MaxResults: 4 });
    await refused("InvalidParameterValue", "DescribeVolumes", { MaxResults: 4 });
  });

  await t.step("ids that are none are named as each request names them", async () => {
    await refused(
      "InvalidParameterValue",
      "DescribeVolumes",
      { VolumeIds: ["volume"] },
      "Value (volume) for parameter volumes is invalid. Expected: 'vol-...'.",
    );
    await refused(
      "InvalidParameterValue",
      "DeleteVolume",
      { VolumeId: "volume" },
      "Value (volume) for parameter volumeId is invalid. Expected: 'vol-...'.",
    );
    await refused(
      "InvalidParameterValue",
      "DescribeSnapshots",
      { SnapshotIds: ["snapshot"] },
      "Value (snapshot) for parameter snapshotId is invalid. Expected: 'snap-...'.",
    );
    await refused(
      "InvalidVolumeID.Malformed",
      "DescribeVolumes",
      { VolumeIds: ["vol-malformedvolume"] },
      'Invalid id: "vol-malformedvolume"',
    );
    await refused(
      "InvalidSnapshotID.Malformed",
      "DescribeSnapshots",
      { SnapshotIds: ["snap-malformedsnap"] },
      'Invalid id: "snap-malformedsnap"',
    );
    await refused(
      "InvalidParameterValue",
      "CreateVolume",
      {
        AvailabilityZone,
        Size: 1,
        TagSpecifications: [{ ResourceType: "instance", Tags: [{ Key: "a", Value: "b" }] }],
      },
      "'instance' is not a valid taggable resource type for this operation.",
    );
    await refused(
      "InvalidVolume.NotFound",
      "CreateSnapshot",
      { VolumeId: "vol-abcd1234" },
      "The volume 'vol-abcd1234' does not exist.",
    );
  });

  await t.step("what is attached nowhere, or elsewhere, is not detached", async () => {
    await refused(
      "IncorrectState",
      "DetachVolume",
      { VolumeId },
      `Volume '${VolumeId}' is in the 'available' state.`,
    );
    await refused(
      "InvalidInstanceID.NotFound",
      "DetachVolume",
      { VolumeId, InstanceId: absentInstance, Device: "/dev/sdh" },
      `The instance ID '${absentInstance}' does not exist`,
    );
    const [instance, another] = [1, 2].map(() => instanceRecord({ account_id: testAccount }));
    assert.ok(instance && another);
    await world.instances.create(instance);
    await world.instances.create(another);
    const InstanceId = instance.instance_id;
    await call("AttachVolume", { VolumeId, InstanceId, Device: "/dev/sdh" });
    await refused("InvalidAttachment.NotFound", "DetachVolume", {
      VolumeId,
      InstanceId: another.instance_id,
    });
    await refused("InvalidAttachment.NotFound", "DetachVolume", { VolumeId, Device: "/dev/sdi" });
    await refused(
      "VolumeInUse",
      "AttachVolume",
      { VolumeId, InstanceId, Device: "/dev/sdi" },
      `${VolumeId} is already attached to an instance`,
    );
    await refused(
      "VolumeInUse",
      "DeleteVolume",
      { VolumeId },
      `Volume ${VolumeId} is currently attached to ${InstanceId}`,
    );
    const other = await create();
    await refused(
      "InvalidParameterValue",
      "AttachVolume",
      { VolumeId: other, InstanceId, Device: "/dev/xvdh" },
      "Invalid value '/dev/xvdh' for unixDevice. Attachment point /dev/xvdh is already in use",
    );
    await refused(
      "InvalidParameterValue",
      "AttachVolume",
      { VolumeId: other, InstanceId, Device: "/dev/nvme1n1" },
      "Value (/dev/nvme1n1) for parameter device is invalid. /dev/nvme1n1 is not a valid EBS device name.",
    );
    const stopping = instanceRecord({ account_id: testAccount, state: "stopping" });
    await world.instances.create(stopping);
    await refused(
      "IncorrectState",
      "AttachVolume",
      { VolumeId: other, InstanceId: stopping.instance_id, Device: "/dev/sdh" },
      `Instance '${stopping.instance_id}' is not 'running'.`,
    );
  });

  await t.step("a volume goes with its instance once it is said to", async () => {
    const VolumeId = await create();
    const instance = instanceRecord({ account_id: testAccount });
    await world.instances.create(instance);
    const InstanceId = instance.instance_id;
    await call("AttachVolume", { VolumeId, InstanceId, Device: "/dev/sdf" });
    const goes = async () =>
      (await call("DescribeVolumes", {
        Filters: [
          { Name: "attachment.instance-id", Values: [InstanceId] },
          { Name: "attachment.delete-on-termination", Values: ["true"] },
        ],
      })).Volumes?.map((volume) => volume.Attachments?.[0]?.DeleteOnTermination);
    const set = (DeleteOnTermination: boolean) =>
      call("ModifyInstanceAttribute", {
        InstanceId,
        BlockDeviceMappings: [{ DeviceName: "/dev/sdf", Ebs: { DeleteOnTermination } }],
      });
    assert.deepEqual(await goes(), []);
    await set(true);
    assert.deepEqual(await goes(), [true]);
    await set(false);
    assert.deepEqual(await goes(), []);
    await set(true);
    await world.side.keeper.letGo(testAccount, VolumeId, InstanceId);
    await until("it is gone", () => world.state.volumes.get(testAccount, VolumeId) === undefined);
  });

  await t.step("a volume does not shrink", async () => {
    const VolumeId = await create({ Size: 3 });
    await refused(
      "InvalidParameterValue",
      "ModifyVolume",
      { VolumeId, Size: 2 },
      "New size cannot be smaller than existing size",
    );
  });

  await t.step("a snapshot that an image stands on says which", async () => {
    const { SnapshotId = "" } = await call("CreateSnapshot", { VolumeId: await create() });
    const { ImageId } = await call("RegisterImage", {
      Name: "stands on it",
      BlockDeviceMappings: [{ DeviceName: "/dev/sda1", Ebs: { SnapshotId } }],
    });
    await refused(
      "InvalidSnapshot.InUse",
      "DeleteSnapshot",
      { SnapshotId },
      `The snapshot ${SnapshotId} is currently in use by ${ImageId}`,
    );
    const { SnapshotId: copy = "" } = await call("CopySnapshot", {
      SourceRegion: testConfig.region,
      SourceSnapshotId: SnapshotId,
      CompletionDurationMinutes: 30,
    });
    const { Snapshots: [copied] = [] } = await call("DescribeSnapshots", { SnapshotIds: [copy] });
    assert.deepEqual([copied?.VolumeId, copied?.CompletionDurationMinutes], ["vol-ffffffff", 30]);
    for (const CompletionDurationMinutes of [14, 20, 2895]) {
      await refused("InvalidParameterValue", "CopySnapshot", {
        SourceRegion: testConfig.region,
        SourceSnapshotId: SnapshotId,
        CompletionDurationMinutes,
      });
    }
  });

  await t.step("nothing is made of a snapshot that is not whole", async () => {
    world.store.mounted.add(VolumeId);
    const { SnapshotId, State } = await call("CreateSnapshot", { VolumeId });
    assert.equal(State, "pending");
    await refused(
      "IncorrectState",
      "CreateVolume",
      { AvailabilityZone, SnapshotId },
      "Snapshot is in invalid state - pending",
    );
  });

  await t.step("a snapshot is described in 255 characters, in the region", async () => {
    await refused("InvalidParameterValue", "CreateSnapshot", {
      VolumeId,
      Description: "x".repeat(256),
    });
    await refused("InvalidParameterValue", "CreateSnapshots", {
      InstanceSpecification: { InstanceId: [...world.instances.all()][0]?.instance_id },
      Description: "x".repeat(256),
    });
    await refused("UnsupportedOperation", "CreateSnapshot", { VolumeId, Location: "local" });
    await call("CreateSnapshot", { VolumeId, Location: "regional" });
  });
});
