import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { Digest } from "./libcrypto.ts";

Deno.test("overlapping updates of any size are hashed in the order they were given", async () => {
  for (const name of ["md5", "sha1", "sha256", "sha512"] as const) {
    using digest = new Digest(name);
    const hash = createHash(name);
    for (const length of [0, 1, 100_000, 3, 16_384, 16_385, 1 << 20, 7]) {
      const bytes = new Uint8Array(length).fill(length % 251);
      void digest.update(bytes);
      hash.update(bytes);
    }
    assert.equal((await digest.finish()).toHex(), hash.digest("hex"));
  }
});

Deno.test("runs that lie one behind the other, and those that do not, are hashed in their order", async () => {
  using digest = new Digest("md5");
  const hash = createHash("md5");
  const memory = new Uint8Array(3 << 20).map((_, at) => at * 7 + (at >> 8));
  const cuts = [0, 1 << 19, 1 << 20, 3 << 19, 2 << 20, (2 << 20) + 5, 3 << 20];
  const read: number[] = [];
  const all: Promise<void>[] = [];
  // Forward as far as they follow each other, then each before the one that it follows.
  for (const numbers of [[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0]]) {
    for (const at of numbers) {
      const bytes = memory.subarray(cuts[at], cuts[at + 1]);
      all.push(digest.update(bytes).then(() => void read.push(at)));
      hash.update(bytes);
    }
  }
  await Promise.all(all);
  assert.deepEqual(read, [0, 1, 2, 3, 4, 5, 5, 4, 3, 2, 1, 0]);
  assert.equal((await digest.finish()).toHex(), hash.digest("hex"));
});

Deno.test("a digest released while it hashes harms nothing and gives nothing", async () => {
  const digest = new Digest("md5");
  const running = digest.update(new Uint8Array(8 << 20));
  digest[Symbol.dispose]();
  await running;
  await assert.rejects(digest.finish());
});
