/**
 * All blob directories of the node: who is there, where an object goes, and how a record is made
 * durable in enough of them.
 *
 * An object's directories follow from its name by rendezvous hashing, so that adding one moves little.
 * A directory that is away or full is left out; writes go on while k remain. One that came back empty
 * is a new directory with a new number: nothing of it is mistaken for what was there.
 */
import { crc32c } from "../../../ffi/libisal.ts";
import { AwsError } from "../../aws/errors.ts";
import { errorFields, type Log } from "../../log/log.ts";
import { answered } from "./answers.ts";
import { BlobDirectory, type Location } from "./blob_directory.ts";
import { CatchingUp } from "./catching_up.ts";
import { type FirstLook, StoreMismatch } from "./first_look.ts";
import { type Code, directoriesOf } from "../extents/code.ts";
import { shardPayload, type Stripe } from "../extents/layout.ts";
import type { Disk } from "../disk/disk.ts";
import { tooFewDirectories } from "../extents/extent_writer.ts";
import type { ObjectIndex } from "../index/object_index.ts";
import type { ObjectRecord, RefusedMeta } from "../index/rows.ts";
import { recordTypes, type SmallRecord, smallRecord } from "./record.ts";
import { writeMark } from "./sealed_mark.ts";
import { type SpaceState, spaceState } from "./space.ts";
import { Untold } from "./untold.ts";

export interface DirectoriesOptions {
  readonly disk: Disk;
  /** One for each, in the order of the configuration. */
  readonly looks: readonly FirstLook[];
  /** The fingerprint of the key that seals here; none where nothing is sealed. */
  readonly mark?: string;
  /** What most bodies are coded with: space is told by it, and its k directories must be there. */
  readonly usual: Code;
  readonly reserve_bytes: number;
  readonly segment_bytes: number;
  /** How long a directory may take to answer before it counts as away. */
  readonly answer_ms: number;
  /** How many records are listed for a directory that is away. */
  readonly most_untold?: number;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  readonly log: Log;
}

export type Epochs = ReadonlyMap<BlobDirectory, number>;

/** Shards that records name. */
export interface NamedShards {
  /** Of the directories when the shards were written. */
  readonly epochs: Epochs;
  /** Of these each must have k durable shards; none are looked at where the caller does. */
  readonly stripes: readonly Stripe[];
}

/** The epochs of directories now: taken before shards are written. */
export function epochsOf(directories: readonly (BlobDirectory | undefined)[]): Epochs {
  const epochs = new Map<BlobDirectory, number>();
  for (const one of directories) if (one !== undefined) epochs.set(one, one.epoch);
  return epochs;
}

interface Space {
  free: number;
  total: number;
  state: SpaceState;
  read_ms: number;
}

const encoder = new TextEncoder();
/** How old a look at the free space may be. */
const spaceAge_ms = 500;
const highestDirectory = 254;
/** Where the index has the number that a path was given and that stands on no disk. */
const unusedAt = (path: string) => `directory_unused ${path}`;
/** A directory that has been away for so long is not waited for, where others can take its place. */
const lostAfter_ms = 15 * 60_000;
/** How long one that another has taken the place of may be put back and is told what was deleted meanwhile. */
const mayReturn_ms = 30 * 86_400_000;

/** The number by which a record is refused: records of one version share its own, and have their revisions besides. */
function numberOf({ type, sequence, meta }: SmallRecord): number {
  if (type !== recordTypes.object) return sequence;
  return (JSON.parse(new TextDecoder().decode(meta)) as ObjectRecord).revision ?? sequence;
}

/** Whether each stripe can be read of what stands in the directories that made it durable. */
function isReadable(stripes: readonly Stripe[], { k, m }: Code, durable: Set<number>): boolean {
  return stripes.every((stripe) => {
    let sound = 0;
    for (let shard = 0; shard < k + m; shard++) {
      const place = stripe.shards[shard];
      if (shardPayload(stripe, k, shard) === 0) sound++;
      else if (place !== undefined && durable.has(place.directory)) sound++;
    }
    return sound >= k;
  });
}

