/**
 * The object store below S3: opened, wired and closed; buckets, objects and uploads are in its parts.
 *
 * Always: an acknowledged write is durable and listed; the index is recovered, or made again from the
 * segments, before anything is served. A store that does not belong to its directories does not open.
 */
import { dirname } from "node:path";
import { MasterKeyError } from "../config/key_file.ts";
import { errorFields, type Log } from "../log/log.ts";
import { Bodies } from "./objects/bodies.ts";
import { Buckets } from "./objects/buckets.ts";
import { Codes } from "./extents/codes.ts";
import { Commits } from "./objects/commits.ts";
import { Compactor } from "./upkeep/compaction.ts";
import { DegradedReads } from "./extents/degraded_reads.ts";
import { answered } from "./segments/answers.ts";
import { Directories } from "./segments/directories.ts";
import { type FirstLook, lookAtAll, storeIdOf } from "./segments/first_look.ts";
import type { Disk } from "./disk/disk.ts";
import { realDisk } from "./disk/real_disk.ts";
import { ExtentReader } from "./extents/extent_reader.ts";
import type { IndexDatabase } from "./index/database.ts";
import { ObjectIndex } from "./index/object_index.ts";
import { schemaVersion } from "./index/schema.ts";
import { Lifecycle } from "./objects/lifecycle.ts";
import { Objects } from "./objects/objects.ts";
import { Progress } from "./index/progress.ts";
import { recover, type RecoveryReport } from "./index/recovery.ts";
import { Repair } from "./upkeep/repair.ts";
import { SmallBodies } from "./extents/small_bodies.ts";
import { Scrub } from "./upkeep/scrub.ts";
import type { Sealing } from "./encryption/sealing.ts";
import { Uploads } from "./objects/uploads.ts";
import { ignoreMissing } from "../config/missing_files.ts";

export interface StoreOptions {
  /** The index's file; an empty database in memory for one that is made again at each start. */
  readonly index: string | IndexDatabase;
  readonly blobs: readonly string[];
  readonly data_shards: number;
  readonly parity_shards: number;
  readonly reserve_bytes: number;
  readonly log: Log;
  /** The machine's own unless given. */
  readonly disk?: Disk;
  /** What repair and scrub may read and write each second; see there for what they take unless given. */
  readonly repair_bytes_per_second?: number;
  readonly scrub_bytes_per_second?: number;
  /** How long a read may take before the same is also computed from elsewhere. */
  readonly hedge_ms?: number;
  /** Seals objects whose writer asks for it. */
  readonly sealing?: Sealing;
  /** The clock; the machine's own unless given. */
  readonly now?: () => number;
  /** Memory for small bodies that were used a moment ago; none unless given. */
  readonly small_bodies_bytes?: number;
  /** How many records are listed that a directory which is away has to be told; 100,000 unless given. */
  readonly most_untold?: number;
  /** How long a directory may take to answer before it counts as away; 15 s unless given. */
  readonly answer_ms?: number;
  /** Called while the opening takes long, as long as it gets on. */
  readonly onRecovering?: () => void;
  /** 1 GiB unless given. */
  readonly segment_bytes?: number;
}

/** Longer than a disk takes to begin to turn. */
export const usualAnswer_ms = 15_000;

export class Store implements AsyncDisposable {
  readonly #degraded: DegradedReads;
  readonly reader: ExtentReader;
  readonly progress: Progress;
  readonly commits: Commits;
  readonly buckets: Buckets;
  readonly objects: Objects;
  readonly uploads: Uploads;
  readonly compactor: Compactor;
  readonly repair: Repair;
  readonly scrub: Scrub;
  readonly lifecycle: Lifecycle;
  #recovery: RecoveryReport | undefined;
  #closed = false;

  private constructor(
    readonly options: StoreOptions,
    readonly storeId: bigint,
    readonly index: ObjectIndex,
    readonly codes: Codes,
    readonly directories: Directories,
  ) {
    const degraded = this.#degraded = new DegradedReads(index, directories, options.log);
    const reader = this.reader = new ExtentReader({
      storeId,
      directory: (number) => directories.byNumber(number),
      code: (k, m) => codes.coder(k, m),
      ...(options.hedge_ms === undefined ? {} : { hedge_ms: options.hedge_ms }),
      onDegraded: (extent, stripe, shard, reason) => degraded.note(extent, stripe, shard, reason),
    });
    const progress = this.progress = new Progress(index, directories, options.now);
    const commits = this.commits = new Commits(index, directories);
    const small = new SmallBodies(options.small_bodies_bytes ?? 0);
    const bodies = new Bodies(directories, progress, codes, small, options.sealing);
    this.buckets = new Buckets(index, directories, progress, commits, codes);
    this.objects = new Objects(
      index,
      directories,
      progress,
      commits,
      codes,
      bodies,
      reader,
      small,
      (object) => this.repair.suspect(object),
      options.sealing,
    );
    this.uploads = new Uploads(index, directories, progress, commits, codes, bodies);
    this.compactor = new Compactor(this);
    this.repair = new Repair(this);
    this.scrub = new Scrub(this);
    this.lifecycle = new Lifecycle(this);
  }

