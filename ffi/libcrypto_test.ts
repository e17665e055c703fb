import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { Digest } from "./libcrypto.ts";

Deno.test("overlapping updates of any size are hashed in the order they were given", async () => {
  for (const name of ["md5", "sha1", "sha256"] as const) {
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

Deno.test("a digest released while it hashes harms nothing and gives nothing", async () => {
  const digest = new Digest("md5");
  const running = digest.update(new Uint8Array(8 << 20));
  digest[Symbol.dispose]();
  await running;
  await assert.rejects(digest.finish());
});
