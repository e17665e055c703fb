/** Volumes that are being copied when compute dies, at every place where it can (`dying_compute.ts`). */
import assert from "node:assert/strict";
import { AwsError } from "../../services/aws/errors.ts";
import { newId } from "../../services/resources/ids.ts";
import { createVolume, deleteVolume } from "../../services/viperblock/contract.ts";
import { until } from "../kit/until.ts";
import {
  account,
  call,
  dieEverywhere,
  type Life,
  live,
  recordVolume,
  source_id,
  startWorld,
} from "./dying_compute.ts";

type World = Awaited<ReturnType<typeof startWorld>>;

/** The copies on record, when each is where it goes. */
const settled = async (life: Life) =>
  await until("each copy is made, or is not", () => {
    life.volumes.sweep();
    const copies = [...life.state.volumes.all(account)]
      .filter((one) => one.source_volume_id !== undefined);
    return copies.every(({ state }) => state === "available" || state === "error") && copies;
  });

const isKnown = async ({ engine }: World, volume_id: string) =>
  (await engine.volumes.read(volume_id))?.value.state === "ok";

/** Deletes the copies; nothing of them stays in the engine, nor of the moments that they are of. */
async function removeCopies(life: Life, { engine, volume_id: other }: World): Promise<void> {
  for (const { volume_id } of await settled(life)) await life.volumes.remove(account, volume_id);
  await until("nothing is left of them", async () => {
    life.volumes.sweep();
    if ((await settledNone(life)) === false) return false;
    for (const { key } of engine.snapshots.list()) {
      if (key !== source_id && await engine.snapshots.read(key) !== undefined) return false;
    }
    for (const { key } of engine.volumes.list()) {
      const isOther = key === other || sources.has(key);
      if (!isOther && await engine.volumes.read(key) !== undefined) return false;
    }
    return true;
  });
}

const settledNone = (life: Life) =>
  [...life.state.volumes.all(account)].every((one) => one.source_volume_id === undefined);

/** Volumes that are copied. */
const sources = new Set<string>();

for (const goes of [false, true]) {
  const how = goes
    ? "and its source is deleted: what was made is there"
    : "what it leaves is whole";
  Deno.test(`CopyVolumes dies at any step, ${how}, and goes without a trace`, async () => {
    await using world = await startWorld();
    const { node, operator } = world;
    let SourceVolumeId = "";
    const make = async (life: Life) => {
      SourceVolumeId = newId("vol-");
      sources.add(SourceVolumeId);
      await operator.ask(createVolume, { volume_id: SourceVolumeId, size_bytes: 2 ** 30 });
      await recordVolume(life, SourceVolumeId, node.config.az);
      await life.actions.CopyVolumes.run({ SourceVolumeId }, call());
      await settled(life);
    };
    const steps = await dieEverywhere(world, make, async (life) => {
      if (goes) await operator.ask(deleteVolume, { volume_id: SourceVolumeId });
      for (const { volume_id, state } of await settled(life)) {
        if (!goes) assert.equal(state, "available");
        assert.equal(await isKnown(world, volume_id), state === "available", state);
      }
      await removeCopies(life, world);
    }, (life) => removeCopies(life, world));
    assert.ok(steps >= 6, `${steps} steps`);
  });
}

Deno.test("a copy that the block store refuses for good goes without a trace", async () => {
  await using world = await startWorld();
  await using life = await live(world.node);
  const { bus } = life.keeper;
  const ask = bus.ask.bind(bus);
  Object.assign(bus, {
    ask: async (...args: Parameters<typeof ask>) => {
      if (args[0] as unknown === createVolume) throw new AwsError("IncorrectState", "damaged");
      return await ask(...args);
    },
  });
  await life.actions.CopyVolumes.run({ SourceVolumeId: world.volume_id }, call());
  assert.deepEqual((await settled(life)).map(({ state }) => state), ["error"]);
  await removeCopies(life, world);
});
