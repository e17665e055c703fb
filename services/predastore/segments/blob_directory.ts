/**
 * One directory (best: one disk) of segment files that are only ever appended to.
 *
 * Shards are written by reference, past the page cache, any number at once; small records are
 * gathered, written as one batch and made durable by one fdatasync for all who wait (group commit). A
 * process never writes into a segment that an earlier process wrote. A directory that fails a write or
 * a sync goes offline and takes no more writes until it has been looked at again; reads of what it
 * holds may go on.
 */
import { join } from "node:path";
import { alignedBuffer, IoError, pageBytes } from "../../../ffi/direct_io.ts";
import { isAbsent } from "../disk/absent.ts";
import type { Disk, DiskFile } from "../disk/disk.ts";
import { answered } from "./answers.ts";
import { type DirectoryIdentity, readIdentity, writeIdentity } from "./identity.ts";
import {
  type Durable,
  headerBytes,
  recordAlign,
  roundUp,
  type ShardMeta,
  type SmallRecord,
  writeShardPage,
  writeSmallRecord,
} from "./record.ts";
import { sealedMark } from "./sealed_mark.ts";
import { isOutOfFiles, SegmentReaders } from "./segment_readers.ts";

/** Where a record stands. */
export interface Location {
  readonly directory: number;
  readonly segment: number;
  readonly offset: number;
  /** From the record's start to the next. */
  readonly bytes: number;
}

/** How much longer than a look a write may take: it waits for others, and a sync for all of them. */
const patience = 4;
/** Memory of a batch up to this is used for the next one. */
const keptBatch_bytes = 256 * 1024;
const segmentName = (id: number) => `${String(id).padStart(10, "0")}.seg`;

export class DirectoryOffline extends Error {
  override readonly name = "DirectoryOffline";
}

interface Waiting {
  readonly records: readonly SmallRecord[];
  readonly epoch: number;
  readonly done: PromiseWithResolvers<readonly Location[]>;
}

interface Active {
  readonly id: number;
  readonly file: DiskFile;
  end: number;
}

/** A write that it did not take, although it is there. */
interface Refusal {
  readonly error: IoError;
  readonly at_ms: number;
  /** How often it refused one when it was tried again. */
  readonly times: number;
  /** It is tried again. */
  readonly isOver: boolean;
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
  #active: Active | undefined;
  /** The next segment, while its file is being made: all who need room in it wait for the same one. */
  #opening: { readonly id: number; readonly done: Promise<void> } | undefined;
  /** Where the next record would stand, had it no new segment. */
  #end: Durable;
  #epoch = 0;
  #nextSegment: number;
  #offline: unknown;
  #offlineSince_ms = 0;
  #refused: Refusal | undefined;
  /** Offsets of shard writes on their way, as a position that grows over segments. */
  readonly #inFlight = new Map<number, Durable>();
  #inFlightId = 0;
  readonly #dirty = new Map<number, DiskFile>();
  /** Ends what waits for the disk when the directory goes offline. */
  readonly #waiting = new Set<(reason: unknown) => void>();
  /** Whether a look at it has had no answer yet: none is begun beside it. */
  #looking = false;
  #mayBeNamed = false;
  /** Writes that have had no answer yet, also of those for which nobody waits any more. */
  #unanswered = 0;
  readonly #readers: SegmentReaders;
  #durable: Durable;
  #queue: Waiting[] = [];
  #committing: Promise<void> | undefined;
  #batch: Uint8Array<ArrayBuffer> | undefined;
  /** Batches that are durable but not yet in the index. */
  readonly #unapplied = new Map<number, Durable>();

  constructor(options: BlobDirectoryOptions) {
    this.#options = options;
    this.number = options.number;
    this.path = options.path;
    this.storeId = options.storeId;
    this.#nextSegment = options.firstSegment;
    this.#durable = { segment: options.firstSegment, offset: 0 };
    this.#end = this.#durable;
    this.#readers = new SegmentReaders(options.disk, (segment) => this.#pathOf(segment));
  }

