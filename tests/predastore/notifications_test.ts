/** Events of a bucket: told as its configuration says, in order, and on after a crash. */
import {
  CopyObjectCommand,
  DeleteObjectCommand,
  DeleteObjectTaggingCommand,
  GetBucketNotificationConfigurationCommand,
  PutBucketNotificationConfigurationCommand,
  PutObjectCommand,
  PutObjectTaggingCommand,
} from "@aws-sdk/client-s3";
import assert from "node:assert/strict";
import type { BridgedEvent, S3Event, S3TestEvent } from "../../services/predastore/contract.ts";
import { keptAlive, refused, withPredastore } from "./steps.ts";
import { until } from "../kit/until.ts";

const Bucket = "bucket";

Deno.test({
  name: "events of a bucket are told as S3 tells them",
  ...keptAlive,
  fn: (t) =>
    withPredastore(t, {
      "notification: events are told on the bus in order, as their rules say": async (s3, test) => {
        const operator = await test.node.bus("operator");
        const heard: { readonly subject: string; readonly event: S3Event }[] = [];
        const tests: { readonly subject: string; readonly event: S3TestEvent }[] = [];
        const listening = operator.listen<S3Event | S3TestEvent>("s3.event.>", (event, subject) => {
          if ("Records" in event) heard.push({ subject, event });
          else tests.push({ subject, event });
        });
        await operator.connection.flush();
        const TopicConfigurations = [{
          Id: "pictures",
          TopicArn: "arn:aws:sns:ap-southeast-2:123456789012:pictures",
          Events: ["s3:ObjectCreated:*" as const, "s3:ObjectRemoved:Delete" as const],
          Filter: {
            Key: {
              FilterRules: [
                { Name: "prefix" as const, Value: "in/" },
                { Name: "suffix" as const, Value: ".jpg" },
              ],
            },
          },
        }];
        await s3.send(
          new PutBucketNotificationConfigurationCommand({
            Bucket,
            NotificationConfiguration: { TopicConfigurations },
          }),
        );
        const back = await s3.send(new GetBucketNotificationConfigurationCommand({ Bucket }));
        // It is AWS that gives them back with a capital.
        const capital = JSON.stringify(TopicConfigurations).replace('"prefix"', '"Prefix"')
          .replace('"suffix"', '"Suffix"');
        assert.deepEqual(back.TopicConfigurations, JSON.parse(capital));
        for (let round = 0; round < 5; round++) {
          await s3.send(new PutObjectCommand({ Bucket, Key: "in/é 1.jpg", Body: `${round}` }));
          await s3.send(new PutObjectCommand({ Bucket, Key: "in/other.txt", Body: "x" }));
        }
        await s3.send(
          new CopyObjectCommand({ Bucket, Key: "in/2.jpg", CopySource: "bucket/in/other.txt" }),
        );
        await s3.send(new DeleteObjectCommand({ Bucket, Key: "in/é 1.jpg" }));
        await until("seven events are heard", () => heard.length >= 7);
        assert.deepEqual(
          tests.map(({ subject, event: { Event, Bucket } }) => [
            ...[subject, Event, Bucket],
          ]),
          [["s3.event.bucket.topic.pictures", "s3:TestEvent", "bucket"]],
        );
        const records = heard.map(({ event }) => event.Records[0]);
        assert.ok(heard.every(({ subject }) => subject === "s3.event.bucket.topic.pictures"));
        assert.deepEqual(records.map((one) => one?.eventName), [
          ...Array(5).fill("ObjectCreated:Put"),
          "ObjectCreated:Copy",
          "ObjectRemoved:Delete",
        ]);
        assert.equal(records[0]?.s3.object.key, "in/%C3%A9+1.jpg");
        assert.equal(records[0]?.s3.configurationId, "pictures");
        for (const record of records) {
          assert.deepEqual(record?.userIdentity, { principalId: "AWS:AIDATEST" });
          assert.match(record?.requestParameters?.sourceIPAddress ?? "", /^(127\.0\.0\.1|::1)$/);
          assert.match(record?.responseElements?.["x-amz-request-id"] ?? "", /^[0-9a-f-]{36}$/);
        }
        const order = records.map((one) => one?.s3.object.sequencer ?? "");
        assert.deepEqual(order, order.toSorted());
        await refused(
          s3.send(
            new PutBucketNotificationConfigurationCommand({
              Bucket,
              NotificationConfiguration: {
                QueueConfigurations: [{ QueueArn: "nonsense", Events: ["s3:ObjectCreated:*"] }],
              },
            }),
          ),
          "InvalidArgument",
          400,
        );
        const overlapping = (first: string, second: string) =>
          s3.send(
            new PutBucketNotificationConfigurationCommand({
              Bucket,
              NotificationConfiguration: {
                TopicConfigurations,
                QueueConfigurations: [{
                  QueueArn: "arn:aws:sqs:ap-southeast-2:123456789012:queue",
                  Events: ["s3:ObjectCreated:Put"],
                  Filter: {
                    Key: {
                      FilterRules: [{ Name: "prefix", Value: first }, {
                        Name: "suffix",
                        Value: second,
                      }],
                    },
                  },
                }],
              },
            }),
          );
        await refused(overlapping("in/sub/", ""), "InvalidArgument", 400);
        await overlapping("in/", ".png");
        await s3.send(
          new PutBucketNotificationConfigurationCommand({
            Bucket,
            NotificationConfiguration: { TopicConfigurations },
          }),
        );
        await listening.close();
      },

      "notification: tags are told in their order among a key's events, to a queue and to EventBridge":
        async (
          s3,
          test,
        ) => {
          const operator = await test.node.bus("operator");
          const records: string[] = [];
          const bridged: BridgedEvent[] = [];
          const listening = [
            operator.listen<S3Event | S3TestEvent>("s3.event.bucket.queue.tags", (event) => {
              if ("Records" in event) records.push(event.Records[0]?.eventName ?? "");
            }),
            operator.listen<BridgedEvent>("s3.event.bucket.eventbridge.all", (event) => {
              bridged.push(event);
            }),
          ];
          await operator.connection.flush();
          const before = await s3.send(new GetBucketNotificationConfigurationCommand({ Bucket }));
          await s3.send(
            new PutBucketNotificationConfigurationCommand({
              Bucket,
              NotificationConfiguration: {
                QueueConfigurations: [{
                  QueueArn: "arn:aws:sqs:ap-southeast-2:123456789012:tags",
                  Events: ["s3:ObjectTagging:*", "s3:ObjectCreated:Put", "s3:ObjectRemoved:*"],
                }],
                EventBridgeConfiguration: {},
              },
            }),
          );
          const target = { Bucket, Key: "in/tagged" };
          const TagSet = [{ Key: "a", Value: "1" }];
          for (let round = 0; round < 3; round++) {
            await s3.send(new PutObjectCommand({ ...target, Body: "x" }));
            await s3.send(new PutObjectTaggingCommand({ ...target, Tagging: { TagSet } }));
            await s3.send(new DeleteObjectTaggingCommand(target));
            await s3.send(new DeleteObjectCommand(target));
          }
          await until("all are heard", () => records.length >= 12 && bridged.length >= 12);
          const names = ["ObjectCreated:Put", "ObjectTagging:Put", "ObjectTagging:Delete"];
          assert.deepEqual(records, Array(3).fill([...names, "ObjectRemoved:Delete"]).flat());
          const types = ["Object Created", "Object Tags Added", "Object Tags Deleted"];
          assert.deepEqual(
            bridged.map((event) => event["detail-type"]),
            Array(3).fill([...types, "Object Deleted"]).flat(),
          );
          assert.ok(bridged.every(({ detail }) => detail.requester === "123456789012"));
          const { TopicConfigurations } = before;
          await s3.send(
            new PutBucketNotificationConfigurationCommand({
              Bucket,
              NotificationConfiguration: { TopicConfigurations },
            }),
          );
          for (const one of listening) await one.close();
        },

      "notification: events are told on after the store was killed and started again": async (
        s3,
        test,
      ) => {
        await test.process().stop("SIGKILL");
        await test.restart("SIGKILL");
        const operator = await test.node.bus("operator");
        const heard: string[] = [];
        const listening = operator.listen<S3Event | S3TestEvent>("s3.event.>", (event) => {
          if ("Records" in event) heard.push(event.Records[0]?.s3.object.key ?? "");
        });
        await operator.connection.flush();
        await s3.send(new PutObjectCommand({ Bucket, Key: "in/after.jpg", Body: "x" }));
        await until("the event is heard", () => heard.includes("in/after.jpg"));
        await listening.close();
      },
    }),
});
