/** Every action of compute's resource side as users call it: the official SDK, signed, over HTTPS. */
import {
  AttachVolumeCommand,
  CreateKeyPairCommand,
  CreateTagsCommand,
  CreateVolumeCommand,
  DeleteKeyPairCommand,
  DeleteTagsCommand,
  DeleteVolumeCommand,
  DeregisterImageCommand,
  DescribeAvailabilityZonesCommand,
  DescribeImagesCommand,
  DescribeInstanceTypesCommand,
  DescribeKeyPairsCommand,
  DescribeRegionsCommand,
  DescribeTagsCommand,
  DescribeVolumesCommand,
  DescribeVolumeStatusCommand,
  DetachVolumeCommand,
  EC2Client,
  ImportKeyPairCommand,
  paginateDescribeVolumes,
  RegisterImageCommand,
  waitUntilVolumeAvailable,
  waitUntilVolumeDeleted,
  waitUntilVolumeInUse,
} from "@aws-sdk/client-ec2";
import assert from "node:assert/strict";
import { makeKey, openSshLine } from "../../services/compute/keys/ssh_keys.ts";
import { newId } from "../../services/resources/ids.ts";
import { instanceRecord, testConfig } from "../kit/compute.ts";
import { startTestGateway, testAccount } from "../kit/gateway.ts";
import { clientOptions } from "../kit/sdk_calls.ts";
import { startResourceSide } from "../kit/resource_side.ts";

const az = testConfig.az;

