/** Images that are being made when compute dies, at every place where it can (`dying_compute.ts`). */
import assert from "node:assert/strict";
import { newId } from "../../services/resources/ids.ts";
import type { Tables } from "../../services/viperblock/records.ts";
import { instanceRecord } from "../kit/compute.ts";
import {
  account,
  afterwards_ms,
  agreed,
  call,
  dieEverywhere,
  imagesOf,
  type Life,
  live,
  source_id,
  startWorld,
} from "./dying_compute.ts";

const Name = "an image";

/** A world with an instance whose only volume is the world's. */
async function startInstance() {
  const world = await startWorld();
  const record = instanceRecord({ account_id: account, state: "running", wanted: "running" });
  const attachment = {
    device: record.root_device_name,
    volume_id: world.volume_id,
    status: "attached" as const,
    attach_time: new Date().toISOString(),
    delete_on_termination: true,
    slot: 0,
  };
  await using life = await live(world.node);
  await life.instances.create({ ...record, attachments: [attachment] });
  return Object.assign(world, { instance_id: record.instance_id });
}

/** No snapshot without its image, and no image without its snapshots. */
async function whole(life: Life, engine: Tables, most: number): Promise<void> {
  const snapshots = await agreed(life, engine);
  const images = imagesOf(life);
  assert.ok(images.length <= most, `${images.length} images`);
  const named = images.flatMap(({ block_devices }) =>
    block_devices.flatMap(({ snapshot_id }) => snapshot_id ?? [])
  );
  assert.deepEqual(snapshots, named.filter((id) => id !== source_id).sort());
}

/** Another try with the same name makes the image, unless the first has made it. */
async function again(life: Life, make: (life: Life) => Promise<unknown>): Promise<void> {
  try {
    await make(life);
  } catch (error) {
    assert.equal((error as { code?: string }).code, "InvalidAMIName.Duplicate");
  }
}

for (const NoReboot of [true, false]) {
  const how = NoReboot ? "of a guest that runs on" : "of a guest that is rebooted";
  Deno.test(`CreateImage ${how} dies at any step: what it leaves is whole, and another try makes it`, async () => {
    await using world = await startInstance();
    const { engine, instance_id: InstanceId } = world;
    const make = (life: Life) =>
      life.actions.CreateImage.run({ InstanceId, Name, NoReboot }, call());
    /** As the instance's own loop does when the guest is down. */
    const reboot = async ({ instances, keeper }: Life) => {
      const instance = await instances.require(account, InstanceId);
      if (instance.rebooting !== true) return;
      await keeper.freezeDown(instance);
      await instances.modify(account, InstanceId, ({ rebooting: _, ...now }) => now);
    };
    const steps = await dieEverywhere(world, make, async (life) => {
      await again(life, make);
      await reboot(life);
      life.keeper.clock = () => Date.now() + afterwards_ms;
      await whole(life, engine, 1);
      assert.equal(imagesOf(life).length, 1);
    }, reboot);
    assert.ok(steps >= 4, `${steps} steps`);
    await dieEverywhere(world, make, async (life) => {
      await reboot(life);
      life.keeper.clock = () => Date.now() + afterwards_ms;
      await whole(life, engine, 1);
    }, reboot);
  });
}

Deno.test("CopyImage dies at any step: what it leaves is whole, and a repeat makes the same one", async () => {
  await using world = await startWorld();
  const { engine, node } = world;
  const { region } = node.config;
  const owner = "222222222222";
  const SourceImageId = newId("ami-");
  {
    await using life = await live(node);
    await life.state.images.create({
      image_id: SourceImageId,
      account_id: owner,
      name: "another's",
      architecture: "x86_64",
      state: "available",
      root_device_name: "/dev/xvda",
      block_devices: [{
        device: "/dev/xvda",
        snapshot_id: source_id,
        size_gib: 1,
        delete_on_termination: true,
      }],
      public: true,
      creation_date: new Date().toISOString(),
      tags: {},
    });
  }
  const copy = (ClientToken?: string) => (life: Life) =>
    life.actions.CopyImage.run({
      Name,
      SourceImageId,
      SourceRegion: region,
      ...(ClientToken === undefined ? {} : { ClientToken }),
    }, call());
  const alone = await dieEverywhere(world, copy(), async (life) => {
    life.keeper.clock = () => Date.now() + afterwards_ms;
    await whole(life, engine, 1);
  });
  assert.ok(alone >= 4, `${alone} steps`);

  let token = "token-0";
  const make = (life: Life) => copy(token)(life);
  await dieEverywhere(world, make, async (life) => {
    const { ImageId } = await make(life) as { ImageId: string };
    await whole(life, engine, 1);
    assert.deepEqual(imagesOf(life).map(({ image_id }) => image_id), [ImageId]);
    token = crypto.randomUUID();
  });
});

Deno.test("RegisterImage dies at any step: its name is free again, and its snapshot stays", async () => {
  await using world = await startWorld();
  const { engine } = world;
  let SnapshotId = "";
  const make = async (life: Life) => {
    const made = await life.actions.CreateSnapshot.run({ VolumeId: world.volume_id }, call());
    SnapshotId = made.SnapshotId ?? "";
    return await life.actions.RegisterImage.run({
      Name,
      BlockDeviceMappings: [{ DeviceName: "/dev/xvda", Ebs: { SnapshotId } }],
    }, call());
  };
  await dieEverywhere(world, make, async (life) => {
    const begun = imagesOf(life).length;
    life.keeper.clock = () => Date.now() + afterwards_ms;
    const snapshots = await agreed(life, engine);
    assert.ok(imagesOf(life).length <= begun);
    if (begun > 0) assert.deepEqual(snapshots, [SnapshotId]);
    if (imagesOf(life).length > 0) return;
    await make(life);
    await agreed(life, engine);
    assert.equal(imagesOf(life).length, 1);
  });
});
