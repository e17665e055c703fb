/**
 * Empty databases in memory for simulated stores. Making the tables and preparing every statement costs
 * more than all that a short history does with them, so a database whose store is gone is emptied and
 * given to the next.
 */
import { IndexDatabase } from "../index/database.ts";

const spare: SpareDatabase[] = [];

class SpareDatabase extends IndexDatabase {
  override [Symbol.dispose](): void {
    this.empty();
    spare.push(this);
  }
}

export const emptyDatabase = (): IndexDatabase => spare.pop() ?? new SpareDatabase(":memory:");
