import assert from "node:assert/strict";
import { testStore } from "../test_store.ts";
import type { S3Call } from "./call.ts";
import { listMultipartUploads, listObjects } from "./listing.ts";
import { listObjectVersions } from "./versioning.ts";
import { testSeed } from "../../../tests/kit/random.ts";

const meta = { headers: {}, user: {} };

/** The plain meaning of a listing, over all keys. */
function expected(keys: readonly string[], prefix: string, delimiter: string): string[] {
  const shown = new Set<string>();
  for (const key of keys) {
    if (!key.startsWith(prefix)) continue;
    const at = delimiter === "" ? -1 : key.indexOf(delimiter, prefix.length);
    shown.add(at < 0 ? key : key.slice(0, at + delimiter.length));
  }
  return [...shown].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
}

Deno.test("pages of any size show every key and common prefix once, in byte order", async () => {
  await using test = await testStore();
  const bucket = await test.bucket();
  const seed = testSeed();
  console.log(`MULGA_TEST_SEED=${seed}`);
  let state = seed >>> 0 || 1;
  const random = (below: number) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
  const pieces = ["a", "b", "/", "//", "é", "\u{10ffff}", "~", "\uffff", "\u0000", "ab/"];
  const keys = new Set<string>();
  while (keys.size < 300) {
    let key = "";
    for (let length = 1 + random(6); length > 0; length--) key += pieces[random(pieces.length)];
    keys.add(key);
  }
  test.store.index.transaction(() => {
    let sequence = 1;
    for (const key of keys) {
      test.store.index.objects.apply(
        { bucket: bucket.id, key, size: 0, modified_ms: 0, etag: "e", meta },
        sequence++,
        [],
      );
    }
  });
  const all = [...keys];
  for (const prefix of ["", "a", "b/", "é", "\u{10ffff}", "none"]) {
    for (const delimiter of ["", "/", "ab", "é"]) {
      for (const limit of [1, 3, 1000]) {
        const seen: string[] = [];
        for (let after = "";;) {
          const page = listObjects(test.store, bucket.id, { prefix, delimiter, after, limit });
          const shown = [...page.objects.map(({ key }) => key), ...page.prefixes];
          assert.ok(shown.length <= limit);
          seen.push(...shown.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))));
          if (!page.truncated) break;
          after = page.last;
        }
        assert.deepEqual(
          seen,
          expected(all, prefix, delimiter),
          JSON.stringify({ prefix, delimiter, limit, seed }),
        );
      }
    }
  }
});

Deno.test("a page over many keys below few prefixes costs seeks and not scans", async () => {
  await using test = await testStore();
  const bucket = await test.bucket();
  test.store.index.transaction(() => {
    for (let at = 0; at < 40_000; at++) {
      test.store.index.objects.apply(
        {
          bucket: bucket.id,
          key: `${String(at % 20).padStart(2, "0")}/${at}`,
          size: 0,
          modified_ms: 0,
          etag: "e",
          meta,
        },
        at + 1,
        [],
      );
    }
  });
  let rows = 0;
  const index = test.store.index;
  const counted = index.objects.listFrom.bind(index.objects);
  index.objects.listFrom = (...args) => {
    const found = counted(...args);
    rows += found.length;
    return found;
  };
  const page = listObjects(test.store, bucket.id, {
    prefix: "",
    delimiter: "/",
    after: "",
    limit: 1000,
  });
  assert.equal(page.prefixes.length, 20);
  assert.ok(rows < 200, `${rows} rows were read for 20 prefixes`);
});

Deno.test("pages of versions and of uploads below few prefixes, or a prefix, cost seeks too", async () => {
  await using test = await testStore();
  const bucket = await test.bucket();
  const { index } = test.store;
  const many = 6000;
  index.transaction(() => {
    for (let at = 0; at < many; at++) {
      const key = `${String(at % 20).padStart(2, "0")}/${at}`;
      const about = { bucket: bucket.id, key, meta };
      index.objects.apply({ ...about, size: 0, modified_ms: 0, etag: "e" }, at + 1, []);
      index.uploads.apply({ ...about, id: `${at.toString(36)}.x`, created_ms: 0 }, []);
    }
  });
  let rows = 0;
  const { listVersionsFrom } = index.objects;
  index.objects.listVersionsFrom = (...args) => {
    const found = listVersionsFrom.apply(index.objects, args);
    rows += found.length;
    return found;
  };
  const { listFrom } = index.uploads;
  index.uploads.listFrom = (...args) => {
    const found = listFrom.apply(index.uploads, args);
    rows += found.length;
    return found;
  };
  const asked = async (list: (call: S3Call) => Response, query: Record<string, string>) => {
    rows = 0;
    const call: Partial<S3Call> = {
      store: test.store,
      bucket: bucket.name,
      account_id: bucket.account_id,
      query: new URLSearchParams(query),
      headers: new Headers(),
      shared: new Set(),
    };
    return await list(call as S3Call).text();
  };
  for (const list of [listObjectVersions, listMultipartUploads]) {
    const whole = await asked(list, { delimiter: "/" });
    assert.equal(whole.match(/<CommonPrefixes>/g)?.length, 20);
    assert.ok(rows < 1200, `${rows} rows were read for 20 prefixes`);
    const limit = list === listObjectVersions ? "max-keys" : "max-uploads";
    const next = await asked(list, { delimiter: "/", [limit]: "3", "key-marker": "04/" });
    assert.deepEqual([...next.matchAll(/<Prefix>(\d\d\/)</g)].map(([, name]) => name), [
      "05/",
      "06/",
      "07/",
    ]);
    assert.ok(rows < 30, `${rows} rows were read for 3 prefixes`);
    const below = await asked(list, { prefix: "19/", [limit]: "10" });
    assert.equal(below.match(/<Key>19\/\d+</g)?.length, 10);
    assert.ok(rows < 30, `${rows} rows were read for 10 of a prefix`);
  }
});
