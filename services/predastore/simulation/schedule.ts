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
import type { IncomingBody } from "../objects/bodies.ts";
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
import type { BucketRow, ObjectRow, UploadRow } from "../index/rows.ts";
import type { LifecycleRule } from "../objects/settings.ts";
import { Store } from "../store.ts";
import { bytesOf } from "../test_store.ts";
import { Model } from "./model.ts";
import { emptyDatabase } from "./spare_databases.ts";

export type Step =
  | { readonly kind: "put"; readonly key: string; readonly seed: number }
  | { readonly kind: "delete"; readonly key: string }
  | { readonly kind: "multipart"; readonly key: string; readonly seed: number }
  /** An upload with a part that is then left as it is, or given up. */
  | {
    readonly kind: "upload";
    readonly key: string;
    readonly seed: number;
    readonly abort: boolean;
  }
  /** What an upload that was left has is made an object. */
  | { readonly kind: "complete"; readonly key: string }
  | { readonly kind: "tag"; readonly key: string }
  /** Lifecycle rules move whatever is there to another class. */
  | { readonly kind: "move" }
  /** The second bucket has another code from now on. */
  | { readonly kind: "code"; readonly code: Code }
  /** Segments of which no more than this part lives; all of them unless given. */
  | { readonly kind: "compact"; readonly limit?: number }
  | { readonly kind: "repair" };

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

/** The files of an index as they were at some moment. */
interface IndexFiles {
  readonly main: Uint8Array;
  readonly log: Uint8Array;
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

const movedTo = "STANDARD_IA";
/** A rule that speaks of sizes moves objects of any. */
const moving: LifecycleRule = {
  id: "moving",
  enabled: true,
  filter: { prefix: "", tags: [], above_bytes: -1 },
  transitions: [{ storage_class: movedTo, at_ms: 0 }],
  noncurrent_transitions: [{ storage_class: movedTo, days: 0 }],
};

const sizes = [0, 900, 17_000, 30_000, 50_000];
export const sizeOf = (seed: number) => sizes[seed % sizes.length] ?? 0;
const segment_bytes = 96 * 1024;
const quiet = createLog("simulation", { write: () => {} });

const contents = new Map<number, Uint8Array<ArrayBuffer>>();

function contentOf(seed: number): Uint8Array<ArrayBuffer> {
  let bytes = contents.get(seed);
  if (bytes === undefined) {
    bytes = bytesOf(seed, sizeOf(seed));
    if (contents.size > 500) contents.clear();
    contents.set(seed, bytes);
  }
  return bytes;
}

function bodyOf(bytes: Uint8Array, etag: string): IncomingBody {
  return {
    chunks: (async function* () {
      yield await Promise.resolve(bytes);
    })(),
    digests: [],
    expected_bytes: bytes.length,
    finish: () => Promise.resolve({ etag, meta: { headers: {}, user: {} } }),
  };
}

/** Runs with random numbers that follow from the seed. */
async function withRandom<T>(random: Random, work: () => Promise<T>): Promise<T> {
  const real = crypto.getRandomValues;
  crypto.getRandomValues = ((into: ArrayBufferView) => {
    const bytes = new Uint8Array(into.buffer, into.byteOffset, into.byteLength);
    for (let at = 0; at < bytes.length; at++) bytes[at] = random(256);
    return into;
  }) as typeof crypto.getRandomValues;
  try {
    return await work();
  } finally {
    crypto.getRandomValues = real;
  }
}

class Run {
  readonly #schedule: Schedule;
  readonly #random: Random;
  readonly #folder: string;
  #clock = 1_700_000_000_000;
  model = new Model();
  /** Uploads that were left, by their keys, with what they have. */
  readonly #left = new Map<string, { readonly id: string; readonly seed: number }>();

  constructor(schedule: Schedule, folder: string, random = randomFrom(schedule.seed)) {
    this.#schedule = schedule;
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
        model: this.model.copy(),
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
    const run = new Run(schedule, this.#folder, randomFrom(seed + operation));
    run.model = model;
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
      await this.#work(store, step);
    } catch (error) {
      if (!causedByCrash(error, store)) throw error;
    }
  }

