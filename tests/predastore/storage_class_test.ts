/** Storage classes: kept and told wherever AWS tells them, changed by a copy, and refused where they are none. */
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  GetObjectAttributesCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsCommand,
  ListObjectsV2Command,
  ListObjectVersionsCommand,
  ListPartsCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
  PutObjectTaggingCommand,
  type S3Client,
  StorageClass,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import assert from "node:assert/strict";
import { keptAlive, refused, withPredastore } from "./steps.ts";

const Bucket = "bucket";
const atHand: readonly StorageClass[] = [
  "STANDARD",
  "REDUCED_REDUNDANCY",
  "STANDARD_IA",
  "ONEZONE_IA",
  "INTELLIGENT_TIERING",
  "GLACIER_IR",
];

/** As AWS answers about one object: nothing of STANDARD. */
const headed = (of: StorageClass) => of === "STANDARD" ? undefined : of;

async function classOf(s3: S3Client, Key: string, VersionId?: string) {
  const of = { Bucket, Key, ...(VersionId === undefined ? {} : { VersionId }) };
  const head = await s3.send(new HeadObjectCommand(of));
  const get = await s3.send(new GetObjectCommand(of));
  assert.equal(get.StorageClass, head.StorageClass);
  await get.Body?.transformToByteArray();
  return head.StorageClass;
}

