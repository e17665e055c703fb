/** Snapshots that are shared, over the bus, with a block store of names and sizes. */
import assert from "node:assert/strict";
import { testConfig } from "../../../tests/kit/compute.ts";
import { alice, bob, startResourceSide } from "../../../tests/kit/resource_side.ts";

const carol = "333333333333";

Deno.test("a snapshot is used by its owner and by those whom the owner names", async (t) => {
  await using world = await startResourceSide();
  const { ask, store } = world;
  const AvailabilityZone = testConfig.az;
  const { VolumeId = "" } = await ask("CreateVolume", { AvailabilityZone, Size: 8 });
  const { SnapshotId = "" } = await ask("CreateSnapshot", {
    VolumeId,
    TagSpecifications: [{ ResourceType: "snapshot", Tags: [{ Key: "team", Value: "blue" }] }],
  });
  const permissions = async () =>
    (await ask("DescribeSnapshotAttribute", { SnapshotId, Attribute: "createVolumePermission" }))
      .CreateVolumePermissions;
  const modify = (input: object, account = alice) =>
    ask("ModifySnapshotAttribute", { SnapshotId, ...input }, account);
  const seen = async (account: string, input: object = {}) =>
    (await ask("DescribeSnapshots", input, account)).Snapshots?.map((each) => each.SnapshotId);
  const use = (account: string) => ask("CreateVolume", { AvailabilityZone, SnapshotId }, account);

  await t.step("nobody else sees it unless it is shared", async () => {
    assert.deepEqual(await permissions(), []);
    assert.deepEqual(await seen(bob), []);
    await assert.rejects(seen(bob, { SnapshotIds: [SnapshotId] }), {
      code: "InvalidSnapshot.NotFound",
    });
    await assert.rejects(use(bob), { code: "InvalidSnapshot.NotFound" });
    await assert.rejects(modify({ CreateVolumePermission: { Add: [{ UserId: bob }] } }, bob), {
      code: "InvalidSnapshot.NotFound",
    });
  });

  await t.step("whom its owner names makes volumes and copies of it, and owns these", async () => {
    await modify({ CreateVolumePermission: { Add: [{ UserId: bob }] } });
    assert.deepEqual(await permissions(), [{ UserId: bob }]);
    assert.deepEqual(await seen(bob), [SnapshotId]);
    assert.deepEqual(await seen(carol), []);
    assert.deepEqual(await seen(bob, { RestorableByUserIds: ["self"] }), [SnapshotId]);
    assert.deepEqual(await seen(bob, { OwnerIds: ["self"] }), []);
    assert.deepEqual(await seen(bob, { OwnerIds: [alice] }), [SnapshotId]);
    assert.deepEqual(await seen(alice, { RestorableByUserIds: [bob] }), [SnapshotId]);
    assert.deepEqual(await seen(alice, { RestorableByUserIds: ["all"] }), []);
    const volume = await use(bob);
    assert.deepEqual([volume.SnapshotId, volume.Size], [SnapshotId, 8]);
    await assert.rejects(use(carol), { code: "InvalidSnapshot.NotFound" });
    const copy = await ask("CopySnapshot", {
      SourceRegion: testConfig.region,
      SourceSnapshotId: SnapshotId,
    }, bob);
    assert.deepEqual(await seen(bob, { OwnerIds: ["self"] }), [copy.SnapshotId]);
  });

  await t.step("its tags, and what becomes of it, stay its owner's", async () => {
    const shown = await ask("DescribeSnapshots", { SnapshotIds: [SnapshotId] }, bob);
    assert.deepEqual([shown.Snapshots?.[0]?.Tags, shown.Snapshots?.[0]?.OwnerId], [[], alice]);
    assert.deepEqual(await seen(bob, { Filters: [{ Name: "tag:team", Values: ["blue"] }] }), []);
    await assert.rejects(
      modify({ OperationType: "add", UserIds: [carol] }, bob),
      { code: "AuthFailure" },
    );
    await assert.rejects(ask("DeleteSnapshot", { SnapshotId }, bob), {
      code: "InvalidSnapshot.NotFound",
    });
  });

  await t.step("the older way of asking, several at once, and taking it back", async () => {
    await modify({ OperationType: "add", UserIds: [carol], GroupNames: ["all"] });
    assert.deepEqual(await permissions(), [{ Group: "all" }, { UserId: bob }, { UserId: carol }]);
    assert.deepEqual(await seen("444444444444", { RestorableByUserIds: ["all"] }), [SnapshotId]);
    await modify({ OperationType: "remove", UserIds: [bob, carol] });
    assert.deepEqual(await permissions(), [{ Group: "all" }]);
    await use(bob);
    await ask("EnableSnapshotBlockPublicAccess", { State: "block-all-sharing" });
    await assert.rejects(use(bob), { code: "InvalidSnapshot.NotFound" });
    assert.deepEqual(await seen(carol), []);
    const named = (account: string) =>
      ask("DescribeSnapshots", { SnapshotIds: [SnapshotId] }, account);
    await assert.rejects(named(carol), { code: "InvalidSnapshot.NotFound" });
    assert.equal((await named(alice)).Snapshots?.length, 1);
    await ask("ResetSnapshotAttribute", { SnapshotId, Attribute: "createVolumePermission" });
    assert.deepEqual(await permissions(), []);
    await assert.rejects(modify({ OperationType: "add", GroupNames: ["all"] }), {
      code: "OperationNotPermitted",
    });
    await ask("DisableSnapshotBlockPublicAccess", {});
    assert.deepEqual(await seen(carol), []);
  });

  await t.step("what cannot be shared is refused, and changes nothing", async () => {
    const refused = (code: string, input: object) => assert.rejects(modify(input), { code });
    await refused("InvalidAMIAttributeItemValue", { OperationType: "add", UserIds: ["bob"] });
    await refused("InvalidParameterValue", { OperationType: "give", UserIds: [bob] });
    await refused("InvalidParameterValue", { Attribute: "size", OperationType: "add" });
    await refused("MissingParameter", {});
    await refused("DryRunOperation", { OperationType: "add", UserIds: [bob], DryRun: true });
    assert.deepEqual(await permissions(), []);
    const sealed = await ask("CreateVolume", { AvailabilityZone, Size: 1, Encrypted: true });
    const secret = await ask("CreateSnapshot", { VolumeId: sealed.VolumeId ?? "" });
    await refused("OperationNotPermitted", {
      SnapshotId: secret.SnapshotId,
      OperationType: "add",
      UserIds: [bob],
    });
    assert.ok(store.snapshots.has(SnapshotId));
  });
});

