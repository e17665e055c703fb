/** The commands as an operator types them, on a whole cloud: saved, purged, put back, and answering as before. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { mustRun, run, startStack } from "../kit/stack.ts";

const hive = (dataDir: string, ...args: string[]) => [
  Deno.execPath(),
  "run",
  "-A",
  "tasks/hive.ts",
  ...args,
  "--data-dir",
  dataDir,
];

interface Keys {
  readonly AccessKey: { readonly AccessKeyId: string; readonly SecretAccessKey: string };
}

Deno.test("a cloud that was purged and restored answers with the users, keys and records it had", async () => {
  const directory = await Deno.makeTempDir({ prefix: "mulga-operator-" });
  try {
    const secret = join(directory, "passphrase");
    await Deno.writeTextFile(secret, "correct horse battery staple\n");
    const file = join(directory, "state.backup");
    const saved: Record<string, unknown> = {};
    let key: Keys["AccessKey"] | undefined;
    const describe = async (stack: Awaited<ReturnType<typeof startStack>>) => ({
      users: await stack.aws("iam", "list-users"),
      keyPairs: await stack.aws("ec2", "describe-key-pairs"),
      volumes: await stack.aws("ec2", "describe-volumes"),
    });
    const asUser = async (stack: Awaited<ReturnType<typeof startStack>>) => {
      const env = {
        ...stack.awsEnv,
        AWS_PROFILE: "",
        AWS_ACCESS_KEY_ID: key?.AccessKeyId ?? "",
        AWS_SECRET_ACCESS_KEY: key?.SecretAccessKey ?? "",
      };
      const endpoint = JSON.parse(await stack.hive("env", "--json")).AWS_ENDPOINT_URL;
      const { AWS_PROFILE: _, ...rest } = env;
      const text = await mustRun([
        "/usr/bin/aws",
        "--endpoint-url",
        endpoint,
        "--region",
        "ap-southeast-2",
        "sts",
        "get-caller-identity",
      ], { env: rest });
      return JSON.parse(text);
    };
    {
      await using stack = await startStack();
      await stack.aws("iam", "create-user", "--user-name", "ana");
      key = (await stack.aws<Keys>("iam", "create-access-key", "--user-name", "ana")).AccessKey;
      await stack.aws("ec2", "create-key-pair", "--key-name", "ana-key");
      const zone = JSON.parse(await Deno.readTextFile(join(stack.dataDir, "config.json"))).az;
      await stack.aws("ec2", "create-volume", "--availability-zone", zone, "--size", "1");
      saved["before"] = await describe(stack);
      saved["caller"] = await asUser(stack);
      await stack.aws("s3api", "create-bucket", "--bucket", "backups");
      for (const target of [file, "s3://backups/state"]) {
        const said = await stack.hive("backup", target, "--passphrase-file", secret);
        assert.match(said, /read back and checked/);
      }
      await stack.hive("restore", "s3://backups/state", "--passphrase-file", secret, "--check");
      const running = await stack.hiveRaw([
        "restore",
        file,
        "--passphrase-file",
        secret,
        "--overwrite",
      ]);
      assert.equal(running.code, 1);
      assert.match(running.stderr, /Stop it first/);
    }
    // Everything of it is gone; another node takes its place.
    await using stack = await startStack();
    await stack.down();
    const refused = await run(hive(stack.dataDir, "restore", file, "--passphrase-file", secret));
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /--overwrite/);
    await mustRun(hive(stack.dataDir, "restore", file, "--passphrase-file", secret, "--overwrite"));
    const again = await stack.up("--no-image");
    assert.equal(again.code, 0, again.stderr);
    const restored = await describe(stack);
    const before = saved["before"] as typeof restored;
    assert.deepEqual(restored.users, before.users);
    assert.deepEqual(restored.keyPairs, before.keyPairs);
    const ids = (of: { volumes: unknown }) =>
      (of.volumes as { Volumes: { VolumeId: string; Size: number }[] }).Volumes
        .map(({ VolumeId, Size }) => ({ VolumeId, Size }));
    assert.equal(ids(before).length, 1);
    assert.deepEqual(ids(restored), ids(before));
    assert.deepEqual(await asUser(stack), saved["caller"], "ana's key signs as before");
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
