import assert from "node:assert/strict";
import { newVersionId } from "../objects/version_id.ts";
import { keyBytes } from "./columns.ts";
import { IndexDatabase } from "./database.ts";
import { ObjectIndex } from "./object_index.ts";
import type { ObjectRecord } from "./rows.ts";

const bucket = 1;
const meta = { headers: {}, user: {} };

/** Keys with none, few and very many versions, some without an id, some that are delete markers. */
function filled(seed: number): ObjectIndex {
  let state = seed;
  const random = (below: number) =>
    (state = (state * 1103515245 + 12345) % 2147483648) % 65536 % below;
  const index = new ObjectIndex(new IndexDatabase(":memory:"));
  const about = { id: bucket, name: "b", account_id: "123456789012", created_ms: 1, region: "r" };
  index.transaction(() => {
    index.buckets.apply(about, 1, []);
    for (let at = 0; at < 1200; at++) {
      const sequence = 10 + at;
      const key = random(3) === 0 ? "key/many" : `key/${random(300)}`;
      const made: ObjectRecord = { bucket, key, size: at, modified_ms: at, etag: "e", meta };
      const version = random(4) > 0 ? { version: newVersionId(sequence) } : {};
      const marker = random(5) === 0 ? { marker: true as const } : {};
      index.objects.apply({ ...made, ...version, ...marker }, sequence, []);
    }
  });
  return index;
}

/** What is to be listed, sorted here. */
function sorted(index: ObjectIndex) {
  const rows = [...index.objects.all()].sort((a, b) =>
    Buffer.compare(keyBytes(a.key), keyBytes(b.key)) || b.sequence - a.sequence
  );
  return rows.map(({ key, sequence, version = "null", marker = false }, at) => ({
    ...{ key, sequence, version, marker },
    latest: rows[at - 1]?.key !== key,
  }));
}

Deno.test("pages of versions of any length show every version once, in order, the latest as such", () => {
  for (const seed of [1, 2, 3]) {
    using index = filled(seed);
    const expected = sorted(index);
    for (const limit of [1, 2, 7, 100, 1000, 5000]) {
      const listed: typeof expected = [];
      let start = keyBytes("");
      let below = Number.MAX_SAFE_INTEGER;
      for (;;) {
        const page = index.objects.listVersionsFrom(bucket, start, below, limit);
        for (const { key, sequence, version, marker, latest } of page) {
          listed.push({ key, sequence, version, marker, latest });
          start = keyBytes(key);
          below = sequence;
        }
        if (page.length < limit) break;
      }
      assert.deepEqual(listed, expected, `seed ${seed}, pages of ${limit}`);
    }
  }
});

Deno.test("a page of versions begins at any key, there or not, with or without what is older", () => {
  using index = filled(4);
  const expected = sorted(index);
  for (const key of ["", "key/", "key/15", "key/150x", "key/many", "kez"]) {
    for (const below of [0, 500, Number.MAX_SAFE_INTEGER]) {
      const page = index.objects.listVersionsFrom(bucket, keyBytes(key), below, 40);
      const wanted = expected.filter((row) =>
        Buffer.compare(keyBytes(row.key), keyBytes(key)) > 0 ||
        (row.key === key && row.sequence < below)
      ).slice(0, 40);
      assert.deepEqual(
        page.map(({ key, sequence, latest }) => ({ key, sequence, latest })),
        wanted.map(({ key, sequence, latest }) => ({ key, sequence, latest })),
        `${key} below ${below}`,
      );
    }
  }
});
