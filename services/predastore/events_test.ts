import assert from "node:assert/strict";
import { join } from "node:path";
import { bridged } from "./bridged_event.ts";
import { matching, recordOf } from "./events.ts";
import type { BucketRow } from "./index/rows.ts";
import type { NotificationRule } from "./objects/settings.ts";
import { bodyOf, bytesOf, testStore } from "./test_store.ts";

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

Deno.test("events: what changes tags, lock or class has no place in the order of versions", () => {
  for (const name of ["ObjectTagging:Put", "ObjectRetention:Put", "LifecycleTransition"]) {
    assert.equal(record(name)?.eventVersion, "2.3");
    assert.equal(record(name)?.s3.object.sequencer, undefined, name);
  }
  assert.equal(record("LifecycleExpiration:Delete")?.s3.object.sequencer, "00000000000000FF7");
});

Deno.test("events: EventBridge hears of all but what it has no type for", () => {
  const rules = [{ ...rule, kind: "EventBridge", events: [], prefix: "", suffix: "" }] as const;
  assert.equal(matching(rules, { name: "LifecycleTransition", key: "k" }).length, 1);
  const event = { name: "ObjectRetention:Put", bucket: 1, key: "k", sequence: 1, at_ms: 0 };
  assert.equal(bridged({ id: 1, event }, bucket), undefined);
});

async function heardOf(versioning?: "Enabled") {
  let now = Date.UTC(2026, 0, 10, 12);
  const test = await testStore(1, 0, { now: () => now });
  const made = await test.bucket();
  await test.store.buckets.set(made, () => ({
    ...(versioning === undefined ? {} : { versioning }),
    notification: [{ ...rule, events: [], prefix: "", suffix: "" }],
  }));
  return { test, bucket: made, later: (ms: number) => now += ms };
}

Deno.test("events: a lifecycle rule's work is told as the service's own", async () => {
  const { test, bucket, later } = await heardOf("Enabled");
  await using _test = test;
  const lifecycle = {
    ...{ id: "r", enabled: true, filter: { prefix: "", tags: [] }, expire_days: 4 },
    transitions: [{ storage_class: "GLACIER_IR", days: 2 }],
  };
  await test.store.buckets.set(bucket, (now) => ({ ...now, lifecycle: [lifecycle] }));
  // What is smaller is not moved.
  await test.store.objects.put(bucket, "k", bodyOf(bytesOf(1, 128 * 1024)));
  for (let pass = 0; pass < 2; pass++) {
    later(3 * 86_400_000);
    await test.store.lifecycle.run();
  }
  const [, moved, hidden, ...more] = test.store.index.outbox.waiting(10);
  assert.ok(moved !== undefined && hidden !== undefined && more.length === 0);
  const { s3, lifecycleEventData, ...told } = recordOf(moved, bucket, rule).Records[0] ??
    assert.fail();
  assert.equal(told.eventName, "LifecycleTransition");
  assert.deepEqual(told.userIdentity, { principalId: "s3.amazonaws.com" });
  assert.deepEqual(told.requestParameters, { sourceIPAddress: "s3.amazonaws.com" });
  assert.deepEqual(Object.keys(s3.object), ["key", "size", "eTag", "versionId"]);
  assert.deepEqual(lifecycleEventData, {
    transitionEventData: { destinationStorageClass: "GLACIER_IR" },
  });
  assert.deepEqual(bridged(moved, bucket)?.detail["destination-storage-class"], "GLACIER_IR");
  const { object } = bridged(hidden, bucket)?.detail ?? assert.fail();
  assert.equal(hidden.event.name, "LifecycleExpiration:DeleteMarkerCreated");
  assert.equal(object.etag, "d41d8cd98f00b204e9800998ecf8427e");
  assert.equal(bridged(hidden, bucket)?.detail["source-ip-address"], undefined);
});

Deno.test("events: new tags that the index had not heard of are told when it reads on", async () => {
  const { test, bucket } = await heardOf();
  await using _test = test;
  await test.store.objects.put(bucket, "k", bodyOf(bytesOf(1, 100)));
  const index = join(test.directory, "index.db");
  await test.reopen({ between: () => Deno.copyFile(index, `${index}.before`) });
  await test.store.objects.annotate(bucket, "k", undefined, () => ({ tags: [] }), "Tagging:Put");
  const names = () => test.store.index.outbox.waiting(10).map(({ event }) => event.name);
  assert.deepEqual(names(), ["ObjectCreated:Put", "ObjectTagging:Put"]);
  // The index as it was before: a power cut may take what was not synced.
  await test.reopen({
    between: async () => {
      for (const suffix of ["-wal", "-shm"]) await Deno.remove(index + suffix).catch(() => {});
      await Deno.rename(`${index}.before`, index);
    },
  });
  assert.deepEqual(names(), ["ObjectCreated:Put", "ObjectTagging:Put"]);
});
