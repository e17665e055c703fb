/**
 * Buckets of different erasure codes over HTTPS and by the operator's command: each is told, refused where
 * the store cannot have it, and keeps its promise when directories are lost, byte for byte.
 */
import {
  CompleteMultipartUploadCommand,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  GetObjectCommand,
  HeadBucketCommand,
  PutObjectCommand,
  type S3Client,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import assert from "node:assert/strict";
import { join } from "node:path";
import { erasureCodeHeader, type StoreStatus } from "../../services/predastore/contract.ts";
import { bytesOf } from "../../services/predastore/test_store.ts";
import { startPredastore } from "../kit/predastore.ts";
import { until } from "../kit/until.ts";
import { fsck, hive } from "./hive.ts";
import { loseDirectory } from "./lost_directory.ts";
import { keptAlive, refused } from "./steps.ts";

const sizes = [0, 700, 16_384, 30_000, 1_300_000];

interface Exchange {
  readonly request: { readonly headers: Record<string, string> };
  readonly response: { readonly headers: Record<string, string> };
}

/** @returns the code that the answer tells */
async function created(s3: S3Client, Bucket: string, code?: string): Promise<string | undefined> {
  let told: string | undefined;
  const create = new CreateBucketCommand({ Bucket });
  create.middlewareStack.add((next) => async (args) => {
    if (code !== undefined) (args.request as Exchange["request"]).headers[erasureCodeHeader] = code;
    const reply = await next(args);
    told = (reply.response as Exchange["response"]).headers[erasureCodeHeader];
    return reply;
  }, { step: "build" });
  await s3.send(create);
  return told;
}

async function codeOf(s3: S3Client, Bucket: string): Promise<string | undefined> {
  let told: string | undefined;
  const head = new HeadBucketCommand({ Bucket });
  head.middlewareStack.add((next) => async (args) => {
    const reply = await next(args);
    told = (reply.response as Exchange["response"]).headers[erasureCodeHeader];
    return reply;
  }, { step: "build" });
  await s3.send(head);
  return told;
}

async function putAll(s3: S3Client, Bucket: string, seed: number): Promise<void> {
  for (const size of sizes) {
    await s3.send(
      new PutObjectCommand({ Bucket, Key: `k${size}`, Body: bytesOf(seed + size, size) }),
    );
  }
  const Key = "parts";
  const { UploadId } = await s3.send(new CreateMultipartUploadCommand({ Bucket, Key }));
  const whole = bytesOf(seed, 6 << 20);
  const Parts = [];
  for (const [at, Body] of [whole.subarray(0, 5 << 20), whole.subarray(5 << 20)].entries()) {
    const PartNumber = at + 1;
    const { ETag } = await s3.send(
      new UploadPartCommand({ Bucket, Key, UploadId, PartNumber, Body }),
    );
    Parts.push({ PartNumber, ETag });
  }
  await s3.send(
    new CompleteMultipartUploadCommand({ Bucket, Key, UploadId, MultipartUpload: { Parts } }),
  );
}

async function checkAll(s3: S3Client, Bucket: string, seed: number): Promise<void> {
  const wanted = new Map(sizes.map((size) => [`k${size}`, bytesOf(seed + size, size)]));
  wanted.set("parts", bytesOf(seed, 6 << 20));
  for (const [Key, bytes] of wanted) {
    const { Body } = await s3.send(new GetObjectCommand({ Bucket, Key }));
    const found = await Body?.transformToByteArray() ?? new Uint8Array(0);
    assert.ok(Buffer.compare(found, bytes) === 0, `${Bucket}/${Key} has other bytes`);
  }
}

Deno.test({
  ...keptAlive,
  name: "bucket codes: buckets of different codes are told, set, and survive what their codes say",
  async fn(t) {
    await using test = await startPredastore({
      storage: (directory) => ({
        blobs: [0, 1, 2, 3].map((at) => `${directory}/blob${at}`),
        data_shards: 2,
        parity_shards: 1,
      }),
    });
    const blob = (at: number) => join(test.node.config.data_dir, `blob${at}`);
    const s3 = test.s3("AKIATEST", { maxAttempts: 1 });
    const buckets = ["usual", "wide", "copied"];
    const each = async (work: (bucket: string, seed: number) => Promise<void>) => {
      for (const [at, bucket] of buckets.entries()) await work(bucket, at + 1);
    };

    await t.step(
      "a header of CreateBucket asks for one, HeadBucket and the operator tell it",
      async () => {
        assert.equal(await created(s3, "usual"), "2+1");
        assert.equal(await created(s3, "wide", "2+2"), "2+2");
        await created(s3, "copied");
        const set = await hive(test, "s3", "code", "copied", "1+2");
        assert.equal(set.code, 0, set.said);
        assert.equal(
          set.text.trim(),
          "copied: 1+2; 1 data and 2 parity shards, survives 2 directories lost at a time",
        );
        assert.equal(await codeOf(s3, "usual"), "2+1");
        assert.equal(await codeOf(s3, "copied"), "1+2");
        assert.match((await hive(test, "s3", "code", "usual")).text, /^usual: 2\+1, the node's;/);
        const told = await hive(test, "s3", "status");
        assert.match(told.text, /buckets with a code of their own: copied 1\+2, wide 2\+2\n/);
        const { own_codes }: StoreStatus = JSON.parse(
          (await hive(test, "s3", "status", "--json")).text,
        );
        assert.deepEqual(own_codes.buckets[1], { bucket: "wide", code: "2+2", own: true });
      },
    );

    await t.step("what the store cannot have is refused, and nothing is made", async () => {
      for (const code of ["3+2", "0+1", "two", "2+1+0", ""]) {
        await refused(created(s3, "never", code), "InvalidArgument", 400);
      }
      await assert.rejects(codeOf(s3, "never"), { name: "NotFound" });
      const refusal = await hive(test, "s3", "code", "usual", "4+1");
      assert.equal(refusal.code, 1);
      assert.match(refusal.said, /4\+1 needs 5 storage directories and this store has 4\./);
      assert.equal(await codeOf(s3, "usual"), "2+1");
      assert.match((await hive(test, "s3", "code", "never")).said, /bucket does not exist/);
    });

    await each((bucket, seed) => putAll(s3, bucket, seed));
    assert.equal((await fsck(test)).full_redundancy, true);

    await t.step("a directory that goes is noticed by no reader and no writer of any", async () => {
      await loseDirectory(blob(1));
      await each((bucket, seed) => checkAll(s3, bucket, seed));
      await until(
        "the store knows that it is away",
        async () => (await hive(test, "s3", "status")).code === 1,
      );
      await each((bucket, seed) => putAll(s3, bucket, seed + 10));
      await each((bucket, seed) => checkAll(s3, bucket, seed + 10));
      await Deno.mkdir(blob(1));
      await until("full redundancy is back", async () => (await fsck(test)).full_redundancy);
    });

    await t.step("two at once are survived by whoever has two parity shards", async () => {
      await test.process().stop("SIGTERM");
      for (const at of [0, 2]) await loseDirectory(blob(at));
      // The index is made again from what is left.
      await Deno.remove(join(test.node.paths.service("predastore"), "index.db"));
      await test.restart("SIGTERM");
      assert.equal(await codeOf(s3, "wide"), "2+2");
      await checkAll(s3, "wide", 12);
      await checkAll(s3, "copied", 13);
      await until(
        "what can be made whole is",
        async () => (await fsck(test)).findings.every(({ bucket }) => bucket === "usual"),
      );
      await checkAll(s3, "wide", 12);
      await checkAll(s3, "copied", 13);
    });
  },
});
