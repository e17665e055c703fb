/**
 * Marks that deletions leave while records are read back, so that the order in which the directories are
 * read does not matter: a deletion may be read before what it deletes.
 *
 * Marks are made only while `recovering`. They stand in tables, since there may be as many as keys; what a
 * recovery left that was broken off goes when the next one begins, and that makes them again. Marks of extents stay: what
 * named one may be gone from the index by then, and nothing would make them again.
 */
import { type Bytes, keyBytes } from "./columns.ts";
import type { IndexDatabase } from "./database.ts";

export class DeletionMarks {
  readonly #database: IndexDatabase;
  #recovering = false;
  /** Where nothing was marked nothing is looked up: most recoveries read no deletion at all. */
  #any = { gone: false, graves: false };

  constructor(database: IndexDatabase) {
    this.#database = database;
  }

  /** While records are read back. */
  get recovering(): boolean {
    return this.#recovering;
  }

  begin(): void {
    this.#empty("graves", "gone");
    this.#recovering = true;
  }

  end(): void {
    this.#recovering = false;
  }

  /** An upload's id, or `bucket <id>`: neither is ever used again. */
  markGone(id: string): void {
    this.#any.gone = true;
    this.#database.run("insert or ignore into gone values (?)", id);
  }

  isGone(id: string): boolean {
    return this.#any.gone &&
      this.#database.one("select 1 from gone where id = ?", id) !== undefined;
  }

  /** An upload ended at `sequence`: attempts to complete it that have lower numbers failed. */
  markEnded(upload: string, sequence: number): void {
    this.markDeleted(-1, keyBytes(upload), "", sequence);
  }

  /** When an upload ended, as far as it has been read. */
  endedAt(upload: string): number | undefined {
    if (!this.#any.graves) return undefined;
    const grave = this.#database.one(
      "select sequence from graves where bucket = -1 and key = ? and version = ''",
      keyBytes(upload),
    );
    return grave?.["sequence"] as number | undefined;
  }

  /** A version was deleted at `sequence`; "" is the null version, of which newer ones stand. */
  markDeleted(bucket: number, key: Bytes, version: string, sequence: number): void {
    this.#any.graves = true;
    this.#database.run(
      `insert into graves values (?, ?, ?, ?)
       on conflict do update set sequence = max(sequence, excluded.sequence)`,
      bucket,
      key,
      version,
      sequence,
    );
  }

  isDeletedAfter(bucket: number, key: Bytes, version: string, sequence: number): boolean {
    if (!this.#any.graves) return false;
    const grave = this.#database.one(
      "select sequence from graves where bucket = ? and key = ? and version = ?",
      bucket,
      key,
      version,
    );
    return grave !== undefined && (grave["sequence"] as number) > sequence;
  }

  /** An extent was read back, or what named it is gone; whether anything is made of it is seen in the end. */
  markReplayed(extent: number): void {
    this.#database.run("insert or ignore into replayed values (?)", extent);
  }

  /** Extents that were read back, in order. */
  replayed(limit: number, after = -1): number[] {
    return this.#database.all(
      "select extent from replayed where extent > ? order by extent limit ?",
      after,
      limit,
    ).map((row) => row["extent"] as number);
  }

  clear(): void {
    this.#empty("graves", "gone", "replayed");
  }

  #empty(...tables: readonly string[]): void {
    this.#any = { gone: false, graves: false };
    for (const table of tables) this.#database.run(`delete from ${table}`);
  }
}
