/**
 * Clients that people use besides Amazon's own, over HTTPS: s3cmd and rclone, and the AWS CLI with a tree
 * of many files (`TREE=10000` for a large one).
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { bytesOf } from "../../services/predastore/test_store.ts";
import { startPredastore } from "../kit/predastore.ts";

const treeFiles = Number(Deno.env.get("TREE") ?? 300);

async function makeTree(root: string, files: number): Promise<void> {
  for (let at = 0; at < files; at++) {
    const folder = join(root, `d${at % 17}`, `é ${at % 5}`);
    if (at < 85) await Deno.mkdir(folder, { recursive: true });
    await Deno.writeFile(join(folder, `file ${at}+.bin`), bytesOf(at, (at * 37) % 5000));
  }
}

async function sameTree(root: string, files: number): Promise<void> {
  for (let at = 0; at < files; at++) {
    const path = join(root, `d${at % 17}`, `é ${at % 5}`, `file ${at}+.bin`);
    const found = await Deno.readFile(path);
    assert.ok(Buffer.compare(found, bytesOf(at, (at * 37) % 5000)) === 0, path);
  }
}

Deno.test("clients: s3cmd makes, puts, lists, copies, syncs and removes", async () => {
  await using test = await startPredastore();
  const root = join(test.node.config.data_dir, "files");
  await makeTree(join(root, "tree"), 40);
  await Deno.writeFile(join(root, "large"), bytesOf(7, 17 << 20));
  await test.s3cmd("mb", "s3://s3cmd");
  await test.s3cmd("put", "--no-progress", join(root, "large"), "s3://s3cmd/large");
  assert.match(await test.s3cmd("ls", "s3://s3cmd"), /17825792\s+s3:\/\/s3cmd\/large/);
  await test.s3cmd("get", "--no-progress", "s3://s3cmd/large", join(root, "back"));
  assert.ok(
    Buffer.compare(await Deno.readFile(join(root, "back")), bytesOf(7, 17 << 20)) === 0,
  );
  await test.s3cmd("cp", "s3://s3cmd/large", "s3://s3cmd/copy");
  assert.match(await test.s3cmd("info", "s3://s3cmd/copy"), /File size:\s+17825792/);
  await test.s3cmd("sync", "--no-progress", `${join(root, "tree")}/`, "s3://s3cmd/tree/");
  await test.s3cmd("sync", "--no-progress", "s3://s3cmd/tree/", `${join(root, "again")}/`);
  await sameTree(join(root, "again"), 40);
  await test.s3cmd("setlifecycle", await lifecycleFile(root), "s3://s3cmd");
  assert.match(await test.s3cmd("getlifecycle", "s3://s3cmd"), /<Days>30<\/Days>/);
  await assert.rejects(test.s3cmd("rb", "s3://s3cmd"), /BucketNotEmpty/);
  await test.s3cmd("rb", "--recursive", "--force", "s3://s3cmd");
  assert.equal(await test.s3cmd("ls"), "");
});

async function lifecycleFile(root: string): Promise<string> {
  const path = join(root, "lifecycle.xml");
  await Deno.writeTextFile(
    path,
    `<LifecycleConfiguration><Rule><ID>x</ID><Prefix>tmp/</Prefix><Status>Enabled</Status>` +
      `<Expiration><Days>30</Days></Expiration></Rule></LifecycleConfiguration>`,
  );
  return path;
}

Deno.test("clients: rclone copies, checks, syncs and removes", async () => {
  await using test = await startPredastore();
  const root = join(test.node.config.data_dir, "files");
  await makeTree(join(root, "tree"), 60);
  await Deno.writeFile(join(root, "tree", "large"), bytesOf(3, 12 << 20));
  await test.rclone("mkdir", "mulga:rclone");
  const flags = ["--s3-upload-cutoff", "5M", "--s3-chunk-size", "5M"];
  await test.rclone("copy", ...flags, join(root, "tree"), "mulga:rclone/tree");
  await test.rclone("check", join(root, "tree"), "mulga:rclone/tree");
  assert.equal(
    JSON.parse(await test.rclone("size", "--json", "mulga:rclone")).count,
    61,
  );
  await Deno.remove(join(root, "tree", "large"));
  await test.rclone("sync", join(root, "tree"), "mulga:rclone/tree");
  await test.rclone("copy", "mulga:rclone/tree", join(root, "back"));
  await sameTree(join(root, "back"), 60);
  assert.equal(await test.rclone("lsf", "mulga:rclone/tree/large"), "");
  await test.rclone("purge", "mulga:rclone");
  assert.equal(await test.rclone("lsd", "mulga:"), "");
});

Deno.test(`clients: aws s3 sync of a tree of ${treeFiles} files, both ways`, async () => {
  await using test = await startPredastore();
  const root = join(test.node.config.data_dir, "files");
  await makeTree(join(root, "tree"), treeFiles);
  await test.aws("s3", "mb", "s3://sync");
  await test.aws(
    "s3",
    "sync",
    "--no-progress",
    "--only-show-errors",
    join(root, "tree"),
    "s3://sync",
  );
  assert.equal(await test.aws("s3", "sync", join(root, "tree"), "s3://sync"), "");
  await test.aws(
    "s3",
    "sync",
    "--no-progress",
    "--only-show-errors",
    "s3://sync",
    join(root, "back"),
  );
  await sameTree(join(root, "back"), treeFiles);
});

Deno.test("clients: aws s3api knows versions, tags and policies as S3's", async () => {
  await using test = await startPredastore();
  const api = async (...args: string[]) => {
    const text = await test.aws("s3api", ...args);
    return text === "" ? {} : JSON.parse(text);
  };
  const of = ["--bucket", "api"] as const;
  await api(
    "create-bucket",
    ...of,
    "--create-bucket-configuration",
    `LocationConstraint=${test.node.config.region}`,
  );
  await api("put-bucket-versioning", ...of, "--versioning-configuration", "Status=Enabled");
  const file = join(test.node.config.data_dir, "file");
  await Deno.writeTextFile(file, "one");
  const put = await api("put-object", ...of, "--key", "k", "--body", file, "--tagging", "a=b");
  assert.ok(put.VersionId);
  await api("delete-object", ...of, "--key", "k");
  const listed = await api("list-object-versions", ...of);
  assert.equal(listed.DeleteMarkers.length, 1);
  assert.equal(listed.Versions[0].VersionId, put.VersionId);
  const tags = await api("get-object-tagging", ...of, "--key", "k", "--version-id", put.VersionId);
  assert.deepEqual(tags.TagSet, [{ Key: "a", Value: "b" }]);
  const block = await api("get-public-access-block", ...of);
  assert.equal(block.PublicAccessBlockConfiguration.BlockPublicAcls, true);
});
