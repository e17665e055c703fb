import assert from "node:assert/strict";
import { cacheFileBytes, segmentBytes } from "./format.ts";
import { cacheFiles, logFiles, readCacheBytes } from "./node_sizes.ts";

const MiB = 2 ** 20;
const GiB = 2 ** 30;

Deno.test("the read caches of a board with 2 GiB stay within an eighth of its memory", () => {
  for (let volumes = 1; volumes <= 16; volumes++) {
    // Each got its share when fewer were mounted: the worst that they can be together.
    let together = 0;
    for (let mounted = 0; mounted < volumes; mounted++) {
      together += readCacheBytes(2 * GiB, mounted);
    }
    assert.ok(volumes > 8 || together <= 256 * MiB, `${volumes}: ${together / MiB} MiB`);
    // More than eight have 16 to 28 MiB each.
    assert.ok(together <= 512 * MiB, `${volumes}: ${together / MiB} MiB`);
  }
});

Deno.test("a volume's cache has 16 to 128 MiB on any machine", () => {
  for (const memory of [1, 2, 4, 8, 64, 1024]) {
    for (const mounted of [0, 7, 100]) {
      const bytes = readCacheBytes(memory * GiB, mounted);
      assert.ok(bytes >= 16 * MiB && bytes <= 128 * MiB && bytes % MiB === 0);
    }
  }
});

Deno.test("eight volumes' logs on a card of 16 GB take at most a quarter of it, and a server's 1 GiB each", () => {
  // What the system and its second slot leave for data.
  const card = 10 * GiB;
  assert.ok(8 * logFiles(card) * segmentBytes <= card / 4);
  assert.equal(logFiles(1 * GiB), 8);
  assert.equal(logFiles(32 * GiB), 16);
  assert.equal(logFiles(4_000 * GiB) * segmentBytes, 1 * GiB);
});

Deno.test("volumes' chunks take a quarter of what is free, in equal shares, and give it back as others need it", () => {
  const share = (free: number, kept: number, volumes: number) =>
    cacheFiles({ free_bytes: free, kept_bytes: kept, volumes }) * volumes * cacheFileBytes;
  assert.ok(share(40 * GiB, 0, 1) <= 10 * GiB && share(40 * GiB, 0, 1) > 9 * GiB);
  assert.ok(share(40 * GiB, 0, 8) <= 10 * GiB && share(40 * GiB, 0, 8) > 8 * GiB);
  // What they have already is not asked for twice.
  assert.equal(share(30 * GiB, 10 * GiB, 1), share(40 * GiB, 0, 1));
  assert.ok(share(0, 10 * GiB, 1) <= 2.5 * GiB);
  assert.equal(share(-20 * GiB, 10 * GiB, 1), 0);
  // The log comes first, whatever the node wants to keep.
  const wanted = { wanted_bytes: 10 * GiB, kept_bytes: 10 * GiB, volumes: 1 };
  assert.ok(
    cacheFiles({ ...wanted, free_bytes: 0 }) * cacheFileBytes <= 10 * GiB - 8 * segmentBytes,
  );
  // A card with little left keeps nothing.
  assert.equal(share(0.4 * GiB, 0, 1), 0);
  assert.equal(cacheFiles({ free_bytes: 100_000 * GiB, kept_bytes: 0, volumes: 1 }), 1024);
});

Deno.test("what a node wants to keep of chunks is kept as far as there is room; 0 is none", () => {
  const files = (wanted_bytes: number, free: number) =>
    cacheFiles({ wanted_bytes, free_bytes: free, kept_bytes: 0, volumes: 1 });
  assert.equal(files(0, 40 * GiB), 0);
  assert.equal(files(30 * GiB, 40 * GiB), Math.floor(30 * GiB / cacheFileBytes));
  assert.equal(
    files(30 * GiB, 20 * GiB),
    Math.floor((20 * GiB - 8 * segmentBytes) / cacheFileBytes),
  );
});
