import assert from "node:assert/strict";
import { alice, bob, startResourceSide } from "../../../tests/kit/resource_side.ts";
import { keyPairNamed } from "./key_pairs.ts";
import { makeKey, openSshLine } from "./ssh_keys.ts";

Deno.test("key pairs over the bus", async (t) => {
  await using world = await startResourceSide();
  const { ask, state } = world;
  const imported = await makeKey("ed25519", "elsewhere");
  const line = openSshLine(imported.public, "me@home");
  const PublicKeyMaterial = new TextEncoder().encode(line).toBase64();

  await t.step("a key is made, and its private half answered once", async () => {
    const made = await ask("CreateKeyPair", {
      KeyName: "mine",
      KeyType: "ed25519",
      TagSpecifications: [{ ResourceType: "key-pair", Tags: [{ Key: "a", Value: "b" }] }],
    });
    assert.match(made.KeyMaterial ?? "", /^-----BEGIN OPENSSH PRIVATE KEY-----\n/);
    assert.match(made.KeyPairId ?? "", /^key-[0-9a-f]{17}$/);
    const record = await keyPairNamed(state.keyPairs, alice, "mine");
    assert.ok(!JSON.stringify(record).includes("PRIVATE"));
    const { KeyPairs: [shown] = [] } = await ask("DescribeKeyPairs", {
      KeyNames: ["mine"],
      IncludePublicKey: true,
    });
    assert.match(shown?.PublicKey ?? "", /^ssh-ed25519 \S+ mine$/);
    assert.equal(shown?.KeyFingerprint, made.KeyFingerprint);
    assert.equal(shown?.KeyType, "ed25519");
    const rsa = await ask("CreateKeyPair", { KeyName: "default" });
    assert.match(rsa.KeyMaterial ?? "", /^-----BEGIN RSA PRIVATE KEY-----\n/);
    assert.match(rsa.KeyFingerprint ?? "", /^([0-9a-f]{2}:){19}[0-9a-f]{2}$/);
  });

  await t.step("a name is given once, however many ask at once", async () => {
    const results = await Promise.allSettled(
      Array.from(
        { length: 8 },
        () => ask("CreateKeyPair", { KeyName: "race", KeyType: "ed25519" }),
      ),
    );
    assert.equal(results.filter((one) => one.status === "fulfilled").length, 1);
    for (const one of results) {
      if (one.status === "rejected") assert.equal(one.reason.code, "InvalidKeyPair.Duplicate");
    }
    await ask("CreateKeyPair", { KeyName: "race", KeyType: "ed25519" }, bob);
  });

  await t.step("a public key is brought in, and only that", async () => {
    const made = await ask("ImportKeyPair", { KeyName: "imported", PublicKeyMaterial });
    assert.equal(made.KeyFingerprint, imported.fingerprint);
    const record = await keyPairNamed(state.keyPairs, alice, "imported");
    assert.equal(record.public_key, openSshLine(imported.public, "imported"));
    for (const bad of ["", "aGVsbG8=", "%%%"]) {
      await assert.rejects(ask("ImportKeyPair", { KeyName: "bad", PublicKeyMaterial: bad }), {
        code: "InvalidKey.Format",
      });
    }
    await assert.rejects(ask("ImportKeyPair", { KeyName: "imported", PublicKeyMaterial }), {
      code: "InvalidKeyPair.Duplicate",
    });
  });

  await t.step("names have EC2's limits", async () => {
    for (const KeyName of [" x", "x\n", "é", "x".repeat(256)]) {
      await assert.rejects(ask("CreateKeyPair", { KeyName }), { code: "InvalidParameterValue" });
    }
    await assert.rejects(ask("CreateKeyPair", { KeyName: "" }), { code: "MissingParameter" });
    await assert.rejects(ask("CreateKeyPair", { KeyName: "dry", DryRun: true }), {
      code: "DryRunOperation",
    });
  });

  await t.step("what is asked for by name, id or filter is found", async () => {
    const names = async (input: Parameters<typeof ask<"DescribeKeyPairs">>[1]) =>
      (await ask("DescribeKeyPairs", input)).KeyPairs?.map((one) => one.KeyName).sort();
    assert.deepEqual(await names({}), ["default", "imported", "mine", "race"]);
    assert.deepEqual(await names({ Filters: [{ Name: "key-name", Values: ["*m*"] }] }), [
      "imported",
      "mine",
    ]);
    assert.deepEqual(await names({ Filters: [{ Name: "tag:a", Values: ["b"] }] }), ["mine"]);
    await assert.rejects(ask("DescribeKeyPairs", { KeyNames: ["none"] }), {
      code: "InvalidKeyPair.NotFound",
      message: "The key pair 'none' does not exist",
    });
  });

  await t.step("a deleted key is gone, and deleting it again is no error", async () => {
    assert.equal((await ask("DeleteKeyPair", { KeyName: "mine" })).Return, true);
    assert.equal((await ask("DeleteKeyPair", { KeyName: "mine" })).Return, true);
    await assert.rejects(ask("DescribeKeyPairs", { KeyNames: ["mine"] }), {
      code: "InvalidKeyPair.NotFound",
    });
    await ask("CreateKeyPair", { KeyName: "mine", KeyType: "ed25519" });
    await assert.rejects(ask("DeleteKeyPair", {}), { code: "MissingParameter" });
    const { KeyPairs = [] } = await ask("DescribeKeyPairs", { KeyNames: ["race"] }, bob);
    await ask("DeleteKeyPair", { KeyPairId: KeyPairs[0]?.KeyPairId ?? "" });
    assert.equal((await ask("DescribeKeyPairs", {}, bob)).KeyPairs?.length, 1, "bob's key stays");
  });
});
