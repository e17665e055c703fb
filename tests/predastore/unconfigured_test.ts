/** What buckets can have at AWS and not here: AWS's answer for where it was never set. */
import {
  DeleteBucketMetricsConfigurationCommand,
  DeleteBucketReplicationCommand,
  DeleteBucketWebsiteCommand,
  GetBucketAccelerateConfigurationCommand,
  GetBucketAnalyticsConfigurationCommand,
  GetBucketLoggingCommand,
  GetBucketReplicationCommand,
  GetBucketRequestPaymentCommand,
  GetBucketWebsiteCommand,
  ListBucketInventoryConfigurationsCommand,
  ListBucketMetricsConfigurationsCommand,
  PutBucketAccelerateConfigurationCommand,
  PutBucketLoggingCommand,
  PutBucketRequestPaymentCommand,
  PutBucketWebsiteCommand,
  PutObjectCommand,
  RestoreObjectCommand,
} from "@aws-sdk/client-s3";
import assert from "node:assert/strict";
import { answered, assertAnswer } from "./answered.ts";
import { keptAlive, refused, withPredastore } from "./steps.ts";

const Bucket = "bucket";

Deno.test({
  ...keptAlive,
  name: "what buckets have at AWS alone is answered as never configured",
  fn: (t) =>
    withPredastore(t, {
      "unconfigured: questions get AWS's answer for a new bucket": async (s3) => {
        const speed = await s3.send(new GetBucketAccelerateConfigurationCommand({ Bucket }));
        assert.equal(speed.Status, undefined);
        const logs = await s3.send(new GetBucketLoggingCommand({ Bucket }));
        assert.equal(logs.LoggingEnabled, undefined);
        const pays = await s3.send(new GetBucketRequestPaymentCommand({ Bucket }));
        assert.equal(pays.Payer, "BucketOwner");
        const site = await answered(s3, new GetBucketWebsiteCommand({ Bucket }));
        assertAnswer(site, 404, { Code: "NoSuchWebsiteConfiguration", BucketName: Bucket });
        const copies = await answered(s3, new GetBucketReplicationCommand({ Bucket }));
        assertAnswer(copies, 404, {
          Code: "ReplicationConfigurationNotFoundError",
          BucketName: Bucket,
        });
        await refused(
          s3.send(new GetBucketAnalyticsConfigurationCommand({ Bucket, Id: "a" })),
          "NoSuchConfiguration",
          404,
        );
        for (
          const list of [
            new ListBucketMetricsConfigurationsCommand({ Bucket }),
            new ListBucketInventoryConfigurationsCommand({ Bucket }),
          ]
        ) assertAnswer(await answered(s3, list), 200, { IsTruncated: "false" });
      },

      "unconfigured: what is so anyway may be set and taken away": async (s3) => {
        await s3.send(new DeleteBucketReplicationCommand({ Bucket }));
        await s3.send(new DeleteBucketWebsiteCommand({ Bucket }));
        await refused(
          s3.send(new DeleteBucketMetricsConfigurationCommand({ Bucket, Id: "a" })),
          "NoSuchConfiguration",
          404,
        );
        await s3.send(new PutBucketLoggingCommand({ Bucket, BucketLoggingStatus: {} }));
        const payer = (Payer: "BucketOwner" | "Requester") =>
          s3.send(
            new PutBucketRequestPaymentCommand({ Bucket, RequestPaymentConfiguration: { Payer } }),
          );
        const speed = (Status: "Enabled" | "Suspended") =>
          s3.send(
            new PutBucketAccelerateConfigurationCommand({
              Bucket,
              AccelerateConfiguration: { Status },
            }),
          );
        await payer("BucketOwner");
        await speed("Suspended");
        await refused(payer("Requester"), "NotImplemented", 501);
        await refused(speed("Enabled"), "NotImplemented", 501);
        await refused(payer("Nobody" as never), "MalformedXML", 400);
      },

      "unconfigured: what would have to act is not taken": async (s3, test) => {
        await refused(
          s3.send(
            new PutBucketLoggingCommand({
              Bucket,
              BucketLoggingStatus: { LoggingEnabled: { TargetBucket: Bucket, TargetPrefix: "" } },
            }),
          ),
          "NotImplemented",
          501,
        );
        await refused(
          s3.send(
            new PutBucketWebsiteCommand({
              Bucket,
              WebsiteConfiguration: { IndexDocument: { Suffix: "index.html" } },
            }),
          ),
          "NotImplemented",
          501,
        );
        await s3.send(new PutObjectCommand({ Bucket, Key: "k", Body: "x" }));
        const restore = await answered(
          s3,
          new RestoreObjectCommand({ Bucket, Key: "k", RestoreRequest: { Days: 1 } }),
        );
        assertAnswer(restore, 403, { Code: "InvalidObjectState", StorageClass: "STANDARD" });
        // Whose bucket it is counts here too.
        await refused(
          test.s3("AKIAOTHER").send(new GetBucketWebsiteCommand({ Bucket })),
          "AccessDenied",
          403,
        );
      },
    }),
});