  async #work(store: Store, step: Step): Promise<void> {
    const bucket = this.#bucketOf(store, "key" in step ? step.key : "");
    switch (step.kind) {
      case "put": {
        const { key, seed } = step;
        await this.model.change(key, seed, async () => {
          const { version } = await store.objects.put(
            bucket,
            key,
            bodyOf(contentOf(seed), `${seed}`),
          );
          this.#noteVersion(key, version, seed);
        });
        return;
      }
      case "delete": {
        const { key } = step;
        await this.model.change(key, 0, async () => {
          const { marker } = await store.objects.delete(bucket, key);
          this.#noteVersion(key, marker, 0);
        });
        return;
      }
      case "multipart": {
        const { key, seed } = step;
        const row = await this.#beginUpload(store, bucket, key);
        const whole = contentOf(seed);
        const cut = Math.floor(whole.length / 3);
        await store.uploads.putPart(bucket, row, 2, bodyOf(whole.subarray(cut), "b"));
        await store.uploads.putPart(bucket, row, 1, bodyOf(whole.subarray(0, cut), "a"));
        await this.#complete(store, bucket, row, seed);
        return;
      }
      case "upload": {
        const { key, seed, abort } = step;
        const row = await this.#beginUpload(store, bucket, key);
        await store.uploads.putPart(bucket, row, 1, bodyOf(contentOf(seed), "a"));
        if (abort) await this.model.end(row.id, () => store.uploads.abort(bucket, row));
        else this.#left.set(key, { id: row.id, seed });
        return;
      }
      case "complete": {
        const { key } = step;
        const left = this.#left.get(key);
        if (left === undefined) return;
        this.#left.delete(key);
        await this.#complete(store, bucket, store.uploads.find(bucket, key, left.id), left.seed);
        return;
      }
      case "tag": {
        const { key } = step;
        if (store.objects.find(bucket, key) === undefined) return;
        await store.objects.annotate(bucket, key, undefined, () => ({
          tags: [{ key: "a", value: "b" }],
        }));
        return;
      }
      case "move": {
        for (const { id } of store.index.buckets.all()) await this.#moveAll(store, id);
        return;
      }
      case "code": {
        const { code } = step;
        await store.buckets.set(this.#named(store, "second"), (now) => ({ ...now, code }));
        store.repair.lookAgain();
        return;
      }
      case "compact":
        await store.compactor.run(step.limit ?? 2);
        return;
      case "repair":
        await store.scrub.run();
        await store.repair.run();
    }
  }

  async #beginUpload(store: Store, bucket: BucketRow, key: string): Promise<UploadRow> {
    const { id } = await store.uploads.create(bucket, key, { headers: {}, user: {} });
    this.model.uploads.set(id, "waiting");
    return store.uploads.find(bucket, key, id);
  }

