/** What refusals of tags, lists, locks, notifications, ACLs and configurations tell besides their code. */
import {
  AbortMultipartUploadCommand,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  ListMultipartUploadsCommand,
  ListObjectsCommand,
  ListObjectsV2Command,
  PutBucketAclCommand,
  PutBucketEncryptionCommand,
  PutBucketLifecycleConfigurationCommand,
  PutBucketNotificationConfigurationCommand,
  PutBucketTaggingCommand,
  PutObjectCommand,
  PutObjectLockConfigurationCommand,
  PutObjectTaggingCommand,
} from "@aws-sdk/client-s3";
import assert from "node:assert/strict";
import { answered, assertAnswer } from "./answered.ts";
import { keptAlive, withPredastore } from "./steps.ts";

const Bucket = "bucket";

Deno.test({
  ...keptAlive,
  name: "refusals of settings and lists tell what AWS's tell",
  fn: (t) =>
    withPredastore(t, {
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
        await s3.send(new PutObjectCommand({ Bucket, Key: "copy", Body: "x" }));
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
