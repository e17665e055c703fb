import assert from "node:assert/strict";
import { segmentBytes } from "./format.ts";
import { logFiles, readCacheBytes } from "./node_sizes.ts";

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