Deno.test("the SDK makes, finds, tags, attaches and deletes resources over HTTPS", async (t) => {
  await using stand = await startTestGateway();
  await using world = await startResourceSide(undefined, stand.nats);
  const ec2 = new EC2Client(clientOptions(stand));
  const refused = async (name: string, work: Promise<unknown>) =>
    await assert.rejects(work, { name });
  const waiting = { client: ec2, maxWaitTime: 20, minDelay: 1, maxDelay: 1 };

  await t.step("key pairs", async () => {
    const made = await ec2.send(
      new CreateKeyPairCommand({
        KeyName: "one",
        KeyType: "ed25519",
        TagSpecifications: [{ ResourceType: "key-pair", Tags: [{ Key: "a", Value: "b" }] }],
      }),
    );
    assert.match(made.KeyMaterial ?? "", /OPENSSH PRIVATE KEY/);
    const line = openSshLine((await makeKey("ed25519", "x")).public, "x");
    await ec2.send(
      new ImportKeyPairCommand({
        KeyName: "two",
        PublicKeyMaterial: new TextEncoder().encode(line),
      }),
    );
    const { KeyPairs: keys = [] } = await ec2.send(
      new DescribeKeyPairsCommand({ IncludePublicKey: true }),
    );
    assert.deepEqual(keys.map((key) => key.KeyName).sort(), ["one", "two"]);
    assert.ok(keys[0]?.CreateTime instanceof Date);
    const deleted = await ec2.send(new DeleteKeyPairCommand({ KeyName: "one" }));
    assert.equal(deleted.KeyPairId, made.KeyPairId);
    await refused(
      "InvalidKeyPair.NotFound",
      ec2.send(new DescribeKeyPairsCommand({ KeyNames: ["one"] })),
    );
  });

  await t.step("volumes, their waiters and their pages", async () => {
    const { VolumeId: volume = "", CreateTime } = await ec2.send(
      new CreateVolumeCommand({ AvailabilityZone: az, Size: 3, VolumeType: "gp3" }),
    );
    assert.ok(CreateTime instanceof Date);
    await waitUntilVolumeAvailable(waiting, { VolumeIds: [volume] });
    const instance = instanceRecord({ account_id: testAccount });
    await world.instances.create(instance);
    const attached = await ec2.send(
      new AttachVolumeCommand({
        VolumeId: volume,
        InstanceId: instance.instance_id,
        Device: undefined,
      }),
    );
    assert.equal(attached.Device, "/dev/sdf");
    await waitUntilVolumeInUse(waiting, { VolumeIds: [volume] });
    const { VolumeStatuses: [status] = [] } = await ec2.send(
      new DescribeVolumeStatusCommand({ VolumeIds: [volume] }),
    );
    assert.deepEqual(status?.VolumeStatus?.Details, [
      { Name: "io-enabled", Status: "passed" },
      { Name: "io-performance", Status: "not-applicable" },
    ]);
    await refused("VolumeInUse", ec2.send(new DeleteVolumeCommand({ VolumeId: volume })));
    const detaching = await ec2.send(new DetachVolumeCommand({ VolumeId: volume }));
    assert.equal(detaching.State, "detaching");
    await waitUntilVolumeAvailable(waiting, { VolumeIds: [volume] });
    await ec2.send(new DeleteVolumeCommand({ VolumeId: volume }));
    await waitUntilVolumeDeleted(waiting, { VolumeIds: [volume] });
    await refused(
      "DryRunOperation",
      ec2.send(new CreateVolumeCommand({ AvailabilityZone: az, Size: 1, DryRun: true })),
    );
    for (let at = 0; at < 12; at++) {
      await ec2.send(new CreateVolumeCommand({ AvailabilityZone: az, Size: 1 }));
    }
    const seen: string[] = [];
    for await (
      const page of paginateDescribeVolumes({ client: ec2, pageSize: 5 }, {
        Filters: [{ Name: "size", Values: ["1"] }],
      })
    ) seen.push(...(page.Volumes ?? []).map((one) => one.VolumeId ?? ""));
    assert.equal(new Set(seen).size, 12);
    assert.ok((await ec2.send(new DescribeVolumesCommand({ MaxResults: 5 }))).NextToken);
  });

  await t.step("images", async () => {
    const snapshot_id = newId("snap-");
    await world.state.snapshots.create({
      snapshot_id,
      account_id: testAccount,
      size_gib: 2,
      state: "completed",
      start_time: new Date().toISOString(),
      tags: {},
    });
    const { ImageId: image = "" } = await ec2.send(
      new RegisterImageCommand({
        Name: "an image",
        Architecture: "x86_64",
        VirtualizationType: "hvm",
        RootDeviceName: "/dev/xvda",
        BlockDeviceMappings: [{ DeviceName: "/dev/xvda", Ebs: { SnapshotId: snapshot_id } }],
      }),
    );
    const { Images: [shown] = [] } = await ec2.send(
      new DescribeImagesCommand({ Owners: ["self"], ImageIds: [image] }),
    );
    assert.equal(shown?.BlockDeviceMappings?.[0]?.Ebs?.VolumeSize, 2);
    assert.equal(shown?.Public, false);
    await ec2.send(new DeregisterImageCommand({ ImageId: image }));
    await refused(
      "InvalidAMIID.NotFound",
      ec2.send(new DescribeImagesCommand({ ImageIds: [image] })),
    );
  });

  await t.step("tags", async () => {
    const { KeyPairs: [key] = [] } = await ec2.send(new DescribeKeyPairsCommand({}));
    const Resources = [key?.KeyPairId ?? ""];
    await ec2.send(
      new CreateTagsCommand({
        Resources,
        Tags: [{ Key: "k", Value: "" }, { Key: "l", Value: "é" }],
      }),
    );
    const { Tags = [] } = await ec2.send(
      new DescribeTagsCommand({ Filters: [{ Name: "resource-type", Values: ["key-pair"] }] }),
    );
    assert.deepEqual(Tags.map((tag) => [tag.Key, tag.Value]), [["k", ""], ["l", "é"]]);
    await ec2.send(new DeleteTagsCommand({ Resources, Tags: [{ Key: "k", Value: "" }] }));
    assert.equal((await ec2.send(new DescribeTagsCommand({}))).Tags?.length, 1);
  });

  await t.step("regions, zones and types", async () => {
    const regions = await ec2.send(new DescribeRegionsCommand({}));
    assert.deepEqual(regions.Regions?.map((one) => one.RegionName), [testConfig.region]);
    const zones = await ec2.send(new DescribeAvailabilityZonesCommand({}));
    assert.deepEqual(zones.AvailabilityZones?.map((one) => one.ZoneName), [az]);
    const types = await ec2.send(
      new DescribeInstanceTypesCommand({ InstanceTypes: ["t3.micro"] }),
    );
    assert.equal(types.InstanceTypes?.[0]?.MemoryInfo?.SizeInMiB, 1024);
    assert.equal(types.InstanceTypes?.[0]?.VCpuInfo?.DefaultVCpus, 2);
  });

  ec2.destroy();
});
