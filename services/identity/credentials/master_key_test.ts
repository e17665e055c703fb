import assert from "node:assert/strict";
import { newMasterKey } from "../contract.ts";
import { MasterKeyError } from "../../config/key_file.ts";
import { parseMasterKeys, readMasterKeys, SecretTampered } from "./master_key.ts";

const path = "/node/secrets/master.key";
const owner = "AKIAEXAMPLE|123456789012|AIDAEXAMPLE";
const flip = (base64: string, index: number) => {
  const bytes = Uint8Array.fromBase64(base64);
  bytes[index] = (bytes[index] as number) ^ 1;
  return bytes.toBase64();
};

Deno.test("a sealed secret opens for its owner, and shows nothing of itself", () => {
  const keys = parseMasterKeys(newMasterKey(), path);
  const sealed = keys.seal("the-secret", owner);
  assert.equal(keys.open(sealed, owner), "the-secret");
  assert.doesNotMatch(JSON.stringify(sealed), /the-secret/);
  assert.notEqual(keys.seal("the-secret", owner).data, sealed.data, "every seal has its own iv");
});

Deno.test("a sealed secret that was altered anywhere, or moved to another owner, does not open", () => {
  const keys = parseMasterKeys(newMasterKey(), path);
  const sealed = keys.seal("the-secret", owner);
  const bytes = Uint8Array.fromBase64(sealed.data).length;
  for (let index = 0; index < bytes; index++) {
    assert.throws(
      () => keys.open({ ...sealed, data: flip(sealed.data, index) }, owner),
      SecretTampered,
    );
  }
  assert.throws(() => keys.open({ ...sealed, iv: flip(sealed.iv, 0) }, owner), SecretTampered);
  assert.throws(() => keys.open({ ...sealed, iv: "" }, owner), SecretTampered);
  assert.throws(() => keys.open({ ...sealed, data: "AAAA" }, owner), SecretTampered);
  assert.throws(() => keys.open(sealed, owner.replace("AIDA", "AIDB")), SecretTampered);
});

Deno.test("an older master key still opens after a rotation, and another node's never does", () => {
  const older = newMasterKey();
  const sealed = parseMasterKeys(older, path).seal("the-secret", owner);
  const rotated = parseMasterKeys(`# rotated\n${newMasterKey()}\n${older}`, path);
  assert.equal(rotated.open(sealed, owner), "the-secret");
  assert.notEqual(rotated.seal("x", owner).master, sealed.master);
  const foreign = parseMasterKeys(newMasterKey(), path);
  assert.equal(foreign.knows(sealed.master), false);
  assert.throws(() => foreign.open(sealed, owner), MasterKeyError);
});

Deno.test("a master key file that is missing or malformed is named, and what to do", async () => {
  for (
    const text of ["", "\n# nothing\n", "c2hvcnQ=\n", "not base64 at all\n", `${newMasterKey()}x\n`]
  ) {
    assert.throws(
      () => parseMasterKeys(text, path),
      (error) => error instanceof MasterKeyError && error.message.includes(path),
    );
  }
  await assert.rejects(readMasterKeys("/nowhere/master.key"), {
    name: "MasterKeyError",
    message: /\/nowhere\/master\.key cannot be read/,
  });
});
