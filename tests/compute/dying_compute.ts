/**
 * Compute that dies at any step: between any two writes and questions, and while one of them is on its way. The block
 * engine and the state store are real; dying is the end of compute's connection, after which nothing that it still
 * does has an effect.
 */
import { Bus } from "../../services/bus/bus.ts";
import { type CallContext, type Subject, systemContext } from "../../services/bus/subject.ts";
import { openState } from "../../services/compute/open_state.ts";
import { imageCopyActions } from "../../services/compute/images/image_copy.ts";
import { imageCreationActions } from "../../services/compute/images/image_creation.ts";
import { imageRegistrationActions } from "../../services/compute/images/image_registration.ts";
import { instanceType } from "../../services/compute/instances/instance_resource.ts";
import { Quotas } from "../../services/compute/quotas/quotas.ts";
import { DirectSnapshots } from "../../services/compute/snapshots/direct_snapshots.ts";
import { snapshotActions } from "../../services/compute/snapshots/snapshot_actions.ts";
import { SnapshotKeeper } from "../../services/compute/snapshots/snapshots.ts";
import { volumeCopyActions } from "../../services/compute/volumes/volume_copy.ts";
import { VolumeKeeper } from "../../services/compute/volumes/volume_keeper.ts";
import { newId } from "../../services/resources/ids.ts";
import { Resources } from "../../services/resources/resource.ts";
import {
  createSnapshot,
  createVolume,
  describeSnapshot,
  mountVolume,
} from "../../services/viperblock/contract.ts";
import { openTables, type Tables } from "../../services/viperblock/records.ts";
import { callerOf, TestPlugger } from "../kit/compute.ts";
import { testLog } from "../kit/nats.ts";
import { startNode, type TestNode } from "../kit/node.ts";
import { until } from "../kit/until.ts";

export const account = "111111111111";
/** A snapshot of somebody else's, to be copied; it stays. */
export const source_id = "snap-00000000000000001";
/** Longer than whoever makes a snapshot has. */
export const afterwards_ms = 24 * 3_600_000;

export interface Cut {
  /** The step at which it dies, counted from zero. */
  readonly step: number;
  /** Whether the step's answer is waited for. */
  readonly answered: boolean;
}

/** One life of compute's snapshots. */
export async function live(node: TestNode, cut?: Cut) {
  const bus = await Bus.connect({
    service: "compute",
    url: `nats://127.0.0.1:${node.config.ports.nats}`,
    seed: await Deno.readFile(node.paths.nkey("compute")),
    log: testLog,
  });
  const state = await openState(bus, testLog);
  const instances = await Resources.open(instanceType, bus, testLog);
  const dead = Promise.withResolvers<"dead">();
  let isDead = false;
  let isSpared = false;
  let isDoomed = false;
  let steps = 0;
  const die = async () => {
    isDead = true;
    // What was asked beside it has left, too: questions that were counted are ones that arrive.
    for (let i = 0; i < 2; i++) await bus.connection.flush();
    await bus.connection.close();
    dead.resolve("dead");
    await new Promise(() => {});
  };
  const counted =
    <Args extends unknown[], Result>(work: (...args: Args) => Promise<Result>) =>
    async (...args: Args): Promise<Result> => {
      if (isDead) await new Promise(() => {});
      const isLast = !isSpared && steps++ === cut?.step;
      if (isLast) isDoomed = true;
      const working = work(...args);
      if (isLast && cut?.answered === false) {
        working.catch(() => {});
        // It has left, and may be done before, after or while the next life begins.
        await new Promise((resolve) => setTimeout(resolve, 0));
        await bus.connection.flush();
        await die();
      }
      try {
        return await working;
      } finally {
        // A refusal is an answer, too.
        if (isLast) await die();
      }
    };
  const ask = bus.ask.bind(bus);
  const asked: string[] = [];
  Object.assign(bus, {
    ask: counted((on: Subject<unknown, unknown>, input: unknown, context?: CallContext) => {
      const mine = context ?? systemContext(on.timeout_ms);
      if (on.name.startsWith("ebs.")) asked.push(mine.request_id);
      return ask(on, input, mine);
    }),
  });
  for (
    const table of [
      state.snapshots.table,
      state.images.table,
      state.tokens.table,
      state.volumes.table,
      instances.table,
    ]
  ) {
    Object.assign(table, {
      create: counted(table.create.bind(table) as (...args: unknown[]) => Promise<unknown>),
      update: counted(table.update.bind(table) as (...args: unknown[]) => Promise<unknown>),
      delete: counted(table.delete.bind(table)),
    });
  }
  const keeper = new SnapshotKeeper(bus, testLog, state, instances);
  const quotas = new Quotas(state, instances);
  const volumes = new VolumeKeeper({
    bus,
    log: testLog,
    config: node.config,
    volumes: state.volumes,
    instances,
    plugger: new TestPlugger(),
  });
  const actions = {
    ...snapshotActions(state, instances, keeper, quotas),
    ...imageCreationActions(state, instances, keeper),
    ...imageCopyActions(state, keeper),
    ...imageRegistrationActions(state, keeper),
    ...volumeCopyActions(volumes, state, quotas),
  };
  const direct = new DirectSnapshots({ bus, log: testLog, state, keeper });
  return {
    state,
    instances,
    keeper,
    volumes,
    actions,
    direct,
    dead: dead.promise,
    /** What still fails then fails because its connection goes. */
    get isDying() {
      return isDead;
    },
    /** The requests that its questions to the block engine were asked for, one for each question. */
    asked: asked as readonly string[],
    /** Nothing ends it any more, unless its last step has begun: what that writes may be seen before its end. @returns whether it lives */
    spare: () => {
      isSpared = true;
      return !isDoomed;
    },
    async [Symbol.asyncDispose]() {
      await keeper.stop();
      quotas[Symbol.dispose]();
      const stopped = volumes.stop();
      // What its connection took down with it has nothing to close, and never comes to its end.
      if (isDead) return;
      await stopped;
      await state[Symbol.asyncDispose]();
      await instances[Symbol.asyncDispose]();
      await bus.drain();
    },
  };
}

