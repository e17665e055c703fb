/**
 * One directory (best: one disk) of segment files that are only ever appended to.
 *
 * Shards are written by reference, past the page cache, any number at once; small records are
 * gathered, written as one batch and made durable by one fdatasync for all who wait (group commit). A
 * process never writes into a segment that an earlier process wrote. A directory that fails a write or
 * a sync goes offline and takes no more writes until it has been looked at again; reads of what it
 * holds may go on.
 */
import { IoError, pageBytes } from "../../../ffi/direct_io.ts";
import type { Disk } from "../disk/disk.ts";
import { answered } from "./answers.ts";
import { type DirectoryIdentity, readIdentity, writeIdentity } from "./identity.ts";
import { GroupCommit } from "./group_commit.ts";
import type { Location } from "./location.ts";
import {
  type Durable,
  roundUp,
  type ShardMeta,
  type SmallRecord,
  writeShardPage,
} from "./record.ts";
import { Refusals } from "./refusals.ts";
import { sealedMark } from "./sealed_mark.ts";
import { SegmentFiles } from "./segment_files.ts";
import { isOutOfFiles } from "./segment_readers.ts";
import { SegmentWriter } from "./segment_writer.ts";

/** How much longer than a look a write may take: it waits for others, and a sync for all of them. */
const patience = 4;
export class DirectoryOffline extends Error {
  override readonly name = "DirectoryOffline";
}

const isWantOfRoom = (error: unknown) =>
  error instanceof IoError && (error.code === "ENOSPC" || error.code === "EDQUOT");

export interface BlobDirectoryOptions {
  readonly disk: Disk;
  readonly path: string;
  readonly number: number;
  readonly storeId: bigint;
  /** The number that the store's next new directory would get. */
  readonly nextNumber: () => number;
  readonly segmentBytes: number;
  /** Segment ids below this have been used here before, whatever files are left. */
  readonly firstSegment: number;
  /** The first segment into which an earlier process may have written what is not durable. */
  readonly unsyncedFrom: number;
  /** How long a look at it may take. */
  readonly answer_ms: number;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** Called once each time that it goes offline. */
  readonly onOffline: (reason: unknown) => void;
}

export class BlobDirectory {
  readonly number: number;
  readonly path: string;
  readonly storeId: bigint;
  readonly #options: BlobDirectoryOptions;
  #epoch = 0;
  #offline: unknown;
  #offlineSince_ms = 0;
  readonly #refusals: Refusals;
  /** Ends what waits for the disk when the directory goes offline. */
  readonly #waiting = new Set<(reason: unknown) => void>();
  /** Whether a look at it has had no answer yet: none is begun beside it. */
  #looking = false;
  #mayBeNamed = false;
  /** The first segment that may have something that is not durable, and that nobody is about to sync. */
  #unsyncedFrom: number;
  /** Writes that have had no answer yet, also of those for which nobody waits any more. */
  #unanswered = 0;
  readonly #files: SegmentFiles;
  readonly #writer: SegmentWriter;
  readonly #commits: GroupCommit;

