import assert from "node:assert/strict";
import { MasterKeyError } from "./key_file.ts";
import { MasterKeyRing, openBytes, sealBytes } from "./master_keys.ts";

const purpose = { fingerprint: "test/id", sealing: "test/sealing" };
const key = (byte: number) => new Uint8Array(32).fill(byte);
const text = new TextEncoder().encode("a secret");

Deno.test("the first key of the file seals, and every one of them opens what it sealed", () => {
  const older = new MasterKeyRing([key(1)], purpose);
  const rotated = new MasterKeyRing([key(2), key(1)], purpose);
  const sealed = sealBytes(older.current, text, "mine");
  assert.notEqual(rotated.id, older.id);
  assert.deepEqual(openBytes(rotated.of(older.id, () => ""), sealed, "mine"), text);
  assert.equal(older.knows(rotated.id), false);
  assert.throws(() => older.of(rotated.id, () => "It is missing."), (error) => {
    assert.ok(error instanceof MasterKeyError);
    assert.equal(error.message, "It is missing.");
    return true;
  });
});

Deno.test("another purpose is another key, with another fingerprint", () => {
  const one = new MasterKeyRing([key(1)], purpose);
  const other = new MasterKeyRing([key(1)], { fingerprint: "other/id", sealing: "other" });
  assert.notEqual(one.id, other.id);
  assert.throws(() => openBytes(other.current, sealBytes(one.current, text, "mine"), "mine"));
});

Deno.test("what was altered, cut short or bound to something else does not open", () => {
  const { current } = new MasterKeyRing([key(1)], purpose);
  const sealed = sealBytes(current, text, "mine");
  assert.throws(() => openBytes(current, sealed, "yours"));
  assert.throws(() => openBytes(current, sealed.subarray(0, 20), "mine"));
  for (let at = 0; at < sealed.length; at++) {
    const altered = sealed.slice();
    altered[at] = (altered[at] ?? 0) ^ 1;
    assert.throws(() => openBytes(current, altered, "mine"), String(at));
  }
});
