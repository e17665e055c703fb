/** What S3 has and this store has not: refused in AWS's words before anything is stored, never ignored. */
import {
  CreateMultipartUploadCommand,
  ListObjectsV2Command,
  PutBucketLifecycleConfigurationCommand,
  PutObjectCommand,
  type StorageClass,
} from "@aws-sdk/client-s3";
import assert from "node:assert/strict";
import { keptAlive, refused, withPredastore } from "./steps.ts";

const Bucket = "bucket";
Deno.test({
  ...keptAlive,
  name: "what asks for something that is not served is refused, and stores nothing",
  fn: (t) =>
    withPredastore(t, {
      "storage classes that need a restore first are no valid ones": async (s3) => {
        for (const StorageClass of ["GLACIER", "DEEP_ARCHIVE", "COLD"] as StorageClass[]) {
          const put = new PutObjectCommand({ Bucket, Key: "k", Body: "x", StorageClass });
          await refused(s3.send(put), "InvalidStorageClass", 400);
        }
        await s3.send(new PutObjectCommand({ Bucket, Key: "std", Body: "x" }));
      },

      "keys of KMS are not taken": async (s3) => {
        const ServerSideEncryption = "aws:kms";
        const put = new PutObjectCommand({ Bucket, Key: "k", Body: "x", ServerSideEncryption });
        await refused(s3.send(put), "NotImplemented", 501);
        const upload = { Bucket, Key: "k" };
        await refused(
          s3.send(
            new CreateMultipartUploadCommand({ ...upload, ServerSideEncryption: "aws:kms:dsse" }),
          ),
          "NotImplemented",
          501,
        );
      },

      "lifecycle transitions to classes that need a restore are not taken": async (s3) => {
        const rule = {
          ID: "cold",
          Status: "Enabled" as const,
          Filter: { Prefix: "" },
          Transitions: [{ Days: 30, StorageClass: "GLACIER" as const }],
        };
        await refused(
          s3.send(
            new PutBucketLifecycleConfigurationCommand({
              Bucket,
              LifecycleConfiguration: { Rules: [rule] },
            }),
          ),
          "NotImplemented",
          501,
        );
      },

      "a body in a form that is not known is not taken for its content": async (s3) => {
        for (
          const [form, code, status] of [
            ["STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", "NotImplemented", 501],
            ["STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER", "NotImplemented", 501],
            ["STREAMING-ANYTHING", "InvalidArgument", 400],
            ["abc", "InvalidArgument", 400],
          ] as const
        ) {
          const put = new PutObjectCommand({ Bucket, Key: "k", Body: "x" });
          put.middlewareStack.add((next) => (args) => {
            const { headers } = args.request as { headers: Record<string, string> };
            headers["x-amz-content-sha256"] = form;
            return next(args);
          }, { step: "build", priority: "low" });
          await refused(s3.send(put), code, status);
        }
      },

      "nothing of it was stored": async (s3) => {
        const { Contents } = await s3.send(new ListObjectsV2Command({ Bucket }));
        assert.deepEqual(Contents?.map(({ Key }) => Key), ["std"]);
      },
    }),
});
