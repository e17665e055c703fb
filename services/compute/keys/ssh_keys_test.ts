import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { seeded } from "../../../tests/kit/random.ts";
import { makeKey, openSshLine, parsePublicKey, publicFingerprint } from "./ssh_keys.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

async function run(program: string, ...args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(program, { args }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout).trim();
}

async function inDirectory(work: (path: (name: string) => string) => Promise<void>) {
  const directory = await Deno.makeTempDir();
  try {
    await work((name) => join(directory, name));
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

for (const type of ["rsa", "ed25519"] as const) {
  Deno.test(`OpenSSH takes an ${type} key as it is made`, async () => {
    await inDirectory(async (path) => {
      const key = await makeKey(type, "my key");
      await Deno.writeTextFile(path("key"), key.privatePem, { mode: 0o600 });
      const line = await run("ssh-keygen", "-y", "-f", path("key"));
      assert.equal(
        line.split(" ").slice(0, 2).join(" "),
        openSshLine(key.public, "").trim(),
      );
      await Deno.writeTextFile(path("key.pub"), openSshLine(key.public, "x"));
      await Deno.writeTextFile(path("data"), "signed");
      await run("ssh-keygen", "-q", "-Y", "sign", "-n", "file", "-f", path("key"), path("data"));
      if (type === "ed25519") {
        const shown = await run("ssh-keygen", "-l", "-f", path("key"));
        assert.equal(shown.split(" ")[1], `SHA256:${key.fingerprint.replace(/=+$/, "")}`);
        return;
      }
      // AWS tells people to compare with these two commands.
      await run(
        "openssl",
        "pkcs8",
        "-in",
        path("key"),
        "-nocrypt",
        "-topk8",
        "-outform",
        "DER",
        "-out",
        path("der"),
      );
      const sha1 = createHash("sha1").update(await Deno.readFile(path("der"))).digest("hex");
      assert.equal(key.fingerprint.replaceAll(":", ""), sha1);
      await run(
        "openssl",
        "rsa",
        "-in",
        path("key"),
        "-pubout",
        "-outform",
        "DER",
        "-out",
        path("pub"),
      );
      const md5 = createHash("md5").update(await Deno.readFile(path("pub"))).digest("hex");
      assert.equal(publicFingerprint(key.public).replaceAll(":", ""), md5);
    });
  });
}

Deno.test("a public key is the same key in every form that people have it in", async () => {
  await inDirectory(async (path) => {
    for (
      const [type, bits, forms] of [
        ["rsa", "2048", ["RFC4716", "PKCS8", "PEM"]],
        ["ed25519", "256", ["RFC4716"]],
      ] as const
    ) {
      await run(
        "ssh-keygen",
        "-q",
        "-t",
        type,
        "-b",
        bits,
        "-N",
        "",
        "-C",
        "a comment: of\tmine",
        "-f",
        path(type),
      );
      const original = await Deno.readTextFile(path(`${type}.pub`));
      const expected = original.split(" ").slice(0, 2).join(" ");
      const same = (material: Uint8Array<ArrayBuffer>, form: string) =>
        assert.equal(openSshLine(parsePublicKey(material), "").trim(), expected, form);
      same(bytes(original), "OpenSSH");
      same(bytes(expected), "OpenSSH without a comment");
      for (const form of forms) {
        same(bytes(await run("ssh-keygen", "-e", "-m", form, "-f", path(`${type}.pub`))), form);
      }
      const der = new Uint8Array(parsePublicKey(bytes(original)).der);
      same(der, "DER");
      same(bytes(der.toBase64()), "DER in base64");
    }
  });
});

Deno.test("what is no key, or of a kind that is not taken, is refused", async () => {
  const { public: key } = await makeKey("ed25519", "x");
  const line = openSshLine(key, "x");
  const [, blob = ""] = line.split(" ");
  await inDirectory(async (path) => {
    await run("ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", path("ecdsa"));
    const ecdsa = await Deno.readTextFile(path("ecdsa.pub"));
    const pem = await run("ssh-keygen", "-e", "-m", "PKCS8", "-f", path("ecdsa.pub"));
    for (
      const material of [
        "",
        "hello",
        ecdsa,
        pem,
        `ssh-rsa ${blob} x`,
        `ssh-ed25519 ${blob.slice(0, -8)} x`,
        `ssh-ed25519 ${blob}AAAA x`,
        `${line}\nssh-ed25519 ${blob} another`,
        `command="rm -rf /" ${line}`,
        "A".repeat(20_000),
      ]
    ) {
      assert.throws(() => parsePublicKey(bytes(material)), { name: "KeyFormatError" }, material);
    }
  });
});

Deno.test("any bytes at all are either a key or refused", async () => {
  const { public: key } = await makeKey("rsa", "x");
  const line = bytes(openSshLine(key, "x"));
  seeded((random) => {
    for (let round = 0; round < 2000; round++) {
      const material = random.next() < 0.5 ? new Uint8Array(key.der) : new Uint8Array(line);
      for (let times = 1 + random.below(3); times > 0; times--) {
        material[random.below(material.length)] = random.below(256);
      }
      try {
        const parsed = parsePublicKey(
          material.slice(0, random.next() < 0.3 ? random.below(material.length) : undefined),
        );
        assert.match(openSshLine(parsed, "x"), /^ssh-(rsa|ed25519) [A-Za-z0-9+/]+=* x$/);
      } catch (error) {
        assert.equal((error as Error).name, "KeyFormatError");
      }
    }
  });
});
