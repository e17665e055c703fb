/**
 * What a refusal tells besides its code: clients show these elements, and some act on them. Each case is as
 * AWS answers it.
 */
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  DeleteBucketCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetBucketAclCommand,
  GetBucketCorsCommand,
  GetBucketLifecycleConfigurationCommand,
  GetBucketPolicyCommand,
  GetBucketTaggingCommand,
  GetObjectCommand,
  GetObjectLockConfigurationCommand,
  GetObjectTaggingCommand,
  ListMultipartUploadsCommand,
  ListObjectsCommand,
  ListObjectsV2Command,
  ListPartsCommand,
  PutBucketAclCommand,
  PutBucketEncryptionCommand,
  PutBucketLifecycleConfigurationCommand,
  PutBucketNotificationConfigurationCommand,
  PutBucketTaggingCommand,
  PutBucketVersioningCommand,
  PutObjectAclCommand,
  PutObjectCommand,
  PutObjectLockConfigurationCommand,
  PutObjectTaggingCommand,
  type S3Client,
  UploadPartCommand,
  UploadPartCopyCommand,
} from "@aws-sdk/client-s3";
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { answered, assertAnswer } from "./answered.ts";
import { keptAlive, textOf, withPredastore } from "./steps.ts";

const Bucket = "bucket";
const nobody = "0".repeat(11) + "A".repeat(20);

const versioned = (s3: S3Client, name: string, Status: "Enabled" | "Suspended" = "Enabled") =>
  s3.send(
    new PutBucketVersioningCommand({ Bucket: name, VersioningConfiguration: { Status } }),
  );