Deno.test("a shared snapshot that its owner has deleted is nobody's, as long as its end takes", async () => {
  await using world = await startResourceSide();
  const { ask, state, store } = world;
  const AvailabilityZone = testConfig.az;
  const { VolumeId = "" } = await ask("CreateVolume", { AvailabilityZone, Size: 8 });
  const { SnapshotId = "" } = await ask("CreateSnapshot", { VolumeId });
  await ask("ModifySnapshotAttribute", {
    SnapshotId,
    OperationType: "add",
    UserIds: [bob],
  });
  const letGo = Promise.withResolvers<void>();
  store.before = async (call) => {
    if (call === "ebs.snapshot.delete") await letGo.promise;
  };
  await ask("DeleteSnapshot", { SnapshotId });
  const notFound = { code: "InvalidSnapshot.NotFound" };
  try {
    for (const account of [alice, bob]) {
      assert.equal(state.snapshots.visible(account, SnapshotId), undefined);
      await assert.rejects(
        ask("CreateVolume", { AvailabilityZone, SnapshotId }, account),
        notFound,
      );
      const copy = { SourceRegion: testConfig.region, SourceSnapshotId: SnapshotId };
      await assert.rejects(ask("CopySnapshot", copy, account), notFound);
    }
  } finally {
    letGo.resolve();
  }
});