  get #folder(): string {
    return join(this.path, "segments");
  }

  #pathOf(segment: number): string {
    return join(this.#folder, segmentName(segment));
  }

  /** Makes the directory ours, or finds that it is. */
  async prepare(): Promise<void> {
    await this.#ask("mkdir", this.#options.disk.makeFolder(this.#folder));
    await this.noteNumbers();
    for (const id of await this.segments()) {
      this.#nextSegment = Math.max(this.#nextSegment, id + 1);
    }
    this.#durable = { segment: this.#nextSegment, offset: 0 };
    this.#end = this.#durable;
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

  /**
   * Why it took no write a short while ago, although it is there: it had no room, whatever its disk says of that, or no more
   * files can be opened. Where others can do without it, it is left alone until the next look, and for longer when it
   * refuses again.
   */
  get refusal(): IoError | undefined {
    const { isOver, error } = this.#refused ?? {};
    return isOver === false && this.#refusedFor_ms() < this.#refusal_ms ? error : undefined;
  }

  get #refusal_ms(): number {
    return patience * this.#options.answer_ms;
  }

  #refusedFor_ms(): number {
    return Math.abs(this.#options.now() - (this.#refused?.at_ms ?? -Infinity));
  }

  #noteRefusal(error: IoError): void {
    const isRecent = this.#refusedFor_ms() < 2 * this.#refusal_ms;
    const before = isRecent ? this.#refused?.times ?? 0 : 0;
    const times = this.refusal === undefined ? before + 1 : before;
    this.#refused = { error, at_ms: this.#options.now(), times, isOver: false };
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
    this.#dropActive();
    // A write that does not end may still read its memory.
    this.#batch = undefined;
    for (const end of this.#waiting) {
      end(new DirectoryOffline(`${this.path} went offline`, { cause: reason }));
    }
    this.#options.onOffline(reason);
  }

  /**
   * Takes writes again, in a new segment.
   * @throws IoError where nothing can be written there, other than for want of room
   */
  async comeBack(): Promise<void> {
    await this.prepare();
    // Names can be read on a disk that has become read-only, or of which only that is left.
    await this.#writeIdentity(this.#options.nextNumber()).catch((error) => {
      if (!isWantOfRoom(error)) throw error;
    });
    this.#refused = undefined;
    this.#readers.dropAll();
    this.#offline = undefined;
  }

  /** Whether the directory at the path is still ours and there, and has answered what it was asked before it went offline. */
  async isThere(): Promise<boolean> {
    if (!this.online && this.#unanswered > 0) return false;
    if (this.#refused?.times === 1) this.#refused = { ...this.#refused, isOver: true };
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

  #dropActive(): void {
    this.#leaveActive();
    this.#opening = undefined;
    for (const file of this.#dirty.values()) file[Symbol.dispose]();
    this.#dirty.clear();
  }

  /** The next write begins another segment. What was written is synced with all else. */
  #leaveActive(): void {
    if (this.#active !== undefined && !this.#dirty.has(this.#active.id)) {
      this.#active.file[Symbol.dispose]();
    }
    this.#active = undefined;
  }

  /** Ids of the segment files that are there, in order. */
  async segments(): Promise<number[]> {
    const ids: number[] = [];
    for (const name of await this.#ask("readdir", this.#options.disk.names(this.#folder))) {
      const match = /^(\d{10})\.seg$/.exec(name);
      if (match !== null) ids.push(Number(match[1]));
    }
    return ids.sort((a, b) => a - b);
  }

  /** The segment that is written now: never to be compacted. */
  get activeSegment(): number {
    return this.#active?.id ?? this.#opening?.id ?? this.#nextSegment;
  }

  /** The place before which everything durable here is also in the index. */
  get appliedUpTo(): Durable {
    let least = this.#durable;
    for (const position of this.#unapplied.values()) {
      if (before(position, least)) least = position;
    }
    return least;
  }

  #checkOnline(): void {
    if (this.#offline === undefined) return;
    throw new DirectoryOffline(`${this.path} is offline`, { cause: this.#offline });
  }

  /** Whoever began to write before it was away has given up, and its memory is others' by now. */
  #checkEpoch(epoch: number): void {
    if (epoch !== this.#epoch) throw new DirectoryOffline(`${this.path} was offline meanwhile`);
  }

  /** Reserves room in the active segment; undefined where another has to be begun first. */
  #place(bytes: number): { file: DiskFile; segment: number; offset: number } | undefined {
    this.#checkOnline();
    const active = this.#active;
    if (active === undefined) return undefined;
    if (active.end + bytes > this.#options.segmentBytes && active.end > 0) return undefined;
    const offset = active.end;
    active.end += bytes;
    this.#end = { segment: active.id, offset: active.end };
    this.#dirty.set(active.id, active.file);
    return { file: active.file, segment: active.id, offset };
  }

  /** Begins the next segment: it is the active one when this returns, unless others have filled it by then. */
  async #begin(): Promise<void> {
    if (this.#opening === undefined) {
      const id = this.#nextSegment++;
      const opening = { id, done: this.#open(id) };
      this.#opening = opening;
      const ended = () => {
        if (this.#opening === opening) this.#opening = undefined;
      };
      void opening.done.then(ended, ended);
    }
    await this.#opening.done;
  }

  async #open(id: number): Promise<void> {
    const epoch = this.#epoch;
    const { disk } = this.#options;
    const file = await this.#readers.open(this.#pathOf(id), { write: true, create: true });
    try {
      await disk.syncFolder(this.#folder);
      this.#checkEpoch(epoch);
      this.#checkOnline();
    } catch (error) {
      file[Symbol.dispose]();
      throw error;
    }
    this.#leaveActive();
    this.#active = { id, file, end: 0 };
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
        if (this.online) this.#noteRefusal(error as IoError);
        this.#leaveActive();
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
    return this.#guarded(async () => {
      const bytes = pageBytes + roundUp(payloadBytes, pageBytes);
      const epoch = this.#epoch;
      let place = this.#place(bytes);
      while (place === undefined) {
        await this.#begin();
        this.#checkEpoch(epoch);
        place = this.#place(bytes);
      }
      // In the same turn: a sync that begins now must know of it.
      const { file, segment, offset } = place;
      const id = this.#inFlightId++;
      this.#inFlight.set(id, { segment, offset });
      try {
        const place = { storeId: this.storeId, segment, offset, durable: this.#durable };
        writeShardPage(buffer, payloadBytes, meta, place);
        await file.write(buffer.subarray(0, bytes), offset);
      } finally {
        this.#inFlight.delete(id);
      }
      return { directory: this.number, segment, offset, bytes };
    });
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
    const done = Promise.withResolvers<readonly Location[]>();
    this.#queue.push({ records, epoch, done });
    this.#committing ??= this.#commitAll();
    return done.promise;
  }

  /** The index holds the records of a commit that began at `location`. */
  applied(location: Location): void {
    this.#unapplied.delete(position(location));
  }

  async #commitAll(): Promise<void> {
    // Whoever comes in the same turn of the event loop rides along.
    await Promise.resolve();
    while (this.#queue.length > 0) {
      const group: Waiting[] = [];
      for (let bytes = 0; this.#queue.length > 0 && bytes < 4 << 20;) {
        const next = this.#queue.shift() as Waiting;
        if (next.epoch !== this.#epoch) {
          next.done.reject(new DirectoryOffline(`${this.path} was offline meanwhile`));
          continue;
        }
        group.push(next);
        for (const record of next.records) bytes += record.meta.length + record.payload.length;
      }
      if (group.length === 0) continue;
      try {
        const locations = await this.#guarded(() => this.#commitGroup(group));
        for (const [at, waiting] of group.entries()) waiting.done.resolve(locations[at] ?? []);
      } catch (error) {
        for (const waiting of group) waiting.done.reject(error);
      }
    }
    // In the same turn in which the queue was seen to be empty: who comes later begins anew.
    this.#committing = undefined;
  }

  /** Zeroed memory for a group of records; a directory writes one group at a time. */
  #batchOf(bytes: number): Uint8Array<ArrayBuffer> {
    if (bytes > keptBatch_bytes) return alignedBuffer(bytes);
    if (this.#batch === undefined || this.#batch.length < bytes) this.#batch = alignedBuffer(bytes);
    return this.#batch.subarray(0, bytes).fill(0);
  }

  async #commitGroup(group: readonly Waiting[]): Promise<readonly (readonly Location[])[]> {
    const spanOf = (record: SmallRecord) =>
      roundUp(headerBytes + record.meta.length + record.payload.length, recordAlign);
    let total = 0;
    for (const { records } of group) for (const record of records) total += spanOf(record);
    const bytes = roundUp(Math.max(total, 1), pageBytes);
    const epoch = this.#epoch;
    let place = this.#place(bytes);
    while (place === undefined) {
      await this.#begin();
      this.#checkEpoch(epoch);
      place = this.#place(bytes);
    }
    const { file, segment, offset } = place;
    const buffer = this.#batchOf(bytes);
    const locations: Location[][] = [];
    let at = 0;
    for (const { records } of group) {
      const mine: Location[] = [];
      locations.push(mine);
      for (const record of records) {
        const span = spanOf(record);
        writeSmallRecord(buffer.subarray(at, at + span), record, {
          storeId: this.storeId,
          segment,
          offset: offset + at,
          durable: this.#durable,
        });
        mine.push({ directory: this.number, segment, offset: offset + at, bytes: span });
        at += span;
      }
    }
    const firsts = locations.flatMap((mine) => mine.slice(0, 1));
    for (const first of firsts) this.#unapplied.set(position(first), first);
    try {
      await file.write(buffer, offset);
      await this.#sync();
      // Going offline forgets what was to be synced: nothing can be said of it any more.
      if (epoch !== this.#epoch) {
        throw new DirectoryOffline(`${this.path} went offline while it was written`);
      }
    } catch (error) {
      // Nobody knows what still goes on with its memory.
      this.#batch = undefined;
      for (const first of firsts) this.#unapplied.delete(position(first));
      throw error;
    }
    return locations;
  }

  async #sync(): Promise<void> {
    // What is still being written, on any segment, is not covered by the syncs that start now.
    let covered = this.#end;
    const inFlight = [...this.#inFlight.values()];
    const activeNow = this.#active?.id;
    for (const position of inFlight) if (before(position, covered)) covered = position;
    const dirty = [...this.#dirty];
    try {
      await Promise.all(dirty.map(([, file]) => file.sync()));
    } catch (error) {
      // Whatever it was, also want of room: what is lost is told once, and the next sync would know nothing of it.
      this.goOffline(error);
      throw error;
    }
    for (const [id, file] of dirty) {
      // Into what was active when the syncs began, more may have been written since.
      if (
        id === activeNow || id === this.#active?.id ||
        inFlight.some((position) => position.segment === id)
      ) continue;
      this.#dirty.delete(id);
      file[Symbol.dispose]();
    }
    if (before(this.#durable, covered)) this.#durable = covered;
  }

  /** Reads into an aligned buffer. @returns how many bytes there were @throws IoError */
  async read(
    segment: number,
    buffer: Uint8Array<ArrayBuffer>,
    offset: number,
  ): Promise<number> {
    if (this.#active?.id === segment) return await this.#active.file.read(buffer, offset);
    return await this.#readers.read(segment, buffer, offset);
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
  async syncSegment(segment: number): Promise<void> {
    const work = async () => {
      using file = await this.#options.disk.open(this.#pathOf(segment), { write: true });
      await file.sync();
    };
    await this.#ask("fdatasync", work());
  }

  /** A segment's size; 0 when it is gone. */
  async segmentSize(segment: number): Promise<number> {
    try {
      return await this.#ask("stat", this.#options.disk.size(this.#pathOf(segment)));
    } catch (error) {
      if (isAbsent(error)) return 0;
      throw error;
    }
  }

  async removeSegment(segment: number): Promise<void> {
    if (segment === this.#active?.id) throw new Error("the active segment is never removed");
    this.#readers.drop(segment);
    const { disk } = this.#options;
    await this.#ask("unlink", disk.remove(this.#pathOf(segment)));
    await this.#ask("fsync", disk.syncFolder(this.#folder));
  }

  /** Takes no more writes, also of those whom nobody waited for. */
  async close(): Promise<void> {
    if (this.#committing !== undefined) await this.#ask("close", this.#committing).catch(() => {});
    this.#offline ??= new DirectoryOffline(`${this.path} is closed`);
    this.#dropActive();
    this.#readers.dropAll();
  }
}

/** Whether `a` stands before `b` in a directory. */
export function before(a: Durable, b: Durable): boolean {
  return a.segment < b.segment || (a.segment === b.segment && a.offset < b.offset);
}

const position = (location: Location) => location.segment * 2 ** 32 + location.offset / 64;

export { IoError };
