/** Records that wait to be written into directories which were away, or failed, when the others took them. */
import { type RecordType, recordTypes, type SmallRecord } from "../segments/record.ts";
import type { Bytes } from "./columns.ts";
import type { IndexDatabase } from "./database.ts";

export class UntoldTable {
  readonly #database: IndexDatabase;

  constructor(database: IndexDatabase) {
    this.#database = database;
  }

  add(directory: number, { sequence, type, meta }: SmallRecord): void {
    this.#database.run(
      "insert or replace into untold values (?, ?, ?, ?)",
      directory,
      sequence,
      type,
      meta,
    );
  }

  /** What waits for one directory waits for another too. */
  copy(from: number, to: number): void {
    this.#database.run(
      "insert or ignore into untold select ?, sequence, type, meta from untold where directory = ?",
      to,
      from,
    );
  }

  of(directory: number, limit: number): SmallRecord[] {
    return this.#database.all(
      "select sequence, type, meta from untold where directory = ? order by sequence limit ?",
      directory,
      limit,
    ).map((row) => ({
      sequence: row["sequence"] as number,
      type: row["type"] as Exclude<RecordType, 1>,
      meta: row["meta"] as Bytes,
      payload: new Uint8Array(0),
    }));
  }

  /** Those of one type, whoever is to be told. */
  ofType(type: RecordType): { readonly sequence: number; readonly meta: Bytes }[] {
    return this.#database.all(
      "select distinct sequence, meta from untold where type = ?",
      type,
    ).map((row) => ({ sequence: row["sequence"] as number, meta: row["meta"] as Bytes }));
  }

  remove(directory: number, sequence: number): void {
    this.#database.run(
      "delete from untold where directory = ? and sequence = ?",
      directory,
      sequence,
    );
  }

  /** How many wait for a directory. */
  count(directory: number): number {
    const row = this.#database.one(
      "select count(*) as count from untold where directory = ?",
      directory,
    );
    return row?.["count"] as number;
  }

  /** The lowest number of those that wait for a directory. */
  lowest(directory: number): number | undefined {
    const row = this.#database.one(
      "select min(sequence) as lowest from untold where directory = ?",
      directory,
    );
    return (row?.["lowest"] as number | null) ?? undefined;
  }

  /**
   * Those that stand in other directories as they are: all but what says that an upload was completed where that follows
   * from its object alone. Of these there are no more than uploads that had begun when the directory was there.
   */
  forgetTold(directory: number): void {
    this.#database.run(
      `delete from untold where directory = ? and not
         (type = ? and cast(meta as text) like '%"upTo":%' and cast(meta as text) not like '%"partial":true%')`,
      directory,
      recordTypes.uploadGone,
    );
  }

  /** Nobody waits for the directory any more. */
  forget(directory: number): void {
    this.#database.run("delete from untold where directory = ?", directory);
  }
}
