import assert from "node:assert/strict";
import { plaintextIn } from "./plaintext.ts";

Deno.test("a guest's block is found wherever it lies, and random bytes and zeros are none", () => {
  const bytes = crypto.getRandomValues(new Uint8Array(32768));
  assert.equal(plaintextIn(bytes), undefined);
  bytes.fill(0, 0, 8192);
  assert.equal(plaintextIn(bytes), undefined);
  new Uint32Array(bytes.buffer, 12_340, 32).fill(77);
  assert.equal(plaintextIn(bytes), 77);
});
