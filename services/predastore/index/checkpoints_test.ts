import assert from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { until } from "../../../tests/kit/until.ts";
import { IndexDatabase } from "./database.ts";

async function withDatabase(work: (database: IndexDatabase, path: string) => Promise<void>) {
  const folder = await Deno.makeTempDir({ prefix: "mulga-index-" });
  try {
    const path = join(folder, "index.db");
    using database = new IndexDatabase(path);
    database.execute("create table filler (id integer primary key, bytes blob)");
    await work(database, path);
    await database.end();
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const logBytes = (path: string) => Deno.statSync(`${path}-wal`).size;

/** Writes by the queue, 64 KiB in each transaction. */
async function write(database: IndexDatabase, megabytes: number): Promise<void> {
  for (let at = 0; at < megabytes * 16; at++) {
    await database.write(() => {
      database.run("insert into filler (bytes) values (zeroblob(65536))");
    });
  }
}

const rowsOf = (database: IndexDatabase) =>
  database.one("select count(*) as rows from filler")?.["rows"];

Deno.test("a long log is copied on another thread, while rows are written, and begins anew", async () => {
  await withDatabase(async (database, path) => {
    const { checkpoints } = database;
    assert.ok(checkpoints);
    assert.equal(database.one("pragma wal_autocheckpoint")?.["wal_autocheckpoint"], 0);
    await write(database, 40);
    await until("the log is copied", () => checkpoints.beside === 1);
    await write(database, 40);
    await until("the log is copied", () => checkpoints.beside === 2);
    assert.equal(rowsOf(database), 80 * 16);
    assert.ok(logBytes(path) < 64 << 20, `the log has ${logBytes(path)} bytes`);
    assert.equal(database.one("pragma integrity_check")?.["integrity_check"], "ok");
  });
});

Deno.test("what is made durable stands in the file itself, whether the log is short or long", async () => {
  for (const megabytes of [0.5, 8]) {
    await withDatabase(async (database, path) => {
      await write(database, megabytes);
      await database.makeDurable();
      await Deno.copyFile(path, `${path}.copy`);
      using copy = new IndexDatabase(`${path}.copy`);
      assert.equal(rowsOf(copy), megabytes * 16);
    });
  }
});

Deno.test("transactions that come while a checkpoint ends are all committed", async () => {
  await withDatabase(async (database) => {
    await write(database, 4);
    const durable = database.makeDurable();
    await Promise.all([durable, write(database, 2), write(database, 2)]);
    // One that cannot wait in the queue waits for the lock.
    const again = database.makeDurable();
    database.transaction(() => {
      database.run("insert into filler (bytes) values (zeroblob(1))");
    });
    await again;
    assert.equal(rowsOf(database), 8 * 16 + 1);
  });
});

Deno.test("somebody else who reads the file holds up no writer, and nothing is called durable", async () => {
  await withDatabase(async (database, path) => {
    await write(database, 2);
    const reader = new DatabaseSync(path);
    reader.exec("begin; select count(*) from filler");
    await write(database, 8);
    await assert.rejects(database.makeDurable(), /in use/);
    await write(database, 1);
    reader.exec("commit");
    reader.close();
    await database.makeDurable();
    const { log, checkpointed } = database.one("pragma wal_checkpoint(noop)") ?? {};
    assert.equal(checkpointed, log);
    assert.equal(rowsOf(database), 11 * 16);
  });
});

Deno.test("a file that is closed needs no log", async () => {
  const folder = await Deno.makeTempDir({ prefix: "mulga-index-" });
  try {
    const path = join(folder, "index.db");
    const database = new IndexDatabase(path);
    database.execute("create table filler (id integer primary key, bytes blob)");
    await write(database, 8);
    await database.makeDurable();
    assert.equal(database.checkpoints?.beside, 1);
    await write(database, 1);
    await database.end();
    database[Symbol.dispose]();
    assert.deepEqual([...Deno.readDirSync(folder)].map(({ name }) => name), ["index.db"]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("without the thread the log is copied all the same", async () => {
  await withDatabase(async (database) => {
    const { Worker } = globalThis;
    globalThis.Worker = class extends Worker {
      constructor(_at: string | URL, options?: WorkerOptions) {
        super("data:application/javascript,throw new Error('no thread')", options);
      }
    };
    try {
      await write(database, 8);
      await database.makeDurable();
      const { log, checkpointed } = database.one("pragma wal_checkpoint(noop)") ?? {};
      assert.equal(checkpointed, log);
      assert.equal(database.checkpoints?.beside, 0);
    } finally {
      globalThis.Worker = Worker;
    }
  });
});
