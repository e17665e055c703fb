import assert from "node:assert/strict";
import { join } from "node:path";
import { createUser } from "@nats-io/nkeys";
import { Redactor, redactorOf } from "./redact.ts";

const secretKey = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const seed = new TextDecoder().decode(createUser().getSeed());
const master = crypto.getRandomValues(new Uint8Array(32)).toBase64();
const pem = `-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA${
  "b".repeat(40)
}\n-----END PRIVATE KEY-----`;
const script = "#!/bin/sh\necho hunter2-of-the-guest";

Deno.test("a secret is taken out wherever it stands and however it is written", () => {
  const redactor = new Redactor();
  const texts: [string, string][] = [
    [secretKey, `key ${secretKey} end`],
    [secretKey, `{"secret_access_key":"${secretKey}"}`],
    [secretKey, `aws_secret_access_key = ${secretKey}`],
    [seed, `connecting with ${seed}`],
    [seed, `{"seed":"${seed}"}`],
    [master, `master ${master}\n`],
    ["MC4CAQAwBQYDK2VwBCIEIA", pem],
    ["MC4CAQAwBQYDK2VwBCIEIA", JSON.stringify({ error: pem })],
    ["MC4CAQAwBQYDK2VwBCIEIA", pem.slice(0, 80)],
    ["hunter2", `password=hunter2`],
    ["hunter2", `"password": "hunter2"`],
    ["hunter2", `{"msg":"{\\"passphrase\\":\\"hunter2\\"}"}`],
    ["hunter2", `hive backup x --passphrase hunter2`],
    ["hunter2", `password: hunter2`],
    ["hunter two", `"password": "hunter two"`],
    ["hunter2", `https://ana:hunter2@example.com/`],
    ["0a1b2c3d", "GET /b/k?X-Amz-Algorithm=A&X-Amz-Signature=0a1b2c3d4e5f&x=1"],
    ["IQoJb3", "GET /b/k?X-Amz-Security-Token=IQoJb3JpZ2luX2Vj&X-Amz-Date=1"],
    ["0a1b2c3d", "GET /b/k?AWSAccessKeyId=AKIA&Signature=0a1b2c3d%3D&Expires=1"],
    [
      "5d672d79",
      "Authorization: AWS4-HMAC-SHA256 Credential=AKIA/20261125/x/s3/aws4_request, SignedHeaders=host, " +
      "Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
    ],
    ["dXNlcjpwYXNz", "authorization: Basic dXNlcjpwYXNzd29yZA=="],
    ["abcdefgh", "Bearer abcdefghijklmnop"],
    ["hunter2-of-the-guest", JSON.stringify({ UserData: script, id: "i-1" })],
    ["hunter2-of-the-guest", JSON.stringify({ line: JSON.stringify({ user_data: script }) })],
    [btoa(script), `UserData=${btoa(script)}&Action=RunInstances`],
    ["session-cookie", "cookie: session=session-cookie"],
    ["join-me-1234", "join_token: join-me-1234"],
    // A virtual machine's kernel command line may carry the whole seed.
    ["shared", "quiet systemd.set_credential=mulga.seed:{version: 1, x: shared} ro"],
    ["shared", 'ro "systemd.set_credential=mulga.seed:version: 1 x: shared" quiet'],
    ["shared", 'ro systemd.set_credential="mulga.seed:version: 1 x: shared" quiet'],
    ["c2hhcmVk", "ro systemd.set_credential_binary=mulga.seed:c2hhcmVk quiet"],
  ];
  for (const [secret, text] of texts) {
    const out = redactor.redact(text);
    assert.ok(!out.includes(secret), `${text}\n=> ${out}`);
    assert.match(out, /\[redacted\]/, text);
  }
});

Deno.test("a known secret is taken out in every spelling", () => {
  const redactor = new Redactor();
  const secret = 'short "but" known secret/with+signs';
  redactor.add(`${secret}\n`);
  redactor.add(master);
  const bytes = new TextEncoder().encode(secret);
  const spelled = [
    secret,
    JSON.stringify(secret),
    JSON.stringify(JSON.stringify(secret)),
    encodeURIComponent(secret),
    bytes.toBase64(),
    bytes.toHex(),
    Uint8Array.fromBase64(master).toHex(),
  ];
  for (const text of spelled) {
    assert.equal(redactor.redact(`x ${text} y`).replace(/[" \\]/g, ""), "x[redacted]y", text);
  }
});

Deno.test("what the first boot was told in secret is known by its value, and the rest is not", async () => {
  const root = await Deno.makeTempDir();
  try {
    const key = "K".repeat(20) + "/".repeat(40);
    const put = async (path: string, text: string) => {
      await Deno.mkdir(join(root, path, ".."), { recursive: true });
      await Deno.writeTextFile(join(root, path), text);
    };
    const admin = { access_key_id: "AKIAGIVENGIVENGIVEN2", secret_access_key: key };
    await put("data/cluster/part.json", '{"version":1,"token":"all-of-us-know-it","nodes":3}');
    await put("data/cluster/handover.json", JSON.stringify({ version: 1, admin }));
    await put(
      "data/cluster/claim.json",
      JSON.stringify({
        version: 1,
        region: "ap-southeast-2",
        admin: { ...admin, secret_access_key: `${key}2` },
      }),
    );
    await put(
      "data/identity/admin-key.json",
      JSON.stringify({ ...admin, secret_access_key: `3${key}` }),
    );
    await put("credentials/mulga.seed", "version: 1\ncluster: {token: by-credential-1}\n");
    const redactor = await redactorOf(join(root, "data"), join(root, "credentials"));
    for (const secret of ["all-of-us-know-it", key, `${key}2`, `3${key}`, "by-credential-1"]) {
      assert.equal(redactor.redact(`x ${secret} y`), "x [redacted] y");
    }
    const open = "ap-southeast-2 AKIAGIVENGIVENGIVEN2 version: 1";
    assert.equal(redactor.redact(open), open);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});

Deno.test("what helps is still there", () => {
  const redactor = new Redactor();
  const useful = [
    '{"ts":"2026-11-25T15:00:00.000Z","level":"info","service":"gateway","event":"answered","subject":"ec2.DescribeInstances","duration_ms":1.5,"request_id":"f47ac10b-58cc-4372-a567-0e02b2c3d479"}',
    "instance i-0123456789abcdef0 volume vol-0123456789abcdef0 access key AKIAIOSFODNN7EXAMPLE",
    "commit 5086e34f0c9a3b1d2e4f5a6b7c8d9e0f1a2b3c4d",
    "sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "/dev/vda1 512M /boot",
    "Error: listen tcp 127.0.0.1:4222: address already in use",
  ];
  for (const text of useful) assert.equal(redactor.redact(text), text);
});
