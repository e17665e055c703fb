import assert from "node:assert/strict";
import { join } from "node:path";
import {
  generateKeys,
  importPublicKey,
  publicKeyOf,
  readTrustedKeys,
  sign,
  SignatureError,
  signerOf,
} from "./keys.ts";
import { writeSums } from "./release.ts";
import { formatSums, parseSums, signatureName, sumsName } from "./sums.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const trust = async (name: string, publicKey: string) => ({
  name,
  key: await importPublicKey(publicKey, name),
});

Deno.test("what a key signed is known as its own, and nothing else is", async () => {
  const [ours, other] = [await generateKeys(), await generateKeys()];
  const trusted = [
    await trust("other.pub", other.publicKey),
    await trust("us.pub", ours.publicKey),
  ];
  const content = bytes("what was signed");
  const signature = await sign(content, ours.privateKey, "key");
  assert.equal(await signerOf(content, signature, trusted), "us.pub");
  assert.equal(await signerOf(bytes("what was signed."), signature, trusted), undefined);
  assert.equal(await signerOf(content, signature, trusted.slice(0, 1)), undefined);
  assert.equal(await signerOf(content, signature, []), undefined);
  for (let bit = 0; bit < signature.length * 8; bit += 37) {
    const bent = signature.slice();
    bent[bit >> 3] = (bent[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    assert.equal(await signerOf(content, bent, trusted), undefined, `bit ${bit}`);
  }
  for (const length of [0, 1, 63, 65, 127, 64 * 9]) {
    assert.equal(await signerOf(content, new Uint8Array(length), trusted), undefined);
  }
});

Deno.test("while a key is replaced, either of two signatures is enough", async () => {
  const [before, after] = [await generateKeys(), await generateKeys()];
  const content = bytes("release");
  const both = new Uint8Array([
    ...await sign(content, before.privateKey, "old"),
    ...await sign(content, after.privateKey, "new"),
  ]);
  for (const keys of [before, after]) {
    assert.equal(await signerOf(content, both, [await trust("k", keys.publicKey)]), "k");
  }
});

Deno.test("the public half comes out of the private one, and OpenSSL agrees with us", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const keys = await generateKeys();
    assert.equal(await publicKeyOf(keys.privateKey, "key"), keys.publicKey);
    await Deno.writeTextFile(join(directory, "a.bin"), "content");
    await Deno.writeTextFile(join(directory, "key.pub"), keys.publicKey);
    await writeSums(directory, ["a.bin"], { text: keys.privateKey, path: "key" });
    const run = async (program: string, ...args: string[]) =>
      await new Deno.Command(program, { args, cwd: directory, stdout: "null", stderr: "null" })
        .output();
    const verify = ["pkeyutl", "-verify", "-pubin", "-inkey", "key.pub", "-rawin"];
    const files = ["-in", sumsName, "-sigfile", signatureName];
    assert.ok((await run("openssl", ...verify, ...files)).success);
    assert.ok((await run("sha256sum", "--check", "--strict", sumsName)).success);
    // A list that is written anew without a key has no signature of an older one beside it.
    await writeSums(directory, ["a.bin"]);
    await assert.rejects(Deno.stat(join(directory, signatureName)), Deno.errors.NotFound);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("a key file that cannot be read is an error, not one key fewer", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const { publicKey, privateKey } = await generateKeys();
    assert.deepEqual(await readTrustedKeys([join(directory, "none")]), []);
    await Deno.writeTextFile(join(directory, "good.pub"), publicKey);
    await Deno.writeTextFile(join(directory, "README"), "not a key");
    assert.deepEqual((await readTrustedKeys([directory])).map((key) => key.name), ["good.pub"]);
    for (const bad of ["", "garbage", privateKey, publicKey.replace(/[A-Za-z]{8}/, "")]) {
      await Deno.writeTextFile(join(directory, "bad.pub"), bad);
      await assert.rejects(readTrustedKeys([directory]), SignatureError);
    }
    await assert.rejects(sign(bytes("x"), publicKey, "key"), SignatureError);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("a list of sums is read back as written, and a hostile one is refused as a whole", () => {
  const sum = "0123456789abcdef".repeat(4);
  const sums = new Map([["b_1.efi", sum], ["a_1.root.raw.zst", sum]]);
  assert.deepEqual([...parseSums(formatSums(sums)).keys()], ["a_1.root.raw.zst", "b_1.efi"]);
  const hostile = [
    "",
    "\n\n",
    `${sum}  ../../etc/passwd`,
    `${sum}  /etc/passwd`,
    `${sum}  a/b`,
    `${sum}  .hidden`,
    `${sum}  -rf`,
    `${sum}  a b`,
    `${sum}  a\0`,
    `${sum}  a\r`,
    `${sum.slice(1)}  a`,
    `${sum.toUpperCase()}  a`,
    `${sum}  a\n${sum}  a`,
    `<html>not found</html>`,
  ];
  for (const text of hostile) {
    assert.throws(() => parseSums(text), SignatureError, JSON.stringify(text));
  }
});
