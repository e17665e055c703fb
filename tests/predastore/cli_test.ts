/** The AWS CLI against a predastore process: copy, sync, presign, and what it prints of errors. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { startPredastore } from "../kit/predastore.ts";

Deno.test("the AWS CLI copies, syncs, lists, presigns and removes", async (t) => {
  await using test = await startPredastore();
  const folder = join(test.node.config.data_dir, "files");
  await Deno.mkdir(join(folder, "deep/er é"), { recursive: true });
  const large = new Uint8Array(20 << 20);
  for (let at = 0; at < large.length; at += 65_536) {
    crypto.getRandomValues(large.subarray(at, at + 65_536));
  }
  await Deno.writeFile(join(folder, "large"), large);
  for (let at = 0; at < 100; at++) {
    await Deno.writeTextFile(join(folder, `deep/er é/file ${at}+`), `content ${at}`);
  }

  await t.step("mb and a large file by multipart, back byte for byte", async () => {
    await test.aws("s3", "mb", "s3://cli");
    await test.aws("s3", "cp", "--no-progress", join(folder, "large"), "s3://cli/large");
    await test.aws("s3", "cp", "--no-progress", "s3://cli/large", join(folder, "back"));
    const back = await Deno.readFile(join(folder, "back"));
    assert.ok(Buffer.compare(back, large) === 0);
    await Deno.remove(join(folder, "back"));
    const head = JSON.parse(
      await test.aws("s3api", "head-object", "--bucket", "cli", "--key", "large"),
    );
    assert.match(head.ETag, /-3"$/);
  });

  await t.step("sync sends what is new, and a second sync nothing", async () => {
    await test.aws("s3", "sync", "--no-progress", folder, "s3://cli/tree");
    assert.equal(await test.aws("s3", "sync", folder, "s3://cli/tree"), "");
    const listed = await test.aws("s3", "ls", "--recursive", "s3://cli/tree/");
    assert.equal(listed.trim().split("\n").length, 101);
    const into = join(test.node.config.data_dir, "into");
    await test.aws("s3", "sync", "--no-progress", "s3://cli/tree", into);
    assert.equal(await Deno.readTextFile(join(into, "deep/er é/file 7+")), "content 7");
  });

  await t.step("ls shows common prefixes, presign opens one object", async () => {
    assert.match(await test.aws("s3", "ls", "s3://cli"), /PRE tree\/\n/);
    const url = (await test.aws("s3", "presign", "s3://cli/tree/deep/er é/file 3+")).trim();
    const client = Deno.createHttpClient({ caCerts: [test.ca] });
    const got = await fetch(url, { client });
    assert.equal(await got.text(), "content 3");
    client.close();
  });

  await t.step("s3api pages, checksums and conditional errors", async () => {
    const page = JSON.parse(
      await test.aws("s3api", "list-objects-v2", "--bucket", "cli", "--page-size", "7"),
    );
    assert.equal(page.Contents.length, 102);
    await test.aws(
      "s3api",
      "put-object",
      "--bucket",
      "cli",
      "--key",
      "sum",
      "--body",
      join(folder, "large"),
      "--checksum-algorithm",
      "SHA256",
      "--metadata",
      "a=b",
    );
    const head = JSON.parse(
      await test.aws(
        "s3api",
        "head-object",
        "--bucket",
        "cli",
        "--key",
        "sum",
        "--checksum-mode",
        "ENABLED",
      ),
    );
    const sha256 = new Uint8Array(await crypto.subtle.digest("SHA-256", large));
    assert.equal(head.ChecksumSHA256, sha256.toBase64());
    assert.deepEqual(head.Metadata, { a: "b" });
    await assert.rejects(
      test.aws("s3api", "get-object", "--bucket", "cli", "--key", "none", "/dev/null"),
      /NoSuchKey/,
    );
    await assert.rejects(
      test.aws("s3api", "get-bucket-policy", "--bucket", "cli"),
      /NoSuchBucketPolicy/,
    );
    await assert.rejects(
      test.aws("s3api", "get-bucket-replication", "--bucket", "cli"),
      /ReplicationConfigurationNotFoundError/,
    );
    await assert.rejects(
      test.aws("s3api", "get-object-torrent", "--bucket", "cli", "--key", "none", "/dev/null"),
      /MethodNotAllowed.*GetObjectTorrent/,
    );
  });

  await t.step(
    "storage classes: cp sets one, a copy onto itself changes it, listings show it",
    async () => {
      const [path, at] = [join(folder, "deep/er é/file 1+"), "s3://cli/class"];
      const shown = async () =>
        JSON.parse(
          await test.aws("s3api", "list-objects-v2", "--bucket", "cli", "--prefix", "class"),
        ).Contents[0].StorageClass;
      await test.aws("s3", "cp", path, at, "--storage-class", "STANDARD_IA");
      assert.equal(await shown(), "STANDARD_IA");
      await test.aws("s3", "cp", at, at, "--storage-class", "INTELLIGENT_TIERING");
      assert.equal(await shown(), "INTELLIGENT_TIERING");
      const head = await test.aws("s3api", "head-object", "--bucket", "cli", "--key", "class");
      assert.equal(JSON.parse(head).StorageClass, "INTELLIGENT_TIERING");
      await assert.rejects(
        test.aws("s3", "cp", path, at, "--storage-class", "DEEP_ARCHIVE"),
        /InvalidStorageClass/,
      );
      assert.equal(await shown(), "INTELLIGENT_TIERING");
      await test.aws("s3", "cp", at, at, "--storage-class", "STANDARD");
      assert.equal(await shown(), "STANDARD");
    },
  );

  await t.step("rm --recursive and rb leave nothing", async () => {
    await assert.rejects(test.aws("s3", "rb", "s3://cli"), /BucketNotEmpty/);
    await test.aws("s3", "rm", "--recursive", "s3://cli");
    await test.aws("s3", "rb", "s3://cli");
    assert.equal(await test.aws("s3", "ls"), "");
  });
});