Deno.test({
  ...keptAlive,
  name: "refusals tell what AWS's tell",
  fn: (t) =>
    withPredastore(t, {
      "conditions: which of them did not hold": async (s3) => {
        const Key = "conditions";
        await s3.send(new PutObjectCommand({ Bucket, Key, Body: "0123456789" }));
        const Message = "At least one of the pre-conditions you specified did not hold";
        const past = new Date(Date.now() - 86_400_000);
        const future = new Date(Date.now() + 86_400_000);
        const failing = [
          [new GetObjectCommand({ Bucket, Key, IfMatch: "x" }), "If-Match"],
          [new GetObjectCommand({ Bucket, Key, IfUnmodifiedSince: past }), "If-Unmodified-Since"],
          [new PutObjectCommand({ Bucket, Key, Body: "", IfNoneMatch: "*" }), "If-None-Match"],
          [new PutObjectCommand({ Bucket, Key, Body: "", IfMatch: "x" }), "If-Match"],
        ] as const;
        for (const [command, Condition] of failing) {
          const answer = await answered(s3, command);
          assertAnswer(answer, 412, { Code: "PreconditionFailed", Message, Condition });
        }
        const copy = { Bucket, Key: "copy", CopySource: `${Bucket}/${Key}` };
        const copies = [
          [{ CopySourceIfMatch: "x" }, "If-Match"],
          [{ CopySourceIfUnmodifiedSince: past }, "If-Unmodified-Since"],
          [{ CopySourceIfNoneMatch: "781e5e245d69b566979b86e28d23f2c7" }, "If-None-Match"],
          [{ CopySourceIfModifiedSince: new Date() }, "If-Modified-Since"],
        ] as const;
        for (const [condition, name] of copies) {
          const answer = await answered(s3, new CopyObjectCommand({ ...copy, ...condition }));
          assertAnswer(answer, 412, { Message, Condition: `x-amz-copy-source-${name}` });
        }
        // A time that is yet to come is no condition.
        await s3.send(new CopyObjectCommand({ ...copy, CopySourceIfModifiedSince: future }));
        const read = await answered(
          s3,
          new GetObjectCommand({ Bucket, Key, IfModifiedSince: future }),
        );
        assert.equal(read.status, 200);
      },

      "conditions: writes take one at a time, and no other values": async (s3) => {
        const put = { Bucket, Key: "never", Body: "x" };
        const cases = [
          [{ IfMatch: "*" }, "If-Match", "We don't accept the provided value of If-Match header"],
          [{ IfNoneMatch: "x" }, "If-None-Match", "We don't accept the provided value of If-None"],
          [{ IfMatch: "x", IfNoneMatch: "*" }, "If-Match,If-None-Match", "Multiple conditional"],
        ] as const;
        for (const [condition, Header, why] of cases) {
          const answer = await answered(s3, new PutObjectCommand({ ...put, ...condition }));
          assertAnswer(answer, 501, { Code: "NotImplemented", Header });
          assert.match(answer.text, new RegExp(`<additionalMessage>${why}`));
        }
        const none = await answered(s3, new PutObjectCommand({ ...put, IfMatch: "x" }));
        assertAnswer(none, 404, { Code: "NoSuchKey", Key: "never" });
        await s3.send(new PutObjectCommand(put));
        // Any object may be meant by a delete.
        await s3.send(new DeleteObjectCommand({ Bucket, Key: "never", IfMatch: "*" }));
      },

      "ranges, keys, versions and buckets that are not there are named": async (s3) => {
        const Key = "conditions";
        const get = (more: Record<string, string>) =>
          answered(s3, new GetObjectCommand({ Bucket, Key, ...more }));
        assertAnswer(await get({ Range: "bytes=100-200" }), 416, {
          Code: "InvalidRange",
          ActualObjectSize: "10",
          RangeRequested: "bytes=100-200",
        });
        assertAnswer(await get({ VersionId: nobody }), 404, {
          Code: "NoSuchVersion",
          Key,
          VersionId: nobody,
        });
        assertAnswer(await get({ VersionId: "no-id" }), 400, {
          Code: "InvalidArgument",
          ArgumentName: "versionId",
          ArgumentValue: "no-id",
        });
        const of = [
          [new GetBucketTaggingCommand({ Bucket }), "NoSuchTagSet"],
          [new GetBucketPolicyCommand({ Bucket }), "NoSuchBucketPolicy"],
          [new GetBucketCorsCommand({ Bucket }), "NoSuchCORSConfiguration"],
          [new GetBucketLifecycleConfigurationCommand({ Bucket }), "NoSuchLifecycleConfiguration"],
          [
            new GetObjectLockConfigurationCommand({ Bucket }),
            "ObjectLockConfigurationNotFoundError",
          ],
        ] as const;
        for (const [command, Code] of of) {
          assertAnswer(await answered(s3, command), 404, { Code, BucketName: Bucket });
        }
        const none = await answered(s3, new GetBucketAclCommand({ Bucket: "no-bucket" }));
        assertAnswer(none, 404, { Code: "NoSuchBucket", BucketName: "no-bucket" });
      },

      "versions: a delete marker is told as one, a list names what is not there": async (s3) => {
        await s3.send(new CreateBucketCommand({ Bucket: "kept" }));
        await versioned(s3, "kept");
        const target = { Bucket: "kept", Key: "k" };
        await s3.send(new PutObjectCommand({ ...target, Body: "x" }));
        const { VersionId } = await s3.send(new DeleteObjectCommand(target));
        const marker = { Code: "MethodNotAllowed", ResourceType: "DeleteMarker" };
        const got = await answered(s3, new GetObjectCommand({ ...target, VersionId }));
        assertAnswer(got, 405, { ...marker, Method: "GET" });
        assert.ok(got.headers["last-modified"]);
        assertAnswer(await answered(s3, new GetObjectTaggingCommand(target)), 405, marker);
        const acl = new PutObjectAclCommand({ ...target, ACL: "private" });
        assertAnswer(await answered(s3, acl), 405, { ...marker, Method: "PUT" });
        const tag = new PutObjectTaggingCommand({ ...target, Tagging: { TagSet: [] } });
        assertAnswer(await answered(s3, tag), 405, { ...marker, Method: "PUT" });
        const list = await answered(
          s3,
          new DeleteObjectsCommand({
            Bucket: "kept",
            Delete: { Objects: [{ Key: "k", VersionId: "no-id" }] },
          }),
        );
        assertAnswer(list, 200, { Code: "NoSuchVersion", VersionId: "no-id", Key: "k" });
        assertAnswer(await answered(s3, new DeleteBucketCommand({ Bucket: "kept" })), 409, {
          Code: "BucketNotEmpty",
          Message:
            "The bucket you tried to delete is not empty. You must delete all versions in the bucket.",
        });
        await versioned(s3, "kept", "Suspended");
        const put = await answered(s3, new PutObjectCommand({ ...target, Body: "null" }));
        assert.equal(put.headers["x-amz-version-id"], undefined);
        const read = await answered(s3, new GetObjectCommand(target));
        assert.equal(read.headers["x-amz-version-id"], "null");
        const empty = await answered(
          s3,
          new PutBucketVersioningCommand({ Bucket: "kept", VersioningConfiguration: {} }),
        );
        assertAnswer(empty, 400, { Code: "IllegalVersioningConfigurationException" });
      },

      "copies: what is not there is the source": async (s3) => {
        const copy = (CopySource: string) =>
          answered(s3, new CopyObjectCommand({ Bucket, Key: "copy-of", CopySource }));
        assertAnswer(await copy("no-bucket/k"), 404, {
          Code: "NoSuchBucket",
          BucketName: "no-bucket",
        });
        assertAnswer(await copy(`${Bucket}/none`), 404, { Code: "NoSuchKey", Key: "none" });
        assertAnswer(await copy(`${Bucket}/conditions?versionId=${nobody}`), 404, {
          Code: "NoSuchVersion",
          Key: "conditions",
          VersionId: nobody,
        });
        assertAnswer(await copy("nothing"), 400, {
          Code: "InvalidArgument",
          ArgumentName: "x-amz-copy-source",
        });
        // The null version that a copy makes in a suspended bucket is told, unlike that of a put.
        await s3.send(new CreateBucketCommand({ Bucket: "halted" }));
        await versioned(s3, "halted", "Suspended");
        const made = await answered(
          s3,
          new CopyObjectCommand({ Bucket: "halted", Key: "k", CopySource: `${Bucket}/conditions` }),
        );
        assert.equal(made.headers["x-amz-version-id"], "null");
      },

      "copies onto themselves may be where the bucket's encryption was set": async (s3) => {
        await s3.send(new CreateBucketCommand({ Bucket: "sealed" }));
        const target = { Bucket: "sealed", Key: "k" };
        await s3.send(new PutObjectCommand({ ...target, Body: "x" }));
        const copy = () =>
          answered(s3, new CopyObjectCommand({ ...target, CopySource: "sealed/k" }));
        assertAnswer(await copy(), 400, { Code: "InvalidRequest" });
        await s3.send(
          new PutBucketEncryptionCommand({
            Bucket: "sealed",
            ServerSideEncryptionConfiguration: {
              Rules: [{ ApplyServerSideEncryptionByDefault: { SSEAlgorithm: "AES256" } }],
            },
          }),
        );
        assert.equal((await copy()).status, 200);
      },

      "bodies: digests that are none, and those that do not fit": async (s3) => {
        const put = (ContentMD5: string) =>
          answered(s3, new PutObjectCommand({ Bucket, Key: "md5", Body: "x", ContentMD5 }));
        assertAnswer(await put("MTIz"), 400, {
          Code: "InvalidDigest",
          Message: "The Content-MD5 you specified was invalid.",
          "Content-MD5": "MTIz",
        });
        assertAnswer(await put("1B2M2Y8AsgTpgAmY7PhCfg=="), 400, {
          Code: "BadDigest",
          ExpectedDigest: "d41d8cd98f00b204e9800998ecf8427e",
          CalculatedDigest: createHash("md5").update("x").digest("base64"),
        });
        const StorageClass = "OUTPOSTS" as const;
        assertAnswer(
          await answered(s3, new PutObjectCommand({ Bucket, Key: "md5", Body: "x", StorageClass })),
          400,
          { Code: "InvalidStorageClass", StorageClassRequested: StorageClass },
        );
      },

      "tags: which of them is wrong": async (s3) => {
        const tags = (TagSet: readonly [string, string][]) => ({
          TagSet: TagSet.map(([Key, Value]) => ({ Key, Value })),
        });
        const cases = [
          [[["a", "1"], ["a", "2"]], { Message: "Cannot provide multiple Tags with the same key" }],
          [[["a,b", ""]], { Message: "The TagKey you have provided is invalid", TagKey: "a,b" }],
          [[["a", "b,c"]], { TagKey: "a", TagValue: "b,c" }],
          [[["aws:a", ""]], { Message: "System tags cannot be added/updated by requester" }],
        ] as const;
        for (const [set, elements] of cases) {
          const Tagging = tags(set as unknown as [string, string][]);
          const answer = await answered(s3, new PutBucketTaggingCommand({ Bucket, Tagging }));
          assertAnswer(answer, 400, { Code: "InvalidTag", ...elements });
        }
        const object = await answered(
          s3,
          new PutObjectTaggingCommand({ Bucket, Key: "copy", Tagging: tags([["aws:a", ""]]) }),
        );
        assertAnswer(object, 400, { Message: "Your TagKey cannot be prefixed with aws:" });
        for (const Tagging of ["a=1&a=2", "a=1,b=2"]) {
          const answer = await answered(
            s3,
            new PutObjectCommand({ Bucket, Key: "md5", Body: "x", Tagging }),
          );
          assertAnswer(answer, 400, {
            Code: "InvalidArgument",
            ArgumentName: "x-amz-tagging",
            ArgumentValue: Tagging,
          });
        }
      },

      "listings: arguments that cannot be": async (s3) => {
        assertAnswer(
          await answered(s3, new ListObjectsV2Command({ Bucket, ContinuationToken: "x" })),
          400,
          { Code: "InvalidArgument", ArgumentName: "continuation-token" },
        );
        assertAnswer(
          await answered(s3, new ListObjectsCommand({ Bucket, EncodingType: "hex" as never })),
          400,
          { ArgumentName: "encoding-type", ArgumentValue: "hex" },
        );
        const empty = await answered(
          s3,
          new ListObjectsV2Command({ Bucket, EncodingType: "" as never }),
        );
        assertAnswer(empty, 400, { ArgumentName: "encoding-type", ArgumentValue: "" });
        const { UploadId } = await s3.send(
          new CreateMultipartUploadCommand({ Bucket, Key: "listed" }),
        );
        const uploads = (KeyMarker: string, UploadIdMarker: string | undefined) =>
          answered(s3, new ListMultipartUploadsCommand({ Bucket, KeyMarker, UploadIdMarker }));
        for (const [key, id] of [["another", UploadId], ["listed", "no id"]] as const) {
          assertAnswer(await uploads(key, id), 400, {
            Code: "InvalidArgument",
            Message: "Invalid uploadId marker",
            ArgumentName: "upload-id-marker",
            ArgumentValue: id,
          });
        }
        assertAnswer(await uploads("listed", UploadId), 200, { NextKeyMarker: "" });
        await s3.send(new AbortMultipartUploadCommand({ Bucket, Key: "listed", UploadId }));
        // A page may go on behind an upload that has ended meanwhile.
        assertAnswer(await uploads("listed", UploadId), 200, { Upload: undefined });
        assertAnswer(await answered(s3, new ListObjectsCommand({ Bucket, MaxKeys: -1 })), 400, {
          ArgumentName: "maxKeys",
          ArgumentValue: "-1",
        });
        const { headers } = await answered(s3, new ListObjectsV2Command({ Bucket }));
        assert.ok(headers["x-amz-bucket-region"]);
      },

      "multipart: which part of which upload, and why": async (s3, test) => {
        const target = { Bucket, Key: "parts" };
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
              CopySource: `${Bucket}/conditions`,
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

      "object lock: which header, and how long is too long": async (s3) => {
        const locked = "locked-bucket";
        await s3.send(
          new CreateBucketCommand({ Bucket: locked, ObjectLockEnabledForBucket: true }),
        );
        const mode = "x-amz-object-lock-mode";
        const until = "x-amz-object-lock-retain-until-date";
        const soon = new Date(Date.now() + 86_400_000);
        const put = (more: object) =>
          answered(s3, new PutObjectCommand({ Bucket: locked, Key: "k", Body: "x", ...more }));
        const cases = [
          [{ ObjectLockMode: "GOVERNANCE" }, until],
          [{ ObjectLockRetainUntilDate: soon }, mode],
          [{ ObjectLockMode: "FOREVER", ObjectLockRetainUntilDate: soon }, mode],
          [{ ObjectLockMode: "GOVERNANCE", ObjectLockRetainUntilDate: new Date(0) }, until],
          [{ ObjectLockLegalHoldStatus: "MAYBE" }, "x-amz-object-lock-legal-hold"],
        ] as const;
        for (const [asked, ArgumentName] of cases) {
          assertAnswer(await put(asked), 400, { Code: "InvalidArgument", ArgumentName });
        }
        const retain = (DefaultRetention: object) =>
          answered(
            s3,
            new PutObjectLockConfigurationCommand({
              Bucket: locked,
              ObjectLockConfiguration: {
                ObjectLockEnabled: "Enabled",
                Rule: { DefaultRetention: { Mode: "GOVERNANCE", ...DefaultRetention } },
              },
            }),
          );
        assertAnswer(await retain({ Days: 0 }), 400, {
          Code: "InvalidArgument",
          Message: "Default retention period must be a positive integer value.",
          ArgumentName: "Days",
        });
        assertAnswer(await retain({ Years: 101 }), 400, {
          Code: "InvalidArgument",
          Message: "Default retention period too large.",
          ArgumentName: "Years",
        });
      },

      "notifications: which ARN, event or filter is wrong": async (s3) => {
        const put = (queue: object) =>
          answered(
            s3,
            new PutBucketNotificationConfigurationCommand({
              Bucket,
              NotificationConfiguration: {
                QueueConfigurations: [{
                  QueueArn: "arn:aws:sqs:us-east-1:123456789012:q",
                  Events: ["s3:ObjectCreated:*"],
                  ...queue,
                }],
              },
            }),
          );
        assertAnswer(await put({ QueueArn: "invalid-queue" }), 400, {
          Code: "InvalidArgument",
          ArgumentName: "Queue",
          ArgumentValue: "invalid-queue",
        });
        assertAnswer(await put({ Events: ["s3:Nothing"] }), 400, {
          ArgumentName: "Event",
          ArgumentValue: "s3:Nothing",
        });
        const Filter = { Key: { FilterRules: [{ Name: "INVALID", Value: "a" }] } };
        assertAnswer(await put({ Filter }), 400, {
          ArgumentName: "FilterRule.Name",
          ArgumentValue: "INVALID",
        });
      },

      "ACLs: others than the owner's cannot be had, and nonsense is told as such": async (s3) => {
        const unsupported = { Code: "AccessControlListNotSupported" };
        const put = (more: object) =>
          answered(s3, new PutObjectCommand({ Bucket, Key: "acl", Body: "x", ...more }));
        assertAnswer(await put({ ACL: "public-read" }), 400, unsupported);
        assertAnswer(await put({ GrantRead: `id="${"1".repeat(64)}"` }), 400, unsupported);
        assertAnswer(await put({ ACL: "fake" }), 400, {
          Code: "InvalidArgument",
          ArgumentName: "x-amz-acl",
          ArgumentValue: "fake",
        });
        assertAnswer(await put({ ACL: "private", GrantRead: 'id="1"' }), 400, {
          Code: "InvalidRequest",
        });
        assert.equal((await put({ ACL: "bucket-owner-full-control" })).status, 200);
        const set = (more: object) => answered(s3, new PutBucketAclCommand({ Bucket, ...more }));
        assertAnswer(await set({}), 400, {
          Code: "MissingSecurityHeader",
          MissingHeaderName: "x-amz-acl",
        });
        assertAnswer(await set({ AccessControlPolicy: {} }), 400, { Code: "MalformedACLError" });
      },

      "configurations: which argument is wrong": async (s3) => {
        const lifecycle = (rule: object) =>
          answered(
            s3,
            new PutBucketLifecycleConfigurationCommand({
              Bucket,
              LifecycleConfiguration: {
                Rules: [{ ID: "a", Status: "Enabled", Filter: { Prefix: "" }, ...rule }],
              },
            }),
          );
        assertAnswer(await lifecycle({ Expiration: { Days: 0 } }), 400, {
          Code: "InvalidArgument",
          Message: "'Days' for Expiration action must be a positive integer",
        });
        assertAnswer(await lifecycle({ Expiration: { Date: new Date(3_600_000) } }), 400, {
          Code: "InvalidArgument",
          Message: "'Date' must be at midnight GMT",
          ArgumentName: "Date",
        });
        const Expiration = { Days: 1 };
        const tag = { Key: "a", Value: "1" };
        assertAnswer(await lifecycle({ Expiration, Filter: { Prefix: "a", Tag: tag } }), 400, {
          Code: "MalformedXML",
        });
        assertAnswer(await lifecycle({ Expiration, Filter: { And: { Tags: [tag, tag] } } }), 400, {
          Code: "InvalidRequest",
          Message: "Duplicate Tag Keys are not allowed.",
        });
        const sealed = await answered(
          s3,
          new PutBucketEncryptionCommand({
            Bucket,
            ServerSideEncryptionConfiguration: {
              Rules: [{
                ApplyServerSideEncryptionByDefault: {
                  SSEAlgorithm: "AES256",
                  KMSMasterKeyID: "key",
                },
              }],
            },
          }),
        );
        assertAnswer(sealed, 400, {
          Code: "InvalidArgument",
          ArgumentName: "ApplyServerSideEncryptionByDefault",
        });
        const bypass = await answered(
          s3,
          new DeleteObjectCommand({ Bucket, Key: "copy", BypassGovernanceRetention: true }),
        );
        assertAnswer(bypass, 400, {
          Code: "InvalidArgument",
          ArgumentName: "x-amz-bypass-governance-retention",
        });
        const many = await answered(
          s3,
          new DeleteObjectsCommand({
            Bucket,
            Delete: { Objects: [{ Key: "copy" }] },
            BypassGovernanceRetention: true,
          }),
        );
        assertAnswer(many, 400, { ArgumentName: "x-amz-bypass-governance-retention" });
        const owned = await answered(
          s3,
          new CreateBucketCommand({ Bucket: "owned-by", ObjectOwnership: "Nobody" as never }),
        );
        assertAnswer(owned, 400, { ArgumentName: "x-amz-object-ownership" });
        assertAnswer(await answered(s3, new CreateBucketCommand({ Bucket: "UPPER" })), 400, {
          Code: "InvalidBucketName",
          BucketName: "UPPER",
        });
      },
    }),
});
