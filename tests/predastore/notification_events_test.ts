/** Which events a bucket's notification configuration may name, and which of them come. */
import { Event } from "@aws-sdk/client-s3";
import assert from "node:assert/strict";
import { bridged } from "../../services/predastore/bridged_event.ts";
import { matching, recordOf, testMessage } from "../../services/predastore/events.ts";
import type { WaitingEvent } from "../../services/predastore/index/outbox.ts";
import type { NotificationRule } from "../../services/predastore/objects/settings.ts";
import { elementOf } from "./answered.ts";
import { type OpenDoor, openDoor } from "./open_door.ts";

const topic = (events: readonly string[]) =>
  `<TopicConfiguration><Id>t</Id><Topic>arn:aws:sns:r:123456789012:t</Topic>${
    events.map((event) => `<Event>${event}</Event>`).join("")
  }</TopicConfiguration>`;

const configure = ({ say }: OpenDoor, inner: string) =>
  say(
    "PUT /bucket?notification",
    {},
    `<NotificationConfiguration>${inner}</NotificationConfiguration>`,
  );

Deno.test("notification events: a configuration may name each that AWS has, and no other", async () => {
  await using door = await openDoor();
  await door.say("PUT /bucket");
  for (const event of Object.values(Event)) {
    assert.equal((await configure(door, topic([event]))).status, 200, event);
  }
  const named = await door.say("GET /bucket?notification");
  for (const event of ["s3:ObjectTagging", "s3:ObjectTagging:Copy", "s3:Nothing:*", "*"]) {
    const refused = await configure(door, topic([event]));
    assert.equal(elementOf(refused.text, "Code"), "InvalidArgument", event);
  }
  assert.equal((await door.say("GET /bucket?notification")).text, named.text);
});

const tags = "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>";

/** What waits, as `rule` is told of it. */
const told = ({ store }: OpenDoor) => store.index.outbox.waiting(100);
const rule = (): NotificationRule => ({
  ...{ id: "t", kind: "Topic", arn: "arn:aws:sns:r:123456789012:t", prefix: "", suffix: "" },
  events: ["s3:ObjectTagging:*", "s3:ObjectRetention:Put"],
});
const bucketOf = ({ store }: OpenDoor) => {
  const bucket = store.buckets.find("bucket");
  assert.ok(bucket !== undefined);
  return bucket;
};

Deno.test("notification events: tags and retention tell what they changed, and by whom, without a place in the order", async () => {
  await using door = await openDoor();
  await door.say("PUT /bucket", { "x-amz-bucket-object-lock-enabled": "true" });
  await configure(door, topic(["s3:ObjectTagging:*", "s3:ObjectRetention:Put"]));
  const put = await door.say("PUT /bucket/a%20b", {}, "some");
  const version = put.headers.get("x-amz-version-id");
  await door.say("PUT /bucket/a%20b?tagging", {}, tags);
  await door.say(
    "PUT /bucket/a%20b?retention",
    {},
    "<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>2999-01-01T00:00:00Z</RetainUntilDate></Retention>",
  );
  await door.say(
    "PUT /bucket/a%20b?legal-hold",
    {},
    "<LegalHold><Status>ON</Status></LegalHold>",
  );
  await door.say("DELETE /bucket/a%20b?tagging");
  // What is refused tells nothing.
  assert.equal((await door.say("PUT /bucket/none?tagging", {}, tags)).status, 404);
  const waiting = told(door).filter(({ event }) =>
    event.key !== "" && matching([rule()], event).length > 0
  );
  const records = waiting.map((one) => recordOf(one, bucketOf(door), rule()).Records[0]);
  assert.deepEqual(records.map((one) => [one?.eventName, one?.eventVersion]), [
    ["ObjectTagging:Put", "2.3"],
    ["ObjectRetention:Put", "2.3"],
    ["ObjectTagging:Delete", "2.3"],
  ]);
  for (const record of records) {
    assert.deepEqual(record?.s3.object, {
      key: "a+b",
      eTag: "03d59e663c1af9ac33a9949d1193505a",
      versionId: version,
    });
    assert.deepEqual(record?.userIdentity, { principalId: "AWS:123456789012" });
    assert.match(record?.responseElements?.["x-amz-request-id"] ?? "", /./);
  }
});