export class Directories {
  #all: readonly BlobDirectory[];
  readonly #storeId: bigint;
  readonly #index: ObjectIndex;
  /** By how many directories a write goes to: how many writes some directory did not take. */
  readonly #missed = new Map<number, number>();
  /** Directories at whose path nothing stood at the last look. */
  readonly #empty = new Set<BlobDirectory>();
  readonly #byNumber = new Map<number, BlobDirectory>();
  readonly #space = new Map<BlobDirectory, Space>();
  /** Looks at the space that have had no answer yet: all who want to know wait for the same one. */
  readonly #spaceAsked = new Map<BlobDirectory, Promise<{ free: number; total: number }>>();
  readonly #options: DirectoriesOptions;
  readonly #untold: Untold;
  readonly #catchingUp: CatchingUp;
  #inspecting: Promise<void> | undefined;
  /** Numbers that were given, and are of none of ours now: they may be put back. */
  readonly #gone = new Set<number>();

  private constructor(
    options: DirectoriesOptions,
    all: readonly BlobDirectory[],
    storeId: bigint,
    index: ObjectIndex,
  ) {
    this.#options = options;
    this.#all = all;
    this.#storeId = storeId;
    this.#index = index;
    this.#untold = new Untold(index, () => this.#byNumber.keys(), options.most_untold);
    this.#catchingUp = new CatchingUp(this.#untold, options.log, () => this.online);
    for (const directory of all) this.#byNumber.set(directory.number, directory);
    const next = Number(index.value("next_directory") ?? 0);
    for (let number = 0; number < next; number++) {
      if (!this.#byNumber.has(number)) this.#gone.add(number);
    }
  }

  static async open(
    options: DirectoriesOptions,
    storeId: bigint,
    index: ObjectIndex,
  ): Promise<Directories> {
    const { looks } = options;
    let next = Number(index.value("next_directory") ?? 0);
    for (const { identity } of looks) next = Math.max(next, identity?.next ?? 0);
    // There are few numbers: one that no directory could be named with is given again.
    const unused = looks.map(({ path }) => index.value(unusedAt(path)));
    const numbers = looks.map(({ identity }, at) =>
      identity?.directory ?? Number(unused[at] ?? next++)
    );
    index.transaction(() => {
      index.setValue("next_directory", String(next));
      for (const { path } of looks) index.removeValue(unusedAt(path));
    });
    const all: BlobDirectory[] = [];
    for (const [at, { path }] of looks.entries()) {
      const number = numbers[at] ?? highestDirectory + 1;
      if (number > highestDirectory) {
        throw new RangeError("too many blob directories came and went");
      }
      if (all.some((other) => other.number === number)) {
        throw new StoreMismatch(
          `${path} is a copy of another blob directory. Mend "storage.blobs".`,
        );
      }
      all.push(Directories.#made(options, storeId, index, path, number));
    }
    await Promise.all(all.map(async (directory, at) => {
      try {
        if (looks[at]?.unreadable !== undefined) throw looks[at].unreadable;
        await directory.prepare();
      } catch (error) {
        directory.goOffline(error);
      }
    }));
    index.transaction(() => {
      for (const [at, { path, number, mayBeNamed }] of all.entries()) {
        if (looks[at]?.identity === undefined && !mayBeNamed) {
          index.setValue(unusedAt(path), String(number));
        }
      }
    });
    const directories = new Directories(options, all, storeId, index);
    index.transaction(() => {
      for (const [at, { number }] of all.entries()) {
        if (looks[at]?.identity === undefined) directories.#untold.added(number);
      }
    });
    if (directories.online.length < options.usual.k) {
      throw new Error(
        `Only ${directories.online.length} of ${all.length} blob directories can be used and ${options.usual.k} are needed: ` +
          all.filter((one) => !one.online).map((one) => one.path).join(", "),
      );
    }
    await Promise.all(all.map(async (one, at) => {
      if (one.online && looks[at]?.mark !== options.mark) await directories.#mark(one);
    }));
    return directories;
  }

  /** Says which key seals there. That can wait: where it cannot be written the others say it. */
  async #mark({ path }: BlobDirectory): Promise<void> {
    const { disk, mark, answer_ms, log } = this.#options;
    if (mark === undefined) return;
    try {
      await answered(writeMark(disk, path, mark), answer_ms, "write", path);
    } catch (error) {
      log.warn("blob_directory_not_marked", { path, ...errorFields(error) });
    }
  }

  static #made(
    options: DirectoriesOptions,
    storeId: bigint,
    index: ObjectIndex,
    path: string,
    number: number,
  ): BlobDirectory {
    return new BlobDirectory({
      disk: options.disk,
      path,
      number,
      storeId,
      nextNumber: () => Number(index.value("next_directory") ?? 0),
      segmentBytes: options.segment_bytes,
      firstSegment: index.segments.unused(number),
      answer_ms: options.answer_ms,
      now: options.now,
      onOffline: (reason) =>
        options.log.error("blob_directory_offline", { path, ...errorFields(reason) }),
    });
  }

