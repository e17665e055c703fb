import assert from "node:assert/strict";
import { TestBlockStore } from "../../../tests/kit/block_store.ts";
import { callerOf, instanceRecord, testConfig, TestPlugger } from "../../../tests/kit/compute.ts";
import { startNats, testLog } from "../../../tests/kit/nats.ts";
import { AwsError, unavailable } from "../../aws/errors.ts";
import type { Bus } from "../../bus/bus.ts";
import { Resources } from "../../resources/resource.ts";
import { newId } from "../../resources/ids.ts";
import type { Attachment, InstanceRecord, VolumeRecord } from "../contract.ts";
import { instanceType } from "../instances/instance_resource.ts";
import { checkAttach, checkDevice, freeDevice, freeSlot } from "./volume_attachment.ts";
import { VolumeKeeper } from "./volume_keeper.ts";
import type { VolumeDependencies } from "./volume_lifecycle.ts";
import { volumeType } from "./volume_type.ts";
import { until } from "../../../tests/kit/until.ts";

const account = "111111111111";
const caller = callerOf(account);

/** The process is gone: nothing that it wanted to do after this happens. */
class PowerCut extends Error {
  override readonly name = "PowerCut";
}

/** Counts the outside effects of some work, and cuts the power before or after one of them. */
class Fuse {
  count = 0;
  blown = false;
  constructor(readonly at: number) {}

  #tick(): void {
    if (this.blown || ++this.count === this.at) {
      this.blown = true;
      throw new PowerCut();
    }
  }

  wrap<T extends object>(target: T, methods: readonly (keyof T)[]): T {
    return new Proxy(target, {
      get: (_, name) => {
        const value = Reflect.get(target, name, target);
        if (typeof value !== "function") return value;
        if (!methods.includes(name as keyof T)) return value.bind(target);
        return async (...args: unknown[]) => {
          this.#tick();
          const result = await value.apply(target, args);
          this.#tick();
          return result;
        };
      },
    });
  }
}

interface World {
  readonly bus: Bus;
  readonly store: TestBlockStore;
  readonly plugger: TestPlugger;
  readonly volumes: Resources<VolumeRecord>;
  readonly instances: Resources<InstanceRecord>;
  readonly dependencies: VolumeDependencies;
}

async function inWorld(test: (world: World) => Promise<void>): Promise<void> {
  await using nats = await startNats();
  const bus = await nats.bus();
  const store = new TestBlockStore(await nats.bus("viperblock"));
  const plugger = new TestPlugger();
  await using volumes = await Resources.open(volumeType, bus, testLog);
  await using instances = await Resources.open(instanceType, bus, testLog);
  const dependencies = { bus, log: testLog, config: testConfig, volumes, instances, plugger };
  await test({ bus, store, plugger, volumes, instances, dependencies });
}

let nodes = 1;
/** Every keeper is a node of its own, so that a dead one does not answer for the next. */
const onItsOwnNode = (dependencies: VolumeDependencies): VolumeDependencies => ({
  ...dependencies,
  config: { ...testConfig, node_id: `node-${++nodes}` },
});

async function newVolume(keeper: VolumeKeeper): Promise<string> {
  const volume_id = newId("vol-");
  await keeper.provision({ volume_id, account_id: account, size_gib: 1, tags: {} });
  return volume_id;
}

const newInstance = async ({ instances }: World, more: Partial<InstanceRecord> = {}) =>
  (await instances.create(instanceRecord({ account_id: account, ...more }))).instance_id;

async function settle(keeper: VolumeKeeper, volumeId: string): Promise<void> {
  for (let tries = 0; tries < 20; tries++) {
    if (await keeper.converge(account, volumeId)) return;
  }
  assert.fail(`${volumeId} does not come to rest`);
}

