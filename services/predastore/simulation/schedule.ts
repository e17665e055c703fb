/**
 * One schedule: a store on a simulated disk, clients that change it, a crash at one operation of the
 * disk, and a start on what the crash left. Everything follows from the schedule; a failure is an error
 * that says what was found and what was known.
 *
 * After the crash each key has the acknowledged object or one that was on its way, whole; what is listed
 * is what is there; acknowledged versions stand. Then the index is thrown away and made again, and the
 * same must hold; the store goes on to take writes.
 */
import { createLog } from "../../log/log.ts";
import { type Code, directoriesOf } from "../extents/code.ts";
import {
  Crashed,
  type Random,
  randomFrom,
  SimulatedDisk,
  type Tearing,
} from "../disk/simulated_disk.ts";
import { Fsck } from "../upkeep/fsck.ts";
import type { IndexDatabase } from "../index/database.ts";
import { Store } from "../store.ts";
import { check } from "./check.ts";
import { Clients, type Step } from "./clients.ts";
import {
  copyIndex,
  forget,
  type IndexFiles,
  readIndex,
  restoreIndex,
  writeIndex,
} from "./index_files.ts";
import { Model } from "./model.ts";
import { withRandom } from "./seeded.ts";
import { emptyDatabase } from "./spare_databases.ts";

/** How the index is found after the crash. */
export type IndexFate = "lost" | "current" | "old";

export interface Schedule {
  readonly seed: number;
  /** The usual code. */
  readonly k: number;
  readonly m: number;
  /** The keys from c on are in a second bucket, whose code this is at first. */
  readonly second?: Code;
  /** As many as the usual code needs unless given. */
  readonly directories?: number;
  readonly versioned: boolean;
  /** Steps of one group run at once, and never on the same key. */
  readonly groups: readonly (readonly Step[])[];
  /** Infinity for a run without a crash. */
  readonly crash_at: number;
  readonly tearing: Tearing;
  readonly index: IndexFate;
}

export interface Outcome {
  /** Operations of the disk until the end or the crash. */
  readonly operations: number;
  /** The first operation after the store was opened and its bucket made. */
  readonly first: number;
}

/** What one crash beside a run left, and what was known then. */
interface Branch {
  readonly operation: number;
  readonly disk: SimulatedDisk;
  readonly model: Model;
  readonly clock: number;
  /** Undefined when the index is lost. */
  readonly index: IndexFiles | undefined;
  readonly tearing: Tearing;
}

const segment_bytes = 96 * 1024;
const quiet = createLog("simulation", { write: () => {} });

class Run {
  readonly #schedule: Schedule;
  readonly #random: Random;
  readonly #folder: string;
  #clock = 1_700_000_000_000;
  readonly #clients: Clients;

  constructor(
    schedule: Schedule,
    folder: string,
    random = randomFrom(schedule.seed),
    model = new Model(),
  ) {
    this.#schedule = schedule;
    this.#clients = new Clients(schedule.second !== undefined, model);
    this.#random = random;
    this.#folder = folder;
  }

