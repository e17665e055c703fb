import assert from "node:assert/strict";
import {
  alice,
  bob,
  type ResourceWorld,
  startResourceSide,
} from "../../../tests/kit/resource_side.ts";
import { newId } from "../../resources/ids.ts";
import { settleImages } from "./image_making.ts";
import { checkImageName } from "./image_names.ts";
import { until } from "../../../tests/kit/until.ts";

async function snapshotOf(
  world: ResourceWorld,
  account: string,
  size_gib = 2,
  imported = false,
): Promise<string> {
  const snapshot_id = newId("snap-");
  world.store.snapshots.set(snapshot_id, {
    snapshot_id,
    size_bytes: size_gib * 2 ** 30,
    stored_bytes: 0,
  });
  await world.state.snapshots.create({
    snapshot_id,
    account_id: account,
    size_gib,
    ...(imported ? { goes_with_images: true as const } : {}),
    state: "completed",
    start_time: new Date().toISOString(),
    tags: {},
  });
  return snapshot_id;
}

const rootOf = (SnapshotId: string, more: object = {}) => [{
  DeviceName: "/dev/xvda",
  Ebs: { SnapshotId, ...more },
}];

Deno.test("image names are EC2's", () => {
  for (const name of ["abc", "Debian 13 (trixie)/[x]-'@_.", "x".repeat(128)]) checkImageName(name);
  for (const name of ["ab", "x".repeat(129), "a\nbc", "abc;", "äöü"]) {
    assert.throws(() => checkImageName(name), { code: "InvalidAMIName.Malformed" });
  }
});