/** Both records, the block store and the machine agree: attached everywhere, or nowhere. */
function whereIs(world: World, volumeId: string, instanceId: string): "attached" | "free" {
  const volume = world.volumes.get(account, volumeId);
  const entry = world.instances.get(account, instanceId)?.attachments
    .find((other) => other.volume_id === volumeId);
  const plugged = world.plugger.plugged.get(volumeId);
  const isRunning = world.instances.get(account, instanceId)?.state === "running";
  assert.ok(volume);
  if (volume.state === "available") {
    assert.equal(volume.attachment, undefined);
    assert.equal(entry, undefined);
    assert.equal(plugged, undefined);
    assert.ok(!world.store.mounted.has(volumeId), "a free volume is not served");
    return "free";
  }
  assert.equal(volume.state, "in-use");
  assert.equal(volume.attachment?.status, "attached");
  assert.equal(volume.attachment?.instance_id, instanceId);
  assert.equal(entry?.status, "attached");
  assert.equal(entry?.device, volume.attachment?.device);
  assert.equal(entry?.slot, volume.attachment?.slot);
  assert.equal(world.store.mounted.has(volumeId), isRunning);
  assert.equal(plugged?.instance_id, isRunning ? instanceId : undefined);
  if (plugged !== undefined) assert.equal(plugged.slot, entry?.slot);
  return "attached";
}

async function cutEverywhere(
  world: World,
  what: "attach" | "detach",
  state: "running" | "stopped",
): Promise<number> {
  const ends = { attached: 0, free: 0 };
  for (let at = 1;; at++) {
    assert.ok(at < 100, "the work has an end");
    const sound = onItsOwnNode(world.dependencies);
    const keeper = new VolumeKeeper(sound);
    const volume_id = await newVolume(keeper);
    const instance_id = await newInstance(world, { state, node_id: sound.config.node_id });
    const request = { account_id: account, volume_id, instance_id };
    if (what === "detach") {
      keeper.start();
      await keeper.attach(request, sound.config.node_id, caller);
      await keeper.stop();
    }

    const fuse = new Fuse(at);
    const doomed = new VolumeKeeper({
      ...(what === "detach" ? { ...sound, config: { ...sound.config } } : sound),
      volumes: fuse.wrap(sound.volumes, ["modify"]),
      instances: fuse.wrap(sound.instances, ["modify"]),
      bus: fuse.wrap(sound.bus, ["ask"]),
      plugger: fuse.wrap<TestPlugger>(world.plugger, ["plug", "unplug", "grow"]),
    });
    const subject = what === "attach" ? doomed.attachHere(request) : doomed.detachHere(request);
    const failed = await subject.then(() => false, () => true);
    if (!failed) {
      await until(
        "the background work",
        () =>
          fuse.blown || world.volumes.get(account, volume_id)?.attachment?.status !== "detaching",
      );
    }
    await doomed.stop();
    await keeper.stop();

    const next = new VolumeKeeper(sound);
    await settle(next, volume_id);
    ends[whereIs(world, volume_id, instance_id)]++;
    if (!fuse.blown) {
      assert.equal(whereIs(world, volume_id, instance_id), what === "attach" ? "attached" : "free");
      assert.ok(ends.attached > 0 && ends.free > 0, "a cut at the start changed nothing");
      return at - 1;
    }
  }
}

Deno.test("a power cut at any step of attaching or detaching leaves nothing half done", async (t) => {
  await inWorld(async (world) => {
    for (
      const [what, state, least] of [
        ["attach", "running", 10],
        ["attach", "stopped", 6],
        ["detach", "running", 10],
        ["detach", "stopped", 8],
      ] as const
    ) {
      await t.step(`${what}, ${state}`, async () => {
        const cuts = await cutEverywhere(world, what, state);
        assert.ok(cuts >= least, `${cuts} places to cut`);
      });
    }
  });
});