export type Life = Awaited<ReturnType<typeof live>>;

/** Ids of snapshots that the engine has anything of. */
async function known(engine: Tables): Promise<string[]> {
  // The tables follow the store; what was written before this is asked is what counts.
  const rows = async (table: Tables["snapshots"] | Tables["volumes"]) => {
    const found: string[] = [];
    for (const { key } of table.list()) if (await table.read(key) !== undefined) found.push(key);
    return found;
  };
  const written = (await rows(engine.volumes)).flatMap((key) => {
    const match = /^vol-direct-(.*)$/.exec(key);
    return match === null ? [] : [`snap-${match[1]}`];
  });
  const all = new Set([...await rows(engine.snapshots), ...written]);
  all.delete(source_id);
  return [...all].sort();
}

export const recorded = ({ state }: Life) =>
  [...state.snapshots.all(account)].map(({ snapshot_id }) => snapshot_id).sort();

export const imagesOf = ({ state }: Life) => [...state.images.all(account)];

/** Waits until compute and the engine know of the same snapshots, each of them settled. */
export async function agreed(life: Life, engine: Tables): Promise<readonly string[]> {
  return await until("both know of the same snapshots", async () => {
    life.keeper.sweep();
    const records = [...life.state.snapshots.all(account)];
    const isSettled = records.every((one) =>
      one.state === "completed" ||
      one.state === "pending" && one.written !== undefined && one.making_until === undefined
    ) && imagesOf(life).every(({ state }) => state === "available");
    const ids = recorded(life);
    return isSettled && ids.join() === (await known(engine)).join() ? ids : undefined;
  });
}

export async function removeAll(life: Life, engine: Tables): Promise<void> {
  for (const { image_id } of imagesOf(life)) await life.state.images.delete(account, image_id);
  for (const id of recorded(life)) await life.keeper.remove(account, id);
  await until("none is left", async () => {
    life.keeper.sweep();
    return recorded(life).length === 0 && (await known(engine)).length === 0;
  });
}

/** Puts a volume on record that the engine has. */
export async function recordVolume({ state }: Life, volume_id: string, az: string): Promise<void> {
  await state.volumes.ensure({
    volume_id,
    account_id: account,
    az,
    size_gib: 1,
    volume_type: "gp3",
    iops: 3000,
    throughput: 125,
    create_time: new Date().toISOString(),
    state: "available",
    tags: {},
  });
}

export async function startWorld() {
  const node = await startNode();
  await (await node.start("predastore")).healthy();
  const viperblock = await node.start("viperblock");
  await viperblock.healthy();
  const engine = await openTables(await node.bus("viperblock"), testLog);
  const operator = await node.bus("operator");
  const volume_id = newId("vol-");
  await operator.ask(createVolume, { volume_id, size_bytes: 2 ** 30 });
  await operator.ask(mountVolume, { volume_id });
  await operator.ask(createSnapshot, { volume_id, snapshot_id: source_id });
  await until(
    "it is stored",
    async () =>
      (await operator.ask(describeSnapshot, { snapshot_id: source_id })).state === "completed",
  );
  await using life = await live(node);
  await life.state.snapshots.ensure({
    snapshot_id: source_id,
    account_id: "222222222222",
    size_gib: 1,
    shared_with: [account],
    state: "completed",
    start_time: new Date().toISOString(),
    tags: {},
  });
  await recordVolume(life, volume_id, node.config.az);
  return {
    node,
    engine,
    operator,
    volume_id,
    /** How many questions of these requests the engine has done with. */
    answered: (requests: readonly string[]) =>
      viperblock.log().split("\n").filter((line) =>
        /"answer(ed|_failed|_refused)".*"ebs\./.test(line) &&
        requests.includes(/"request_id":"([^"]*)"/.exec(line)?.[1] ?? "")
      ).length,
    async [Symbol.asyncDispose]() {
      await engine[Symbol.asyncDispose]();
      await node[Symbol.asyncDispose]();
    },
  };
}

type World = Awaited<ReturnType<typeof startWorld>>;

export const call = () => ({ ...callerOf(account), region: "ap-southeast-2" }) as never;

/** Lets `make` die at every step it has, and lets `check` look at what the next life makes of it. */
export async function dieEverywhere(
  { node, engine, answered: done }: World,
  make: (life: Life) => Promise<unknown>,
  check: (life: Life, cut: Cut) => Promise<void>,
  finish: (life: Life) => Promise<void> = () => Promise.resolve(),
): Promise<number> {
  for (let step = 0;; step++) {
    for (const answered of [false, true]) {
      const cut = { step, answered };
      {
        await using first = await live(node, cut);
        const making = make(first);
        const made = making.catch((error) => {
          if (first.isDying) return first.dead;
          throw error;
        });
        await Promise.race([first.dead, made]);
        if (first.spare()) {
          await making;
          await finish(first);
          await removeAll(first, engine);
          return step;
        }
        await first.dead;
        // The next life's clock goes ahead: what takes minutes at most is over then.
        await until("the engine has done all", () => done(first.asked) >= first.asked.length);
      }
      await using next = await live(node);
      try {
        await check(next, cut);
        await removeAll(next, engine);
      } catch (cause) {
        throw new Error(`after a death at step ${step}, answered: ${answered}`, { cause });
      }
    }
  }
}
