/**
 * Records that say what no recovery may let in, as they stand in the directories that heard of them. There they are kept for
 * good; a directory that is made later has none of them until it is told, and without them nobody could go
 * on with it alone.
 */
import { recordTypes, type SmallRecord } from "../segments/record.ts";
import type { Bytes } from "./columns.ts";
import type { IndexDatabase } from "./database.ts";

export class RefusedTable {
  readonly #database: IndexDatabase;

  constructor(database: IndexDatabase) {
    this.#database = database;
  }

  add({ sequence, meta }: SmallRecord): void {
    this.#database.run("insert or replace into refused values (?, ?)", sequence, meta);
  }

  *all(): Generator<SmallRecord> {
    for (const sequence of this.#database.distinct<number>("refused", "sequence")) {
      const row = this.#database.one("select meta from refused where sequence = ?", sequence);
      const meta = row?.["meta"] as Bytes;
      yield { type: recordTypes.refused, sequence, meta, payload: new Uint8Array(0) };
    }
  }
}
