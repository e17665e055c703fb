/**
 * Which directories have heard of what, while records are read back. In a table, since there may be as many as objects were
 * deleted while some directory was away.
 */
import type { RecordType } from "../segments/record.ts";
import type { Bytes } from "./columns.ts";
import type { IndexDatabase } from "./database.ts";

export interface Heard {
  readonly type: RecordType;
  readonly sequence: number;
  readonly meta: Bytes;
  readonly directories: ReadonlySet<number>;
}

export class HeardTable {
  readonly #database: IndexDatabase;

  constructor(database: IndexDatabase) {
    this.#database = database;
  }

  /** A record stands in a directory; one that is kept for good counts more than one that is not. */
  add(type: RecordType, sequence: number, meta: Bytes, directory: number): void {
    this.#database.run(
      `insert into heard values (?, ?, ?, ?)
       on conflict do update set directories = directories || ',' || excluded.directories,
         meta = case when cast(excluded.meta as text) like '%"partial":true%' then excluded.meta else meta end`,
      sequence,
      type,
      meta,
      String(directory),
    );
  }

  /** Those behind one, in order. */
  after(last: Pick<Heard, "type" | "sequence"> | undefined, limit: number): Heard[] {
    return this.#database.all(
      "select * from heard where (sequence, type) > (?, ?) order by sequence, type limit ?",
      last?.sequence ?? -1,
      last?.type ?? -1,
      limit,
    ).map((row) => ({
      type: row["type"] as RecordType,
      sequence: row["sequence"] as number,
      meta: row["meta"] as Bytes,
      directories: new Set((row["directories"] as string).split(",").map(Number)),
    }));
  }

  clear(): void {
    this.#database.run("delete from heard");
  }
}
