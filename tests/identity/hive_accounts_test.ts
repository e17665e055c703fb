/** The operator provisions tenants with `hive`, and the AWS CLI works with what it prints. */
import assert from "node:assert/strict";
import { startNode } from "../kit/node.ts";
import { run } from "../kit/stack.ts";

const repository = new URL("../../", import.meta.url).pathname;

Deno.test("hive makes accounts, users and keys that the AWS CLI signs with; a retired key is dead", async () => {
  await using node = await startNode();
  for (const name of ["identity", "gateway"] as const) await (await node.start(name)).healthy();
  const hive = (args: readonly string[], stdin?: string) =>
    run(
      [
        ...[Deno.execPath(), "run", "-A", "--cached-only", `${repository}tasks/hive.ts`],
        ...args,
        ...["--data-dir", node.config.data_dir],
      ],
      stdin === undefined ? {} : { stdin },
    );
  const made = async (args: readonly string[], stdin?: string) => {
    const { code, stdout, stderr } = await hive([...args, "--json"], stdin);
    assert.equal(code, 0, stderr);
    return JSON.parse(stdout);
  };
  const caller = async (key: { access_key_id: string; secret_access_key: string }) => {
    const { stdout, stderr, code } = await run(["aws", "sts", "get-caller-identity"], {
      env: {
        AWS_ACCESS_KEY_ID: key.access_key_id,
        AWS_SECRET_ACCESS_KEY: key.secret_access_key,
        AWS_DEFAULT_REGION: node.config.region,
        AWS_ENDPOINT_URL: node.endpoint,
        AWS_CA_BUNDLE: node.paths.tls.ca,
        AWS_CONFIG_FILE: "/dev/null",
        AWS_SHARED_CREDENTIALS_FILE: "/dev/null",
        AWS_MAX_ATTEMPTS: "1",
      },
    });
    return code === 0 ? JSON.parse(stdout).Arn as string : stderr;
  };

  const acme = await made(["admin", "account", "create", "acme"]);
  assert.deepEqual(await made(["admin", "account", "create", "acme"]), acme);
  assert.equal(await caller(acme), `arn:aws:iam::${acme.account_id}:user/admin`);
  const secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
  const moved = await made(
    ["admin", "account", "create", "moved-in", "--import-key", "AKIAIOSFODNN7EXAMPLE"],
    `${secret}\n`,
  );
  assert.deepEqual([moved.access_key_id, moved.secret_access_key], [
    "AKIAIOSFODNN7EXAMPLE",
    secret,
  ]);
  assert.equal(await caller(moved), `arn:aws:iam::${moved.account_id}:user/admin`);

  const ada = await made(["admin", "user", "create", "ada", "--account", "acme"]);
  assert.equal(await caller(ada), `arn:aws:iam::${acme.account_id}:user/ada`);
  const nobody = await hive([
    "admin",
    "user",
    "create",
    "bob",
    "--policy",
    "arn:aws:iam::aws:policy/No",
  ]);
  assert.equal(nobody.code, 1);
  assert.match(nobody.stderr, /does not exist or is not attachable/);
  const unknown = await hive(["admin", "user", "create", "bob", "--account", "nobody"]);
  assert.match(unknown.stderr, /There is no account "nobody"/);

  const rotate = ["admin", "key", "rotate", "--account", "acme", "--user", "ada"];
  const only = await hive([...rotate, "--retire"]);
  assert.match(only.stderr, /one access key only/);
  const second = await made(rotate);
  assert.equal(second.older_key, ada.access_key_id);
  assert.match((await hive(rotate)).stderr, /two access keys already/);
  assert.equal(await caller(second), await caller(ada));
  await made([...rotate, "--retire"]);
  assert.match(await caller(ada), /InvalidClientTokenId/);
  assert.equal(await caller(second), `arn:aws:iam::${acme.account_id}:user/ada`);

  const { stdout } = await hive(["admin", "account", "list"]);
  for (const name of ["main", "acme", "moved-in"]) assert.ok(stdout.includes(name), stdout);
  const text = await hive(["admin", "user", "create", "eve"]);
  assert.match(text.stdout, /\[profile eve\]\nregion = .*\nendpoint_url = https:/);
  assert.match((await hive(["admin", "account", "create"])).stderr, /An argument is missing/);
});
