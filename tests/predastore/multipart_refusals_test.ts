/** What refusals of parts and of whole uploads tell besides their code. */
import {
  CompleteMultipartUploadCommand,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  ListPartsCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
  type S3Client,
  UploadPartCommand,
  UploadPartCopyCommand,
} from "@aws-sdk/client-s3";
import assert from "node:assert/strict";
import { answered, assertAnswer } from "./answered.ts";
import { keptAlive, textOf, withPredastore } from "./steps.ts";

const Bucket = "bucket";

const versioned = (s3: S3Client, name: string, Status: "Enabled" | "Suspended" = "Enabled") =>
  s3.send(
    new PutBucketVersioningCommand({ Bucket: name, VersioningConfiguration: { Status } }),
  );

Deno.test({
  ...keptAlive,
  name: "refusals of uploads tell what AWS's tell",
  fn: (t) =>
    withPredastore(t, {
      "multipart: which part of which upload, and why": async (s3, test) => {
        const target = { Bucket, Key: "parts" };
        await s3.send(new PutObjectCommand({ Bucket, Key: "source", Body: "0123456789" }));
        const begun = await s3.send(
          new CreateMultipartUploadCommand({ ...target, ChecksumAlgorithm: "SHA256" }),
        );
        const UploadId = begun.UploadId ?? "";
        const part = (PartNumber: number, more: object = {}) =>
          new UploadPartCommand({
            ...target,
            UploadId,
            PartNumber,
            Body: "x",
            ChecksumAlgorithm: "SHA256",
            ...more,
          });
        const first = await s3.send(part(1));
        const second = await s3.send(part(2));
        assertAnswer(await answered(s3, part(0)), 400, {
          ArgumentName: "partNumber",
          ArgumentValue: "0",
        });
        assertAnswer(await answered(s3, part(3, { ChecksumAlgorithm: "CRC32" })), 400, {
          Code: "InvalidRequest",
          Message:
            "Checksum Type mismatch occurred, expected checksum Type: sha256, actual checksum Type: crc32",
        });
        const complete = (Parts: readonly object[]) =>
          answered(
            s3,
            new CompleteMultipartUploadCommand({
              ...target,
              UploadId,
              MultipartUpload: { Parts: [...Parts] },
            }),
          );
        const sum = first.ChecksumSHA256;
        const one = { PartNumber: 1, ETag: first.ETag, ChecksumSHA256: sum };
        const two = { PartNumber: 2, ETag: second.ETag, ChecksumSHA256: sum };
        assertAnswer(await complete([two, one]), 400, {
          Code: "InvalidPartOrder",
          Message:
            "The list of parts was not in ascending order. Parts must be ordered by part number.",
          UploadId,
        });
        assertAnswer(await complete([{ ...one, PartNumber: 7 }]), 400, {
          Code: "InvalidPart",
          PartNumber: "7",
          ETag: first.ETag?.replaceAll('"', ""),
          UploadId,
        });
        assertAnswer(await complete([{ PartNumber: 1, ETag: first.ETag }]), 400, {
          Code: "InvalidRequest",
          Message:
            "The upload was created using a sha256 checksum. The complete request must include the checksum for each part. It was missing for part 1 in the request.",
        });
        assertAnswer(await complete([one, two]), 400, {
          Code: "EntityTooSmall",
          ProposedSize: "1",
          MinSizeAllowed: "5242880",
          PartNumber: "1",
        });
        const copied = (CopySourceRange: string) =>
          answered(
            test.s3(),
            new UploadPartCopyCommand({
              ...target,
              UploadId,
              PartNumber: 4,
              CopySource: `${Bucket}/source`,
              CopySourceRange,
            }),
          );
        assertAnswer(await copied("bytes=100-200"), 400, {
          Code: "InvalidRequest",
          Message: "The specified copy range is invalid for the source object size",
        });
        assertAnswer(await copied("bytes=0-100"), 400, {
          ArgumentName: "x-amz-copy-source-range",
          ArgumentValue: "bytes=0-100",
        });
        const noParts = new CompleteMultipartUploadCommand({ ...target, UploadId });
        assertAnswer(await answered(s3, noParts), 400, {
          Code: "InvalidRequest",
          Message: "You must specify at least one part",
        });
        assertAnswer(await complete([one]), 200, { Key: "parts" });
        const read = (more: object) =>
          answered(s3, new GetObjectCommand({ Bucket, Key: "parts", ...more }));
        assertAnswer(await read({ PartNumber: 2 }), 416, {
          Code: "InvalidPartNumber",
          PartNumberRequested: "2",
          ActualPartCount: "1",
        });
        assertAnswer(await read({ PartNumber: 1, Range: "bytes=0-0" }), 400, {
          Code: "InvalidRequest",
          Message: "Cannot specify both Range header and partNumber query parameter",
        });
        const gone = await answered(s3, new ListPartsCommand({ ...target, UploadId }));
        assertAnswer(gone, 404, { Code: "NoSuchUpload", UploadId });
      },

      "multipart: a condition that became true after the upload began is a conflict": async (
        s3,
      ) => {
        const Key = "raced";
        const begin = async () =>
          (await s3.send(new CreateMultipartUploadCommand({ Bucket, Key }))).UploadId ?? "";
        const part = async (UploadId: string) =>
          (await s3.send(
            new UploadPartCommand({ Bucket, Key, UploadId, PartNumber: 1, Body: "x" }),
          )).ETag;
        const complete = async (UploadId: string, condition: object) =>
          answered(
            s3,
            new CompleteMultipartUploadCommand({
              Bucket,
              Key,
              UploadId,
              MultipartUpload: { Parts: [{ PartNumber: 1, ETag: await part(UploadId) }] },
              ...condition,
            }),
          );
        const put = async () =>
          (await s3.send(new PutObjectCommand({ Bucket, Key, Body: "same" }))).ETag;
        const before = await put();
        const raced = await begin();
        await put();
        assertAnswer(await complete(raced, { IfMatch: before }), 409, {
          Code: "ConditionalRequestConflict",
          Condition: "If-Match",
          Key,
        });
        assert.equal(await textOf(s3, Bucket, Key), "same");
        assertAnswer(await complete(raced, { IfNoneMatch: "*" }), 412, {
          Condition: "If-None-Match",
        });
        assertAnswer(await complete(await begin(), { IfMatch: before }), 200, { Key });

        await s3.send(new CreateBucketCommand({ Bucket: "raced-versions" }));
        await versioned(s3, "raced-versions");
        const target = { Bucket: "raced-versions", Key };
        await s3.send(new PutObjectCommand({ ...target, Body: "x" }));
        const { UploadId } = await s3.send(new CreateMultipartUploadCommand(target));
        const { ETag } = await s3.send(
          new UploadPartCommand({ ...target, UploadId, PartNumber: 1, Body: "x" }),
        );
        await s3.send(new DeleteObjectCommand(target));
        const answer = await answered(
          s3,
          new CompleteMultipartUploadCommand({
            ...target,
            UploadId,
            MultipartUpload: { Parts: [{ PartNumber: 1, ETag }] },
            IfNoneMatch: "*",
          }),
        );
        assertAnswer(answer, 409, { Condition: "If-None-Match" });
      },

      "multipart: how the whole's checksum is made is said once": async (s3) => {
        const target = { Bucket, Key: "kinds" };
        const create = (more: object) =>
          answered(s3, new CreateMultipartUploadCommand({ ...target, ...more }));
        assertAnswer(await create({ ChecksumType: "COMPOSITE" }), 400, {
          Code: "InvalidRequest",
          Message:
            "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.",
        });
        const ChecksumAlgorithm = "CRC32" as const;
        assertAnswer(await create({ ChecksumAlgorithm, ChecksumType: "PARTIAL" }), 400, {
          Code: "InvalidRequest",
          Message: "Value for x-amz-checksum-type header is invalid.",
        });
        assertAnswer(
          await create({ ChecksumAlgorithm: "SHA256", ChecksumType: "FULL_OBJECT" }),
          400,
          {
            Message:
              "The FULL_OBJECT checksum type cannot be used with the sha256 checksum algorithm.",
          },
        );
        const { UploadId } = await s3.send(
          new CreateMultipartUploadCommand({
            ...target,
            ChecksumAlgorithm,
            ChecksumType: "FULL_OBJECT",
          }),
        );
        const { ETag } = await s3.send(
          new UploadPartCommand({ ...target, UploadId, PartNumber: 1, Body: "x" }),
        );
        const complete = (more: object, PartNumber = 1) =>
          answered(
            s3,
            new CompleteMultipartUploadCommand({
              ...target,
              UploadId,
              MultipartUpload: { Parts: [{ PartNumber, ETag }] },
              ...more,
            }),
          );
        assertAnswer(await complete({ ChecksumType: "COMPOSITE" }), 400, {
          Code: "InvalidRequest",
          Message:
            "The upload was created using the FULL_OBJECT checksum mode. The complete request must use the same checksum mode.",
        });
        assertAnswer(await complete({ MpuObjectSize: 7 }), 400, {
          Code: "InvalidRequest",
          Message:
            "The provided 'x-amz-mp-object-size' header value 7 does not match what was computed: 1",
        });
        assertAnswer(await complete({}, 0), 400, {
          Code: "InvalidArgument",
          ArgumentName: "PartNumber",
          ArgumentValue: "0",
        });
        // One that is whole needs no checksum of each part.
        assertAnswer(await complete({ ChecksumType: "FULL_OBJECT" }), 200, {
          ChecksumType: "FULL_OBJECT",
        });
      },
    }),
});
