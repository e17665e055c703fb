/**
 * How much an operation reads of an index of few rows and of many: what it reads must follow from what it shows.
 * Counted are pages that SQLite fetches from the file, with nothing in its cache.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { newVersionId } from "../objects/version_id.ts";
import { keyBytes } from "./columns.ts";
import { IndexDatabase } from "./database.ts";
import { ObjectIndex } from "./object_index.ts";
import type { ObjectRecord } from "./rows.ts";

const pageBytes = 4096;
const bucket = 1;
const [few, many] = [1500, 9000] as const;
const highest = Number.MAX_SAFE_INTEGER;

function readBytes(): number {
  const [, bytes] = /^rchar: (\d+)$/m.exec(Deno.readTextFileSync("/proc/thread-self/io")) ?? [];
  return Number(bytes);
}

const numbered = (at: number) => String(at).padStart(9, "0");

function object(key: string, more: Partial<ObjectRecord> = {}): ObjectRecord {
  const meta = { headers: { "content-type": "text/plain" }, user: { name: "x".repeat(100) } };
  return { bucket, key, size: 1, modified_ms: 1, etag: "e".repeat(32), meta, ...more };
}

const located = (sequence: number) => [
  { directory: 1, segment: 1, offset: sequence * 4096, bytes: 4096 },
];

/** An index of so many rows, made by `fill`. */
class Filled implements AsyncDisposable {
  private constructor(
    readonly folder: string,
    readonly database: IndexDatabase,
    readonly index: ObjectIndex,
  ) {}

  static async with(rows: number, fill: (index: ObjectIndex, at: number) => void) {
    const folder = await Deno.makeTempDir({ prefix: "mulga-index-" });
    const { database, index } = Filled.open(folder);
    const about = { id: bucket, name: "many", account_id: "123456789012", created_ms: 1 };
    index.transaction(() => index.buckets.apply({ ...about, region: "r" }, 1, located(1)));
    index.transaction(() => {
      for (let at = 0; at < rows; at++) fill(index, at);
    });
    await index.makeDurable();
    return new Filled(folder, database, index);
  }

  static open(folder: string) {
    const database = new IndexDatabase(join(folder, "index.db"));
    database.execute("pragma cache_size = 10");
    return { database, index: new ObjectIndex(database) };
  }

  /** Pages that `work` reads. */
  pages(work: (index: ObjectIndex) => unknown): number {
    // What is prepared, and the schema that is read for it, count once.
    work(this.index);
    // All that a small index has can still be in the cache, whatever its size is said to be.
    this.database.execute("pragma shrink_memory");
    const before = readBytes();
    work(this.index);
    return Math.floor((readBytes() - before) / pageBytes);
  }

  async [Symbol.asyncDispose]() {
    await this.index.end();
    this.index[Symbol.dispose]();
    await Deno.remove(this.folder, { recursive: true });
  }
}

/** `work` reads as much of an index of many rows as of one of few, but for the depth of the tree. */
async function isBounded(
  fill: (index: ObjectIndex, at: number) => void,
  work: (index: ObjectIndex, rows: number) => unknown,
): Promise<void> {
  const pages: number[] = [];
  for (const rows of [few, many]) {
    await using filled = await Filled.with(rows, fill);
    pages.push(filled.pages((index) => work(index, rows)));
  }
  const [less = 0, more = 0] = pages;
  assert.ok(
    more <= less * 1.5 + 8,
    `${less} pages are read with ${few} rows and ${more} with ${many}`,
  );
}

const keys = (index: ObjectIndex, at: number) =>
  index.objects.apply(object(numbered(at)), 10 + at, located(at));

/** Each key has an older version, and every tenth is deleted. */
function versions(index: ObjectIndex, at: number): void {
  for (const nth of [0, 1]) {
    const sequence = 10 + 2 * at + nth;
    const marker = nth === 1 && at % 10 === 0 ? { marker: true as const } : {};
    const made = object(numbered(at), { version: newVersionId(sequence), ...marker });
    index.objects.apply(made, sequence, located(sequence));
  }
}

const versionsOfOne = (index: ObjectIndex, at: number) =>
  index.objects.apply(object("key", { version: newVersionId(10 + at) }), 10 + at, located(at));

Deno.test("a page of keys reads what it shows, wherever it begins", async () => {
  await isBounded(keys, (index, rows) => {
    const page = index.objects.listFrom(bucket, keyBytes(numbered(rows / 2)), false, 100);
    assert.equal(page.length, 100);
  });
});

Deno.test("a page of versions reads what it shows, wherever it begins", async () => {
  await isBounded(versions, (index, rows) => {
    const start = keyBytes(numbered(rows / 2));
    const page = index.objects.listVersionsFrom(bucket, start, highest, 100);
    assert.equal(page.length, 100);
  });
});

