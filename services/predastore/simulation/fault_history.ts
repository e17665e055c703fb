/**
 * A random history of a store whose directories go away and come back, fail writes, lose their ends and rot, while the machine
 * crashes and the index is lost or found older.
 *
 * No more directories are harmed at once than the code survives: one counts as harmed until it is whole again, which fsck tells.
 * So after each recovery, and between, all that was acknowledged is there, byte for byte, what failed or was deleted is not, and
 * no write fails for the harm. Everything follows from the seed; a failure tells what happened before it.
 */
import { createLog } from "../../log/log.ts";
import type { Code } from "../extents/code.ts";
import {
  type Random,
  randomFrom,
  type SimulatedDisk,
  type Tearing,
} from "../disk/simulated_disk.ts";
import { Store } from "../store.ts";
import { Fsck, type FsckReport } from "../upkeep/fsck.ts";
import { check } from "./check.ts";
import { Clients } from "./clients.ts";
import { forget, type IndexFiles, readIndex, writeIndex } from "./index_files.ts";
import { Machine } from "./machine.ts";
import { randomSteps, told } from "./random_steps.ts";
import { withRandom } from "./seeded.ts";

const codes: readonly Code[] = [{ k: 1, m: 1 }, { k: 2, m: 1 }, { k: 1, m: 2 }, { k: 2, m: 2 }];
const rounds = 6;
const groups = 4;
const segment_bytes = 96 * 1024;
const quiet = createLog("simulation", { write: () => {} });

/** As what a directory comes back that was pulled. */
type Return = "as it was" | "empty" | "older";

class FaultHistory {
  readonly #random: Random;
  readonly #folder: string;
  readonly #code: Code;
  readonly #paths: readonly string[];
  readonly #versioned: boolean;
  readonly #clients = new Clients(false);
  readonly #left_out: ReadonlySet<string>;
  #machine: Machine;
  #opened: Store | undefined;
  #clock = 1_700_000_000_000;
  #content = 0;
  /** An index that a power cut may leave. */
  #old: IndexFiles | undefined;
  /** The index as it was when the machine stopped: what the process does after that is none. */
  #atCrash: IndexFiles | undefined;
  /** What is away, with what it has. */
  readonly #pulled = new Map<string, SimulatedDisk>();
  /** Of some directory, as it was some time ago. */
  readonly #older = new Map<string, SimulatedDisk>();
  readonly #harmed = new Set<string>();
  /** Whether what was found after the last crash has been brought back to full redundancy since, as far as it can be. */
  #settled = true;
  readonly told: string[] = [];
  recoveries = 0;

  constructor(seed: number, folder: string, leftOut: ReadonlySet<string>) {
    const random = this.#random = randomFrom(seed);
    this.#left_out = leftOut;
    this.#folder = folder;
    this.#code = this.#pick(codes);
    const spare = random(4) === 0 ? 1 : 0;
    const { k, m } = this.#code;
    this.#paths = Array.from({ length: k + m + spare }, (_, at) => `/blob${at}`);
    this.#versioned = random(3) === 0;
    this.#machine = new Machine(random);
    for (const path of this.#paths) this.#machine.mount(path);
    this.#clients.model.failedIsNone = () => !this.#machine.crashed;
    this.#clients.model.hasStopped = () => this.#machine.crashed;
    this.#tell(`${k}+${m} in ${this.#paths.length}${this.#versioned ? ", versions" : ""}`);
  }

  #pick<T>(from: readonly T[]): T {
    return from[this.#random(from.length)] as T;
  }

  /** One in so many times. */
  #once(in_many: number): boolean {
    return this.#random(in_many) === 0;
  }

