/**
 * The SQLite file below the tables: statements, and transactions that writers share.
 *
 * Writers of the same turn go into one transaction; when one of them fails, each is run alone, so that
 * only the one that failed hears of it. The file is not synced at each commit: after a power cut it is
 * consistent at some earlier moment, and recovery reads on from there. An error in a transaction rolls
 * all of it back. What is committed stands in SQLite's log first; `checkpoints.ts` brings it into the file.
 */
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { Checkpoints } from "./checkpoints.ts";
import type { Bytes } from "./columns.ts";
import { migrate } from "./migration.ts";
import { schema, schemaVersion, tables } from "./schema.ts";

/** 64 MiB of index are checked at each start. */
const checkedPages = 16_384;
/** A log that has been longer is cut when it begins anew. */
const longestLog_bytes = 64 << 20;
/** How long a transaction that cannot wait in the queue waits for a checkpoint that is ending. */
const lockWait_ms = 10_000;

export type Row = Record<string, unknown>;
export type Value = string | number | bigint | Bytes | null;

interface ListedStatement extends StatementSync {
  setReturnArrays(on: boolean): void;
}

interface Queued {
  readonly work: () => void;
  readonly done: PromiseWithResolvers<void>;
}

export class IndexDatabase implements Disposable {
  readonly #db: DatabaseSync;
  /** Undefined for a database in memory, which has no log. */
  readonly checkpoints: Checkpoints | undefined;
  readonly #statements = new Map<string, StatementSync>();
  /** Those that give arrays. */
  readonly #listed = new Map<string, StatementSync>();
  #queue: Queued[] = [];
  readonly #ends: { committing(): void; rolledBack(): void }[] = [];
  inTransaction = false;
  #scheduled = false;
  #held = false;
  /** Runs inside each transaction, after the work. */
  beforeCommit: () => void = () => {};

  constructor(path: string) {
    this.#db = new DatabaseSync(path, { timeout: lockWait_ms });
    this.#db.exec("pragma journal_mode = wal; pragma synchronous = normal;");
    this.#db.exec("pragma cache_size = -65536; pragma temp_store = memory;");
    this.#db.exec(schema);
    migrate(this);
    if (path === ":memory:") return;
    this.#db.exec(`pragma wal_autocheckpoint = 0; pragma journal_size_limit = ${longestLog_bytes}`);
    this.checkpoints = new Checkpoints(path, {
      hold: () => this.#hold(),
      checkpoint: () => this.#checkpoint(),
      waiting: () => this.#waiting(),
    });
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

  /** The columns of one row in their order, which costs half of what they do with their names. */
  columns(sql: string, ...values: Value[]): readonly unknown[] | undefined {
    let statement = this.#listed.get(sql);
    if (statement === undefined) {
      // Deno has it, and its types do not.
      const made = this.#db.prepare(sql) as ListedStatement;
      made.setReturnArrays(true);
      this.#listed.set(sql, statement = made);
    }
    return statement.get(...values) as readonly unknown[] | undefined;
  }

  all(sql: string, ...values: Value[]): Row[] {
    return this.#statement(sql).all(...values) as Row[];
  }

  /** The different values of a table's column that an index begins with: one seek for each, not a look at every row. */
  *distinct<T extends Value>(table: string, column: string): Generator<T> {
    const first = `select ${column} as it from ${table} order by ${column} limit 1`;
    const next =
      `select ${column} as it from ${table} where ${column} > ? order by ${column} limit 1`;
    for (let row = this.one(first); row !== undefined; row = this.one(next, row["it"] as T)) {
      yield row["it"] as T;
    }
  }

  /** Runs `work` in a transaction shared with whoever comes in the same turn; returns after it. */
  write(work: () => void): Promise<void> {
    const done = Promise.withResolvers<void>();
    this.#queue.push({ work, done });
    this.#schedule();
    return done.promise;
  }

  #schedule(): void {
    if (this.#scheduled || this.#held) return;
    this.#scheduled = true;
    setImmediate(() => {
      if (this.#held) this.#scheduled = false;
      else this.flush();
    });
  }

  /** Lets transactions wait in the queue until what is returned is called. */
  #hold(): () => void {
    this.#held = true;
    return () => {
      this.#held = false;
      if (this.#queue.length > 0) this.#schedule();
    };
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
    this.inTransaction = true;
    try {
      work();
      this.beforeCommit();
      for (const { committing } of this.#ends) committing();
      this.run("commit");
    } catch (error) {
      for (const { rolledBack } of this.#ends) rolledBack();
      this.run("rollback");
      throw error;
    } finally {
      this.inTransaction = false;
    }
    this.checkpoints?.committed();
  }

  /** What is done inside each transaction before it is committed, and when it is not. */
  atEnd(committing: () => void, rolledBack: () => void): void {
    this.#ends.push({ committing, rolledBack });
  }

  #checkpoint(): void {
    // The log begins anew with the next transaction, as all of it is copied.
    const row = this.one("pragma wal_checkpoint(passive)");
    if (row?.["busy"] !== 0 || row["log"] !== row["checkpointed"]) {
      throw new Error("the index's log is in use");
    }
  }

  /** Pages of the log that are not in the file. */
  #waiting(): number {
    const row = this.one("pragma wal_checkpoint(noop)");
    return Number(row?.["log"]) - Number(row?.["checkpointed"]);
  }

  /** Returns when all that was committed survives a power cut. */
  async makeDurable(): Promise<void> {
    this.flush();
    await this.checkpoints?.makeDurable();
  }

  /** Returns when no other thread uses the file; it can be closed then. */
  async end(): Promise<void> {
    await this.checkpoints?.end();
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
    this.#ends.length = 0;
    this.transaction(() => {
      for (const table of tables) this.run(`delete from ${table}`);
    });
  }

  /** Runs statements that give nothing back. */
  execute(sql: string): void {
    this.#db.exec(sql);
  }

  [Symbol.dispose](): void {
    this.checkpoints?.[Symbol.dispose]();
    this.flush();
    this.#db.close();
  }
}
