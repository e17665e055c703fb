/**
 * Notification configurations. What matches one is told on the bus (`../events.ts`): there are no topics
 * or queues of Amazon's here, so an ARN's last part names a subject.
 */
import { AwsError } from "../../aws/errors.ts";
import { currentCause } from "../objects/cause.ts";
import type { NotificationRule } from "../objects/settings.ts";
import { invalidArgument, ownBucket, type S3Call } from "./call.ts";
import { done, maybeNode, nodes, readRoot, requiredText, setBucket, texts } from "./document.ts";
import { element, malformedXml, text, type XmlNode, xmlResponse } from "./xml.ts";

const kinds = ["Topic", "Queue", "CloudFunction"] as const;
const services = { Topic: "sns", Queue: "sqs", CloudFunction: "lambda" } as const;

/**
 * What may be asked for, which is all that AWS has. Some of it never happens here: nothing is restored, replicated,
 * archived, annotated or lost for want of redundancy, and ACLs stay the owner's.
 */
export const events: ReadonlySet<string> = new Set([
  "s3:IntelligentTiering",
  "s3:ObjectCreated:*",
  "s3:ObjectCreated:Put",
  "s3:ObjectCreated:Post",
  "s3:ObjectCreated:Copy",
  "s3:ObjectCreated:CompleteMultipartUpload",
  "s3:ObjectRemoved:*",
  "s3:ObjectRemoved:Delete",
  "s3:ObjectRemoved:DeleteMarkerCreated",
  "s3:LifecycleExpiration:*",
  "s3:LifecycleExpiration:Delete",
  "s3:LifecycleExpiration:DeleteMarkerCreated",
  "s3:LifecycleTransition",
  "s3:ObjectAcl:Put",
  "s3:ObjectAnnotation:*",
  "s3:ObjectAnnotation:Delete",
  "s3:ObjectAnnotation:Put",
  "s3:ObjectRestore:*",
  "s3:ObjectRestore:Completed",
  "s3:ObjectRestore:Delete",
  "s3:ObjectRestore:Post",
  "s3:ObjectRetention:Put",
  "s3:ObjectTagging:*",
  "s3:ObjectTagging:Delete",
  "s3:ObjectTagging:Put",
  "s3:ReducedRedundancyLostObject",
  "s3:Replication:*",
  "s3:Replication:OperationFailedReplication",
  "s3:Replication:OperationMissedThreshold",
  "s3:Replication:OperationNotTracked",
  "s3:Replication:OperationReplicatedAfterThreshold",
]);

function ruleOf(node: XmlNode, kind: typeof kinds[number]): NotificationRule {
  const arn = requiredText(node, kind);
  if (!arn.startsWith(`arn:aws:${services[kind]}:`) || arn.split(":").length < 6) {
    throw invalidArgument("The ARN could not be parsed", kind, arn);
  }
  const wanted = texts(node, "Event");
  if (wanted.length === 0) throw malformedXml();
  for (const event of wanted) {
    if (!events.has(event)) {
      throw invalidArgument(
        `The event '${event}' is not supported for notifications`,
        "Event",
        event,
      );
    }
  }
  const parts = { prefix: "", suffix: "" };
  const filter = maybeNode(node, "Filter");
  const key = filter === undefined ? undefined : maybeNode(filter, "S3Key");
  for (const rule of key === undefined ? [] : nodes(key, "FilterRule")) {
    const written = requiredText(rule, "Name");
    const name = written.toLowerCase();
    if (name !== "prefix" && name !== "suffix") {
      throw invalidArgument(
        "filter rule name must be either prefix or suffix",
        "FilterRule.Name",
        written,
      );
    }
    parts[name] = requiredText(rule, "Value");
  }
  return { id: text(node, "Id") ?? crypto.randomUUID(), kind, arn, events: wanted, ...parts };
}

const sameEvent = (a: string, b: string) =>
  a === b ||
  [[a, b], [b, a]].some(([wide = "", narrow = ""]) =>
    wide.endsWith(":*") && narrow.startsWith(wide.slice(0, -1))
  );

/** No event is for two of them, as AWS demands: EventBridge alone hears what others hear too. */
function checkApart(rules: readonly NotificationRule[]): void {
  const named = rules.filter(({ kind }) => kind !== "EventBridge");
  for (const [at, a] of named.entries()) {
    for (const b of named.slice(at + 1)) {
      const keys = (a.prefix.startsWith(b.prefix) || b.prefix.startsWith(a.prefix)) &&
        (a.suffix.endsWith(b.suffix) || b.suffix.endsWith(a.suffix));
      if (!keys || !a.events.some((one) => b.events.some((other) => sameEvent(one, other)))) {
        continue;
      }
      throw invalidArgument(
        "Configurations overlap. Configurations on the same bucket cannot share a common event type.",
      );
    }
  }
}

export async function putBucketNotificationConfiguration(call: S3Call): Promise<Response> {
  const bucket = ownBucket(call);
  const root = await readRoot(call, "NotificationConfiguration");
  const notification: NotificationRule[] = kinds.flatMap((kind) =>
    nodes(root, `${kind}Configuration`).map((one) => ruleOf(one, kind))
  );
  if (root["EventBridgeConfiguration"] !== undefined) {
    notification.push({
      id: "EventBridge",
      kind: "EventBridge",
      arn: "",
      events: [],
      prefix: "",
      suffix: "",
    });
  }
  const ids = notification.map(({ id }) => id);
  if (new Set(ids).size < ids.length) {
    throw new AwsError(
      "InvalidArgument",
      "Same ID used for multiple configurations. IDs must be unique",
    );
  }
  checkApart(notification);
  await setBucket(call, () => ({
    notification: notification.length === 0 ? undefined : notification,
  }));
  if (call.headers.get("x-amz-skip-destination-validation")?.toLowerCase() !== "true") {
    const { index, progress } = call.store;
    await index.write(() => index.outbox.noteTest(bucket.id, progress.now(), currentCause()));
  }
  return done();
}

export function getBucketNotificationConfiguration(call: S3Call): Response {
  const { notification = [] } = ownBucket(call).settings;
  return xmlResponse(
    "NotificationConfiguration",
    notification.map((rule) => {
      if (rule.kind === "EventBridge") return element("EventBridgeConfiguration", "");
      const filters = (["prefix", "suffix"] as const).filter((name) => rule[name] !== "");
      return element(`${rule.kind}Configuration`, [
        element("Id", rule.id),
        element(rule.kind, rule.arn),
        rule.events.map((event) => element("Event", event)),
        filters.length === 0 ? undefined : element(
          "Filter",
          element(
            "S3Key",
            filters.map((name) =>
              element("FilterRule", [
                element("Name", name === "prefix" ? "Prefix" : "Suffix"),
                element("Value", rule[name]),
              ])
            ),
          ),
        ),
      ]);
    }),
  );
}
