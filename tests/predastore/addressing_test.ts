/** Other ways in: buckets as host names, and uploads at their limits. */
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  GetObjectAttributesCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  UploadPartCommand,
  UploadPartCopyCommand,
} from "@aws-sdk/client-s3";
import assert from "node:assert/strict";
import { lookup } from "node:dns";
import { Agent } from "node:https";
import { accounts } from "../kit/predastore.ts";
import { keptAlive, refused, textOf, withPredastore } from "./steps.ts";

const Bucket = "bucket";

Deno.test({
  name: "host names and uploads at their limits are S3's",
  ...keptAlive,
  fn: (t) =>
    withPredastore(t, {
      "virtual-host addressing: the bucket is the host's first label": async (_, test) => {
        const { port } = new URL(test.endpoint);
        const agent = new Agent({
          ca: test.ca,
          keepAlive: true,
          // A resolver need not know `*.localhost`.
          lookup: (_host, options, callback) => lookup("localhost", options, callback),
        });
        const s3 = test.s3("AKIATEST", {
          endpoint: `https://s3.localhost:${port}`,
          forcePathStyle: false,
          requestHandler: { httpsAgent: agent },
        });
        await s3.send(new PutObjectCommand({ Bucket, Key: "by/host name", Body: "found" }));
        assert.equal(await textOf(s3, Bucket, "by/host name"), "found");
        assert.equal(await textOf(test.s3(), Bucket, "by/host name"), "found");
        const { Contents } = await s3.send(new ListObjectsV2Command({ Bucket, Prefix: "by/" }));
        assert.deepEqual(Contents?.map(({ Key }) => Key), ["by/host name"]);
        agent.destroy();
      },

      "multi-range reads give the whole object, as S3 does": async (s3) => {
        const { Body, ContentRange } = await s3.send(
          new GetObjectCommand({ Bucket, Key: "by/host name", Range: "bytes=0-0,2-3" }),
        );
        assert.equal(ContentRange, undefined);
        assert.equal(await Body?.transformToString(), "found");
      },

      "expected owners: of the bucket, and of what is copied": async (s3) => {
        const [mine, another] = [accounts.AKIATEST.account_id, accounts.AKIAOTHER.account_id];
        const Key = "owned";
        const put = (ExpectedBucketOwner: string) =>
          s3.send(new PutObjectCommand({ Bucket, Key, Body: "mine", ExpectedBucketOwner }));
        await refused(put(another), "AccessDenied", 403);
        for (const malformed of ["abc", `${mine}0`]) {
          await refused(put(malformed), "InvalidBucketOwnerAWSAccountID", 400);
        }
        await refused(textOf(s3, Bucket, Key), "NoSuchKey", 404);
        await put(mine);

        const CopySource = `${Bucket}/${Key}`;
        const copy = (ExpectedSourceBucketOwner: string) =>
          s3.send(
            new CopyObjectCommand({ Bucket, Key: "copy", CopySource, ExpectedSourceBucketOwner }),
          );
        const { UploadId } = await s3.send(new CreateMultipartUploadCommand({ Bucket, Key }));
        const copyPart = (ExpectedSourceBucketOwner: string) =>
          s3.send(
            new UploadPartCopyCommand({
              ...{ Bucket, Key, UploadId, PartNumber: 1, CopySource, ExpectedSourceBucketOwner },
            }),
          );
        for (const way of [copy, copyPart]) {
          await refused(way(another), "AccessDenied", 403);
          await refused(way("abc"), "InvalidBucketOwnerAWSAccountID", 400);
        }
        await refused(textOf(s3, Bucket, "copy"), "NoSuchKey", 404);
        await copyPart(mine);
        await copy(mine);
        assert.equal(await textOf(s3, Bucket, "copy"), "mine");
        await s3.send(new AbortMultipartUploadCommand({ Bucket, Key, UploadId }));
      },

      "multipart: part copy of ranges, and attributes of parts": async (s3) => {
        const size = 5 << 20;
        const bytes = new Uint8Array(size + 1000).map((_, at) => at % 251);
        await s3.send(new PutObjectCommand({ Bucket, Key: "source", Body: bytes }));
        const target = { Bucket, Key: "copied" };
        const { UploadId } = await s3.send(
          new CreateMultipartUploadCommand({ ...target, ChecksumAlgorithm: "CRC32" }),
        );
        const copy = async (PartNumber: number, CopySourceRange: string) => {
          const { CopyPartResult } = await s3.send(
            new UploadPartCopyCommand({
              ...target,
              UploadId,
              PartNumber,
              CopySource: `${Bucket}/source`,
              CopySourceRange,
            }),
          );
          return {
            PartNumber,
            ETag: CopyPartResult?.ETag,
            ChecksumCRC32: CopyPartResult?.ChecksumCRC32,
          };
        };
        const Parts = [
          await copy(1, `bytes=0-${size - 1}`),
          await copy(2, `bytes=${size}-${size + 999}`),
        ];
        await refused(copy(3, `bytes=0-${size + 1000}`), "InvalidArgument", 400);
        await s3.send(
          new CompleteMultipartUploadCommand({ ...target, UploadId, MultipartUpload: { Parts } }),
        );
        const { Body } = await s3.send(new GetObjectCommand(target));
        const found = await Body?.transformToByteArray();
        assert.ok(found !== undefined && Buffer.compare(found, bytes) === 0);
        const { ObjectParts, Checksum } = await s3.send(
          new GetObjectAttributesCommand({
            ...target,
            ObjectAttributes: ["ObjectParts", "Checksum"],
          }),
        );
        assert.equal(ObjectParts?.TotalPartsCount, 2);
        assert.deepEqual(ObjectParts?.Parts?.map(({ Size }) => Size), [size, 1000]);
        // Unlike elsewhere, of how many parts it is made is not in it.
        assert.match(Checksum?.ChecksumCRC32 ?? "", /^[\w+/]{6}==$/);
      },

      "multipart: ten thousand parts and not one more": async (s3) => {
        const target = { Bucket, Key: "many" };
        const { UploadId } = await s3.send(new CreateMultipartUploadCommand(target));
        const part = (PartNumber: number) =>
          s3.send(new UploadPartCommand({ ...target, UploadId, PartNumber, Body: "x" }));
        await part(10_000);
        await refused(part(10_001), "InvalidArgument", 400);
        await refused(part(0), "InvalidArgument", 400);
        const Parts = Array.from(
          { length: 10_001 },
          (_, at) => ({ PartNumber: at + 1, ETag: "x" }),
        );
        await refused(
          s3.send(
            new CompleteMultipartUploadCommand({ ...target, UploadId, MultipartUpload: { Parts } }),
          ),
          "MalformedXML",
          400,
        );
        await s3.send(new AbortMultipartUploadCommand({ ...target, UploadId }));
      },

      "conditional writes: If-None-Match and If-Match, also on completion": async (s3) => {
        const target = { Bucket, Key: "conditional" };
        const { ETag } = await s3.send(
          new PutObjectCommand({ ...target, Body: "one", IfNoneMatch: "*" }),
        );
        await refused(
          s3.send(new PutObjectCommand({ ...target, Body: "two", IfNoneMatch: "*" })),
          "PreconditionFailed",
          412,
        );
        await refused(
          s3.send(new PutObjectCommand({ ...target, Body: "two", IfMatch: '"other"' })),
          "PreconditionFailed",
          412,
        );
        await refused(
          s3.send(
            new PutObjectCommand({ Bucket, Key: "no such", Body: "two", IfMatch: '"other"' }),
          ),
          "NoSuchKey",
          404,
        );
        const { UploadId } = await s3.send(new CreateMultipartUploadCommand(target));
        const part = await s3.send(
          new UploadPartCommand({ ...target, UploadId, PartNumber: 1, Body: "three" }),
        );
        const MultipartUpload = { Parts: [{ PartNumber: 1, ETag: part.ETag }] };
        await refused(
          s3.send(
            new CompleteMultipartUploadCommand({
              ...target,
              UploadId,
              MultipartUpload,
              IfNoneMatch: "*",
            }),
          ),
          "PreconditionFailed",
          412,
        );
        await s3.send(
          new CompleteMultipartUploadCommand({
            ...target,
            UploadId,
            MultipartUpload,
            ...(ETag === undefined ? {} : { IfMatch: ETag }),
          }),
        );
        assert.equal(await textOf(s3, Bucket, "conditional"), "three");
      },
    }),
});
