/**
 * Brings back what is missing: shards are computed from the others of their stripe and small records
 * copied, into directories that have none of them yet.
 *
 * What to do follows from the index and the directories that are there, not from a list that could be
 * lost: a sweep compares them whenever a directory came, went for good, or did not take a write. Shards
 * that a read found damaged are journalled besides. Everything is bounded in bytes a second, one stripe
 * at a time, and may be broken off anywhere: what was not finished is found by the next sweep. A crash
 * leaves dead space and nothing else.
 */
import { alignedBuffer, pageBytes } from "../../../ffi/direct_io.ts";
import { errorFields, type Log } from "../../log/log.ts";
import type { BlobDirectory, Location } from "../segments/blob_directory.ts";
import { type Code, directoriesOf } from "../extents/code.ts";
import type { Codes } from "../extents/codes.ts";
import type { Commits } from "../objects/commits.ts";
import type { Directories } from "../segments/directories.ts";
import { epochsOf } from "../segments/durability.ts";
import { DataLost, type ExtentReader } from "../extents/extent_reader.ts";
import { keyBytes } from "../index/columns.ts";
import type { ObjectIndex } from "../index/object_index.ts";
import type { ExtentRow, ObjectRow } from "../index/rows.ts";
import { shardPayload } from "../extents/layout.ts";
import { Pace } from "./pace.ts";
import type { Progress } from "../index/progress.ts";
import { roundUp } from "../segments/record.ts";
import { relocate, type ShardMove } from "./relocation.ts";
import { recordOf, type StandingRecord, standingRecords, Verifier } from "./verify.ts";

export interface RepairedStore {
  readonly options: {
    readonly log: Log;
    readonly repair_bytes_per_second?: number;
  };
  readonly index: ObjectIndex;
  readonly directories: Directories;
  readonly reader: ExtentReader;
  readonly progress: Progress;
  readonly commits: Commits;
  readonly codes: Codes;
}

/** Shards read and written each second. */
const defaultPace = 64 << 20;
/** Rows looked at before others have their turn. */
const rowsAtOnce = 500;
const retry_ms = 60_000;
const mostSuspects = 10_000;
/** How often an extent is begun with that is changed meanwhile. */
const mostAttempts = 3;

export class Repair {
  readonly #store: RepairedStore;
  readonly #verifier: Verifier;
  readonly #pace: Pace;
  #running: Promise<void> | undefined;
  #stopped = false;
  /** What the directories were all through the last sweep. */
  #sweptAt = "";
  /** What should stand, or the directories, changed after the last sweep began. */
  #mustSweep = true;
  #sweepAgain_ms = Infinity;
  /** Journalled extents for which nothing could be done as the directories are now. */
  readonly #stuck = new Set<number>();
  /** Records that a read found damaged. */
  readonly #suspects = new Map<string, StandingRecord>();
  /** Since the start. */
  shards_repaired = 0;
  records_repaired = 0;
  /** Shards and copies that the last sweep could not bring back. */
  unrepaired = 0;

  constructor(store: RepairedStore) {
    this.#store = store;
    this.#verifier = new Verifier(store.directories, store.reader);
    this.#pace = new Pace(store.options.repair_bytes_per_second ?? defaultPace);
  }

  get running(): boolean {
    return this.#running !== undefined;
  }

