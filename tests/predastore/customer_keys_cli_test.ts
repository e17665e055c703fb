/** The AWS CLI and rclone with keys of their user's own (SSE-C): files and trees there and back, copies that change the key, and what is asked one by one. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { bytesOf } from "../../services/predastore/test_store.ts";
import { startPredastore, type TestPredastore } from "../kit/predastore.ts";
import { wholeKey } from "./hostile_keys.ts";
import { md5, same } from "./steps.ts";

/** `s3api` takes them as text alone. */
const keys = { one: "1".repeat(32), two: "2".repeat(32) } as const;
type Name = keyof typeof keys;

/** What the CLI is told of keys that stand in files, in the two ways in which it takes them. */
function said(folder: string) {
  const file = (name: Name) => `fileb://${join(folder, name)}`;
  const text = (name: Name) => `file://${join(folder, name)}`;
  return {
    copies: (name: Name) => ["--sse-c", "AES256", "--sse-c-key", file(name)],
    from: (name: Name) => [
      ...["--sse-c-copy-source", "AES256", "--sse-c-copy-source-key", file(name)],
    ],
    asks: (name: Name) => [
      ...["--sse-customer-algorithm", "AES256", "--sse-customer-key", text(name)],
    ],
    asksFrom: (name: Name) => [
      ...["--copy-source-sse-customer-algorithm", "AES256"],
      ...["--copy-source-sse-customer-key", text(name)],
    ],
  };
}

/** The same by a bucket and its key, answers read. */
const api =
  (test: TestPredastore, bucket: string) =>
  async (verb: string, key: string, ...args: string[]): Promise<Record<string, unknown>> => {
    const text = await test.aws("s3api", verb, "--bucket", bucket, "--key", key, ...args);
    return text.trim() === "" ? {} : JSON.parse(text);
  };