  /** Opens the store, recovering or rebuilding its index first. */
  static async open(options: StoreOptions): Promise<Store> {
    const { disk = realDisk, blobs, answer_ms = usualAnswer_ms, sealing } = options;
    const looks = await lookAtAll(disk, blobs, answer_ms);
    if (sealing !== undefined) checkMarks(looks, sealing);
    const index = typeof options.index === "string"
      ? await openIndexFile(options.index, options.log)
      : new ObjectIndex(options.index);
    try {
      return await Store.#openWith(options, looks, index);
    } catch (error) {
      index[Symbol.dispose]();
      throw error;
    }
  }

  static async #openWith(
    options: StoreOptions,
    looks: readonly FirstLook[],
    index: ObjectIndex,
  ): Promise<Store> {
    const known = index.value("store_id");
    const found = storeIdOf(looks);
    const unreadable = looks.find((look) => look.unreadable !== undefined);
    if (known === undefined && found === undefined && unreadable !== undefined) {
      throw new Error("Whose the blob directories are cannot be read, and the index is new.", {
        cause: unreadable.unreadable,
      });
    }
    const storeId = known === undefined ? found ?? newStoreId() : BigInt(known);
    if (found !== undefined && found !== storeId) {
      throw new Error(
        `The index ${options.index} and the blob directories belong to different stores. Mend "storage.blobs", or remove the index to have it rebuilt.`,
      );
    }
    index.transaction(() => {
      index.setValue("schema", schemaVersion);
      index.setValue("store_id", String(storeId));
    });
    const codes = new Codes(index, { k: options.data_shards, m: options.parity_shards });
    const directories = await Directories.open(
      {
        disk: options.disk ?? realDisk,
        looks,
        ...(options.sealing === undefined ? {} : { mark: options.sealing.id }),
        usual: codes.usual,
        reserve_bytes: options.reserve_bytes,
        segment_bytes: options.segment_bytes ?? 1 << 30,
        answer_ms: options.answer_ms ?? usualAnswer_ms,
        now: options.now ?? Date.now,
        ...(options.most_untold === undefined ? {} : { most_untold: options.most_untold }),
        log: options.log,
      },
      storeId,
      index,
    );
    const store = new Store(options, storeId, index, codes, directories);
    await store.#recover();
    return store;
  }

  async #recover(): Promise<void> {
    const started = performance.now();
    this.#recovery = await recover(
      this.index,
      this.directories,
      this.reader,
      this.codes.usual,
      this.options.log,
      this.options.onRecovering,
    );
    this.progress.startFrom(this.#recovery.highest_sequence);
    this.index.beforeCommit(() => this.progress.storePositions(false));
    await this.directories.lookAtSpace(0);
    await this.directories.tellUntold();
    this.options.log.info("store_recovered", {
      ...this.#recovery,
      duration_ms: Math.round(performance.now() - started),
    });
  }

  get recovery(): RecoveryReport | undefined {
    return this.#recovery;
  }

  /** Shards that had to be computed from others since the start. */
  get degraded_reads(): number {
    return this.#degraded.count;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    const stopped = Promise.all([
      this.lifecycle.stop(),
      this.compactor.stop(),
      this.scrub.stop(),
      this.repair.stop(),
    ]);
    try {
      const { answer_ms = usualAnswer_ms } = this.options;
      await answered(stopped, answer_ms, "stop", "background work");
    } catch (error) {
      // It waits for a disk, or for who reads slowly. As after kill -9, it is done again.
      this.options.log.warn("background_work_left", errorFields(error));
    }
    await this.directories.close();
    await this.index.end();
    this.index.flush();
    this.index.beforeCommit(() => this.progress.storePositions(true));
    this.index.transaction(() => {});
    this.index[Symbol.dispose]();
  }
}

const newStoreId = () => crypto.getRandomValues(new BigUint64Array(1))[0] ?? 1n;

/** @throws MasterKeyError where another key sealed what is there */
function checkMarks(looks: readonly FirstLook[], sealing: Sealing): void {
  for (const { path, mark } of looks) {
    if (mark === undefined || sealing.knows(mark)) continue;
    throw new MasterKeyError(
      `${sealing.path} is not the key that sealed the objects of ${path}: that has the fingerprint ${mark}. ` +
        `Restore the right file; nothing was changed.`,
    );
  }
}

async function openIndexFile(path: string, log: Log): Promise<ObjectIndex> {
  Deno.mkdirSync(dirname(path), { recursive: true, mode: 0o750 });
  let index: ObjectIndex | undefined;
  try {
    index = new ObjectIndex(path);
  } catch {
    // No database at all, which is as bad as an unsound one.
  }
  if (index?.isSound() === true) return index;
  log.error("index_unsound", { path });
  index?.[Symbol.dispose]();
  await removeIndex(path);
  return new ObjectIndex(path);
}

/** Removes the index so that the next opening makes it again from the segments. */
export async function removeIndex(path: string): Promise<void> {
  for (const suffix of ["", "-wal", "-shm"]) {
    await Deno.remove(path + suffix).catch(ignoreMissing);
  }
}
