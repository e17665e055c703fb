/**
 * All blob directories of the node: who is there, where an object goes, and how a record is made
 * durable in enough of them.
 *
 * An object's directories follow from its name by rendezvous hashing, so that adding one moves little.
 * A directory that is away or full is left out; writes go on while k remain. One that came back empty
 * is a new directory with a new number: nothing of it is mistaken for what was there.
 */
import { crc32c } from "../../../ffi/libisal.ts";
import { errorFields } from "../../log/log.ts";
import { answered } from "./answers.ts";
import type { BlobDirectory, Location } from "./blob_directory.ts";
import { CatchingUp } from "./catching_up.ts";
import { Departed } from "./departed.ts";
import { isReadable, type NamedShards, numberOf } from "./durability.ts";
import { type Code, directoriesOf } from "../extents/code.ts";
import { tooFewDirectories } from "../extents/extent_writer.ts";
import type { ObjectIndex } from "../index/object_index.ts";
import type { RefusedMeta } from "../index/rows.ts";
import {
  blobDirectory,
  type DirectoriesOptions,
  numberFor,
  numberIsUsed,
  openAll,
} from "./opening.ts";
import { recordTypes, type SmallRecord, smallRecord } from "./record.ts";
import { type DirectorySpace, Room } from "./room.ts";
import { writeMark } from "./sealed_mark.ts";
import { Unread } from "./unread.ts";
import { Untold } from "./untold.ts";

const encoder = new TextEncoder();
/** A directory that has been away for so long is not waited for, where others can take its place. */
const lostAfter_ms = 15 * 60_000;
export class Directories {
  #all: readonly BlobDirectory[];
  readonly #storeId: bigint;
  readonly #index: ObjectIndex;
  /** By how many directories a write goes to: how many writes some directory did not take. */
  readonly #missed = new Map<number, number>();
  /** Directories at whose path nothing stood at the last look. */
  readonly #empty = new Set<BlobDirectory>();
  readonly #byNumber = new Map<number, BlobDirectory>();
  readonly #room: Room;
  readonly #options: DirectoriesOptions;
  readonly #untold: Untold;
  readonly #catchingUp: CatchingUp;
  #inspecting: Promise<void> | undefined;
  readonly #departed: Departed;
  readonly #unread = new Unread();

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
    this.#room = new Room(options, () => this.online);
    this.#catchingUp = new CatchingUp(this.#untold, options.log, () => this.all);
    for (const directory of all) this.#byNumber.set(directory.number, directory);
    const isOurs = (number: number) => this.#byNumber.has(number);
    this.#departed = new Departed(index, isOurs, (number) => this.#untold.forget(number));
  }

  static async open(
    options: DirectoriesOptions,
    storeId: bigint,
    index: ObjectIndex,
  ): Promise<Directories> {
    const { looks } = options;
    const all = await openAll(options, storeId, index);
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
    return this.online.filter((one) => !this.#room.isFull(one));
  }

  spaceOf(directory: BlobDirectory): Readonly<DirectorySpace> | undefined {
    return this.#room.of(directory);
  }

  async lookAtSpace(age_ms?: number): Promise<void> {
    await this.#room.look(age_ms);
  }

  /**
   * Refuses what would eat into the reserve, before anything is written.
   * @returns to be called when the bytes are written, or never will be
   * @throws AwsError `InsufficientCapacity`
   */
  admit(bytes: number, code: Code): Promise<() => void> {
    return this.#room.admit(bytes, code);
  }

  /** Bytes of objects of the usual code that may still be stored, and that all directories could hold. */
  capacity(): { free_bytes: number; total_bytes: number } {
    return this.#room.capacity();
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
    return this.#departed.mayReturn(now_ms);
  }

  /** The index has been brought up to all that could be read. */
  noteUnread(): void {
    this.#unread.note(this.#all);
  }

  /** Whether a directory may have what is in no index: up to where that knows it stays as it is. */
  isUnread(directory: BlobDirectory): boolean {
    return this.#unread.has(directory);
  }

  /** What repair depends on: when it has not changed, there is nothing new to bring back. */
  state(): string {
    const each = this.#all.map((one) =>
      `${one.number}${one.online ? "" : "-"}${this.isLost(one.number) ? "lost" : ""}${
        this.#room.isFull(one) ? "full" : ""
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
    // Nothing stands anywhere then that would have to be refused.
    if (online.length < code.k) throw tooFewDirectories();
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
    await this.tell(smallRecord(recordTypes.refused, sequence, meta));
  }

  /** Writes into all directories what must not be forgotten with any of them; those that do not take it now are told later. */
  async tell(record: SmallRecord): Promise<void> {
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
    return [...this.#byNumber.keys(), ...this.#departed.numbers].filter((number) =>
      !heard.has(number)
    );
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
          await this.#unread.isBack(directory, this.#index.segments.position(directory.number));
          await directory.comeBack();
          this.#options.log.info("blob_directory_back", {
            path: directory.path,
            // What it alone has is found at the next start.
            ...(this.#unread.has(directory) ? { unread: true } : {}),
          });
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
    const { path } = old;
    let number: number | undefined;
    this.#index.transaction(() => {
      number = numberFor(this.#index, path);
      if (number !== undefined) this.#untold.added(number);
    });
    if (number === undefined) {
      log.error("blob_directory_not_adopted", { path, reason: "no number is left" });
      return;
    }
    const made = blobDirectory(this.#options, this.#storeId, this.#index, path, number);
    try {
      await made.prepare();
      await this.#mark(made);
    } catch (error) {
      log.warn("blob_directory_still_offline", { path, ...errorFields(error) });
      return;
    } finally {
      if (made.mayBeNamed) numberIsUsed(this.#index, path);
    }
    this.#all = this.#all.map((one) => one === old ? made : one);
    this.#byNumber.delete(old.number);
    if (old.number !== number) this.#departed.add(old.number);
    this.#byNumber.set(number, made);
    this.#room.forget(old);
    this.#unread.forget(old);
    this.#empty.delete(old);
    log.info("blob_directory_adopted", { path, was: old.number, number });
    for (const one of this.online) await one.noteNumbers().catch((error) => one.goOffline(error));
    await old.close();
  }

  async close(): Promise<void> {
    const { answer_ms } = this.#options;
    await answered(this.#catchingUp.stop(), answer_ms, "stop", "catching up").catch(() => {});
    await Promise.all(this.all.map((directory) => directory.close()));
  }
}