const withoutId = (door: OpenDoor, one: WaitingEvent) => {
  const { id, time, ...rest } = bridged(one, bucketOf(door)) ?? assert.fail(one.event.name);
  assert.match(id, /^[0-9a-f-]{36}$/);
  assert.match(time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
  return rest;
};

Deno.test("notification events: EventBridge hears of all in its own form", async () => {
  await using door = await openDoor();
  await door.say("PUT /bucket");
  await configure(door, "<EventBridgeConfiguration/>");
  await door.say("PUT /bucket/a%20b", {}, "some");
  await door.say("PUT /bucket/a%20b?tagging", {}, tags);
  await door.say("DELETE /bucket/a%20b");
  const { settings } = bucketOf(door);
  const waiting = told(door);
  assert.ok(
    waiting.every(({ event }) => matching(settings.notification ?? [], event).length === 1),
  );
  const [made, tagged, gone, ...more] = waiting.map((one) => withoutId(door, one));
  assert.equal(more.length, 0);
  const who = {
    "request-id": made?.detail["request-id"],
    requester: "123456789012",
    "source-ip-address": "",
  };
  assert.deepEqual(made, {
    version: "0",
    "detail-type": "Object Created",
    source: "aws.s3",
    account: "123456789012",
    region: "ap-southeast-2",
    resources: ["arn:aws:s3:::bucket"],
    detail: {
      version: "0",
      bucket: { name: "bucket" },
      object: {
        key: "a b",
        size: 4,
        etag: "03d59e663c1af9ac33a9949d1193505a",
        sequencer: made?.detail.object.sequencer,
      },
      ...who,
      reason: "PutObject",
    },
  });
  assert.equal(tagged?.["detail-type"], "Object Tags Added");
  assert.deepEqual(tagged?.detail.object, { key: "a b", etag: "03d59e663c1af9ac33a9949d1193505a" });
  assert.equal(gone?.["detail-type"], "Object Deleted");
  assert.equal(gone?.detail["deletion-type"], "Permanently Deleted");
  assert.equal(gone?.detail.reason, "DeleteObject");
  assert.deepEqual(Object.keys(gone?.detail.object ?? {}), ["key", "sequencer"]);
  assert.ok((made?.detail.object.sequencer ?? "") < (gone?.detail.object.sequencer ?? ""));
});

Deno.test("notification events: a destination hears a test when it is configured, unless it is not to be validated", async () => {
  await using door = await openDoor();
  await door.say("PUT /bucket");
  const set = (inner: string, headers: Record<string, string> = {}) =>
    door.say(
      "PUT /bucket?notification",
      headers,
      `<NotificationConfiguration>${inner}</NotificationConfiguration>`,
    );
  const all = topic(["s3:ObjectCreated:*"]);
  await set(all, { "x-amz-skip-destination-validation": "true" });
  assert.equal(told(door).length, 0);
  await set(`${all}<EventBridgeConfiguration/>`);
  const [test, ...more] = told(door);
  assert.ok(test !== undefined && more.length === 0);
  const rules = matching(bucketOf(door).settings.notification ?? [], test.event);
  assert.deepEqual(rules.map(({ kind }) => kind), ["Topic"]);
  const { Time, RequestId, HostId, ...message } = testMessage(test, bucketOf(door));
  assert.deepEqual(message, { Service: "Amazon S3", Event: "s3:TestEvent", Bucket: "bucket" });
  assert.ok(Date.parse(Time) > 0 && RequestId !== "" && HostId !== "");
  await set("");
  assert.equal(told(door).length, 1);
});
