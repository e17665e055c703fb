/**
 * Tells the bus what happened to objects, as their buckets' notification configurations ask: AWS's event
 * records, or its messages to EventBridge, on `s3.event.<bucket>.<kind>.<name>`, kept in the JetStream stream
 * S3_EVENTS.
 *
 * At least once, and in order for each key: the outbox is read in its order, nothing goes out before what
 * is before it has been acknowledged, and only then is it taken out. While the bus is away it waits.
 */
import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import type { Bus } from "../bus/bus.ts";
import { errorFields, type Log } from "../log/log.ts";
import { bridged } from "./bridged_event.ts";
import { eventStream, eventSubject, type S3Event, type S3TestEvent } from "./contract.ts";
import { sequencerOf } from "./event_order.ts";
import type { ObjectIndex } from "./index/object_index.ts";
import { type ObjectEvent, testEvent, type WaitingEvent } from "./index/outbox.ts";
import type { BucketRow } from "./index/rows.ts";
import type { Cause } from "./objects/cause.ts";
import type { NotificationRule } from "./objects/settings.ts";
import { urlEncode } from "./s3/url_encoding.ts";

const atOnce = 100;
const acknowledged_ms = 5_000;
const retry_ms = 2_000;
const kept_bytes = 128 * 1024 * 1024;
const kept_ns = 7 * 86_400 * 1e9;

/** The rules of a bucket that an event is for. */
export function matching(
  rules: readonly NotificationRule[],
  event: Pick<ObjectEvent, "name" | "key">,
): NotificationRule[] {
  if (event.name === testEvent) return rules.filter(({ kind }) => kind !== "EventBridge");
  const [group = ""] = event.name.split(":");
  return rules.filter((rule) =>
    event.key.startsWith(rule.prefix) && event.key.endsWith(rule.suffix) &&
    (rule.kind === "EventBridge" ||
      rule.events.some((one) => one === `s3:${event.name}` || one === `s3:${group}:*`))
  );
}

/** Who changed it, where somebody did. */
function toldCause(cause: Cause | undefined) {
  if (cause === undefined) return {};
  return {
    userIdentity: { principalId: cause.principal_id },
    requestParameters: { sourceIPAddress: cause.source_ip },
    responseElements: { "x-amz-request-id": cause.request_id, "x-amz-id-2": cause.request_id },
  };
}

/** Events that AWS told of first. */
const first = /^Object(Created|Removed):/;

/** The record as AWS writes it. */
export function recordOf(
  { id, event }: WaitingEvent,
  bucket: BucketRow,
  rule: NotificationRule,
): S3Event {
  const sequencer = sequencerOf(event, id);
  return {
    Records: [{
      // AWS numbers records by their kind: some came later, with what they alone have.
      eventVersion: first.test(event.name) ? "2.1" : "2.3",
      eventSource: "aws:s3",
      awsRegion: bucket.region,
      eventTime: new Date(event.at_ms).toISOString(),
      eventName: event.name,
      ...toldCause(event.cause),
      s3: {
        s3SchemaVersion: "1.0",
        configurationId: rule.id,
        bucket: {
          name: bucket.name,
          ownerIdentity: { principalId: bucket.account_id },
          arn: `arn:aws:s3:::${bucket.name}`,
        },
        object: {
          key: urlEncode(event.key),
          ...(event.size === undefined ? {} : { size: event.size }),
          ...(event.etag === undefined ? {} : { eTag: event.etag }),
          ...(event.version === undefined ? {} : { versionId: event.version }),
          ...(sequencer === undefined ? {} : { sequencer }),
        },
      },
      ...(event.storage_class === undefined ? {} : {
        lifecycleEventData: {
          transitionEventData: { destinationStorageClass: event.storage_class },
        },
      }),
    }],
  };
}

export function testMessage({ event }: WaitingEvent, bucket: BucketRow): S3TestEvent {
  const request_id = event.cause?.request_id ?? "";
  return {
    Service: "Amazon S3",
    Event: testEvent,
    Time: new Date(event.at_ms).toISOString(),
    Bucket: bucket.name,
    RequestId: request_id,
    HostId: request_id,
  };
}

/** What a rule's destination hears of an event; nothing where it is not told of such. */
function messageOf(one: WaitingEvent, bucket: BucketRow, rule: NotificationRule) {
  if (rule.kind === "EventBridge") return bridged(one, bucket);
  return one.event.name === testEvent ? testMessage(one, bucket) : recordOf(one, bucket, rule);
}

export class EventTeller implements AsyncDisposable {
  readonly #bus: Bus;
  readonly #index: ObjectIndex;
  readonly #log: Log;
  readonly #stop = new AbortController();
  #wake = Promise.withResolvers<void>();
  readonly #running: Promise<void>;
  #streamStands = false;
  /** Since the start. */
  told = 0;

  constructor(bus: Bus, index: ObjectIndex, log: Log) {
    this.#bus = bus;
    this.#index = index;
    this.#log = log;
    index.outbox.onNoted = () => this.#wake.resolve();
    this.#running = this.#run();
  }

  async #run(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      try {
        if (this.#index.outbox.count() > 0) {
          await this.#prepare();
          while (!this.#stop.signal.aborted && await this.#tellSome());
        }
        await this.#wake.promise;
        this.#wake = Promise.withResolvers<void>();
      } catch (error) {
        if (this.#stop.signal.aborted) return;
        this.#log.warn("events_wait", { ...errorFields(error) });
        await this.#pause();
      }
    }
  }

  async #pause(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, retry_ms);
    this.#stop.signal.addEventListener("abort", () => resolve(), { once: true });
    await promise;
    clearTimeout(timer);
  }

  async #prepare(): Promise<void> {
    if (this.#streamStands) return;
    await this.#bus.ready(acknowledged_ms);
    const manager = await jetstreamManager(this.#bus.connection, { timeout: acknowledged_ms });
    try {
      await manager.streams.info(eventStream);
    } catch {
      await manager.streams.add({
        name: eventStream,
        subjects: ["s3.event.>"],
        max_bytes: kept_bytes,
        max_age: kept_ns,
        discard: "old",
      });
    }
    this.#streamStands = true;
  }

  /** @returns whether there may be more */
  async #tellSome(): Promise<boolean> {
    const waiting = this.#index.outbox.waiting(atOnce);
    const last = waiting.at(-1);
    if (last === undefined) return false;
    const stream = jetstream(this.#bus.connection);
    for (const one of waiting) {
      const bucket = this.#index.buckets.findById(one.event.bucket);
      for (const rule of matching(bucket?.settings.notification ?? [], one.event)) {
        if (bucket === undefined) continue;
        const message = messageOf(one, bucket, rule);
        if (message === undefined) continue;
        await stream.publish(
          eventSubject(bucket.name, rule.kind, rule.arn),
          JSON.stringify(message),
          { timeout: acknowledged_ms, msgID: `${one.id}/${one.event.sequence}/${rule.id}` },
        );
        this.told++;
      }
    }
    await this.#index.write(() => this.#index.outbox.told(last.id));
    return true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    this.#wake.resolve();
    await this.#running;
  }
}
