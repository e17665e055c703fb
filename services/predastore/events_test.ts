import assert from "node:assert/strict";
import { recordOf } from "./events.ts";
import type { BucketRow } from "./index/rows.ts";
import type { NotificationRule } from "./objects/settings.ts";

const bucket = { id: 1, name: "b", account_id: "123456789012", region: "r" } as BucketRow;
const rule = { id: "rule", kind: "Topic", arn: "arn:aws:sns:r:1:t" } as NotificationRule;

const record = (name: string) =>
  recordOf(
    {
      id: 7,
      event: {
        ...{ name, bucket: 1, key: "a@b é", sequence: 255, at_ms: 0 },
        ...{ size: 9, etag: "e", version: "v" },
      },
    },
    bucket,
    rule,
  ).Records[0];

Deno.test("events: a record has the version that AWS gives events of its kind", () => {
  assert.equal(record("ObjectCreated:Put")?.eventVersion, "2.1");
  assert.equal(record("ObjectRemoved:DeleteMarkerCreated")?.eventVersion, "2.1");
  assert.equal(record("LifecycleExpiration:Delete")?.eventVersion, "2.3");
});

Deno.test("events: a record is laid out as AWS's, its key encoded as in a form", () => {
  assert.deepEqual(record("ObjectCreated:Put"), {
    eventVersion: "2.1",
    eventSource: "aws:s3",
    awsRegion: "r",
    eventTime: "1970-01-01T00:00:00.000Z",
    eventName: "ObjectCreated:Put",
    s3: {
      s3SchemaVersion: "1.0",
      configurationId: "rule",
      bucket: {
        name: "b",
        ownerIdentity: { principalId: "123456789012" },
        arn: "arn:aws:s3:::b",
      },
      object: {
        key: "a%40b+%C3%A9",
        size: 9,
        eTag: "e",
        versionId: "v",
        sequencer: "00000000000000FF7",
      },
    },
  });
});
