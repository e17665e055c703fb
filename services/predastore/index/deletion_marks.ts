/**
 * Marks that deletions leave while records are read back, so that the order in which the directories are
 * read does not matter: a deletion may be read before what it deletes.
 *
 * Marks are made only while `recovering`, and stand in temporary tables: a crash forgets them together
 * with the recovery that made them, and the next one makes them again.
 */
import type { Bytes } from "./columns.ts";
import type { IndexDatabase } from "./database.ts";

export class DeletionMarks {
  readonly #database: IndexDatabase;
  /** While records are read back. */
  recovering = false;

  constructor(database: IndexDatabase) {
    this.#database = database;
  }

  /** An upload's id, or `bucket <id>`: neither is ever used again. */
  markGone(id: string): void {
    this.#database.run("insert or ignore into gone values (?)", id);
  }

  isGone(id: string): boolean {
    return this.#database.one("select 1 from gone where id = ?", id) !== undefined;
  }

  /** A version was deleted at `sequence`; "" is the null version, of which newer ones stand. */
  markDeleted(bucket: number, key: Bytes, version: string, sequence: number): void {
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
    const grave = this.#database.one(
      "select sequence from graves where bucket = ? and key = ? and version = ?",
      bucket,
      key,
      version,
    );
    return grave !== undefined && (grave["sequence"] as number) > sequence;
  }

  clear(): void {
    this.#database.execute("delete from graves; delete from gone;");
  }
}