Deno.test("images over the bus", async (t) => {
  await using world = await startResourceSide();
  const { ask, state, store } = world;
  const register = async (Name: string, snapshot: string, account = alice) =>
    (await ask(
      "RegisterImage",
      { Name, BlockDeviceMappings: rootOf(snapshot), BootMode: "uefi" },
      account,
    )).ImageId ?? "";

  await t.step("an image is registered from a snapshot, shown and deregistered", async () => {
    const snapshot = await snapshotOf(world, alice);
    const made = await ask("RegisterImage", {
      Name: "first image",
      Description: "one",
      Architecture: "x86_64",
      VirtualizationType: "hvm",
      RootDeviceName: "/dev/xvda",
      BlockDeviceMappings: [
        { DeviceName: "/dev/sdb", Ebs: { VolumeSize: 3, DeleteOnTermination: false } },
        ...rootOf(snapshot),
      ],
      TagSpecifications: [{ ResourceType: "image", Tags: [{ Key: "os", Value: "none" }] }],
    });
    const id = made.ImageId ?? "";
    assert.match(id, /^ami-[0-9a-f]{17}$/);
    const { Images: [image] = [] } = await ask("DescribeImages", { ImageIds: [id] });
    assert.equal(image?.State, "available");
    assert.deepEqual(image?.BlockDeviceMappings?.map((one) => [one.DeviceName, one.Ebs]), [
      ["/dev/xvda", {
        DeleteOnTermination: true,
        Encrypted: false,
        SnapshotId: snapshot,
        VolumeSize: 2,
        VolumeType: "gp2",
      }],
      ["/dev/sdb", {
        DeleteOnTermination: false,
        Encrypted: false,
        VolumeSize: 3,
        VolumeType: "gp2",
      }],
    ]);
    await ask("DeregisterImage", { ImageId: id });
    await assert.rejects(ask("DescribeImages", { ImageIds: [id] }), {
      code: "InvalidAMIID.NotFound",
      message: `The image id '[${id}]' does not exist`,
    });
    assert.ok(state.snapshots.get(alice, snapshot), "the caller's snapshot stays");
  });

  await t.step("images are found by all that EC2 finds them by", async () => {
    const snapshot = await snapshotOf(world, alice);
    const id = await register("found by everything", snapshot);
    const found = async (Name: string, ...Values: string[]) =>
      (await ask("DescribeImages", { Owners: ["self"], Filters: [{ Name, Values }] })).Images?.map(
        (one) => one.ImageId,
      );
    assert.deepEqual(await found("boot-mode", "uefi"), [id]);
    assert.deepEqual(await found("boot-mode", "legacy-bios"), []);
    assert.deepEqual(await found("image-allowed", "true"), [id]);
    assert.deepEqual(await found("free-tier-eligible", "true"), []);
    for (
      const name of [
        "image-watermark.source-image-creation-time",
        "image-watermark.source-image-id",
        "image-watermark.source-image-region",
        "image-watermark.watermark-creation-time",
        "image-watermark.watermark-key",
        "instance-type-specification.supported-instance-type",
        "instance-type-specification.unsupported-instance-type",
        "public-ssm-parameter-name",
      ]
    ) assert.deepEqual(await found(name, "*"), [], name);
    await ask("DeregisterImage", { ImageId: id });
  });

  await t.step("what cannot be registered is refused, and leaves nothing", async () => {
    const snapshot = await snapshotOf(world, alice);
    const strange = await snapshotOf(world, bob);
    const refused = async (code: string, input: object) =>
      await assert.rejects(
        ask("RegisterImage", { Name: "bad", BlockDeviceMappings: rootOf(snapshot), ...input }),
        { code },
      );
    await refused("MissingParameter", { BlockDeviceMappings: [] });
    await refused("InvalidAMIName.Malformed", { Name: "x" });
    await refused("InvalidBlockDeviceMapping", {
      BlockDeviceMappings: rootOf(await snapshotOf(world, alice), {
        VolumeType: "st1",
        VolumeSize: 125,
      }),
    });
    await refused("InvalidSnapshot.NotFound", { BlockDeviceMappings: rootOf(strange) });
    await refused("InvalidSnapshot.NotFound", { BlockDeviceMappings: rootOf(newId("snap-")) });
    await refused("InvalidBlockDeviceMapping", {
      BlockDeviceMappings: rootOf(snapshot, { VolumeSize: 1 }),
    });
    await refused("InvalidBlockDeviceMapping", {
      BlockDeviceMappings: [{ DeviceName: "/dev/xvda", Ebs: { VolumeSize: 1 } }],
    });
    await refused("InvalidBlockDeviceMapping", {
      BlockDeviceMappings: [...rootOf(snapshot), ...rootOf(snapshot)],
    });
    await refused("UnsupportedOperation", { BootMode: "legacy-bios" });
    await refused("InvalidParameterValue", { Architecture: "i386" });
    await refused("DryRunOperation", { DryRun: true });
    assert.deepEqual((await ask("DescribeImages", { Owners: ["self"] })).Images, []);
  });

  await t.step("a name is given once, however many ask at once", async () => {
    const snapshot = await snapshotOf(world, alice);
    const results = await Promise.allSettled(
      Array.from({ length: 8 }, () => register("the name", snapshot)),
    );
    assert.deepEqual(
      results.map((one) => one.status === "fulfilled" ? "registered" : String(one.reason.code))
        .sort(),
      [...Array(7).fill("InvalidAMIName.Duplicate"), "registered"],
    );
    assert.equal([...state.images.all(alice)].length, 1);
    await register("the name", await snapshotOf(world, bob), bob);
  });

  await t.step(
    "an image that is taken back while others are settled hinders none of them",
    async () => {
      const { images } = state;
      const snapshot = await snapshotOf(world, alice);
      const ids = [await register("goes", snapshot), await register("stays", snapshot)].sort();
      const [goes = "", stays = ""] = ids;
      for (const id of ids) {
        await images.modify(alice, id, (image) => ({
          ...image,
          state: "pending",
          awaits_snapshots: true,
        }));
      }
      const modify = images.modify;
      images.modify = async (account, id, change) => {
        if (id === goes) await images.delete(account, id);
        return await modify.call(images, account, id, change);
      };
      try {
        await settleImages(state);
      } finally {
        images.modify = modify;
      }
      assert.equal(images.get(alice, goes), undefined);
      assert.equal(images.get(alice, stays)?.state, "available");
      await images.delete(alice, stays);
    },
  );

  await t.step("owners and users choose what is shown", async () => {
    const id = await register("public one", await snapshotOf(world, bob), bob);
    await state.images.modify(bob, id, (image) => ({ ...image, public: true }));
    const names = async (input: object) =>
      (await ask("DescribeImages", input)).Images?.map((one) => one.Name).sort();
    assert.deepEqual(await names({}), ["public one", "the name"]);
    assert.deepEqual(await names({ Owners: ["self"] }), ["the name"]);
    assert.deepEqual(await names({ Owners: [bob] }), ["public one"]);
    assert.deepEqual(await names({ Owners: ["amazon"] }), []);
    assert.deepEqual(await names({ ExecutableUsers: ["all"] }), ["public one"]);
    assert.deepEqual(await names({ ExecutableUsers: ["self"] }), []);
    assert.deepEqual(await names({ ImageIds: [id] }), ["public one"]);
    await assert.rejects(names({ Owners: ["me"] }), { code: "InvalidUserID.Malformed" });
    const sorted = await ask("DescribeImages", { MaxResults: 1 });
    const rest = await ask("DescribeImages", { MaxResults: 1, NextToken: sorted.NextToken });
    assert.deepEqual([...sorted.Images ?? [], ...rest.Images ?? []].map((one) => one.Name).sort(), [
      "public one",
      "the name",
    ]);
    await assert.rejects(
      ask("DescribeImages", { Owners: ["self"], MaxResults: 1, NextToken: sorted.NextToken }),
      { code: "InvalidNextToken" },
    );
    await assert.rejects(ask("DeregisterImage", { ImageId: id }), { code: "AuthFailure" });
  });

  await t.step("a snapshot goes with its last image, once no volume needs it", async () => {
    const snapshot = await snapshotOf(world, alice);
    const first = await register("shares 1", snapshot);
    const second = await register("shares 2", snapshot);
    store.needed.add(snapshot);
    const remove = (ImageId: string) =>
      ask("DeregisterImage", { ImageId, DeleteAssociatedSnapshots: true });
    assert.deepEqual((await remove(first)).DeleteSnapshotResults, [
      { SnapshotId: snapshot, ReturnCode: "skipped" },
    ]);
    assert.ok(state.snapshots.get(alice, snapshot));
    assert.deepEqual((await remove(second)).DeleteSnapshotResults, [
      { SnapshotId: snapshot, ReturnCode: "success" },
    ]);
    assert.equal(state.snapshots.get(alice, snapshot), undefined);
    assert.ok(store.snapshots.has(snapshot), "volumes still need its chunks");
    await assert.rejects(
      ask("CreateVolume", { AvailabilityZone: "ap-southeast-2a", SnapshotId: snapshot }),
      { code: "InvalidSnapshot.NotFound" },
    );
    store.needed.clear();
    world.side.snapshots.sweep();
    await until("the deletion", () => !store.snapshots.has(snapshot));
    await until(
      "the record goes",
      () => [...state.snapshots.all()].every((one) => one.state !== "deleting"),
    );
  });

  await t.step(
    "an import's snapshot goes with the last image on it, whichever that is",
    async () => {
      const snapshot = await snapshotOf(world, alice, 2, true);
      const first = await register("imported", snapshot);
      const second = await register("another on it", snapshot);
      await ask("DeregisterImage", { ImageId: first });
      assert.ok(state.snapshots.get(alice, snapshot));
      await ask("DeregisterImage", { ImageId: second });
      await until("the deletion", () => !store.snapshots.has(snapshot));
    },
  );

  await t.step("a deregistration that was cut off is ended by who comes after", async () => {
    const ids = [await snapshotOf(world, alice), await snapshotOf(world, alice, 2, true)];
    const shared = await snapshotOf(world, alice);
    const stays = await register("stays on it", shared);
    const { ImageId = "" } = await ask("RegisterImage", {
      Name: "cut off",
      BlockDeviceMappings: [...ids, shared].map((SnapshotId, at) => ({
        DeviceName: at === 0 ? "/dev/xvda" : `/dev/xvd${"abc"[at]}`,
        Ebs: { SnapshotId },
      })),
    });
    const { snapshots } = world.side;
    const remove = snapshots.remove;
    const died = Promise.withResolvers<void>();
    snapshots.remove = () => {
      died.resolve();
      return Promise.reject(new Error("died"));
    };
    const wanted = { ImageId, DeleteAssociatedSnapshots: true };
    await assert.rejects(ask("DeregisterImage", wanted));
    await died.promise;
    snapshots.remove = remove;
    await assert.rejects(ask("DescribeImages", { ImageIds: [ImageId] }), {
      code: "InvalidAMIID.NotFound",
    });
    assert.deepEqual(
      (await ask("DescribeImages", { Filters: [{ Name: "name", Values: ["cut off"] }] })).Images,
      [],
    );
    snapshots.sweep();
    await until("the deletions", () => ids.every((id) => !store.snapshots.has(id)));
    await until(
      "the record goes",
      () => [...state.images.all()].every((one) => one.image_id !== ImageId),
    );
    assert.ok(state.snapshots.get(alice, shared));
    await ask("DeregisterImage", { ImageId: stays });
    assert.ok(state.snapshots.get(alice, shared), "it was not to go with the image that stayed");
  });

  await t.step("no image is left on a snapshot that was deleted at the same time", async () => {
    for (let round = 0; round < 10; round++) {
      const snapshot = await snapshotOf(world, alice);
      const old = await register(`old ${round}`, snapshot);
      await Promise.allSettled([
        ask("DeregisterImage", { ImageId: old, DeleteAssociatedSnapshots: true }),
        ...[1, 2, 3].map((at) => register(`new ${round}.${at}`, snapshot)),
      ]);
      const isThere = state.snapshots.get(alice, snapshot) !== undefined;
      assert.equal(world.side.snapshots.isUsed(snapshot), isThere);
    }
  });

  await t.step("a volume from a snapshot is at least as large", async () => {
    const snapshot = await snapshotOf(world, alice, 2);
    const zone = { AvailabilityZone: "ap-southeast-2a", SnapshotId: snapshot };
    assert.equal((await ask("CreateVolume", zone)).Size, 2);
    const larger = await ask("CreateVolume", { ...zone, Size: 5 });
    assert.equal(larger.SnapshotId, snapshot);
    assert.equal(store.volumes.get(larger.VolumeId ?? "")?.snapshot_id, snapshot);
    await assert.rejects(ask("CreateVolume", { ...zone, Size: 1 }), {
      code: "InvalidParameterValue",
    });
    await assert.rejects(ask("CreateVolume", zone, bob), { code: "InvalidSnapshot.NotFound" });
  });
});