Deno.test("customer keys: the AWS CLI copies and syncs under them, and so does rclone", async (t) => {
  await using test = await startPredastore();
  const root = test.node.config.data_dir;
  const path = (...names: string[]) => join(root, ...names);
  const { copies, from, asks, asksFrom } = said(root);
  for (const [name, key] of Object.entries(keys)) await Deno.writeTextFile(path(name), key);
  const large = bytesOf(9, 20 << 20);
  await Deno.mkdir(path("tree", "deep"), { recursive: true });
  await Deno.writeFile(path("tree", "large"), large);
  for (let at = 0; at < 5; at++) {
    await Deno.writeTextFile(path("tree", "deep", `file ${at}`), `content ${at}`);
  }
  const s3 = (...args: string[]) => test.aws("s3", ...args);
  const quietly = (verb: string, ...args: string[]) => s3(verb, "--no-progress", ...args);
  const digest = Buffer.from(md5(keys.one), "hex").toString("base64");
  const ask = api(test, "keyed");
  const read = async (key: string, ...args: string[]) => {
    const told = await ask("get-object", key, ...args, path("got"));
    return { told, bytes: await Deno.readFile(path("got")) };
  };
  await s3("mb", "s3://keyed");

  await t.step("cp: 20 MiB in parts there, to another key, and back", async () => {
    await quietly("cp", path("tree", "large"), "s3://keyed/large", ...copies("one"));
    await quietly("cp", "s3://keyed/large", path("back"), ...copies("one"));
    same(await Deno.readFile(path("back")), large);
    await quietly("cp", "s3://keyed/large", "s3://keyed/other", ...copies("two"), ...from("one"));
    await quietly("cp", "s3://keyed/other", path("back"), ...copies("two"));
    same(await Deno.readFile(path("back")), large);
    await assert.rejects(quietly("cp", "s3://keyed/other", path("back"), ...copies("one")), /403/);
    await assert.rejects(quietly("cp", "s3://keyed/other", path("back")), /400/);
    const plain = ["s3://keyed/other", "s3://keyed/plain"];
    await assert.rejects(quietly("cp", ...plain, ...from("one")), /403/);
    await quietly("cp", ...plain, ...from("two"));
    await quietly("cp", "s3://keyed/plain", path("back"));
    same(await Deno.readFile(path("back")), large);
    await quietly("mv", "s3://keyed/other", "s3://keyed/moved", ...copies("one"), ...from("two"));
    await assert.rejects(ask("head-object", "other", ...asks("two")), /\(404\)/);
    assert.equal((await read("moved", ...asks("one"))).told.ContentLength, large.length);
  });

  await t.step("sync: a tree there, once, to another key, and back", async () => {
    await quietly("sync", path("tree"), "s3://keyed/tree", ...copies("one"));
    assert.equal(await s3("sync", path("tree"), "s3://keyed/tree", ...copies("one")), "");
    // To copy properties too, the CLI would ask the source for them with the other key.
    const trees = ["s3://keyed/tree", "s3://keyed/copied", "--copy-props", "none"];
    await quietly("sync", ...trees, ...copies("two"), ...from("one"));
    assert.equal(await s3("sync", ...trees, ...copies("two"), ...from("one")), "");
    await assert.rejects(quietly("sync", "s3://keyed/copied", path("into"), ...copies("one")));
    await quietly("sync", "s3://keyed/copied", path("into"), ...copies("two"));
    same(await Deno.readFile(path("into", "large")), large);
    assert.equal(await Deno.readTextFile(path("into", "deep", "file 3")), "content 3");
  });

  await t.step("rclone: a tree there and back, and what it sees", async () => {
    const keyed = [
      ...["--s3-sse-customer-algorithm", "AES256", "--s3-sse-customer-key", keys.one],
      ...["--s3-upload-cutoff", "8Mi", "--s3-chunk-size", "8Mi"],
    ];
    await test.rclone("copy", ...keyed, path("tree"), "mulga:keyed/rclone");
    await test.rclone("check", "--download", ...keyed, path("tree"), "mulga:keyed/rclone");
    await test.rclone("copy", ...keyed, "mulga:keyed/rclone", path("rclone"));
    same(await Deno.readFile(path("rclone", "large")), large);
    await quietly("cp", "s3://keyed/rclone/large", path("back"), ...copies("one"));
    same(await Deno.readFile(path("back")), large);
  });

  await t.step("head-object, ranges and attributes", async () => {
    const head = await ask("head-object", "large", ...asks("one"));
    assert.equal(head.SSECustomerAlgorithm, "AES256");
    assert.equal(head.SSECustomerKeyMD5, digest);
    assert.match(String(head.ETag), /-3"$/);
    assert.equal(head.ContentLength, large.length);
    const ranged = await read("large", "--range", "bytes=8388600-8388620", ...asks("one"));
    same(ranged.bytes, large.subarray(8388600, 8388621));
    assert.equal(ranged.told.ContentRange, `bytes 8388600-8388620/${large.length}`);
    const small = await read("tree/deep/file 2", "--range", "bytes=-3", ...asks("one"));
    assert.equal(new TextDecoder().decode(small.bytes), "t 2");
    const attributes = await ask(
      ...["get-object-attributes", "large"] as const,
      ...["--object-attributes", "ETag", "Checksum", "ObjectParts", "ObjectSize"],
      // Here the CLI makes neither Base64 of a key nor its MD5.
      ...["--sse-customer-algorithm", "AES256", "--sse-customer-key", btoa(keys.one)],
      ...["--sse-customer-key-md5", digest],
    );
    assert.equal(attributes.ObjectSize, large.length);
    await assert.rejects(ask("head-object", "large"), /\(400\)/);
    await assert.rejects(ask("head-object", "large", ...asks("two")), /\(403\)/);
    await assert.rejects(read("large", ...asks("two")), /\(AccessDenied\)/);
    await assert.rejects(read("large"), /\(InvalidRequest\)/);
  });

  await t.step("presign: its URL opens nothing without the key", async () => {
    const url = (await s3("presign", "s3://keyed/large")).trim();
    const client = Deno.createHttpClient({ caCerts: [test.ca] });
    const bare = await fetch(url, { client });
    assert.equal(bare.status, 400);
    assert.match(await bare.text(), /<Code>InvalidRequest</);
    // A header that was not signed says nothing.
    const keyed = await fetch(url, {
      client,
      headers: wholeKey(new TextEncoder().encode(keys.one)),
    });
    assert.equal(keyed.status, 403);
    assert.match(await keyed.text(), /<HeadersNotSigned>/);
    client.close();
  });

  await t.step("copy-object: a key is changed in place, of each version by itself", async () => {
    await test.aws(
      ...["s3api", "put-bucket-versioning", "--bucket", "keyed"],
      ...["--versioning-configuration", "Status=Enabled"],
    );
    const first = await ask("put-object", "k", "--body", path("tree", "large"), ...asks("one"));
    const second = await ask(
      ...["copy-object", "k", "--copy-source", "keyed/k"] as const,
      ...asks("two"),
      ...asksFrom("one"),
    );
    const versions = [first.VersionId, second.VersionId].map(String);
    assert.notEqual(versions[0], versions[1]);
    assert.equal(second.CopySourceVersionId, first.VersionId);
    const [old = "", now = ""] = versions;
    same((await read("k", "--version-id", old, ...asks("one"))).bytes, large);
    same((await read("k", "--version-id", now, ...asks("two"))).bytes, large);
    same((await read("k", ...asks("two"))).bytes, large);
    await assert.rejects(read("k", ...asks("one")), /\(AccessDenied\)/);
    // The old version comes back under a third way, the store's own.
    await ask("copy-object", "k", "--copy-source", `keyed/k?versionId=${old}`, ...asksFrom("one"));
    same((await read("k")).bytes, large);
    await test.restart("SIGKILL");
    same((await read("k")).bytes, large);
    same((await read("k", "--version-id", old, ...asks("one"))).bytes, large);
    same((await read("k", "--version-id", now, ...asks("two"))).bytes, large);
    await ask("delete-object", "k");
    same((await read("k", "--version-id", now, ...asks("two"))).bytes, large);
  });
  assert.ok(!test.process().log().includes(`"level":"error"`), test.process().log());
});