  /** Looks whether there is anything to do and does it; returns when it is done. */
  run(): Promise<void> {
    return this.#running ??= this.#run()
      .catch((error) => {
        this.#mustSweep = true;
        this.#store.options.log.error("repair_failed", errorFields(error));
      })
      .finally(() => this.#running = undefined);
  }

  /** The next run sweeps whatever the directories are: what should stand has changed. */
  lookAgain(): void {
    this.#mustSweep = true;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#pace.stop();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { index, directories, options: { log } } = this.#store;
    if (this.#stopped) return;
    const now = directories.state();
    if (this.#mustSweep || now !== this.#sweptAt || performance.now() > this.#sweepAgain_ms) {
      this.#mustSweep = false;
      this.unrepaired = 0;
      this.#stuck.clear();
      const before = { shards: this.shards_repaired, records: this.records_repaired };
      await this.#sweep();
      const shards = this.shards_repaired - before.shards;
      const records = this.records_repaired - before.records;
      if (shards + records > 0) {
        log.info("repaired", { shards, records, unrepaired: this.unrepaired });
      }
      if (this.#stopped) return;
      this.#sweptAt = now;
      // A directory that failed meanwhile has not taken what was meant for it, and may be back before the next run.
      if (directories.state() !== now) this.#mustSweep = true;
      // With every directory there, what was left can only have been a passing failure.
      const retry = this.unrepaired > 0 && directories.allWritable();
      this.#sweepAgain_ms = retry ? performance.now() + retry_ms : Infinity;
    }
    for (const [name, record] of this.#suspects) {
      if (this.#stopped) return;
      this.#suspects.delete(name);
      await this.#guarded(() => this.record(record, true));
    }
    for (const extent of index.extents.journalled()) {
      if (this.#stopped) return;
      if (this.#stuck.has(extent)) continue;
      try {
        if (!await this.extent(extent, true)) this.#stuck.add(extent);
      } catch (error) {
        this.#stuck.add(extent);
        log.warn("repair_step_failed", { extent, ...errorFields(error) });
      }
    }
    if (this.#stuck.size > 0 && directories.allWritable()) {
      this.#sweepAgain_ms = Math.min(this.#sweepAgain_ms, performance.now() + retry_ms);
    }
  }

  /** A read found a copy of the object's record damaged. */
  suspect(object: ObjectRow): void {
    if (this.#suspects.size >= mostSuspects) return;
    const { bucket, key, sequence } = object;
    this.#suspects.set(`${bucket}/${sequence}/${key}`, recordOf(object, this.#store.codes));
  }

  async #guarded(work: () => Promise<boolean>): Promise<void> {
    try {
      if (!await work()) this.unrepaired++;
    } catch (error) {
      this.unrepaired++;
      this.#store.options.log.warn("repair_step_failed", errorFields(error));
    }
  }

  async #sweep(): Promise<void> {
    const { index, codes } = this.#store;
    let seen = 0;
    const breathe = async () => {
      if (++seen % rowsAtOnce === 0) await new Promise((next) => setTimeout(next, 0));
      return this.#stopped;
    };
    for (const record of standingRecords(index, codes)) {
      if (await breathe()) return;
      if (this.#wanting(record)) await this.#guarded(() => this.record(record, false));
    }
    for (const id of index.extents.ids()) {
      if (await breathe()) return;
      // Those are read whole, after this.
      if (index.extents.isSuspect(id)) continue;
      await this.#guarded(() => this.extent(id, false));
    }
  }

  /** How many directories should hold a copy of a record: as many of its code's as may be. */
  #wantedCopies({ code }: StandingRecord): number {
    return Math.min(directoriesOf(code), this.#store.directories.writable().length);
  }

  #wanting(record: StandingRecord): boolean {
    const flaws = record.locations.map(({ directory }) => this.#verifier.placeFlaw(directory));
    const sound = flaws.filter((flaw) => flaw === undefined).length;
    return flaws.includes("missing") || sound < this.#wantedCopies(record);
  }

  /**
   * Copies a record to where it is missing.
   * @param deep whether the copies that are there are read and checked
   * @returns whether it is whole now
   */
  async record(record: StandingRecord, deep: boolean): Promise<boolean> {
    for (let attempt = 0; attempt < mostAttempts; attempt++) {
      const isWhole = await this.#recordNow(record, deep);
      if (isWhole !== undefined) return isWhole;
    }
    return false;
  }

  /** @returns undefined when compaction has moved copies of it meanwhile: then it is looked at again */
  async #recordNow(seen: StandingRecord, deep: boolean): Promise<boolean | undefined> {
    const { index, directories, reader, commits } = this.#store;
    await this.#pace.take(seen.locations.reduce((sum, { bytes }) => sum + bytes, 4096));
    return await commits.locked([`${seen.bucket}/${seen.key}`], async () => {
      const { owner } = seen;
      const locations = index.records.locations(owner);
      if (locations === undefined) return true;
      // Copies that compaction has moved since are as many as before.
      const record = {
        ...seen,
        locations,
        sequence: index.records.sequence(owner) ?? seen.sequence,
      };
      const { sound, flawed } = await this.#verifier.copies(record, deep);
      const bad = flawed.filter(({ flaw }) => flaw !== "away").map(({ location }) => location);
      const holding = new Set(sound.map(({ directory }) => directory));
      const wanted = this.#wantedCopies(record);
      const candidates = this.#ranked(record, record.code).filter((one) =>
        !holding.has(one.number)
      );
      const to = candidates.slice(0, Math.max(0, wanted - sound.length));
      if (to.length === 0 && bad.length === 0) return sound.length >= wanted;
      const whole = await this.#readAny(sound, record.sequence, reader);
      if (whole === undefined) throw new DataLost("no copy of a record is sound");
      using _pin = commits.pin();
      const made = (await Promise.allSettled(to.map((one) => one.commit([whole.record]))))
        .flatMap((result) => result.status === "fulfilled" ? result.value : []);
      let isCurrent = false;
      try {
        await index.write(() => {
          isCurrent = index.records.replace(owner, whole.from, bad, made);
        });
      } finally {
        for (const location of made) directories.byNumber(location.directory)?.applied(location);
      }
      if (!isCurrent) return undefined;
      this.records_repaired += made.length;
      return sound.length + made.length >= wanted;
    });
  }

  async #readAny(sound: readonly Location[], sequence: number, reader: ExtentReader) {
    for (const from of sound) {
      try {
        return { record: await reader.readRecord(from, sequence), from };
      } catch {
        // The next copy may be sound.
      }
    }
    return undefined;
  }

  /** Directories that take writes, the best for the key first. */
  #ranked(
    { bucket, key }: { readonly bucket: number; readonly key: string },
    code: Code,
  ): BlobDirectory[] {
    const placed = this.#store.directories.place(bucket, key, code)
      .filter((one) => one !== undefined);
    return [...new Set([...placed, ...this.#store.directories.writable()])];
  }

  /**
   * Computes the shards of an extent that are missing and writes them.
   * @param deep whether the shards that are there are read and checked
   * @returns whether all its shards stand now
   */
  async extent(id: number, deep: boolean): Promise<boolean> {
    for (let attempt = 0; attempt < mostAttempts; attempt++) {
      const isWhole = await this.#extentNow(id, deep);
      if (isWhole !== undefined) return isWhole;
    }
    return false;
  }

  /** @returns undefined when compaction has moved shards of it meanwhile: then it is looked at again */
  async #extentNow(id: number, deep: boolean): Promise<boolean | undefined> {
    const { index, reader, commits } = this.#store;
    const extent = index.extents.find(id);
    if (extent === undefined) return true;
    using _pin = commits.pin();
    const moves: ShardMove[] = [];
    let left = 0;
    let epochs = epochsOf([]);
    for (const [at, stripe] of extent.stripes.entries()) {
      if (deep) await this.#pace.take(stripe.bytes);
      if (this.#stopped) return true;
      const flaws = await this.#verifier.stripeFlaws(extent, at, deep);
      if (flaws.length === 0) continue;
      if (moves.length === 0) epochs = epochsOf(this.#store.directories.all);
      const bad = new Set(flaws.map(({ shard }) => shard));
      const used = new Set(
        stripe.shards.filter((_, shard) => !bad.has(shard)).map((place) => place?.directory),
      );
      for (const { shard, flaw } of flaws) {
        const target = flaw === "away"
          ? undefined
          : this.#ranked(extent, extent).find((one) => !used.has(one.number));
        if (target === undefined) {
          left++;
          continue;
        }
        const bytes = shardPayload(stripe, extent.k, shard);
        await this.#pace.take(bytes * (extent.k + 1));
        const payload = await reader.reconstruct(extent, at, shard);
        moves.push({
          stripe: at,
          shard,
          to: await this.#write(target, extent, at, shard, payload),
        });
        used.add(target.number);
      }
    }
    if (moves.length > 0) {
      const outcome = await relocate(this.#store, extent, moves, epochs);
      if (outcome !== "moved") return outcome === "gone" ? true : undefined;
      this.shards_repaired += moves.length;
    }
    if (left > 0 || index.extents.isJournalled(id)) {
      await index.write(() => index.extents.setMissing(id, left));
    }
    return left === 0;
  }

  async #write(
    target: BlobDirectory,
    extent: ExtentRow,
    index: number,
    shard: number,
    payload: Uint8Array<ArrayBuffer>,
  ): Promise<Location> {
    const stripe = extent.stripes[index];
    if (stripe === undefined) throw new RangeError("there is no such stripe");
    const bytes = shardPayload(stripe, extent.k, shard);
    const buffer = alignedBuffer(pageBytes + roundUp(bytes, pageBytes));
    buffer.set(payload.subarray(0, bytes), pageBytes);
    return await target.writeShard(buffer, bytes, {
      extent: extent.id,
      bucket: extent.bucket,
      stripe: index,
      shard,
      k: extent.k,
      m: extent.m,
      stripeBytes: stripe.bytes,
      shardBytes: stripe.shardBytes,
      key: keyBytes(extent.key),
    });
  }
}
