import assert from "node:assert/strict";
import { join } from "node:path";
import { createLog } from "../../log/log.ts";
import { scanSegment } from "../segments/segment_scan.ts";
import { bodyOf, bytesOf, testStore } from "../test_store.ts";
import { IndexDatabase } from "./database.ts";
import { Reading } from "./reading.ts";

Deno.test("whoever waits while segments are read hears how far it is, and the whole in the end", async () => {
  await using test = await testStore();
  const bucket = await test.bucket();
  for (let at = 0; at < 50; at++) {
    await test.store.objects.put(bucket, `key ${at}`, bodyOf(bytesOf(at, 1000)));
  }
  const told: number[] = [];
  let progress = 0;
  const log = createLog("test", {
    write: (line) => told.push((JSON.parse(line) as { percent: number }).percent),
  });
  const [directory] = test.store.directories.online;
  assert.ok(directory);
  const segments = await directory.segments();
  const tail = { directory, segments, from: { segment: 0, offset: 0 } };
  const reading = await Reading.of([tail], log, () => progress++, 0);
  for (let pass = 0; pass < 3; pass++) {
    for (const segment of segments) {
      reading.begins(0);
      for await (const record of scanSegment(directory, segment)) {
        reading.cameTo(record.location.offset);
      }
      reading.ended(directory.number, segment);
    }
  }
  assert.deepEqual(told, told.toSorted((a, b) => a - b));
  assert.ok(new Set(told).size > 20, "it is told often enough");
  assert.equal(told.at(-1), 100);
  assert.equal(progress, told.length);
});

Deno.test("what a recovery remembers is in no memory, and nothing of it is left", async () => {
  await using test = await testStore(2, 1);
  const bucket = await test.bucket();
  for (let at = 0; at < 20; at++) {
    await test.store.objects.put(bucket, `key ${at}`, bodyOf(bytesOf(at, 40_000)));
    if (at % 2 === 0) await test.store.objects.delete(bucket, `key ${at}`);
  }
  await test.store[Symbol.asyncDispose]();
  const path = join(test.directory, "index.db");
  {
    // As a recovery leaves it that was broken off.
    using database = new IndexDatabase(path);
    const key = new TextEncoder().encode("key 1");
    database.run("insert into graves values (?, ?, '', ?)", bucket.id, key, 2 ** 52);
    assert.equal(database.one("select 1 from temp.sqlite_schema"), undefined);
  }
  await test.reopen();
  assert.equal(test.store.objects.find(bucket, "key 1")?.size, 40_000);
  await test.reopen({ rebuild: true });
  assert.equal(test.store.objects.find(bucket, "key 1")?.size, 40_000);
  assert.equal(test.store.objects.find(bucket, "key 2"), undefined);
  await test.store[Symbol.asyncDispose]();
  using database = new IndexDatabase(path);
  for (const table of ["graves", "gone", "replayed"]) {
    assert.equal(database.one(`select 1 from ${table}`), undefined, table);
  }
});