  get all(): readonly BlobDirectory[] {
    return this.#all;
  }

  get online(): readonly BlobDirectory[] {
    return this.all.filter((directory) => directory.online);
  }

  byNumber(number: number): BlobDirectory | undefined {
    return this.#byNumber.get(number);
  }

  /** Those that take writes now. */
  writable(): readonly BlobDirectory[] {
    return this.#roomy().filter((one) => one.refusal === undefined);
  }

  /** Those that have room as their disks say. */
  #roomy(): readonly BlobDirectory[] {
    return this.online.filter((one) => this.#space.get(one)?.state !== "full");
  }

  spaceOf(directory: BlobDirectory): Readonly<Space> | undefined {
    return this.#space.get(directory);
  }

  allWritable(): boolean {
    return this.writable().length === this.#all.length;
  }

  /** Whether what stood in a directory is gone for good, as far as one can tell. */
  isLost(number: number): boolean {
    const directory = this.#byNumber.get(number);
    return directory === undefined || directory.offline_ms > lostAfter_ms;
  }

  /**
   * Whether a directory that is no longer one of ours may still be put back, with records of what is deleted now.
   * Since when one is gone stands in the index; where that is lost it counts from now on.
   */
  mayReturn(now_ms: number): boolean {
    const next = Number(this.#index.value("next_directory") ?? 0);
    let may = false;
    this.#index.transaction(() => {
      for (let number = 0; number < next; number++) {
        const name = `directory_gone ${number}`;
        const since = this.#index.value(name);
        if (this.#byNumber.has(number)) {
          if (since !== undefined) this.#index.removeValue(name);
          continue;
        }
        if (since === undefined) this.#index.setValue(name, String(now_ms));
        if (now_ms - Number(since ?? now_ms) < mayReturn_ms) may = true;
        else {
          this.#gone.delete(number);
          this.#untold.forget(number);
        }
      }
    });
    return may;
  }

  /** What repair depends on: when it has not changed, there is nothing new to bring back. */
  state(): string {
    const each = this.#all.map((one) =>
      `${one.number}${one.online ? "" : "-"}${this.isLost(one.number) ? "lost" : ""}${
        this.#space.get(one)?.state === "full" ? "full" : ""
      }${one.refusal === undefined ? "" : "refusing"}`
    );
    // What goes to more directories than take writes can only be brought back when another has come.
    const writable = this.writable().length;
    const missed = [...this.#missed].filter(([wanted]) => wanted <= writable);
    return `${each.join()}/${missed.join(";")}`;
  }

  /** The directories for a key, undefined where one is away and no other can take its place. */
  place(bucket: number, key: string, code: Code): readonly (BlobDirectory | undefined)[] {
    const n = directoriesOf(code);
    const writable = this.writable();
    // One that refused a write a moment ago is better than none.
    const usable = writable.length >= code.k ? writable : this.#roomy();
    if (this.all.length === n) {
      return this.all.map((one) => usable.includes(one) ? one : undefined);
    }
    const name = encoder.encode(`${bucket}/${key}`);
    const seed = crc32c(name);
    const ranked = usable
      .map((one) => ({ one, rank: crc32c(encoder.encode(`${one.number}`), seed) }))
      .sort((a, b) => b.rank - a.rank)
      .slice(0, n)
      .map(({ one }) => one);
    return Array.from({ length: n }, (_, at) => ranked[at]);
  }

  /**
   * Makes records durable in the given directories.
   * @param code of what the records are about
   * @returns for each record where its copies stand
   * @throws AwsError `ServiceUnavailable` when fewer than k directories have them, or their shards
   */
  async commit(
    code: Code,
    to: readonly (BlobDirectory | undefined)[],
    records: readonly SmallRecord[],
    shards?: NamedShards,
  ): Promise<readonly (readonly Location[])[]> {
    const online = [...new Set(to)].filter((one) => one?.online === true) as BlobDirectory[];
    const results = await Promise.allSettled(
      online.map((one) => one.commit(records, shards?.epochs.get(one))),
    );
    const copies: Location[][] = records.map(() => []);
    const durable = new Set<number>();
    let reason: unknown;
    for (const [one, result] of results.entries()) {
      if (result.status === "rejected") {
        reason = result.reason;
        continue;
      }
      durable.add(online[one]?.number ?? -1);
      for (const [at, location] of result.value.entries()) copies[at]?.push(location);
    }
    // A directory may have taken the record and not the shards.
    if (durable.size < code.k || !isReadable(shards?.stripes ?? [], code, durable)) {
      await this.refuse(records);
      this.applied(copies);
      throw tooFewDirectories(reason);
    }
    const wanted = directoriesOf(code);
    if (durable.size < wanted) this.#missed.set(wanted, (this.#missed.get(wanted) ?? 0) + 1);
    return copies;
  }

  /**
   * Says that records are none whose commit failed: who asked for it was told so, and goes on with what was there before.
   * Reading the records back would take them for newer than that. All directories are told: also one that failed may have
   * what it failed to make durable.
   */
  async refuse(records: readonly SmallRecord[]): Promise<void> {
    const revisions = records.map(numberOf);
    const [sequence] = revisions;
    if (sequence === undefined) return;
    const meta: RefusedMeta = { revisions, partial: true };
    await this.#tell(smallRecord(recordTypes.refused, sequence, meta));
  }

  /** Writes into all directories what must not be forgotten with any of them; those that do not take it now are told later. */
  async #tell(record: SmallRecord): Promise<void> {
    const heard = new Set<number>();
    await Promise.allSettled(this.online.map(async (one) => {
      for (const location of await one.commit([record])) one.applied(location);
      heard.add(one.number);
    }));
    this.#untold.note(this.#others(heard), record, heard.size > 0);
  }

  /** Inside a transaction: has all directories but those that heard of it told when they take writes. */
  tellLater(record: SmallRecord, heard: ReadonlySet<number>): void {
    this.#untold.add(this.#others(heard), record, heard.size > 0);
  }

  #others(heard: ReadonlySet<number>): number[] {
    return [...this.#byNumber.keys(), ...this.#gone].filter((number) => !heard.has(number));
  }

  /** Tells each directory that takes writes what it has not heard yet. */
  async tellUntold(): Promise<void> {
    await Promise.all(
      this.online.map((directory) =>
        this.#untold.tell(directory).catch((error) =>
          this.#options.log.warn("blob_directory_untold", {
            path: directory.path,
            ...errorFields(error),
          })
        )
      ),
    );
    this.#catchingUp.begin();
  }

  /** The index holds what `commit` returned, or never will. */
  applied(copies: readonly (readonly Location[])[]): void {
    for (const location of copies[0] ?? []) {
      this.#byNumber.get(location.directory)?.applied(location);
    }
  }

  /** Looks after each directory: its space, and whether it went away or came back. */
  inspect(): Promise<void> {
    return this.#inspecting ??= this.#inspect().finally(() => this.#inspecting = undefined);
  }

  async #inspect(): Promise<void> {
    const seen = await Promise.all(this.all.map(async (directory) => ({
      directory,
      there: await directory.isThere(),
    })));
    for (const { directory, there } of seen) {
      if (directory.online && !there) {
        directory.goOffline(new Error(`${directory.path} is gone or no longer ours`));
      } else if (!directory.online && there) {
        try {
          await directory.comeBack();
          this.#options.log.info("blob_directory_back", { path: directory.path });
        } catch (error) {
          this.#options.log.warn("blob_directory_still_offline", {
            path: directory.path,
            ...errorFields(error),
          });
        }
      } else if (!there && await directory.isEmptyNow()) {
        // Twice in a row: a disk may be on its way to being mounted there.
        if (this.#empty.has(directory)) await this.#adopt(directory);
        else this.#empty.add(directory);
        continue;
      }
      this.#empty.delete(directory);
    }
    await this.lookAtSpace(0);
    await this.tellUntold();
  }

  /** An empty disk stands where one of ours was: it becomes a new directory, with a new number. */
  async #adopt(old: BlobDirectory): Promise<void> {
    const { log } = this.#options;
    const number = Number(this.#index.value("next_directory") ?? 0);
    if (number > highestDirectory) {
      log.error("blob_directory_not_adopted", { path: old.path, reason: "no number is left" });
      return;
    }
    const made = Directories.#made(this.#options, this.#storeId, this.#index, old.path, number);
    this.#index.transaction(() => {
      this.#index.setValue("next_directory", String(number + 1));
      this.#untold.added(number);
    });
    try {
      await made.prepare();
      await this.#mark(made);
    } catch (error) {
      log.warn("blob_directory_still_offline", { path: old.path, ...errorFields(error) });
      return;
    }
    this.#all = this.#all.map((one) => one === old ? made : one);
    this.#byNumber.delete(old.number);
    this.#gone.add(old.number);
    this.#byNumber.set(number, made);
    this.#space.delete(old);
    this.#empty.delete(old);
    log.info("blob_directory_adopted", { path: old.path, was: old.number, number });
    for (const one of this.online) await one.noteNumbers().catch((error) => one.goOffline(error));
    await old.close();
  }

  async lookAtSpace(age_ms = spaceAge_ms): Promise<void> {
    await Promise.all(this.online.map(async (directory) => {
      const known = this.#space.get(directory);
      if (known !== undefined && performance.now() - known.read_ms < age_ms) return;
      try {
        const { free, total } = await this.#askSpace(directory);
        const reserve = this.#options.reserve_bytes;
        const state = spaceState({ free, total }, reserve, known?.state);
        if (state !== (known?.state ?? "roomy")) {
          this.#options.log.warn(`blob_directory_${state}`, {
            path: directory.path,
            free_bytes: free,
            reserve_bytes: reserve,
          });
        }
        this.#space.set(directory, {
          free,
          total,
          state,
          read_ms: performance.now(),
        });
      } catch (error) {
        directory.goOffline(error);
      }
    }));
  }

  /** @throws IoError also when it has no answer for long */
  #askSpace(directory: BlobDirectory): Promise<{ free: number; total: number }> {
    const { disk, answer_ms } = this.#options;
    let asked = this.#spaceAsked.get(directory);
    if (asked === undefined) {
      asked = disk.space(directory.path).finally(() => this.#spaceAsked.delete(directory));
      this.#spaceAsked.set(directory, asked);
    }
    return answered(asked, answer_ms, "statfs", directory.path);
  }

  /** Bytes for each directory that were admitted and may not be written yet. */
  #admitted = 0;

  /**
   * Refuses what would eat into the reserve, before anything is written. What is admitted counts as used
   * until it is released, and then until the next look at the disk.
   * @returns to be called when the bytes are written, or never will be
   * @throws AwsError `InsufficientCapacity`
   */
  async admit(bytes: number, { k }: Code): Promise<() => void> {
    await this.lookAtSpace();
    const each = Math.ceil(bytes / k);
    const roomy = this.online.filter((directory) => {
      const space = this.#space.get(directory);
      return space !== undefined && space.state !== "full" &&
        space.free - this.#admitted - each >= this.#options.reserve_bytes;
    });
    if (roomy.length < k) {
      throw new AwsError(
        "InsufficientCapacity",
        `The object store has no room for ${bytes} bytes more above its reserve. Delete objects, or add a disk.`,
        { status: 503 },
      );
    }
    this.#admitted += each;
    let released = false;
    return () => {
      if (released) return;
      released = true;
      this.#admitted -= each;
      for (const space of this.#space.values()) space.free -= each;
    };
  }

  /** Bytes of objects of the usual code that may still be stored, and that all directories could hold. */
  capacity(): { free_bytes: number; total_bytes: number } {
    const { usual } = this.#options;
    const { k } = usual;
    const n = directoriesOf(usual);
    let free = 0;
    let total = 0;
    for (const directory of this.online) {
      const space = this.#space.get(directory);
      if (space === undefined) continue;
      free += Math.max(0, space.free - this.#options.reserve_bytes);
      total += space.total;
    }
    return { free_bytes: Math.floor(free * k / n), total_bytes: Math.floor(total * k / n) };
  }

  async close(): Promise<void> {
    const { answer_ms } = this.#options;
    await answered(this.#catchingUp.stop(), answer_ms, "stop", "catching up").catch(() => {});
    await Promise.all(this.all.map((directory) => directory.close()));
  }
}