Deno.test("a page of the versions of one key reads what it shows, wherever it begins", async () => {
  for (const part of [0, 0.5]) {
    await isBounded(versionsOfOne, (index, rows) => {
      const below = part === 0 ? highest : 10 + rows * part;
      assert.equal(index.objects.listVersionsFrom(bucket, keyBytes("key"), below, 100).length, 100);
    });
  }
});

Deno.test("what is opened is not read through", async () => {
  const pages: number[] = [];
  for (const rows of [few, many]) {
    await using filled = await Filled.with(rows, versions);
    const before = readBytes();
    using again = Filled.open(filled.folder).index;
    again.transaction(() => again.sweepRecovered());
    pages.push(Math.floor((readBytes() - before) / pageBytes));
  }
  const [less = 0, more = 0] = pages;
  assert.ok(more <= less + 16, `${less} pages are read of ${few} keys and ${more} of ${many}`);
});

Deno.test("one of many versions of a key is found and deleted without the others", async () => {
  await isBounded(versionsOfOne, (index, rows) => {
    const listed = index.objects.listVersionsFrom(bucket, keyBytes("key"), 10 + rows / 2, 1);
    const [{ version = "", sequence = 0 } = {}] = listed;
    assert.equal(index.objects.findVersion(bucket, "key", version)?.sequence, sequence);
    index.transaction(() => index.objects.applyTombstone(bucket, "key", sequence + 0.5, version));
    assert.equal(index.objects.findVersion(bucket, "key", version), undefined);
  });
});

Deno.test("the null version among many with ids is found without the others", async () => {
  let nth = 0;
  await isBounded(versionsOfOne, (index, rows) => {
    index.objects.findVersion(bucket, "key", "null");
    const sequence = 20 + rows + nth++;
    index.transaction(() => index.objects.apply(object("key"), sequence, located(sequence)));
    assert.equal(index.objects.findVersion(bucket, "key", "null")?.sequence, sequence);
  });
});

Deno.test("which version an extent belongs to is found without the others", async () => {
  const withExtents = (index: ObjectIndex, at: number) => {
    const sequence = 10 + 2 * at;
    const extents = [[sequence - 1, 1]] as const;
    const made = object("key", { version: newVersionId(sequence), extents });
    index.objects.apply(made, sequence, located(sequence));
  };
  await isBounded(withExtents, (index, rows) => {
    const about = { bucket, key: "key", size: 1, k: 1, m: 0, stripes: [] };
    assert.ok(index.extents.isInObject({ ...about, id: 10 + rows - 1 }));
  });
});

/** Counts the statements that it runs. */
class CountingDatabase extends IndexDatabase {
  statements = 0;
  override run(...args: Parameters<IndexDatabase["run"]>) {
    this.statements++;
    return super.run(...args);
  }
  override one(...args: Parameters<IndexDatabase["one"]>) {
    this.statements++;
    return super.one(...args);
  }
  override all(...args: Parameters<IndexDatabase["all"]>) {
    this.statements++;
    return super.all(...args);
  }
}

Deno.test("writers that share a transaction take two statements each, and their counts are right", () => {
  const database = new CountingDatabase(":memory:");
  using index = new ObjectIndex(database);
  const about = { id: bucket, name: "many", account_id: "123456789012", created_ms: 1 };
  index.transaction(() => index.buckets.apply({ ...about, region: "r" }, 1, located(1)));
  const statementsOf = (writers: number, first: number) => {
    const before = database.statements;
    index.transaction(() => {
      for (let at = first; at < first + writers; at++) keys(index, at);
    });
    return database.statements - before;
  };
  // What a bucket is asked for the first time is remembered.
  statementsOf(1, 0);
  const one = statementsOf(1, 1);
  assert.equal(statementsOf(33, 2) - one, 32 * 2);
  assert.deepEqual(index.wrongCounts(), []);
  assert.deepEqual([...index.segments.liveBytes(1)], [[1, 36 * 4096]]);
});

Deno.test("counts of a transaction that fails are forgotten with it", async () => {
  using index = new ObjectIndex(new IndexDatabase(":memory:"));
  const about = { id: bucket, name: "many", account_id: "123456789012", created_ms: 1 };
  index.transaction(() => index.buckets.apply({ ...about, region: "r" }, 1, located(1)));
  const results = await Promise.allSettled([
    index.write(() => keys(index, 1)),
    index.write(() => {
      keys(index, 2);
      throw new Error("refused");
    }),
    index.write(() => keys(index, 3)),
  ]);
  assert.deepEqual(results.map(({ status }) => status), ["fulfilled", "rejected", "fulfilled"]);
  assert.deepEqual(index.wrongCounts(), []);
  assert.deepEqual([...index.segments.liveBytes(1)], [[1, 3 * 4096]]);
});
