/** Volumes and snapshots through the AWS CLI as users run it: filters, pages, dry runs, refusals. */
import assert from "node:assert/strict";
import {
  CopyVolumesCommand,
  DescribeLockedSnapshotsCommand,
  EC2Client,
  LockSnapshotCommand,
  UnlockSnapshotCommand,
} from "@aws-sdk/client-ec2";
import { startEc2Cloud } from "../kit/ec2_cloud.ts";
import { quickWaiters } from "../kit/quick_waiters.ts";

Deno.test("the AWS CLI sees volumes and snapshots as EC2 shows them", async (t) => {
  await using cloud = await startEc2Cloud();
  const { az, region } = cloud.node.config;
  const waiters = await quickWaiters(`${cloud.node.paths.root}/models`);
  const run = async (...args: string[]) => {
    const { code, stdout, stderr } = await new Deno.Command("/usr/bin/aws", {
      args: ["--output", "json", "ec2", ...args],
      env: {
        AWS_ACCESS_KEY_ID: cloud.admin.access_key_id,
        AWS_SECRET_ACCESS_KEY: cloud.admin.secret_access_key,
        AWS_DEFAULT_REGION: region,
        AWS_ENDPOINT_URL: cloud.node.endpoint,
        AWS_CA_BUNDLE: cloud.node.paths.tls.ca,
        AWS_MAX_ATTEMPTS: "1",
        AWS_EC2_METADATA_DISABLED: "true",
        AWS_CONFIG_FILE: "/dev/null",
        AWS_SHARED_CREDENTIALS_FILE: "/dev/null",
        ...waiters,
      },
    }).output();
    const [out, err] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
    return { code, out: out ?? "", err: err ?? "" };
  };
  const aws = async (...args: string[]) => {
    const { code, out, err } = await run(...args);
    assert.equal(code, 0, `${args.join(" ")}: ${err}`);
    return out === "" ? {} : JSON.parse(out);
  };
  const refused = async (error: string, ...args: string[]) => {
    const { code, err } = await run(...args);
    assert.notEqual(code, 0, args.join(" "));
    assert.ok(err.includes(`(${error})`), `${args.join(" ")}: ${err}`);
  };
  // Operations that are younger than Debian's CLI go by the SDK.
  const sdk = new EC2Client({ ...cloud.settings(), maxAttempts: 1 });
  const create = ["create-volume", "--availability-zone", az, "--size"];
  const absent = "vol-0123456789abcdef0";
  const noSnapshot = "snap-0123456789abcdef0";
  const made: string[] = [];
  for (const size of ["1", "2", "2"]) {
    made.push((await aws(...create, size)).VolumeId);
  }
  const [volume = ""] = made;
  const ids = (list: { VolumeId: string }[]) => list.map(({ VolumeId }) => VolumeId).sort();

  await t.step("volumes are made, filtered and paged", async () => {
    const bySize = await aws("describe-volumes", "--filters", "Name=size,Values=2");
    assert.deepEqual(ids(bySize.Volumes), made.slice(1).sort());
    // The CLI follows the tokens by itself.
    const all = await aws("describe-volumes", "--page-size", "5");
    assert.deepEqual(ids(all.Volumes), [...made].sort());
    await refused("InvalidVolume.NotFound", "describe-volumes", "--volume-ids", absent);
    await refused("InvalidParameterValue", "describe-volumes", "--filters", "Name=colour,Values=1");
    await refused(
      "InvalidNextToken",
      "describe-volumes",
      "--next-token",
      "nonsense",
      "--no-paginate",
    );
    await refused("InvalidParameterValue", ...create, "16385");
    await refused("UnknownVolumeType", ...create, "1", "--volume-type", "gp4");
    await refused("DryRunOperation", ...create, "1", "--dry-run");
    assert.equal((await aws("describe-volumes")).Volumes.length, 3);
  });

  await t.step("their status, attributes and changes are told", async () => {
    const { VolumeStatuses } = await aws(
      "describe-volume-status",
      "--filters",
      "Name=volume-status.status,Values=ok",
    );
    assert.deepEqual(ids(VolumeStatuses), [...made].sort());
    await aws("modify-volume-attribute", "--volume-id", volume, "--auto-enable-io");
    const attribute = ["describe-volume-attribute", "--volume-id"];
    const { AutoEnableIO } = await aws(...attribute, volume, "--attribute", "autoEnableIO");
    assert.equal(AutoEnableIO.Value, true);
    await refused("InvalidVolume.NotFound", ...attribute, absent, "--attribute", "productCodes");
    const changes = ["describe-volumes-modifications"];
    await refused("InvalidVolumeModification.NotFound", ...changes, "--volume-ids", volume);
    await refused("InvalidVolume.NotFound", ...changes, "--volume-ids", absent);
    assert.deepEqual((await aws(...changes)).VolumesModifications, []);
    await refused(
      "DryRunOperation",
      "modify-volume",
      "--volume-id",
      volume,
      "--size",
      "3",
      "--dry-run",
    );
    await aws("modify-volume", "--volume-id", volume, "--size", "3");
    const [change] = (await aws(...changes, "--volume-ids", volume)).VolumesModifications;
    assert.deepEqual([change.OriginalSize, change.TargetSize], [1, 3]);
    const copied = await sdk.send(new CopyVolumesCommand({ SourceVolumeId: made[1] }));
    assert.equal(copied.Volumes?.[0]?.SourceVolumeId, made[1]);
    await assert.rejects(
      sdk.send(new CopyVolumesCommand({ SourceVolumeId: absent })),
      { name: "InvalidVolume.NotFound" },
    );
  });

  await t.step("snapshots are made, filtered, shared and held by what stands on them", async () => {
    const { SnapshotId } = await aws("create-snapshot", "--volume-id", made[2] ?? "");
    await aws("wait", "snapshot-completed", "--snapshot-ids", SnapshotId);
    const found = await aws("describe-snapshots", "--filters", `Name=volume-id,Values=${made[2]}`);
    assert.equal(found.Snapshots[0].SnapshotId, SnapshotId);
    await refused("InvalidSnapshot.NotFound", "describe-snapshots", "--snapshot-ids", noSnapshot);
    await refused("InvalidVolume.NotFound", "create-snapshot", "--volume-id", absent);
    const share = ["modify-snapshot-attribute", "--snapshot-id", SnapshotId, "--user-ids"];
    await refused(
      "DryRunOperation",
      ...share,
      "123456789012",
      "--operation-type",
      "add",
      "--attribute",
      "createVolumePermission",
      "--dry-run",
    );
    const restores = ["--availability-zones", az, "--source-snapshot-ids"];
    const { Successful } = await aws("enable-fast-snapshot-restores", ...restores, SnapshotId);
    assert.equal(Successful[0].SnapshotId, SnapshotId);
    const { Unsuccessful } = await aws("disable-fast-snapshot-restores", ...restores, noSnapshot);
    assert.equal(
      Unsuccessful[0].FastSnapshotRestoreStateErrors[0].Error.Code,
      "InvalidSnapshot.NotFound",
    );
    const image = await aws(
      "register-image",
      "--name",
      "stands-on-it",
      "--root-device-name",
      "/dev/xvda",
      "--block-device-mappings",
      `DeviceName=/dev/xvda,Ebs={SnapshotId=${SnapshotId}}`,
    );
    await refused("InvalidSnapshot.InUse", "delete-snapshot", "--snapshot-id", SnapshotId);
    await aws("deregister-image", "--image-id", image.ImageId);
    await aws("delete-snapshot", "--snapshot-id", SnapshotId);
    await refused("InvalidSnapshot.NotFound", "delete-snapshot", "--snapshot-id", SnapshotId);
  });

  await t.step("what this cloud does not have is refused by its name", async () => {
    for (
      const args of [
        ["list-snapshots-in-recycle-bin"],
        ["restore-snapshot-from-recycle-bin", "--snapshot-id", noSnapshot],
        ["modify-snapshot-tier", "--snapshot-id", noSnapshot],
        ["restore-snapshot-tier", "--snapshot-id", noSnapshot, "--permanent-restore"],
        ["describe-snapshot-tier-status"],
        ["enable-volume-io", "--volume-id", volume],
      ]
    ) await refused("UnsupportedOperation", ...args);
    const unsupported = { name: "UnsupportedOperation" };
    const lock = { SnapshotId: noSnapshot, LockMode: "governance", LockDuration: 1 } as const;
    await assert.rejects(sdk.send(new LockSnapshotCommand(lock)), unsupported);
    const unlock = new UnlockSnapshotCommand({ SnapshotId: noSnapshot });
    await assert.rejects(sdk.send(unlock), unsupported);
    await assert.rejects(sdk.send(new DescribeLockedSnapshotsCommand({})), unsupported);
  });
});