Deno.test("what the machine or the block store refuses is undone", async (t) => {
  await inWorld(async (world) => {
    const { dependencies, store, plugger, volumes } = world;
    const keeper = new VolumeKeeper(dependencies);
    keeper.start();
    const attach = (volume_id: string, instance_id: string) =>
      keeper.attach({ account_id: account, volume_id, instance_id }, testConfig.node_id, caller);

    await t.step("the machine refuses the disk", async () => {
      const volume = await newVolume(keeper);
      const instance = await newInstance(world);
      plugger.before = (step) => {
        if (step === "plug") throw new AwsError("Unsupported", "no");
      };
      await assert.rejects(attach(volume, instance), { code: "Unsupported" });
      plugger.before = () => {};
      assert.equal(whereIs(world, volume, instance), "free");
    });

    await t.step("the block store is away, also for the undoing, and comes back", async () => {
      const volume = await newVolume(keeper);
      const instance = await newInstance(world);
      store.before = (call) => {
        if (call.includes("mount")) throw unavailable("viperblock");
      };
      await assert.rejects(attach(volume, instance), { code: "ServiceUnavailable" });
      assert.equal(volumes.get(account, volume)?.attachment?.status, "detaching");
      store.before = () => {};
      await until("the undoing", () => volumes.get(account, volume)?.state === "available");
      assert.equal(whereIs(world, volume, instance), "free");
    });

    await t.step("a guest that does not let go keeps its disk until it does", async () => {
      const volume_id = await newVolume(keeper);
      const instance_id = await newInstance(world);
      await attach(volume_id, instance_id);
      let refusals = 0;
      plugger.before = (step) => {
        if (step === "unplug" && refusals++ < 2) throw unavailable("The guest");
      };
      const detaching = await keeper.detach(
        { account_id: account, volume_id },
        testConfig.node_id,
        caller,
      );
      assert.equal(detaching.attachment?.status, "detaching");
      await until(
        "the guest lets go",
        () => volumes.get(account, volume_id)?.state === "available",
      );
      assert.ok(refusals > 2);
      assert.equal(whereIs(world, volume_id, instance_id), "free");
    });

    await keeper.stop();
  });
});

Deno.test("volumes and instances that race for each other", async (t) => {
  await inWorld(async (world) => {
    const keeper = new VolumeKeeper(world.dependencies);
    keeper.start();

    await t.step("one volume asked for by two instances goes to one", async () => {
      const volume_id = await newVolume(keeper);
      const instances = [await newInstance(world), await newInstance(world)];
      const results = await Promise.allSettled(
        Array.from({ length: 8 }, (_, at) =>
          keeper.attach(
            { account_id: account, volume_id, instance_id: instances[at % 2]! },
            testConfig.node_id,
            caller,
          )),
      );
      assert.equal(results.filter((one) => one.status === "fulfilled").length, 1);
      for (const one of results) {
        if (one.status === "rejected") assert.equal(one.reason.code, "VolumeInUse");
      }
      const winner = world.volumes.get(account, volume_id)?.attachment?.instance_id ?? "";
      assert.equal(whereIs(world, volume_id, winner), "attached");
      const loser = instances.find((one) => one !== winner)!;
      assert.deepEqual(world.instances.get(account, loser)?.attachments, []);
    });

    await t.step("volumes attached at once get devices and slots of their own", async () => {
      const instance_id = await newInstance(world);
      const volumes = await Promise.all(Array.from({ length: 6 }, () => newVolume(keeper)));
      await Promise.all(
        volumes.map((volume_id) =>
          keeper.attach({ account_id: account, volume_id, instance_id }, testConfig.node_id, caller)
        ),
      );
      const { attachments } = world.instances.get(account, instance_id)!;
      assert.equal(new Set(attachments.map((one) => one.device)).size, 6);
      assert.deepEqual(attachments.map((one) => one.slot).sort(), [1, 2, 3, 4, 5, 6]);
      for (const volume of volumes) assert.equal(whereIs(world, volume, instance_id), "attached");
    });

    await t.step(
      "an ended instance lets go of its volumes, and takes along what goes with it",
      async () => {
        const stays = await newVolume(keeper);
        const instance_id = await newInstance(world);
        await keeper.attach(
          { account_id: account, volume_id: stays, instance_id },
          testConfig.node_id,
          caller,
        );
        const goes = newId("vol-");
        await keeper.provision({
          volume_id: goes,
          account_id: account,
          size_gib: 1,
          tags: {},
          attachment: {
            instance_id,
            node_id: testConfig.node_id,
            device: "/dev/xvda",
            status: "attached",
            attach_time: new Date().toISOString(),
            delete_on_termination: true,
            slot: 0,
          },
        });
        assert.equal(world.volumes.get(account, goes)?.state, "in-use");
        for (const volume of [stays, goes, stays, goes]) {
          await keeper.letGo(account, volume, instance_id);
        }
        assert.equal(world.volumes.get(account, stays)?.state, "available");
        assert.ok(!world.store.mounted.has(stays));
        await until("the deletion", () => world.volumes.get(account, goes) === undefined);
        assert.ok(!world.store.volumes.has(goes));
      },
    );

    await keeper.stop();
  });
});