  constructor(options: BlobDirectoryOptions) {
    this.#options = options;
    this.number = options.number;
    this.path = options.path;
    this.storeId = options.storeId;
    this.#unsyncedFrom = options.unsyncedFrom;
    this.#refusals = new Refusals(options.now, patience * options.answer_ms);
    this.#files = new SegmentFiles(options.disk, options.path, options.answer_ms);
    this.#writer = new SegmentWriter({
      segmentBytes: options.segmentBytes,
      firstSegment: options.firstSegment,
      open: (id) => this.#files.make(id),
      begun: () => this.#begun(),
      onSyncFailed: (error) => this.goOffline(error),
    });
    this.#commits = new GroupCommit({
      storeId: options.storeId,
      number: options.number,
      writer: this.#writer,
      guarded: (work) => this.#guarded(work),
      epoch: () => this.#epoch,
      checkEpoch: (epoch) => this.#checkEpoch(epoch),
    });
  }

  /** Makes the directory ours, or finds that it is. */
  async prepare(): Promise<void> {
    await this.#files.makeFolder();
    await this.noteNumbers();
    this.#writer.startBehind(await this.segments());
  }

  /**
   * Writes down which numbers have been given: one that comes back when the index is lost must not find
   * that another has its number.
   * @throws DirectoryOffline when it is another one, whose name could not be read before
   */
  async noteNumbers(): Promise<void> {
    const { disk, nextNumber } = this.#options;
    const next = nextNumber();
    const known = await this.#ask("read", readIdentity(disk, this.path));
    if (known !== undefined && !this.#isOurs(known)) {
      throw new DirectoryOffline(`${this.path} is another blob directory`);
    }
    if (known !== undefined && known.next >= next) return;
    await this.#writeIdentity(next);
  }

  async #writeIdentity(next: number): Promise<void> {
    this.#mayBeNamed = true;
    const { path, storeId, number: directory } = this;
    const identity = { storeId, directory, next };
    await this.#ask("write", writeIdentity(this.#options.disk, path, identity));
  }

  /** Whether its number may stand on the disk because we wrote it there. */
  get mayBeNamed(): boolean {
    return this.#mayBeNamed;
  }

  #isOurs({ storeId, directory }: DirectoryIdentity): boolean {
    return storeId === this.storeId && directory === this.number;
  }

  #ask<T>(call: string, work: Promise<T>): Promise<T> {
    return answered(work, this.#options.answer_ms, call, this.path);
  }

  /** Looks at the directory, unless the last look has had no answer yet. */
  async #look<T>(call: string, work: () => Promise<T>): Promise<T> {
    if (this.#looking) throw new DirectoryOffline(`${this.path} does not answer`);
    this.#looking = true;
    return await this.#ask(call, work().finally(() => this.#looking = false));
  }

  /**
   * Grows each time that the directory goes offline. What was written in an earlier epoch and not yet
   * committed may never have become durable: its commit names the epoch, and fails in a later one.
   */
  get epoch(): number {
    return this.#epoch;
  }

  get online(): boolean {
    return this.#offline === undefined;
  }

  /** Why it is offline. */
  get reason(): unknown {
    return this.#offline;
  }

  /** Why it is left alone for a while, where others can do without it. */
  get refusal(): IoError | undefined {
    return this.#refusals.current;
  }

  /** How long it has been offline. */
  get offline_ms(): number {
    return this.online ? 0 : performance.now() - this.#offlineSince_ms;
  }

  goOffline(reason: unknown): void {
    if (this.#offline !== undefined) return;
    this.#offline = reason ?? new DirectoryOffline(`${this.path} is offline`);
    this.#offlineSince_ms = performance.now();
    this.#epoch++;
    this.#unsyncedFrom = Math.min(this.#unsyncedFrom, this.#writer.firstUnsynced);
    this.#writer.drop();
    this.#commits.leaveMemory();
    for (const end of this.#waiting) {
      end(new DirectoryOffline(`${this.path} went offline`, { cause: reason }));
    }
    this.#options.onOffline(reason);
  }

  /**
   * Takes writes again, in a new segment.
   * @throws IoError where nothing can be written there, other than for want of room, or made durable
   */
  async comeBack(): Promise<void> {
    await this.#syncLeft();
    await this.prepare();
    // Names can be read on a disk that has become read-only, or of which only that is left.
    await this.#writeIdentity(this.#options.nextNumber()).catch((error) => {
      if (!isWantOfRoom(error)) throw error;
    });
    this.#refusals.forget();
    this.#files.readers.dropAll();
    this.#offline = undefined;
  }

  /** What it failed to make durable can be read there all the same, and counts as sound as it is read: until the power fails. */
  async #syncLeft(): Promise<void> {
    await this.#files.makeFolder();
    for (const segment of await this.segments()) {
      if (segment >= this.#unsyncedFrom) await this.syncSegment(segment);
    }
    this.leftIsSynced();
  }

  /** Whether the directory at the path is still ours and there, and has answered what it was asked before it went offline. */
  async isThere(): Promise<boolean> {
    if (!this.online && this.#unanswered > 0) return false;
    this.#refusals.lookedAt();
    try {
      const identity = await this.#look("read", () => readIdentity(this.#options.disk, this.path));
      return identity !== undefined && this.#isOurs(identity);
    } catch {
      return false;
    }
  }

  /** Whether another disk, with nothing on it, has come to the path. */
  async isEmptyNow(): Promise<boolean> {
    try {
      const names = await this.#look("readdir", () => this.#options.disk.names(this.path));
      return names.every((name) => name === "lost+found" || name === sealedMark);
    } catch {
      return false;
    }
  }

  /** Ids of the segment files that are there, in order. */
  segments(): Promise<number[]> {
    return this.#files.ids();
  }

  /** The segment that is written now: never to be compacted. */
  get activeSegment(): number {
    return this.#writer.activeSegment;
  }

  /** The place before which everything durable here is also in the index. */
  get appliedUpTo(): Durable {
    return this.#commits.appliedUpTo;
  }

  #checkOnline(): void {
    if (this.#offline === undefined) return;
    throw new DirectoryOffline(`${this.path} is offline`, { cause: this.#offline });
  }

  /** Whoever began to write before it was away has given up, and its memory is others' by now. */
  #checkEpoch(epoch: number): void {
    if (epoch !== this.#epoch) throw new DirectoryOffline(`${this.path} was offline meanwhile`);
  }

  #begun(): () => void {
    this.#checkOnline();
    const epoch = this.#epoch;
    return () => {
      this.#checkEpoch(epoch);
      this.#checkOnline();
    };
  }

  async #guarded<T>(work: () => Promise<T>): Promise<T> {
    const left = Promise.withResolvers<never>();
    this.#waiting.add(left.reject);
    try {
      const asked = work();
      this.#unanswered++;
      const done = () => void this.#unanswered--;
      void asked.then(done, done);
      // Its names may be read from memory while nothing is written any more.
      const limit_ms = patience * this.#options.answer_ms;
      return await answered(Promise.race([asked, left.promise]), limit_ms, "write", this.path);
    } catch (error) {
      // A full disk is no broken one: what was written stays good, the next write begins a segment.
      if (isWantOfRoom(error) || isOutOfFiles(error)) {
        if (this.online) this.#refusals.note(error as IoError);
        this.#writer.leaveFull();
      } else if (!(error instanceof DirectoryOffline)) this.goOffline(error);
      throw error;
    } finally {
      this.#waiting.delete(left.reject);
    }
  }

  /**
   * Writes a shard whose payload stands at `pageBytes` of `buffer`, zero-padded to a page. Returns when
   * it is written; the next `commit` makes it durable.
   */
  writeShard(
    buffer: Uint8Array<ArrayBuffer>,
    payloadBytes: number,
    meta: ShardMeta,
  ): Promise<Location> {
    const bytes = pageBytes + roundUp(payloadBytes, pageBytes);
    return this.#guarded(() =>
      this.#writer.append(bytes, async ({ file, segment, offset }) => {
        const { storeId, number: directory } = this;
        const place = { storeId, segment, offset, durable: this.#writer.durable };
        writeShardPage(buffer, payloadBytes, meta, place);
        await file.write(buffer.subarray(0, bytes), offset);
        return { directory, segment, offset, bytes };
      })
    );
  }

  /**
   * Appends small records and returns where they stand when they, and every shard written before,
   * are durable. The caller says `applied` once the index has them.
   * @param epoch when the shards that the records name were written
   */
  commit(
    records: readonly SmallRecord[],
    epoch = this.#epoch,
  ): Promise<readonly Location[]> {
    return this.#commits.commit(records, epoch);
  }

  /** The index holds the records of a commit that began at `location`. */
  applied(location: Location): void {
    this.#commits.applied(location);
  }

  /** Reads into an aligned buffer. @returns how many bytes there were @throws IoError */
  async read(
    segment: number,
    buffer: Uint8Array<ArrayBuffer>,
    offset: number,
  ): Promise<number> {
    const active = this.#writer.activeFile(segment);
    if (active !== undefined) return await active.read(buffer, offset);
    return await this.#files.readers.read(segment, buffer, offset);
  }

  /** As `read`, for who has nobody else to ask. @throws IoError also when it has no answer for long */
  async readInTime(
    segment: number,
    buffer: Uint8Array<ArrayBuffer>,
    offset: number,
  ): Promise<number> {
    return await this.#ask("pread", this.read(segment, buffer, offset));
  }

  /** Makes durable what an earlier process may have left in a segment without syncing it. */
  syncSegment(segment: number): Promise<void> {
    return this.#files.sync(segment);
  }

  /** All that earlier processes may have left was synced. */
  leftIsSynced(): void {
    this.#unsyncedFrom = Infinity;
  }

  /** A segment's size; 0 when it is gone. */
  segmentSize(segment: number): Promise<number> {
    return this.#files.size(segment);
  }

  async removeSegment(segment: number): Promise<void> {
    if (this.#writer.activeFile(segment) !== undefined) {
      throw new Error("the active segment is never removed");
    }
    await this.#files.remove(segment);
  }

  /** Takes no more writes, also of those whom nobody waited for. */
  async close(): Promise<void> {
    const { running } = this.#commits;
    if (running !== undefined) await this.#ask("close", running).catch(() => {});
    this.#offline ??= new DirectoryOffline(`${this.path} is closed`);
    this.#writer.drop();
    this.#files.readers.dropAll();
  }
}

export { before, type Location } from "./location.ts";
export { IoError };
