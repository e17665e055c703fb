import assert from "node:assert/strict";
import { AwsError } from "../../aws/errors.ts";
import { testConfig } from "../../../tests/kit/compute.ts";
import { startResourceSide } from "../../../tests/kit/resource_side.ts";
import { until } from "../../../tests/kit/until.ts";
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
  // Clients that always say whether they ask for it mean no more by `false` than by nothing.
  const unasked = await create({ SnapshotId: snapshot.SnapshotId, Encrypted: false });
  assert.deepEqual([unasked.Encrypted, unasked.KmsKeyId], [true, usual]);
  await assert.rejects(
    ask("CopySnapshot", {
      SourceRegion: testConfig.region,
      SourceSnapshotId: snapshot.SnapshotId ?? "",
      Encrypted: false,
    }),
    { code: "InvalidParameterValue", message: "The parameter encrypted=false is invalid" },
  );

  const source = await ask("CreateSnapshot", { VolumeId: plain.VolumeId ?? "" });
  assert.equal(source.Encrypted, false);
  const { SnapshotId: copied = "" } = await ask("CopySnapshot", {
    SourceRegion: testConfig.region,
    SourceSnapshotId: source.SnapshotId ?? "",
    Encrypted: true,
  });
  await until("it is copied", () => store.snapshots.get(copied)?.encrypted);
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

Deno.test("a copy that has to be encrypted is pending meanwhile, and what fails for good says so", async (t) => {
  await using world = await startResourceSide();
  const { ask, store } = world;
  const AvailabilityZone = testConfig.az;
  const SourceRegion = testConfig.region;
  const { VolumeId = "" } = await ask("CreateVolume", { AvailabilityZone, Size: 8 });
  const { SnapshotId: source = "" } = await ask("CreateSnapshot", { VolumeId });
  const stateOf = async (id: string) =>
    (await ask("DescribeSnapshots", { SnapshotIds: [id] })).Snapshots?.[0]?.State;
  /** Holds what the block store is asked by a name, until it is let go or fails. */
  const hold = (name: string) => {
    const held = Promise.withResolvers<void>();
    const asked = Promise.withResolvers<void>();
    store.before = async (call) => {
      if (call !== name) return;
      asked.resolve();
      await held.promise;
    };
    return { ...held, asked: asked.promise };
  };
  const copy = async () =>
    (await ask("CopySnapshot", { SourceRegion, SourceSnapshotId: source, Encrypted: true }))
      .SnapshotId ?? "";

  await t.step("it is answered at once, and completed when it is stored", async () => {
    const held = hold("ebs.snapshot.copy");
    const made = await copy();
    await held.asked;
    assert.equal(await stateOf(made), "pending");
    await assert.rejects(ask("CreateVolume", { AvailabilityZone, SnapshotId: made }), {
      code: "IncorrectState",
    });
    held.resolve();
    await until("it is stored", async () => await stateOf(made) === "completed");
    assert.equal(store.snapshots.get(made)?.encrypted, true);
  });

  await t.step("a copy that cannot be made is an error that can be deleted", async () => {
    const held = hold("ebs.snapshot.copy");
    const made = await copy();
    await held.asked;
    held.reject(new AwsError("IncorrectState", "the source is damaged"));
    await until("it has failed", async () => await stateOf(made) === "error");
    await ask("DeleteSnapshot", { SnapshotId: made });
    await assert.rejects(stateOf(made), { code: "InvalidSnapshot.NotFound" });
  });

  await t.step("an image's copy is pending with its snapshots", async () => {
    const { ImageId: SourceImageId = "" } = await ask("RegisterImage", {
      Name: "plain",
      BlockDeviceMappings: [{ DeviceName: "/dev/xvda", Ebs: { SnapshotId: source } }],
    });
    const held = hold("ebs.snapshot.copy");
    const { ImageId = "" } = await ask("CopyImage", {
      SourceRegion,
      SourceImageId,
      Name: "sealed",
      Encrypted: true,
    });
    const shown = async () => (await ask("DescribeImages", { ImageIds: [ImageId] })).Images?.[0];
    assert.equal((await shown())?.State, "pending");
    held.resolve();
    await until("it is available", async () => (await shown())?.State === "available");
    assert.equal((await shown())?.BlockDeviceMappings?.[0]?.Ebs?.Encrypted, true);
    await assert.rejects(
      ask("CopyImage", {
        SourceRegion,
        SourceImageId: ImageId,
        Name: "plain again",
        Encrypted: false,
      }),
      { code: "InvalidRequest", message: /Creating unencrypted copy from an encrypted snapshot/ },
    );
  });

  await t.step("a volume that cannot be filled is an error that can be deleted", async () => {
    const held = hold("ebs.volume.create");
    const { VolumeId = "" } = await ask("CreateVolume", {
      AvailabilityZone,
      SnapshotId: source,
      Encrypted: true,
    });
    const volume = async () => (await ask("DescribeVolumes", { VolumeIds: [VolumeId] })).Volumes;
    await assert.rejects(ask("DeleteVolume", { VolumeId }), { code: "IncorrectState" });
    await held.asked;
    held.reject(new AwsError("InvalidSnapshot.NotFound", "it went meanwhile"));
    await until("it has failed", async () => (await volume())?.[0]?.State === "error");
    store.before = () => {};
    await ask("DeleteVolume", { VolumeId });
    await until("it is gone", () => volume().then(() => undefined, () => true));
  });
});
