/**
 * Tables of state in JetStream KV: the truth about everything but disks and objects.
 *
 * A table is one KV bucket of values that are versioned JSON with a checksum. Every write is
 * compare-and-set on the revision; a lost race is a `Conflict`, which `modify` retries. Reads come
 * from a local copy that watches the bucket and knows how far it has come: a caller that has just
 * written waits for the revision that the write returned, and so reads its own writes. A watcher
 * hears of a value again after a reconnect, so each is applied only when its revision is newer.
 *
 * When NATS is away, reads go on from the last known state and writes fail with
 * `ServiceUnavailable`.
 *
 * A deleted row leaves a marker in its bucket, some 100 bytes, so that who was away hears that it is gone.
 * Whoever may write a bucket removes them after a week (`markers.ts`).
 */
import { jetstream, JetStreamApiError, type JetStreamClient } from "@nats-io/jetstream";
import { type KV, type KvEntry, Kvm } from "@nats-io/kv";
import { crc32 } from "node:zlib";
import { AwsError, unavailable } from "../aws/errors.ts";
import { type Bus, reconnect_wait_ms } from "../bus/bus.ts";
import { errorFields, type Log } from "../log/log.ts";
import { sweepMarkers } from "./markers.ts";

export interface Row<T> {
  readonly key: string;
  readonly value: T;
  /** Sequence of the write in the bucket; grows with every write to any key. */
  readonly revision: number;
  /** Of the value as it is stored. */
  readonly bytes: number;
}

export interface Change<T> {
  readonly key: string;
  /** Undefined when the row was deleted. */
  readonly row: Row<T> | undefined;
}

/** Somebody else wrote the key first (JetStream's error 10071). Read again and decide again. */
export class Conflict extends Error {
  override readonly name = "Conflict";
  constructor(readonly key: string, cause?: unknown) {
    super(`${key} was changed by somebody else`, { cause });
  }
}

interface Deletion {
  readonly key: string;
  readonly revision: number;
  readonly heard_ms: number;
}

/** A stored value does not match its checksum or format. */
export class CorruptRow extends Error {
  override readonly name = "CorruptRow";
}

const wrongLastSequence = 10071;
/** How long after a deletion a repeated write of before may still be on its way. */
const repetition_ms = 3_600_000;
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Format 1: `{"v":1,"crc":<CRC-32 of the JSON text of d>,"d":<value>}`. */
export function encodeRow(value: unknown): Uint8Array {
  const data = JSON.stringify(value);
  return encoder.encode(`{"v":1,"crc":${crc32(data)},"d":${data}}`);
}