Deno.test({
  ...keptAlive,
  name: "storage classes: kept with objects and told as AWS tells them",
  fn: (t) =>
    withPredastore(t, {
      "GET and HEAD, every listing and the attributes tell what was put": async (s3) => {
        for (const StorageClass of atHand) {
          const put = { Bucket, Key: `put/${StorageClass}`, Body: "content", StorageClass };
          await s3.send(new PutObjectCommand(put));
          assert.equal(await classOf(s3, put.Key), headed(StorageClass));
          const attributes = await s3.send(
            new GetObjectAttributesCommand({
              Bucket,
              Key: put.Key,
              ObjectAttributes: ["StorageClass"],
            }),
          );
          assert.equal(attributes.StorageClass, StorageClass);
        }
        await s3.send(new PutObjectCommand({ Bucket, Key: "put/none", Body: "content" }));
        const wanted = [...atHand.map((of) => [`put/${of}`, of]), ["put/none", "STANDARD"]].sort();
        const shown = (
          all: { Key?: string | undefined; StorageClass?: string | undefined }[] = [],
        ) => all.map(({ Key, StorageClass }) => [Key, StorageClass]);
        const Prefix = "put/";
        const v1 = await s3.send(new ListObjectsCommand({ Bucket, Prefix }));
        assert.deepEqual(shown(v1.Contents), wanted);
        const v2 = await s3.send(new ListObjectsV2Command({ Bucket, Prefix }));
        assert.deepEqual(shown(v2.Contents), wanted);
        const versions = await s3.send(new ListObjectVersionsCommand({ Bucket, Prefix }));
        assert.deepEqual(shown(versions.Versions), wanted);
      },

      "uploads of parts have the class that they began with": async (s3) => {
        const Key = "parts";
        const { UploadId } = await s3.send(
          new CreateMultipartUploadCommand({ Bucket, Key, StorageClass: "ONEZONE_IA" }),
        );
        const { ETag } = await s3.send(
          new UploadPartCommand({ Bucket, Key, UploadId, PartNumber: 1, Body: "part" }),
        );
        const uploads = await s3.send(new ListMultipartUploadsCommand({ Bucket }));
        assert.deepEqual(uploads.Uploads?.map((one) => one.StorageClass), ["ONEZONE_IA"]);
        const parts = await s3.send(new ListPartsCommand({ Bucket, Key, UploadId }));
        assert.equal(parts.StorageClass, "ONEZONE_IA");
        await s3.send(
          new CompleteMultipartUploadCommand({
            Bucket,
            Key,
            UploadId,
            MultipartUpload: { Parts: [{ PartNumber: 1, ETag }] },
          }),
        );
        assert.equal(await classOf(s3, Key), "ONEZONE_IA");
        const plain = await s3.send(new CreateMultipartUploadCommand({ Bucket, Key: "plain" }));
        const its = { Bucket, Key: "plain", UploadId: plain.UploadId };
        assert.equal((await s3.send(new ListPartsCommand(its))).StorageClass, "STANDARD");
        await s3.send(new AbortMultipartUploadCommand(its));
      },

      "a copy has the class that it asks for and not its source's, also onto itself": async (
        s3,
      ) => {
        const put = {
          Bucket,
          Key: "source",
          Body: "content",
          Metadata: { a: "b" },
          ContentType: "text/x",
          StorageClass: "STANDARD_IA" as const,
        };
        await s3.send(new PutObjectCommand(put));
        const CopySource = `${Bucket}/source`;
        await s3.send(new CopyObjectCommand({ Bucket, Key: "copy", CopySource }));
        assert.equal(await classOf(s3, "copy"), undefined);
        const itself = { Bucket, Key: "source", CopySource };
        await refused(s3.send(new CopyObjectCommand(itself)), "InvalidRequest", 400);
        for (const StorageClass of ["GLACIER_IR", "GLACIER_IR", "STANDARD"] as const) {
          await s3.send(new CopyObjectCommand({ ...itself, StorageClass }));
          assert.equal(await classOf(s3, "source"), headed(StorageClass));
        }
        const head = await s3.send(new HeadObjectCommand({ Bucket, Key: "source" }));
        assert.deepEqual([head.Metadata, head.ContentType], [{ a: "b" }, "text/x"]);
        // Encryption and a redirection may be what changes as well; the latter is never copied.
        await s3.send(new CopyObjectCommand({ ...itself, ServerSideEncryption: "AES256" }));
        await s3.send(new CopyObjectCommand({ ...itself, WebsiteRedirectLocation: "/there" }));
        const redirects = await s3.send(new HeadObjectCommand({ Bucket, Key: "source" }));
        assert.equal(redirects.WebsiteRedirectLocation, "/there");
        await s3.send(new CopyObjectCommand({ Bucket, Key: "copy", CopySource }));
        const copied = await s3.send(new HeadObjectCommand({ Bucket, Key: "copy" }));
        assert.equal(copied.WebsiteRedirectLocation, undefined);
        assert.deepEqual([copied.Metadata, copied.ContentType], [{ a: "b" }, "text/x"]);
      },

      "what has no object at hand, or is no class, is refused and stores nothing": async (s3) => {
        const none = Object.values(StorageClass).filter((one) => !atHand.includes(one));
        assert.ok(none.includes("GLACIER") && none.includes("EXPRESS_ONEZONE"));
        for (const of of [...none, "standard", "COLD"] as StorageClass[]) {
          const asks = { Bucket, Key: "refused", StorageClass: of };
          const copies = { ...asks, CopySource: `${Bucket}/source` };
          const put = s3.send(new PutObjectCommand({ ...asks, Body: "x" }));
          await refused(put, "InvalidStorageClass", 400);
          const begin = s3.send(new CreateMultipartUploadCommand(asks));
          await refused(begin, "InvalidStorageClass", 400);
          await refused(s3.send(new CopyObjectCommand(copies)), "InvalidStorageClass", 400);
        }
        const listed = await s3.send(new ListObjectsV2Command({ Bucket, Prefix: "refused" }));
        assert.equal(listed.KeyCount, 0);
        const uploads = await s3.send(new ListMultipartUploadsCommand({ Bucket }));
        assert.equal(uploads.Uploads, undefined);
      },

      "versions have a class each, and tags change none": async (s3) => {
        await s3.send(
          new PutBucketVersioningCommand({
            Bucket,
            VersioningConfiguration: { Status: "Enabled" },
          }),
        );
        const Key = "versioned";
        const put = async (StorageClass?: StorageClass) =>
          (await s3.send(
            new PutObjectCommand({
              Bucket,
              Key,
              Body: "x",
              ...(StorageClass === undefined ? {} : { StorageClass }),
            }),
          )).VersionId;
        const first = await put("STANDARD_IA");
        await put();
        const Tagging = { TagSet: [{ Key: "a", Value: "b" }] };
        await s3.send(
          new PutObjectTaggingCommand({ Bucket, Key, VersionId: first, Tagging }),
        );
        assert.equal(await classOf(s3, Key, first), "STANDARD_IA");
        assert.equal(await classOf(s3, Key), undefined);
        const { Versions } = await s3.send(new ListObjectVersionsCommand({ Bucket, Prefix: Key }));
        const shown = Versions?.map((one) => one.StorageClass as string);
        assert.deepEqual(shown, ["STANDARD", "STANDARD_IA"]);
      },

      "and they are kept when the index is made again": async (s3, test) => {
        await test.process().stop("SIGTERM");
        await Deno.remove(`${test.node.paths.service("predastore")}/index.db`);
        await test.restart();
        assert.equal(await classOf(s3, "put/GLACIER_IR"), "GLACIER_IR");
        assert.equal(await classOf(s3, "parts"), "ONEZONE_IA");
        const listed = await s3.send(new ListObjectsV2Command({ Bucket, Prefix: "put/ONE" }));
        assert.equal(listed.Contents?.[0]?.StorageClass, "ONEZONE_IA");
      },
    }),
});
