/** A bundle of a real node in whose files every kind of secret was planted: none of them is in it. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { createUser } from "@nats-io/nkeys";
import { generateKeys } from "../../image/signing/keys.ts";
import { services } from "../../services/manifest.ts";
import { startNode } from "../kit/node.ts";
import { run } from "../kit/stack.ts";

const random = (bytes: number) => crypto.getRandomValues(new Uint8Array(bytes));
const decoder = new TextDecoder();

async function unpacked(file: string): Promise<Map<string, string>> {
  const directory = await Deno.makeTempDir();
  try {
    const { success } = await new Deno.Command("tar", {
      args: ["--zstd", "-xf", file, "-C", directory],
    }).output();
    assert.ok(success, "tar reads it");
    const found = new Map<string, string>();
    const walk = async (below: string) => {
      for await (const { name, isDirectory } of Deno.readDir(join(directory, below))) {
        if (isDirectory) await walk(join(below, name));
        else found.set(join(below, name), await Deno.readTextFile(join(directory, below, name)));
      }
    };
    await walk("");
    return found;
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("a support bundle has what helps and not one secret of the node or its users", async () => {
  await using node = await startNode();
  const { paths } = node;
  const secretKey = `w${random(40).toBase64().replaceAll("=", "").slice(0, 37)}K7`;
  const presigned = random(32).toHex();
  const userData = `#!/bin/sh\necho ${random(12).toHex()} > /root/password`;
  const foreign = {
    seed: decoder.decode(createUser().getSeed()),
    key: (await generateKeys()).privateKey.split("\n")[1] ?? "",
    passphrase: "a passphrase that somebody typed",
    token: random(12).toHex(),
  };
  await Deno.mkdir(paths.aws, { recursive: true });
  await Deno.writeTextFile(
    join(paths.aws, "credentials"),
    `[mulga]\naws_access_key_id = AKIATEST\naws_secret_access_key = ${secretKey}\n`,
  );
  await Deno.writeTextFile(join(paths.root, "mulga.yaml"), `cluster:\n  token: ${foreign.token}\n`);
  // Careless services, and what clients send.
  const lines = [
    { event: "useful", marker: "what-helps-is-here" },
    { event: "request", url: `/b/k?X-Amz-Signature=${presigned}&X-Amz-Date=20261125T000000Z` },
    { event: "request", body: `Action=RunInstances&UserData=${btoa(userData)}` },
    { event: "launch", request: JSON.stringify({ UserData: userData, ImageId: "ami-1" }) },
    { event: "connect", options: { seed: foreign.seed } },
    { event: "failed", error: `could not use ${foreign.seed}` },
    {
      event: "tls",
      error: `-----BEGIN PRIVATE KEY-----\n${foreign.key}\n-----END PRIVATE KEY-----`,
    },
    { event: "login", passphrase: foreign.passphrase },
    { event: "join", words: `join_token=${foreign.token}` },
    // As it stands in the seed, where nothing says what it is.
    { event: "words", words: [foreign.token] },
    { event: "debug", key: secretKey },
    { event: "debug", hex: new TextEncoder().encode(secretKey).toHex() },
    { event: "debug", master: (await Deno.readTextFile(paths.masterKey)).trim() },
    { event: "debug", own: await Deno.readTextFile(paths.nkey("gateway")) },
    { event: "debug", ca: await Deno.readTextFile(paths.tls.caKey) },
  ];
  await Deno.writeTextFile(
    join(paths.logs, "gateway.log"),
    lines.map((line) => `${JSON.stringify(line)}\n`).join(""),
  );
  await Deno.writeTextFile(
    join(paths.logs, "compute.log"),
    `${"{}\n".repeat(900_000)}{"secret_access_key":"${secretKey}"}\n`,
  );
  const config = JSON.parse(await Deno.readTextFile(paths.config));
  await Deno.writeTextFile(
    paths.config,
    JSON.stringify({ ...config, smtp: { password: foreign.passphrase } }),
  );

  const file = join(paths.root, "bundle.tar.zst");
  const ran = await run([
    Deno.execPath(),
    "run",
    "-A",
    "tasks/hive.ts",
    "support",
    file,
    "--data-dir",
    paths.root,
  ]);
  assert.equal(ran.code, 0, ran.stderr);
  assert.equal(((await Deno.stat(file)).mode ?? 0) & 0o077, 0);
  const bundle = await unpacked(file);
  const all = [...bundle.values()].join("\n");
  const bare = async (path: string) =>
    (await Deno.readTextFile(path)).replace(/-----[^-]+-----/g, "").trim();
  const secrets = new Map<string, string>([
    ["secret key", secretKey],
    ["presigned signature", presigned],
    ["user data", userData.split("\n")[1] ?? ""],
    ["user data in base64", btoa(userData)],
    ["somebody's nkey seed", foreign.seed],
    ["somebody's private key", foreign.key],
    ["passphrase", foreign.passphrase],
    ["join token", foreign.token],
    ["master key", await bare(paths.masterKey)],
    ["authority's key", (await bare(paths.tls.caKey)).split("\n")[0] ?? ""],
    ["server's key", (await bare(paths.tls.key)).split("\n")[0] ?? ""],
  ]);
  for (const { name } of services) {
    if (name !== "nats") secrets.set(`seed of ${name}`, await bare(paths.nkey(name)));
  }
  secrets.set("seed of the operator", await bare(paths.nkey("operator")));
  for (const [what, secret] of secrets) {
    assert.ok(secret.length >= 10, what);
    const bytes = new TextEncoder().encode(secret);
    for (const spelling of [secret, bytes.toBase64(), bytes.toHex(), encodeURIComponent(secret)]) {
      const where = [...bundle].filter(([, text]) => text.includes(spelling)).map(([name]) => name);
      assert.deepEqual(where, [], `${what} is in the bundle`);
    }
  }
  assert.match(all, /what-helps-is-here/);
  for (
    const name of [
      "versions/release.json",
      "node/config.json",
      "node/streams.json",
      "node/health.json",
      "disks/devices.json",
      "disks/df.txt",
      "logs/gateway.log",
      "missing.txt",
    ]
  ) assert.ok((bundle.get(name)?.length ?? 0) > 0 || name === "missing.txt", `${name} is there`);
  assert.equal(JSON.parse(bundle.get("node/config.json") ?? "").node_id, node.config.node_id);
  assert.ok((bundle.get("logs/compute.log")?.length ?? 0) <= 2 << 20, "a long log is cut");
});

Deno.test("a bundle is made of a broken node, or of none, and says what is missing", async () => {
  const directory = await Deno.makeTempDir({ prefix: "mulga-support-" });
  try {
    const data = join(directory, "data");
    for (const config of [undefined, "{"]) {
      if (config !== undefined) {
        await Deno.mkdir(data);
        await Deno.writeTextFile(join(data, "config.json"), config);
      }
      const file = join(directory, "bundle.tar.zst");
      const ran = await run([
        Deno.execPath(),
        "run",
        "-A",
        "tasks/hive.ts",
        "support",
        file,
        "--data-dir",
        data,
      ]);
      assert.equal(ran.code, 0, ran.stderr);
      const bundle = await unpacked(file);
      assert.match(bundle.get("missing.txt") ?? "", /node: /);
      assert.ok(bundle.has("disks/devices.json"));
    }
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