export function decodeRow<T>(key: string, bytes: Uint8Array): T {
  const text = decoder.decode(bytes);
  const match = /^\{"v":(\d+),"crc":(\d+),"d":/.exec(text);
  if (match === null) throw new CorruptRow(`${key}: not a row`);
  if (match[1] !== "1") {
    throw new CorruptRow(`${key}: version ${match[1]} is newer than this release`);
  }
  const data = text.slice(match[0].length, -1);
  if (crc32(data) !== Number(match[2])) throw new CorruptRow(`${key}: checksum does not match`);
  return JSON.parse(data) as T;
}

function isConflict(error: unknown): boolean {
  return error instanceof JetStreamApiError && error.code === wrongLastSequence;
}

export class Table<T> implements AsyncDisposable {
  readonly #kv: KV;
  readonly #log: Log;
  readonly #rows = new Map<string, Row<T>>();
  /** Newest revision seen of each key, deletions included: what is older is a repetition. */
  readonly #seen = new Map<string, number>();
  /** Deletions, oldest first, until no repetition of what was before them can come any more. */
  readonly #deletions: Deletion[] = [];
  readonly #watchers = new Set<(change: Change<T>) => void>();
  readonly #waiting = new Map<() => void, number>();
  #applied = 0;
  #stopped = false;
  readonly #bus: Bus;
  #stop: () => void = () => {};
  #stopSweeping: () => void = () => {};

  private constructor(readonly bucket: string, kv: KV, bus: Bus, log: Log) {
    this.#kv = kv;
    this.#bus = bus;
    this.#log = log;
  }

  /** Opens the bucket, making it if need be, and waits until the local copy is complete. */
  static async open<T>(bus: Bus, bucket: string, log: Log): Promise<Table<T>> {
    return await Table.#open<T>(bus, bucket, log, true);
  }

  /** The same of a bucket that others write. */
  static async follow<T>(bus: Bus, bucket: string, log: Log): Promise<Table<T>> {
    return await Table.#open<T>(bus, bucket, log, false);
  }

  static async #open<T>(bus: Bus, bucket: string, log: Log, writes: boolean): Promise<Table<T>> {
    // Long: with a sync for every write, a burst of them on a slow disk waits its turn.
    const js: JetStreamClient = jetstream(bus.connection, { timeout: 20_000 });
    const kv = await new Kvm(js).create(bucket, { history: 1 });
    const table = new Table<T>(bucket, kv, bus, log.with({ bucket }));
    await table.#watch();
    if (writes) {
      table.#stopSweeping = sweepMarkers(kv, js, (removed, error) => {
        if (error !== undefined) log.warn("markers_stay", { bucket, ...errorFields(error) });
        else if (removed > 0) log.info("markers_removed", { bucket, removed });
      });
    }
    return table;
  }

  async #watch(): Promise<void> {
    const { values, streamInfo } = await this.#kv.status();
    const updates = await this.#kv.watch();
    this.#stop = () => {
      this.#stopped = true;
      updates.stop();
    };
    void this.#follow(updates);
    // The newest write is never superseded by an older one, so it, or one after it, will be heard.
    if (values > 0) await this.waitFor(streamInfo.state.last_seq);
  }

  /** Applies what is heard. A watch that ends by itself is begun again: whoever reads here must not be left with what was. */
  async #follow(updates: AsyncIterable<KvEntry>): Promise<void> {
    const failed = (error: unknown) => this.#log.error("table_watch_failed", errorFields(error));
    try {
      for await (const entry of updates) this.#apply(entry);
    } catch (error) {
      failed(error);
    }
    for (let isFirst = true;; isFirst = false) {
      if (this.#stopped || this.#bus.connection.isClosed() || this.#bus.connection.isDraining()) {
        this.#end();
        return;
      }
      if (isFirst) this.#log.warn("table_watch_ended");
      try {
        return await this.#watch();
      } catch (error) {
        // The server is away: what is known is served on.
        failed(error);
      }
      await this.#pause(1000);
    }
  }

  /** Is over sooner when the table is closed. */
  async #pause(ms: number): Promise<void> {
    if (this.#stopped) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, ms);
    this.#waiting.set(resolve, Infinity);
    await promise;
    clearTimeout(timer);
    this.#waiting.delete(resolve);
  }

  #apply(entry: KvEntry): void {
    this.#advance(entry.revision);
    if (entry.revision <= (this.#seen.get(entry.key) ?? 0)) return;
    this.#seen.set(entry.key, entry.revision);
    let row: Row<T> | undefined;
    if (entry.operation === "PUT") {
      try {
        row = {
          key: entry.key,
          value: decodeRow<T>(entry.key, entry.value),
          revision: entry.revision,
          bytes: entry.value.length,
        };
      } catch (error) {
        this.#log.error("row_corrupt", { key: entry.key, ...errorFields(error) });
        return;
      }
      this.#rows.set(entry.key, row);
    } else {
      this.#rows.delete(entry.key);
      this.#forgetDeletions();
      this.#deletions.push({ key: entry.key, revision: entry.revision, heard_ms: Date.now() });
    }
    for (const watcher of this.#watchers) {
      try {
        watcher({ key: entry.key, row });
      } catch (error) {
        this.#log.error("table_watcher_failed", { key: entry.key, ...errorFields(error) });
      }
    }
  }

  #forgetDeletions(): void {
    for (let oldest = this.#deletions[0]; oldest !== undefined; oldest = this.#deletions[0]) {
      if (oldest.heard_ms > Date.now() - repetition_ms) return;
      this.#deletions.shift();
      if (this.#seen.get(oldest.key) === oldest.revision) this.#seen.delete(oldest.key);
    }
  }

  #advance(revision: number): void {
    if (revision <= this.#applied) return;
    this.#applied = revision;
    for (const [resolve, wanted] of this.#waiting) {
      if (wanted <= revision) {
        this.#waiting.delete(resolve);
        resolve();
      }
    }
  }

  /**
   * No more will be heard. What was written is written: whoever waits to read it goes on, rather than
   * for ever, and a stop that waits for them comes to its end.
   */
  #end(): void {
    this.#stopped = true;
    for (const resolve of this.#waiting.keys()) resolve();
    this.#waiting.clear();
  }

  /** Returns when the local copy has applied `revision`, or the table is closed. */
  async waitFor(revision: number): Promise<void> {
    if (revision <= this.#applied || this.#stopped) return;
    await new Promise<void>((resolve) => this.#waiting.set(resolve, revision));
  }

  /** The row as the local copy knows it. */
  get(key: string): Row<T> | undefined {
    return this.#rows.get(key);
  }

  /** All rows whose key starts with `prefix`, sorted by key. */
  list(prefix = ""): Row<T>[] {
    return [...this.#rows.values()]
      .filter((row) => row.key.startsWith(prefix))
      .sort((a, b) => a.key < b.key ? -1 : 1);
  }

  /** All rows in no order. */
  rows(): IterableIterator<Row<T>> {
    return this.#rows.values();
  }

  get size(): number {
    return this.#rows.size;
  }

  /** The row as the server knows it; for decisions that must not rest on an old copy. */
  async read(key: string): Promise<Row<T> | undefined> {
    const entry = await this.#try(() => this.#kv.get(key));
    if (entry === null || entry.operation !== "PUT") return undefined;
    const { revision, value } = entry;
    return { key, value: decodeRow<T>(key, value), revision, bytes: value.length };
  }

  /** @throws Conflict when the key exists */
  async create(key: string, value: T): Promise<Row<T>> {
    return await this.#written(key, value, (bytes) => this.#kv.create(key, bytes));
  }

  /** @throws Conflict when the key is no longer at `revision` */
  async update(key: string, value: T, revision: number): Promise<Row<T>> {
    return await this.#written(key, value, (bytes) => this.#kv.update(key, bytes, revision));
  }

  /**
   * Changes a row by compare-and-set, again from the newest state after each lost race.
   * @param change gets the value (undefined when there is none) and returns the new one; returning
   *   the same object leaves the row as it is, when that is the newest; what it throws of the newest is thrown, and
   *   nothing is written
   */
  async modify(key: string, change: (value: T | undefined) => T): Promise<Row<T>> {
    const known = this.get(key);
    let row = known ?? await this.read(key);
    for (let attempt = 0;; attempt++) {
      let value: T;
      try {
        value = change(row?.value);
      } catch (refusal) {
        if (row === undefined || row !== known) throw refusal;
        // What refuses an old copy may be content with the newest.
        row = await this.read(key);
        if (row?.revision === known.revision) throw refusal;
        continue;
      }
      if (row !== undefined && value === row.value) {
        if (row !== known) return row;
        // No write tells that the local copy is old.
        row = await this.read(key);
        if (row?.revision === known.revision) return row;
        continue;
      }
      try {
        return row === undefined
          ? await this.create(key, value)
          : await this.update(key, value, row.revision);
      } catch (error) {
        if (!(error instanceof Conflict) || attempt === 100) throw error;
        row = await this.read(key);
      }
    }
  }

  /** Deletes a row; deleting what is not there is no error. @throws Conflict */
  async delete(key: string, revision?: number): Promise<void> {
    await this.#try(async () => {
      try {
        await this.#kv.purge(key, revision === undefined ? {} : { previousSeq: revision });
      } catch (error) {
        if (isConflict(error)) throw new Conflict(key, error);
        throw error;
      }
    });
    // The purge does not tell its revision; its own watcher does, and the server's state is at least that.
    await this.#try(async () => {
      const status = await this.#kv.status();
      await this.waitFor(status.streamInfo.state.last_seq);
    });
  }

  /** Hears of every change from now on; call the result to stop. */
  watch(watcher: (change: Change<T>) => void): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  async #written(
    key: string,
    value: T,
    write: (bytes: Uint8Array) => Promise<number>,
  ): Promise<Row<T>> {
    const stored = encodeRow(value);
    const revision = await this.#try(async () => {
      try {
        return await write(stored);
      } catch (error) {
        if (isConflict(error)) throw new Conflict(key, error);
        throw error;
      }
    });
    await this.#try(() => this.waitFor(revision));
    return { key, value, revision, bytes: stored.length };
  }

  async #try<R>(work: () => Promise<R>): Promise<R> {
    try {
      await this.#bus.ready(reconnect_wait_ms);
      return await this.#bus.whileConnected(work);
    } catch (error) {
      if (error instanceof AwsError || error instanceof Conflict || error instanceof CorruptRow) {
        throw error;
      }
      throw unavailable("the state store", error);
    }
  }

  // deno-lint-ignore require-await
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopSweeping();
    this.#stop();
    this.#end();
  }
}
