/** Snapshots that are being made when compute dies, at every place where it can (`dying_compute.ts`). */
import assert from "node:assert/strict";
import { until } from "../kit/until.ts";
import {
  account,
  afterwards_ms,
  agreed,
  call,
  dieEverywhere,
  type Life,
  live,
  recorded,
  source_id,
  startWorld,
} from "./dying_compute.ts";

Deno.test("CreateSnapshot dies at any step: what the engine has is on record, and what it has not is on none", async () => {
  await using world = await startWorld();
  const { engine, volume_id } = world;
  const make = (life: Life) => life.actions.CreateSnapshot.run({ VolumeId: volume_id }, call());
  const steps = await dieEverywhere(world, make, async (life) => {
    life.keeper.clock = () => Date.now() + afterwards_ms;
    assert.ok((await agreed(life, engine)).length <= 1);
    // Another try is another snapshot.
    await make(life);
    assert.ok((await agreed(life, engine)).length <= 2);
  });
  assert.ok(steps >= 3, `${steps} steps`);
});

Deno.test("CopySnapshot dies at any step: what the engine has is on record, and what it has not is on none", async () => {
  await using world = await startWorld();
  const { node, engine } = world;
  const { region } = node.config;
  const make = (life: Life) =>
    life.actions.CopySnapshot.run(
      { SourceRegion: region, SourceSnapshotId: source_id },
      call(),
    );
  const steps = await dieEverywhere(world, make, async (life) => {
    life.keeper.clock = () => Date.now() + afterwards_ms;
    assert.ok((await agreed(life, engine)).length <= 1);
  });
  assert.ok(steps >= 3, `${steps} steps`);
});

Deno.test("StartSnapshot dies at any step: what nobody was told of goes, and a repeat makes the same one", async () => {
  await using world = await startWorld();
  const { engine } = world;
  const start = (ClientToken?: string) => (life: Life) =>
    life.direct.startSnapshot({ VolumeSize: 1, ...(ClientToken ? { ClientToken } : {}) }, call());
  const alone = await dieEverywhere(world, start(), async (life, { step }) => {
    life.keeper.clock = () => Date.now() + afterwards_ms;
    const left = await agreed(life, engine);
    assert.ok(left.length <= 1, `${left} at ${step}`);
  });
  assert.ok(alone >= 3, `${alone} steps`);

  let token = "token-0";
  const make = (life: Life) => start(token)(life);
  const withToken = await dieEverywhere(world, make, async (life) => {
    const { SnapshotId } = await make(life) as { SnapshotId: string };
    assert.deepEqual(await agreed(life, engine), [SnapshotId]);
    assert.equal((await make(life) as { SnapshotId: string }).SnapshotId, SnapshotId);
    assert.deepEqual(await agreed(life, engine), [SnapshotId]);
    token = crypto.randomUUID();
  });
  assert.ok(withToken > alone, `${withToken} steps`);
});

/** Begins a snapshot whose maker stops before it asks the engine. */
async function stopBeforeAsking(maker: Life, other: Life, volume_id: string) {
  const { bus } = maker.keeper;
  const asked = Promise.withResolvers<void>();
  const goOn = Promise.withResolvers<void>();
  const ask = bus.ask.bind(bus);
  Object.assign(bus, {
    ask: async (...args: Parameters<typeof ask>) => {
      asked.resolve();
      await goOn.promise;
      return await ask(...args);
    },
  });
  const making = maker.actions.CreateSnapshot.run({ VolumeId: volume_id }, call());
  making.catch(() => {});
  await asked.promise;
  const id = await until("on record", () => recorded(other)[0]);
  return { id, making, goOn: () => goOn.resolve() };
}

Deno.test("a keeper leaves a snapshot alone while somebody has time to make it", async () => {
  await using world = await startWorld();
  const { node, engine, volume_id } = world;
  await using maker = await live(node);
  await using other = await live(node);
  const { id, making, goOn } = await stopBeforeAsking(maker, other, volume_id);
  const seen = await other.keeper.look(await other.state.snapshots.require(account, id));
  assert.equal(seen.state, "pending");
  goOn();
  assert.equal((await making).SnapshotId, id);
  assert.deepEqual(await agreed(other, engine), [id]);
});

Deno.test("a snapshot that is deleted while it is made, or that is made too late, is not there afterwards", async () => {
  await using world = await startWorld();
  const { node, engine, volume_id } = world;
  await using other = await live(node);
  const ends: ((id: string) => Promise<unknown>)[] = [
    (id) => other.keeper.remove(account, id),
    async (id) => {
      other.keeper.clock = () => Date.now() + afterwards_ms;
      await other.keeper.look(await other.state.snapshots.require(account, id));
    },
  ];
  for (const end of ends) {
    await using maker = await live(node);
    const { id, making, goOn } = await stopBeforeAsking(maker, other, volume_id);
    await end(id);
    await until("it is gone", () => recorded(other).length === 0);
    goOn();
    await assert.rejects(making, { code: "InvalidSnapshot.NotFound" });
    assert.deepEqual(await agreed(other, engine), []);
  }
});
