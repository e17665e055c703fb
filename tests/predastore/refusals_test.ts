/**
 * What a refusal tells besides its code: clients show these elements, and some act on them. Each case is as
 * AWS answers it.
 */
import {
  CopyObjectCommand,
  CreateBucketCommand,
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
  PutBucketEncryptionCommand,
  PutBucketVersioningCommand,
  PutObjectAclCommand,
  PutObjectCommand,
  PutObjectTaggingCommand,
  type S3Client,
} from "@aws-sdk/client-s3";
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { answered, assertAnswer } from "./answered.ts";
import { keptAlive, withPredastore } from "./steps.ts";

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
        // That of a source is not, whether it is named or not.
        for (const source of ["halted/k", "halted/k?versionId=null"]) {
          const again = await answered(
            s3,
            new CopyObjectCommand({ Bucket: "halted", Key: "again", CopySource: source }),
          );
          assert.equal(again.headers["x-amz-version-id"], "null");
          assert.equal(again.headers["x-amz-copy-source-version-id"], undefined);
        }
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
    }),
});
