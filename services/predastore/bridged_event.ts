/** Events as EventBridge has them, which gets all that happens to a bucket's objects, in a form of its own. */
import type { BridgedEvent } from "./contract.ts";
import { sequencerOf } from "./event_order.ts";
import type { ObjectEvent, WaitingEvent } from "./index/outbox.ts";
import type { BucketRow } from "./index/rows.ts";

const reasons: Readonly<Record<string, string>> = {
  Put: "PutObject",
  Post: "POST Object",
  Copy: "CopyObject",
  CompleteMultipartUpload: "CompleteMultipartUpload",
};
const deletions: Readonly<Record<string, string>> = {
  Delete: "Permanently Deleted",
  DeleteMarkerCreated: "Delete Marker Created",
};
const types: Readonly<Record<string, string>> = {
  ObjectCreated: "Object Created",
  ObjectRemoved: "Object Deleted",
  LifecycleExpiration: "Object Deleted",
  LifecycleTransition: "Object Storage Class Changed",
  "ObjectTagging:Put": "Object Tags Added",
  "ObjectTagging:Delete": "Object Tags Deleted",
};

/** What is said of some kinds alone. */
function besides(group: string, kind: string, { storage_class }: ObjectEvent) {
  if (group === "ObjectCreated") return { reason: reasons[kind] ?? kind };
  if (group === "ObjectRemoved" || group === "LifecycleExpiration") {
    return {
      reason: group === "ObjectRemoved" ? "DeleteObject" : "Lifecycle Expiration",
      "deletion-type": deletions[kind] ?? kind,
    };
  }
  return storage_class === undefined ? {} : { "destination-storage-class": storage_class };
}

function toldCause({ cause }: ObjectEvent) {
  if (cause === undefined) return {};
  const { request_id, principal_id, account_id, source_ip } = cause;
  return {
    "request-id": request_id,
    requester: account_id ?? principal_id,
    // What a rule of the bucket did came from nowhere.
    ...(account_id === undefined ? {} : { "source-ip-address": source_ip }),
  };
}

/** Undefined for what EventBridge is not told of. */
export function bridged({ id, event }: WaitingEvent, bucket: BucketRow): BridgedEvent | undefined {
  const [group = "", kind = ""] = event.name.split(":");
  const type = types[event.name] ?? types[group];
  if (type === undefined) return undefined;
  const sequencer = sequencerOf(event, id);
  return {
    version: "0",
    id: crypto.randomUUID(),
    "detail-type": type,
    source: "aws.s3",
    account: bucket.account_id,
    time: new Date(event.at_ms).toISOString().replace(/\.\d+Z$/, "Z"),
    region: bucket.region,
    resources: [`arn:aws:s3:::${bucket.name}`],
    detail: {
      version: "0",
      bucket: { name: bucket.name },
      object: {
        key: event.key,
        ...(event.size === undefined ? {} : { size: event.size }),
        ...(event.etag === undefined ? {} : { etag: event.etag }),
        ...(event.version === undefined ? {} : { "version-id": event.version }),
        ...(sequencer === undefined ? {} : { sequencer }),
      },
      ...toldCause(event),
      ...besides(group, kind, event),
    },
  };
}