Deno.test("images are found by all of EC2's filters", async () => {
  await using world = await startResourceSide();
  const { ask } = world;
  const SnapshotId = await snapshotOf(world, alice);
  await ask("RegisterImage", { Name: "one", BlockDeviceMappings: rootOf(SnapshotId) });
  // Nobody scans images here: no finding is any image's.
  for (
    const Name of [
      "scan-result.critical-fix-available-since",
      "scan-result.finding-scan-date",
      "scan-result.high-fix-available-since",
      "scan-result.highest-finding-severity-label",
      "scan-result.informational-fix-available-since",
      "scan-result.low-fix-available-since",
      "scan-result.medium-fix-available-since",
    ]
  ) {
    assert.deepEqual(
      (await ask("DescribeImages", { Filters: [{ Name, Values: ["*"] }] })).Images,
      [],
    );
  }
});

Deno.test("an image does not fail because its snapshots are not heard of yet", async () => {
  await using world = await startResourceSide();
  const { ask, state } = world;
  const SnapshotId = await snapshotOf(world, alice);
  const { snapshots } = state;
  const get = snapshots.table.get.bind(snapshots.table);
  const { images } = state;
  const modify = images.modify.bind(images);
  // As on a node that has heard of the image, and not of what it stands on.
  images.modify = async (...args) => {
    const made = await modify(...args);
    snapshots.table.get = () => undefined;
    return made;
  };
  const { ImageId = "" } = await ask("RegisterImage", {
    Name: "one",
    BlockDeviceMappings: rootOf(SnapshotId),
  }).finally(() => snapshots.table.get = get);
  const [shown] = (await ask("DescribeImages", { ImageIds: [ImageId] })).Images ?? [];
  assert.equal(shown?.State, "available");
});
