/** Records that wait to be written into directories which were away, or failed, when the others took them. */
import type { RecordType, SmallRecord } from "../segments/record.ts";
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
  ofType(type: RecordType): Bytes[] {
    return this.#database.all("select distinct meta from untold where type = ?", type)
      .map((row) => row["meta"] as Bytes);
  }

  remove(directory: number, sequence: number): void {
    this.#database.run(
      "delete from untold where directory = ? and sequence = ?",
      directory,
      sequence,
    );
  }

  /** Nobody waits for the directory any more. */
  forget(directory: number): void {
    this.#database.run("delete from untold where directory = ?", directory);
  }
}