  #open(disk: SimulatedDisk, index: string | IndexDatabase): Promise<Store> {
    const { k, m, seed, directories = directoriesOf({ k, m }) } = this.#schedule;
    return Store.open({
      index,
      // Half of them read small objects from the disks alone.
      small_bodies_bytes: seed % 2 << 20,
      disk,
      blobs: Array.from({ length: directories }, (_, at) => `/blob${at}`),
      data_shards: k,
      parity_shards: m,
      reserve_bytes: 0,
      log: quiet,
      segment_bytes,
      repair_bytes_per_second: Infinity,
      scrub_bytes_per_second: Infinity,
      now: () => ++this.#clock,
    });
  }

  async run(): Promise<Outcome> {
    const { groups, crash_at, tearing, index } = this.#schedule;
    const { disk, store } = await this.#begin(index !== "lost");
    if (index !== "lost") {
      // What was made durable is never found older.
      const makeDurable = store.index.makeDurable.bind(store.index);
      store.index.makeDurable = async () => {
        await makeDurable();
        if (!disk.crashed) copyIndex(this.#folder);
      };
    }
    const first = disk.operations;
    disk.crash_at = first + crash_at;
    // An index that was not synced is found as it was at some moment before.
    const copied = first + this.#random(Math.min(crash_at, 200) + 1);
    if (index === "old") copyIndex(this.#folder);
    disk.onOperation = (operation) => {
      if (index === "old" && operation === copied) copyIndex(this.#folder);
    };
    for (const group of groups) {
      if (disk.crashed) break;
      await Promise.all(group.map((step) => this.#step(store, step)));
    }
    disk.onOperation = () => {};
    const operations = disk.operations;
    if (index === "current") copyIndex(this.#folder);
    await abandon(store);
    if (crash_at === Infinity) return { operations, first };
    if (!disk.crashed) disk.crash_at = disk.operations;
    await this.#checkAfter(disk.afterCrash(tearing, this.#random));
    return { operations, first };
  }

  async #begin(indexOnDisk: boolean) {
    const disk = new SimulatedDisk(this.#random);
    if (indexOnDisk) forget(this.#folder, "index.db");
    const store = await this.#open(
      disk,
      indexOnDisk ? `${this.#folder}/index.db` : emptyDatabase(),
    );
    const { bucket } = await store.buckets.create("bucket", "123456789012", "r");
    const { versioned, second: code } = this.#schedule;
    if (versioned) {
      await store.buckets.set(bucket, (now) => ({ ...now, versioning: "Enabled" }));
    }
    if (code !== undefined) {
      const settings = versioned ? { code, versioning: "Enabled" as const } : { code };
      await store.buckets.create("second", "123456789012", "r", settings);
    }
    return { disk, store };
  }

  /**
   * Runs to the end, and looks at crashes beside it: at each operation, or at some of them when there
   * are many. @returns how many crashes that were
   */
  async runBranching(mostBranches: number): Promise<number> {
    const { seed, groups } = this.#schedule;
    const { disk, store } = await this.#begin(true);
    const { makeDurable } = store.index;
    // What was made durable is never found older.
    let old = readIndex(this.#folder);
    store.index.makeDurable = async () => {
      await makeDurable.call(store.index);
      old = readIndex(this.#folder);
    };
    const branching = randomFrom(seed ^ 0xb4a7c4);
    const branches: Branch[] = [];
    let one_in = 1;
    disk.onBegun = (operation) => {
      if (branching(one_in) > 0) return;
      const fate = branching(4);
      const now = fate < 2 ? undefined : readIndex(this.#folder);
      const tearing = (["some", "some", "some", "nothing", "everything"] as const)[branching(5)] ??
        "some";
      branches.push({
        operation,
        disk: disk.afterCrash(tearing, randomFrom(seed ^ operation * 0x9e3779b1)),
        model: this.#clients.model.copy(),
        clock: this.#clock,
        index: fate === 2 ? old : now,
        tearing,
      });
      if (now !== undefined && branching(4) === 0) old = now;
      if (branches.length < mostBranches) return;
      // Every other one goes, so that those that stay are spread over the run.
      one_in *= 2;
      for (let at = branches.length - 1; at >= 0; at -= 2) branches.splice(at, 1);
    };
    for (const group of groups) {
      await Promise.all(group.map((step) => this.#step(store, step)));
    }
    disk.onBegun = () => {};
    await abandon(store);
    for (const branch of branches) await this.#checkBranch(branch);
    return branches.length;
  }

  async #checkBranch({ operation, disk, model, clock, index, tearing }: Branch): Promise<void> {
    const { seed } = this.#schedule;
    const schedule: Schedule = {
      ...this.#schedule,
      crash_at: operation,
      tearing,
      index: index === undefined ? "lost" : "current",
    };
    const run = new Run(schedule, this.#folder, randomFrom(seed + operation), model);
    run.#clock = clock;
    if (index !== undefined) writeIndex(this.#folder, index);
    try {
      await run.#checkAfter(disk);
    } catch (cause) {
      throw new Error(`a crash at operation ${operation}: ${JSON.stringify(schedule)}`, { cause });
    }
  }

  async #step(store: Store, step: Step): Promise<void> {
    try {
      await this.#clients.step(store, step);
    } catch (error) {
      if (!causedByCrash(error, store)) throw error;
    }
  }

  #check(store: Store, when: string): Promise<void> {
    return check(store, this.#clients.model, this.#schedule.second !== undefined, when);
  }

  async #checkAfter(disk: SimulatedDisk): Promise<void> {
    const { index } = this.#schedule;
    if (index !== "lost") restoreIndex(this.#folder);
    const path = index === "lost" ? emptyDatabase() : `${this.#folder}/found.db`;
    let store = await this.#open(disk, path);
    await this.#check(store, "after the crash");
    // It goes on: what is written now stands beside what was found.
    await this.#step(store, { kind: "put", key: "later", seed: 8 });
    if (this.#random(2) === 0) await this.#step(store, { kind: "compact" });
    await this.#check(store, "going on");
    await abandon(store);
    store = await this.#open(disk, emptyDatabase());
    await this.#check(store, "with an index made again");
    await store.repair.run();
    await store.scrub.run();
    const report = await new Fsck(store).run(new AbortController().signal);
    if (!report.full_redundancy) throw new Error(`fsck found ${JSON.stringify(report)}`);
    await this.#check(store, "after repair");
    await abandon(store);
  }
}

function causedByCrash(error: unknown, store: Store): boolean {
  if ((store.options.disk as SimulatedDisk).crashed) return true;
  for (let at = error; at instanceof Error; at = at.cause) if (at instanceof Crashed) return true;
  return false;
}

/** Lets go of a store without closing it, as the end of the process does. */
async function abandon(store: Store): Promise<void> {
  await store.compactor.stop().catch(() => {});
  await store.directories.close().catch(() => {});
  store.index[Symbol.dispose]();
}

/**
 * Runs what a schedule has its clients do, whatever its crash, and looks at up to so many crashes beside
 * it. @returns how many there were
 */
export function runBranching(
  schedule: Schedule,
  folder: string,
  mostBranches = 64,
): Promise<number> {
  const random = randomFrom(schedule.seed ^ 0x5eed);
  const whole = { ...schedule, crash_at: Infinity };
  return withRandom(random, () => new Run(whole, folder).runBranching(mostBranches));
}

/** @param folder for files of the index */
export function runSchedule(schedule: Schedule, folder: string): Promise<Outcome> {
  const random = randomFrom(schedule.seed ^ 0x5eed);
  return withRandom(random, () => new Run(schedule, folder).run());
}
