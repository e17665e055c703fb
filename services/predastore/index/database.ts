/**
 * The SQLite file below the tables: statements, and transactions that writers share.
 *
 * Writers of the same turn go into one transaction; when one of them fails, each is run alone, so that
 * only the one that failed hears of it. The file is not synced at each commit: after a power cut it is
 * consistent at some earlier moment, and recovery reads on from there. An error in a transaction rolls
 * all of it back.
 */
import { DatabaseSync, type StatementSync } from "node:sqlite";
import type { Bytes } from "./columns.ts";
import { schema, schemaVersion, tables } from "./schema.ts";

/** 64 MiB of index are checked at each start. */
const checkedPages = 16_384;

export type Row = Record<string, unknown>;
export type Value = string | number | bigint | Bytes | null;

interface Queued {
  readonly work: () => void;
  readonly done: PromiseWithResolvers<void>;
}

export class IndexDatabase implements Disposable {
  readonly #db: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();
  #queue: Queued[] = [];
  #scheduled = false;
  /** Runs inside each transaction, after the work. */
  beforeCommit: () => void = () => {};

  constructor(path: string) {
    this.#db = new DatabaseSync(path);
    this.#db.exec("pragma journal_mode = wal; pragma synchronous = normal;");
    this.#db.exec("pragma cache_size = -16384; pragma temp_store = memory;");
    this.#db.exec(schema);
  }

  /**
   * Whether the file is sound enough to go on with. A large one is not read whole, since that would
   * hold up the start: SQLite itself survives crashes, and rot in it shows when it is read.
   */
  isSound(): boolean {
    try {
      const pages = this.one("pragma page_count")?.["page_count"] as number;
      const row = pages > checkedPages ? { quick_check: "ok" } : this.one("pragma quick_check(1)");
      this.one("select max(id) from extents");
      const version = this.value("schema");
      return row?.["quick_check"] === "ok" && (version === undefined || version === schemaVersion);
    } catch {
      return false;
    }
  }

  #statement(sql: string): StatementSync {
    let statement = this.#statements.get(sql);
    if (statement === undefined) this.#statements.set(sql, statement = this.#db.prepare(sql));
    return statement;
  }

  run(sql: string, ...values: Value[]): number {
    return Number(this.#statement(sql).run(...values).changes);
  }

  one(sql: string, ...values: Value[]): Row | undefined {
    return this.#statement(sql).get(...values) as Row | undefined;
  }

  all(sql: string, ...values: Value[]): Row[] {
    return this.#statement(sql).all(...values) as Row[];
  }

  /** Runs `work` in a transaction shared with whoever comes in the same turn; returns after it. */
  write(work: () => void): Promise<void> {
    const done = Promise.withResolvers<void>();
    this.#queue.push({ work, done });
    if (!this.#scheduled) {
      this.#scheduled = true;
      setImmediate(() => this.flush());
    }
    return done.promise;
  }

  /** Runs what waits now. */
  flush(): void {
    this.#scheduled = false;
    const queue = this.#queue;
    this.#queue = [];
    if (queue.length === 0) return;
    try {
      this.transaction(() => {
        for (const { work } of queue) work();
      });
      for (const { done } of queue) done.resolve();
    } catch (error) {
      if (queue.length === 1) {
        queue[0]?.done.reject(error);
        return;
      }
      // One of them failed: each alone, so that the others do not.
      for (const { work, done } of queue) {
        try {
          this.transaction(work);
          done.resolve();
        } catch (own) {
          done.reject(own);
        }
      }
    }
  }

  transaction(work: () => void): void {
    this.run("begin immediate");
    try {
      work();
      this.beforeCommit();
      this.run("commit");
    } catch (error) {
      this.run("rollback");
      throw error;
    }
  }

  /** Returns when all that was committed survives a power cut. */
  makeDurable(): void {
    this.flush();
    this.one("pragma wal_checkpoint(truncate)");
  }

  value(name: string): string | undefined {
    return this.one("select value from meta where name = ?", name)?.["value"] as
      | string
      | undefined;
  }

  setValue(name: string, value: string): void {
    this.run("insert or replace into meta values (?, ?)", name, value);
  }

  removeValue(name: string): void {
    this.run("delete from meta where name = ?", name);
  }

  /** Forgets everything, as a new database. */
  empty(): void {
    this.flush();
    this.beforeCommit = () => {};
    this.transaction(() => {
      for (const table of tables) this.run(`delete from ${table}`);
    });
  }

  /** Runs statements that give nothing back. */
  execute(sql: string): void {
    this.#db.exec(sql);
  }

  [Symbol.dispose](): void {
    this.flush();
    this.#db.close();
  }
}
