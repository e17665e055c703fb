/**
 * Brings a file of the version before over to this one's tables, in one transaction: it is the old one or the new one
 * whenever the process ends. A million objects take some ten seconds, and to make the index again takes minutes and forgets
 * the events that wait.
 */
import { schema, schemaVersion } from "./schema.ts";

/** In that version the tables of objects and versions were ordered by key. */
const versionBefore = "4";

/** What it needs of `IndexDatabase`, which needs it. */
interface Tables {
  value(name: string): string | undefined;
  setValue(name: string, value: string): void;
  execute(statement: string): void;
  transaction(work: () => void): void;
}

export function migrate(database: Tables): void {
  if (database.value("schema") !== versionBefore) return;
  database.transaction(() => {
    database.execute("drop index versions_without_id");
    for (const table of ["objects", "versions"]) {
      database.execute(`alter table ${table} rename to ${table}_before`);
    }
    database.execute(schema);
    for (const table of ["objects", "versions"]) {
      database.execute(`insert into ${table} select * from ${table}_before`);
      database.execute(`drop table ${table}_before`);
    }
    database.setValue("schema", schemaVersion);
  });
}