  #tell(what: string): void {
    this.told.push(what);
  }

  get #store(): Store {
    if (this.#opened === undefined) throw new Error("the store is not open");
    return this.#opened;
  }

  async run(): Promise<void> {
    forget(this.#folder, "index.db");
    await this.#open();
    const { bucket } = await this.#store.buckets.create("bucket", "123456789012", "r");
    if (this.#versioned) {
      await this.#store.buckets.set(bucket, (now) => ({ ...now, versioning: "Enabled" }));
    }
    for (let round = 0; round < rounds; round++) {
      for (let group = 0; group < groups; group++) await this.#group();
      if (this.#once(2)) await this.#restart();
      if (this.#once(2)) await this.#heal();
    }
    await this.#heal();
    await this.#stop(this.#once(2));
    forget(this.#folder, "index.db");
    await this.#open();
    await this.#check("in the end, with an index made again");
    await this.#whole();
  }

  async abandon(): Promise<void> {
    const store = this.#opened;
    this.#opened = undefined;
    if (store === undefined) return;
    await store.compactor.stop().catch(() => {});
    await store.directories.close().catch(() => {});
    store.index[Symbol.dispose]();
  }

  /** One crash may come in between. */
  async #open(): Promise<void> {
    for (;;) {
      try {
        const store = this.#opened = await Store.open({
          index: `${this.#folder}/index.db`,
          small_bodies_bytes: 0,
          disk: this.#machine,
          blobs: this.#paths,
          data_shards: this.#code.k,
          parity_shards: this.#code.m,
          reserve_bytes: 0,
          log: quiet,
          segment_bytes,
          repair_bytes_per_second: Infinity,
          scrub_bytes_per_second: Infinity,
          now: () => ++this.#clock,
        });
        this.recoveries++;
        if (this.#machine.crashed) throw new Error("it opened on a machine that stopped");
        this.#machine.crash_at = Infinity;
        this.#old = readIndex(this.#folder);
        const machine = this.#machine;
        machine.onCrash = () => this.#atCrash = readIndex(this.#folder);
        const { makeDurable } = store.index;
        // What was made durable is never found older.
        store.index.makeDurable = async () => {
          await makeDurable.call(store.index);
          if (!machine.crashed) this.#old = readIndex(this.#folder);
        };
        return;
      } catch (error) {
        if (!this.#machine.crashed) throw error;
        this.#tell("it crashes as it starts");
        await this.abandon();
        this.#machine = this.#machine.afterCrash("some");
        if (this.#once(2)) forget(this.#folder, "index.db");
      }
    }
  }

  async #group(): Promise<void> {
    const steps = randomSteps(this.#random, () => ++this.#content);
    this.#tell(steps.map(told).join(" & "));
    if (this.#once(6)) {
      for (const path of this.#paths) {
        const isWhole = !this.#pulled.has(path) && !this.#harmed.has(path);
        if (isWhole && this.#once(2)) this.#older.set(path, this.#machine.snapshot(path));
      }
    }
    if (this.#once(3)) await this.#harm();
    if (this.#once(8)) {
      this.#machine.crash_at = this.#machine.operations + 1 + this.#random(40);
    }
    await Promise.all(steps.map(async (step) => {
      try {
        await this.#clients.step(this.#store, step);
      } catch (cause) {
        if (!this.#machine.crashed) throw new Error(`${told(step)} failed`, { cause });
      }
    }));
    if (this.#machine.crashed) return await this.#recover("a crash");
    this.#machine.crash_at = Infinity;
    if (this.#once(2)) this.#old = readIndex(this.#folder);
    if (this.#once(2)) await this.#look();
    await this.#check("in between");
  }

  async #look(): Promise<void> {
    this.#tell("look");
    await this.#store.directories.inspect();
  }

  /** Does something to a directory, now or while clients are at it. */
  async #harm(): Promise<void> {
    if (!this.#settled) await this.#store.repair.run();
    this.#settled = true;
    const may = this.#paths.filter((path) =>
      !this.#pulled.has(path) && (this.#harmed.has(path) || this.#harmed.size < this.#code.m)
    );
    if (may.length === 0) return;
    const path = this.#pick(may);
    const what = this.#pick(["pull", "fail", "rot"].filter((one) => !this.#left_out.has(one)));
    this.#harmed.add(path);
    if (what === "rot") {
      this.#tell(`rot in ${path}`);
      await this.#machine.rot(path, 1 + this.#random(6));
      return;
    }
    const tearing = this.#pick<Tearing>(["everything", "some"]);
    const calls = this.#pick(["write", "sync", "both"] as const);
    const code = calls === "write" ? this.#pick(["EIO", "ENOSPC"] as const) : "EIO";
    const work = () => {
      if (this.#pulled.has(path)) return;
      if (what === "pull") {
        this.#tell(`pull ${path}`);
        this.#pulled.set(path, this.#machine.pull(path, tearing));
      } else {
        this.#tell(`${path} fails each ${calls} with ${code}`);
        this.#machine.fail(path, { calls, code, done: () => this.#once(2) });
      }
    };
    if (this.#once(2)) return work();
    const at = this.#machine.operations + 1 + this.#random(20);
    const machine = this.#machine;
    machine.onBegun = (operation) => {
      if (operation < at || machine.crashed) return;
      machine.onBegun = () => {};
      work();
    };
  }

  #putBack(path: string, disk: SimulatedDisk): void {
    const older = this.#older.get(path);
    const as: Return[] = ["as it was", "as it was", "empty"];
    if (older !== undefined && !this.#left_out.has("older")) as.push("older");
    const how = this.#pick(as);
    this.#tell(`${path} comes back ${how}`);
    this.#pulled.delete(path);
    if (how === "empty") this.#machine.mount(path);
    else this.#machine.mount(path, how === "older" ? older : disk);
    // Nobody has that copy any more.
    if (how === "older") this.#older.delete(path);
  }

  /** Starts again, after all was written or not. */
  async #restart(): Promise<void> {
    if (this.#once(2)) return await this.#recover("kill");
    await this.#stop(true);
    await this.#startAgain("a stop");
  }

  async #recover(why: string): Promise<void> {
    this.#machine.onBegun = () => {};
    this.#machine.crash();
    await this.#stop(false);
    const tearing = this.#pick<Tearing>(["nothing", "everything", "some", "some"]);
    this.#machine = this.#machine.afterCrash(tearing);
    await this.#startAgain(why);
  }

  async #stop(cleanly: boolean): Promise<void> {
    this.#machine.onBegun = () => {};
    if (!cleanly) return await this.abandon();
    await this.#store[Symbol.asyncDispose]();
    this.#opened = undefined;
  }

  async #startAgain(why: string): Promise<void> {
    const fate = this.#pick(["lost", "lost", "current", "older"] as const);
    this.#tell(`${why}; the index is ${fate}`);
    const found = fate === "older" ? this.#old : fate === "current" ? this.#atCrash : undefined;
    if (fate !== "current" || found !== undefined) forget(this.#folder, "index.db");
    if (found !== undefined) writeIndex(this.#folder, found, "index.db");
    this.#atCrash = undefined;
    for (const [path, disk] of this.#pulled) if (this.#once(3)) this.#putBack(path, disk);
    for (const path of this.#harmed) {
      if (this.#pulled.has(path) || !this.#settled || !this.#once(3) || this.#left_out.has("cut")) {
        continue;
      }
      this.#tell(`the end of ${path} is torn off`);
      await this.#machine.cut(path);
    }
    // What was on its way may be found in one directory alone.
    this.#settled = false;
    if (this.#once(4)) this.#machine.crash_at = this.#machine.operations + 1 + this.#random(30);
    await this.#open();
    await this.#check(`after ${why}`);
  }

  /** Everything is put back and brought back. */
  async #heal(): Promise<void> {
    this.#machine.onBegun = () => {};
    for (const [path, disk] of this.#pulled) this.#putBack(path, disk);
    for (const path of this.#paths) this.#machine.fail(path, undefined);
    // One that refused writes again and again is left alone for a minute.
    this.#clock += 2 * 60_000;
    await this.#bringBack();
    // That a disk was pulled and put back between two looks shows in the first write that fails there.
    if (this.#store.directories.online.length < this.#paths.length) await this.#bringBack();
    await this.#whole();
    this.#harmed.clear();
    this.#settled = true;
    await this.#check("healed");
    this.#tell("healed");
  }

  async #bringBack(): Promise<void> {
    // One that comes back empty is adopted at the second look.
    for (let look = 0; look < 3; look++) await this.#look();
    if (this.#store.directories.online.length < this.#paths.length) {
      // One that took another's place in the meantime is only taken back at a start.
      await this.#stop(true);
      this.#tell("start");
      await this.#open();
    }
    await this.#store.scrub.run();
    await this.#store.repair.run();
  }

  async #whole(): Promise<void> {
    const report = await this.#fsck();
    if (!report.full_redundancy) throw new Error(`fsck found ${JSON.stringify(report)}`);
  }

  #fsck(): Promise<FsckReport> {
    return new Fsck(this.#store).run(new AbortController().signal);
  }

  async #check(when: string): Promise<void> {
    await check(this.#store, this.#clients.model, false, when);
    const report = await this.#fsck();
    if (report.lost + report.index_errors > 0) {
      throw new Error(`${when}: fsck found ${JSON.stringify(report)}`);
    }
  }
}

/**
 * @param leftOut what does not happen: `pull`, `fail`, `rot`, `cut` (an end is torn off) or `older` (one comes back as it was before)
 * @returns how often the store was recovered
 * @throws Error that tells what happened before
 */
export async function runFaultHistory(
  seed: number,
  folder: string,
  leftOut: ReadonlySet<string> = new Set(),
): Promise<number> {
  return await withRandom(randomFrom(seed ^ 0x5eed), async () => {
    const history = new FaultHistory(seed, folder, leftOut);
    try {
      await history.run();
      return history.recoveries;
    } catch (cause) {
      throw new Error(`a history of faults, seed ${seed}: ${history.told.join("; ")}`, { cause });
    } finally {
      await history.abandon();
    }
  });
}