  async #complete(store: Store, bucket: BucketRow, row: UploadRow, seed: number): Promise<void> {
    await this.model.change(row.key, seed, () =>
      this.model.end(row.id, async () => {
        const { version } = await store.uploads.complete(bucket, row, (parts) => ({
          parts,
          etag: `${seed}`,
          meta: { headers: {}, user: {} },
        }));
        this.#noteVersion(row.key, version, seed);
      }));
  }

  async #moveAll(store: Store, id: number): Promise<void> {
    const bucket = store.index.buckets.findById(id);
    if (bucket === undefined) return;
    await store.buckets.set(bucket, (now) => ({ ...now, lifecycle: [moving] }));
    await store.lifecycle.run();
    for (const key of this.model.keys.keys()) {
      const object = store.objects.find(bucket, key);
      // What came while the rules were looked at stays as it is.
      if (object?.meta.storage_class !== movedTo) continue;
      this.model.moved.set(key, Number(object.etag));
    }
  }

  #noteVersion(key: string, version: string | undefined, seed: number): void {
    if (version === undefined) return;
    let versions = this.model.versions.get(key);
    if (versions === undefined) this.model.versions.set(key, versions = new Map());
    versions.set(version, seed);
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

  #named(store: Store, name: string): BucketRow {
    const bucket = store.buckets.find(name);
    if (bucket === undefined) throw new Error(`the bucket ${name} is gone`);
    return bucket;
  }

  #bucketOf(store: Store, key: string): BucketRow {
    const { second } = this.#schedule;
    return this.#named(store, second !== undefined && key >= "c" ? "second" : "bucket");
  }

  async #check(store: Store, when: string): Promise<void> {
    const there: string[] = [];
    for (const [key, { sure, open }] of this.model.keys) {
      const bucket = this.#bucketOf(store, key);
      const object = store.objects.find(bucket, key);
      const found = object === undefined ? 0 : Number(object.etag);
      if (found !== sure && !open.has(found)) {
        throw new Error(
          `${when}: ${key} is ${found}; acknowledged is ${sure}, open are ${[...open].join()}`,
        );
      }
      if (object !== undefined) {
        there.push(key);
        await this.#sameBytes(store, object, found, `${when}: ${key}`);
        this.#checkClass(object, `${when}: ${key}`);
      }
      this.model.settle(key, found);
    }
    const listed = store.index.buckets.all().flatMap(({ id }) =>
      store.index.objects.listFrom(id, new Uint8Array(0), true, 1000).map(({ key }) => key)
    ).sort();
    if (listed.join() !== there.sort().join()) {
      throw new Error(`${when}: listed are ${listed.join()}; there are ${there.join()}`);
    }
    for (const [id, known] of this.model.uploads) {
      const waits = store.index.uploads.exists(id);
      if (known === (waits ? "ended" : "waiting")) {
        throw new Error(`${when}: upload ${id} ${waits ? "waits" : "is gone"}; it was ${known}`);
      }
      this.model.uploads.set(id, waits ? "waiting" : "ended");
    }
    for (const [key, versions] of this.model.versions) {
      const bucket = this.#bucketOf(store, key);
      for (const [id, seed] of versions) {
        const version = store.objects.find(bucket, key, id);
        if (version === undefined) throw new Error(`${when}: version ${id} of ${key} is gone`);
        if (seed === 0) {
          if (version.marker !== true) throw new Error(`${when}: ${id} is no delete marker`);
        } else await this.#sameBytes(store, version, seed, `${when}: version ${id} of ${key}`);
      }
    }
  }

  /** A class that was given stays; a crash may have kept one from being given, and leaves nothing in between. */
  #checkClass({ key, etag, meta: { storage_class } }: ObjectRow, what: string): void {
    if (this.model.moved.get(key) === Number(etag) && storage_class !== movedTo) {
      throw new Error(`${what} was moved to ${movedTo} and is ${storage_class ?? "STANDARD"}`);
    }
    if (storage_class !== undefined && storage_class !== movedTo) {
      throw new Error(`${what} has the class ${storage_class}, which it was never given`);
    }
  }

  async #sameBytes(store: Store, object: ObjectRow, seed: number, what: string): Promise<void> {
    const wanted = contentOf(seed);
    const parts: Uint8Array[] = [];
    for await (const piece of store.objects.read(object, 0, object.size)) parts.push(piece);
    if (Buffer.compare(Buffer.concat(parts), wanted) !== 0) {
      throw new Error(`${what} has other bytes than were written`);
    }
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

// Calls that wait for another thread would cost more than what they do.

function forget(folder: string, name: string): void {
  const there = new Set([...Deno.readDirSync(folder)].map((entry) => entry.name));
  for (const suffix of ["", "-wal", "-shm"]) {
    if (there.has(name + suffix)) Deno.removeSync(`${folder}/${name}${suffix}`);
  }
}

function readIndex(folder: string): IndexFiles {
  return {
    main: Deno.readFileSync(`${folder}/index.db`),
    log: Deno.readFileSync(`${folder}/index.db-wal`),
  };
}

/** Where the check after a crash takes it from. */
function writeIndex(folder: string, { main, log }: IndexFiles): void {
  Deno.writeFileSync(`${folder}/copy.db`, main);
  Deno.writeFileSync(`${folder}/copy.db-wal`, log);
}

function copyIndex(folder: string): void {
  writeIndex(folder, readIndex(folder));
}

function restoreIndex(folder: string): void {
  forget(folder, "found.db");
  for (const suffix of ["", "-wal"]) {
    Deno.renameSync(`${folder}/copy.db${suffix}`, `${folder}/found.db${suffix}`);
  }
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
