import assert from "node:assert/strict";
import { testConfig } from "../../../tests/kit/compute.ts";
import { startResourceSide } from "../../../tests/kit/resource_side.ts";
import { planDevices } from "../instances/block_device_plan.ts";
import { chooseEncryption, type EncryptionDefaults } from "./encryption_choice.ts";

const key = "arn:aws:kms:ap-southeast-2:111111111111:alias/aws/ebs";
const defaults: EncryptionDefaults = { always: false, key, names: [key, "alias/aws/ebs"] };
const encrypted = { encrypted: true, kms_key_id: key } as const;

Deno.test("what is encrypted follows from the request, its source and what the account has set", () => {
  assert.deepEqual(chooseEncryption({}, defaults), {});
  assert.deepEqual(chooseEncryption({ Encrypted: true }, defaults), encrypted);
  assert.deepEqual(chooseEncryption({ Encrypted: true, KmsKeyId: key }, defaults), encrypted);
  assert.deepEqual(chooseEncryption({}, defaults, encrypted), encrypted);
  const always = { ...defaults, always: true };
  assert.deepEqual(chooseEncryption({ Encrypted: false }, always), encrypted);
  const other = { encrypted: true, kms_key_id: "arn:aws:kms:x:222222222222:key/a" } as const;
  assert.deepEqual(chooseEncryption({}, always, other), other);
  const refused = (code: string, ...choice: Parameters<typeof chooseEncryption>) =>
    assert.throws(() => chooseEncryption(...choice), { code });
  refused("InvalidParameterDependency", { KmsKeyId: key }, defaults);
  refused("InvalidParameterValue", { Encrypted: true, KmsKeyId: "alias/mine" }, defaults);
  refused("InvalidParameterCombination", { Encrypted: false }, defaults, encrypted);
});

Deno.test("a launch's volumes are encrypted by mapping, by image and by the account", () => {
  const image = {
    root_device_name: "/dev/xvda",
    block_devices: [
      { device: "/dev/xvda", snapshot_id: "snap-a", size_gib: 8, delete_on_termination: true },
      {
        device: "/dev/sdb",
        snapshot_id: "snap-b",
        encrypted: true,
        size_gib: 8,
        delete_on_termination: true,
      },
    ],
  } as const;
  const plan = (always: boolean, ...mappings: NonNullable<Parameters<typeof planDevices>[1]>) =>
    planDevices(
      image,
      mappings,
      () => 8,
      (asked, own) => chooseEncryption(asked, { ...defaults, always }, own),
    ).map((device) => [device.device, device.encrypted === true]);
  assert.deepEqual(plan(false), [["/dev/xvda", false], ["/dev/sdb", true]]);
  assert.deepEqual(plan(true), [["/dev/xvda", true], ["/dev/sdb", true]]);
  const data = { DeviceName: "/dev/sdf", Ebs: { VolumeSize: 8, Encrypted: true } };
  assert.deepEqual(
    plan(false, { DeviceName: "/dev/xvda", Ebs: { Encrypted: true } }, data),
    [["/dev/xvda", true], ["/dev/sdb", true], ["/dev/sdf", true]],
  );
  assert.throws(() => plan(false, { DeviceName: "/dev/sdb", Ebs: { Encrypted: false } }), {
    code: "InvalidParameterCombination",
  });
});

Deno.test("encryption over the bus: volumes, snapshots, copies and the account's default", async () => {
  await using world = await startResourceSide();
  const { ask, store } = world;
  const create = (input: object) =>
    ask("CreateVolume", { AvailabilityZone: testConfig.az, Size: 8, ...input });
  const { KmsKeyId: usual } = await ask("GetEbsDefaultKmsKeyId", {});
  const plain = await create({});
  assert.deepEqual([plain.Encrypted, plain.KmsKeyId], [false, undefined]);
  const made = await create({ Encrypted: true });
  assert.deepEqual([made.Encrypted, made.KmsKeyId], [true, usual]);
  assert.equal(store.volumes.get(made.VolumeId ?? "")?.encrypted, true);

  const snapshot = await ask("CreateSnapshot", { VolumeId: made.VolumeId ?? "" });
  assert.deepEqual([snapshot.Encrypted, snapshot.KmsKeyId], [true, usual]);
  const clone = await create({ SnapshotId: snapshot.SnapshotId });
  assert.equal(clone.Encrypted, true);
  await assert.rejects(create({ SnapshotId: snapshot.SnapshotId, Encrypted: false }), {
    code: "InvalidParameterCombination",
  });

  const source = await ask("CreateSnapshot", { VolumeId: plain.VolumeId ?? "" });
  assert.equal(source.Encrypted, false);
  const { SnapshotId: copied = "" } = await ask("CopySnapshot", {
    SourceRegion: testConfig.region,
    SourceSnapshotId: source.SnapshotId ?? "",
    Encrypted: true,
  });
  assert.equal(store.snapshots.get(copied)?.encrypted, true);
  const filtered = await ask("DescribeSnapshots", {
    Filters: [{ Name: "encrypted", Values: ["true"] }],
  });
  assert.deepEqual(
    new Set(filtered.Snapshots?.map(({ SnapshotId }) => SnapshotId)),
    new Set([snapshot.SnapshotId, copied]),
  );

  await ask("EnableEbsEncryptionByDefault", {});
  assert.equal((await create({})).Encrypted, true);
  const late = await create({ SnapshotId: source.SnapshotId });
  assert.deepEqual([late.State, late.Encrypted], ["creating", true]);
  await ask("DisableEbsEncryptionByDefault", {});
  assert.equal((await create({})).Encrypted, false);
  const volumes = await ask("DescribeVolumes", {
    Filters: [{ Name: "encrypted", Values: ["false"] }],
  });
  assert.equal(volumes.Volumes?.length, 2);
});
