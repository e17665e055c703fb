import assert from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { bodyOf, bytesOf, contentOf, testStore } from "../test_store.ts";

const columns = `bucket integer, key blob, sequence integer, revision integer, version text,
  marker integer, size integer, modified_ms integer, etag text, checksum text, storage_class text,
  meta text, extents text, record blob`;

/** Makes the file what a store of version 4 left. */
function setBack(path: string): void {
  using database = new DatabaseSync(path);
  database.exec("begin; drop index versions_without_id");
  for (const [table, key] of [["objects", "bucket, key"], ["versions", "bucket, key, sequence"]]) {
    database.exec(`alter table ${table} rename to was_${table};
      create table ${table} (${columns}, primary key (${key})) without rowid;
      insert into ${table} select * from was_${table}; drop table was_${table}`);
  }
  database.exec("update meta set value = '4' where name = 'schema'");
  database.exec("insert into events (body) values ('{}'); commit");
}

Deno.test("an index of the version before is brought over, with its events", async () => {
  await using test = await testStore(2, 1);
  const bucket = await test.bucket();
  const versioned = await test.bucket("versioned");
  await test.store.buckets.set(versioned, () => ({ versioning: "Enabled" }));
  for (let at = 0; at < 30; at++) {
    await test.store.objects.put(bucket, `key ${at}`, bodyOf(bytesOf(at, at * 2000)));
    await test.store.objects.put(versioned, `key ${at % 7}`, bodyOf(bytesOf(at, 100)));
  }
  await test.store.objects.delete(versioned, "key 3");
  const start = new Uint8Array(0);
  const listed = () =>
    test.store.index.objects.listVersionsFrom(versioned.id, start, Infinity, 100);
  const versions = listed();
  const totals = test.store.index.buckets.totals();
  await test.store[Symbol.asyncDispose]();
  const path = join(test.directory, "index.db");
  setBack(path);
  const { ino } = await Deno.stat(path);
  await test.reopen();
  assert.equal((await Deno.stat(path)).ino, ino, "the file is the same");
  assert.equal(test.store.index.value("schema"), "5");
  assert.deepEqual(listed(), versions);
  assert.deepEqual(test.store.index.buckets.totals(), totals);
  assert.deepEqual(test.store.index.wrongCounts(), []);
  assert.equal(test.store.index.outbox.count(), 1);
  for (let at = 0; at < 30; at++) {
    const found = test.store.objects.find(bucket, `key ${at}`);
    assert.deepEqual(await contentOf(test.store, found), bytesOf(at, at * 2000));
  }
  await test.store.objects.put(bucket, "key 5", bodyOf(bytesOf(77, 3000)));
  await test.reopen();
  assert.equal(test.store.objects.find(bucket, "key 5")?.size, 3000);
});