Deno.test("no hard disk volume becomes an instance's root", async () => {
  await inWorld(async (world) => {
    const keeper = new VolumeKeeper(world.dependencies);
    keeper.start();
    const { node_id } = world.dependencies.config;
    const instance_id = await newInstance(world, { state: "stopped", wanted: "stopped" });
    const volume_id = await newVolume(keeper);
    const attach = (device: string) =>
      keeper.attach({ account_id: account, volume_id, instance_id, device }, node_id, caller);
    for (const volume_type of ["st1", "sc1"] as const) {
      await world.volumes.modify(account, volume_id, (volume) => ({ ...volume, volume_type }));
      for (const device of ["/dev/xvda", "/dev/sda"]) {
        const request = { account_id: account, volume_id, instance_id, device };
        const code = "InvalidParameterValue";
        await assert.rejects(checkAttach(world.dependencies, request), { code });
        await assert.rejects(attach(device), { code });
        assert.equal(whereIs(world, volume_id, instance_id), "free");
      }
    }
    await attach("/dev/sdf");
    assert.equal(whereIs(world, volume_id, instance_id), "attached");
    await keeper.stop();
  });
});

const entry = (device: string, slot: number): Attachment => ({
  volume_id: newId("vol-"),
  device,
  status: "attached",
  attach_time: "2026-01-01T00:00:00.000Z",
  delete_on_termination: false,
  slot,
});

Deno.test("device names are EC2's, and one place has one name", () => {
  for (const name of ["/dev/sdf", "/dev/sda1", "sdh", "/dev/xvdf", "xvdba", "/dev/sdp15"]) {
    checkDevice(name, []);
  }
  for (
    const name of ["/dev/sdf16", "/dev/vdb", "/dev/sd", "/etc/passwd", "sdf ", "/dev/sdf,x=y", ""]
  ) {
    assert.throws(() => checkDevice(name, []), { code: "InvalidParameterValue" });
  }
  assert.throws(() => checkDevice("xvdf", [entry("/dev/sdf", 1)]), {
    code: "InvalidParameterValue",
  });
});

Deno.test("the next free device and slot are chosen until there are none", () => {
  assert.equal(freeDevice([]), "/dev/sdf");
  assert.equal(freeDevice([entry("/dev/xvdf", 1), entry("sdg", 2)]), "/dev/sdh");
  assert.equal(freeSlot([entry("/dev/xvda", 0), entry("/dev/sdf", 1)], false), 2);
  assert.equal(freeSlot([entry("/dev/sdf", 1)], true), 0);
  const all: Attachment[] = [entry("/dev/xvda", 0)];
  for (;;) {
    try {
      all.push(entry(freeDevice(all), freeSlot(all, false)));
    } catch (error) {
      assert.ok(error instanceof AwsError);
      assert.equal(error.code, "AttachmentLimitExceeded");
      break;
    }
  }
  assert.equal(all.length, 26);
});
