/**
 * Counts that every writer changes, such as the live bytes of a segment: added up in a transaction and written once at
 * its end, since a statement for each would be a fourth of what a small PUT costs in the index.
 *
 * Who reads what is counted flushes first. Outside a transaction everything is written at once.
 */
import type { IndexDatabase } from "./database.ts";

export class Sums {
  readonly #database: IndexDatabase;
  readonly #write: (of: number, sums: readonly number[]) => void;
  readonly #sums = new Map<number, number[]>();

  constructor(database: IndexDatabase, write: (of: number, sums: readonly number[]) => void) {
    this.#database = database;
    this.#write = write;
    database.atEnd(() => this.flush(), () => this.#sums.clear());
  }

  add(to: number, ...values: number[]): void {
    const sums = this.#sums.get(to);
    if (sums === undefined) this.#sums.set(to, values);
    else for (const [at, value] of values.entries()) sums[at] = (sums[at] ?? 0) + value;
    if (!this.#database.inTransaction) this.flush();
  }

  flush(): void {
    for (const [of, sums] of this.#sums) this.#write(of, sums);
    this.#sums.clear();
  }
}
