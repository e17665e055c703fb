/** Lifecycle configurations: read, checked and shown. `../lifecycle.ts` acts on them. */
import { AwsError } from "../../aws/errors.ts";
import type { LifecycleFilter, LifecycleRule } from "../objects/settings.ts";
import { invalidArgument, ownBucket, type S3Call } from "./call.ts";
import {
  count,
  done,
  flag,
  maybeNode,
  nodes,
  notFound,
  oneOf,
  readRoot,
  requiredText,
  setBucket,
} from "./document.ts";
import { dateOf, shownTransitions, transitionsOf } from "./transitions.ts";
import { element, malformedXml, text, type XmlNode, xmlResponse } from "./xml.ts";

const mostRules = 1000;
const longestId = 255;
const minimumHeader = "x-amz-transition-default-minimum-object-size";
/** The one difference between them is in classes that are not served. */
const minima = ["all_storage_classes_128K", "varies_by_storage_class"] as const;

function tagsIn(node: XmlNode) {
  return nodes(node, "Tag").map((one) => ({
    key: requiredText(one, "Key"),
    value: requiredText(one, "Value"),
  }));
}

function filterOf(rule: XmlNode): LifecycleFilter {
  const filter = maybeNode(rule, "Filter");
  // Until 2016 the prefix stood in the rule itself.
  if (filter === undefined) {
    const prefix = text(rule, "Prefix");
    if (prefix === undefined) throw malformedXml();
    return { prefix, tags: [], form: "rule" };
  }
  const and = maybeNode(filter, "And");
  // More than one condition stands in And.
  if (Object.values(filter).flat().length > 1) throw malformedXml();
  const inner = and ?? filter;
  const tags = tagsIn(inner);
  if (new Set(tags.map(({ key }) => key)).size < tags.length) {
    throw new AwsError("InvalidRequest", "Duplicate Tag Keys are not allowed.");
  }
  const size = (name: string) => {
    const value = text(inner, name);
    if (value === undefined) return undefined;
    if (!/^\d{1,15}$/.test(value)) throw malformedXml();
    return Number(value);
  };
  const above = size("ObjectSizeGreaterThan");
  const below = size("ObjectSizeLessThan");
  return {
    prefix: text(inner, "Prefix") ?? "",
    tags,
    ...(and !== undefined ? { form: "and" } : {}),
    ...(Object.keys(filter).length === 0 ? { form: "empty" } : {}),
    ...(above === undefined ? {} : { above_bytes: above }),
    ...(below === undefined ? {} : { below_bytes: below }),
  };
}

function ruleOf(node: XmlNode, at: number): LifecycleRule {
  const expiration = maybeNode(node, "Expiration");
  const noncurrent = maybeNode(node, "NoncurrentVersionExpiration");
  const abort = maybeNode(node, "AbortIncompleteMultipartUpload");
  const days = expiration === undefined
    ? undefined
    : count(expiration, "Days", undefined, "for Expiration action ");
  const date = expiration === undefined ? undefined : text(expiration, "Date");
  const markers = expiration !== undefined && flag(expiration, "ExpiredObjectDeleteMarker");
  const noncurrent_days = noncurrent === undefined ? undefined : count(
    noncurrent,
    "NoncurrentDays",
    undefined,
    "for NoncurrentVersionExpiration action ",
  );
  const kept = noncurrent === undefined
    ? undefined
    : count(noncurrent, "NewerNoncurrentVersions", 100);
  const abort_days = abort === undefined ? undefined : count(
    abort,
    "DaysAfterInitiation",
    undefined,
    "for AbortIncompleteMultipartUpload action ",
  );
  if (
    expiration !== undefined &&
    [days !== undefined, date !== undefined, markers].filter((one) => one).length !== 1
  ) throw malformedXml();
  if (noncurrent !== undefined && noncurrent_days === undefined) throw malformedXml();
  if (abort !== undefined && abort_days === undefined) throw malformedXml();
  const filter = filterOf(node);
  const moves = transitionsOf(node, filter, { days, date });
  if (
    expiration === undefined && noncurrent === undefined && abort === undefined &&
    moves.transitions === undefined && moves.noncurrent_transitions === undefined
  ) {
    throw new AwsError("InvalidRequest", "At least one action needs to be specified in a rule");
  }
  if ((markers || abort !== undefined) && filter.tags.length > 0) {
    throw new AwsError(
      "InvalidRequest",
      `${
        markers ? "ExpiredObjectDeleteMarker" : "AbortIncompleteMultipartUpload"
      } cannot be specified with Tags.`,
    );
  }
  return {
    id: text(node, "ID") ?? `rule-${at + 1}-${crypto.randomUUID().slice(0, 8)}`,
    enabled: oneOf(text(node, "Status"), "Enabled", "Disabled") === "Enabled",
    filter,
    ...(days === undefined ? {} : { expire_days: days }),
    ...(date === undefined ? {} : { expire_at_ms: dateOf(date) }),
    ...(markers ? { expire_markers: true } : {}),
    ...(noncurrent_days === undefined ? {} : { noncurrent_days }),
    ...(kept === undefined ? {} : { noncurrent_kept: kept }),
    ...(abort_days === undefined ? {} : { abort_uploads_days: abort_days }),
    ...moves,
  };
}

export async function putBucketLifecycleConfiguration(call: S3Call): Promise<Response> {
  ownBucket(call);
  const root = await readRoot(call, "LifecycleConfiguration");
  const lifecycle = nodes(root, "Rule").map(ruleOf);
  if (lifecycle.length === 0 || lifecycle.length > mostRules) throw malformedXml();
  const ids = lifecycle.map(({ id }) => id);
  if (ids.some((id) => id.length > longestId)) {
    throw invalidArgument("ID length should not exceed allowed limit of 255");
  }
  if (new Set(ids).size < ids.length) {
    throw invalidArgument("Rule ID must be unique. Found same ID for more than one rule");
  }
  const minimum = call.headers.get(minimumHeader) ?? minima[0];
  if (!minima.some((one) => one === minimum)) {
    throw invalidArgument(`The value of ${minimumHeader} must be one of ${minima.join(", ")}.`);
  }
  await setBucket(call, () => ({
    lifecycle,
    lifecycle_minimum: minimum === minima[0] ? undefined : minimum,
  }));
  call.store.lifecycle.wake();
  return new Response(null, { headers: { [minimumHeader]: minimum } });
}

function shownFilter({ prefix, tags, above_bytes, below_bytes, form }: LifecycleFilter) {
  if (form === "rule") return element("Prefix", prefix);
  if (form === "empty") return element("Filter", "");
  const parts = [
    prefix === "" ? undefined : element("Prefix", prefix),
    ...tags.map(({ key, value }) => element("Tag", [element("Key", key), element("Value", value)])),
    above_bytes === undefined ? undefined : element("ObjectSizeGreaterThan", above_bytes),
    below_bytes === undefined ? undefined : element("ObjectSizeLessThan", below_bytes),
  ].filter((one) => one !== undefined);
  if (form === "and") {
    return element("Filter", element("And", parts.length === 0 ? element("Prefix", "") : parts));
  }
  if (parts.length === 0) return element("Filter", element("Prefix", ""));
  return element("Filter", parts.length === 1 ? parts : element("And", parts));
}

export function getBucketLifecycleConfiguration(call: S3Call): Response {
  const { lifecycle, lifecycle_minimum = minima[0] } = ownBucket(call).settings;
  if (lifecycle === undefined) {
    throw notFound(
      "NoSuchLifecycleConfiguration",
      "The lifecycle configuration does not exist",
    );
  }
  return xmlResponse(
    "LifecycleConfiguration",
    lifecycle.map((rule) =>
      element("Rule", [
        element("ID", rule.id),
        shownFilter(rule.filter),
        element("Status", rule.enabled ? "Enabled" : "Disabled"),
        rule.expire_days === undefined
          ? undefined
          : element("Expiration", element("Days", rule.expire_days)),
        rule.expire_at_ms === undefined
          ? undefined
          : element("Expiration", element("Date", new Date(rule.expire_at_ms).toISOString())),
        rule.expire_markers === true
          ? element("Expiration", element("ExpiredObjectDeleteMarker", true))
          : undefined,
        shownTransitions(rule),
        rule.noncurrent_days === undefined ? undefined : element("NoncurrentVersionExpiration", [
          element("NoncurrentDays", rule.noncurrent_days),
          rule.noncurrent_kept === undefined
            ? undefined
            : element("NewerNoncurrentVersions", rule.noncurrent_kept),
        ]),
        rule.abort_uploads_days === undefined ? undefined : element(
          "AbortIncompleteMultipartUpload",
          element("DaysAfterInitiation", rule.abort_uploads_days),
        ),
      ])
    ),
    { [minimumHeader]: lifecycle_minimum },
  );
}

export async function deleteBucketLifecycle(call: S3Call): Promise<Response> {
  await setBucket(call, () => ({ lifecycle: undefined, lifecycle_minimum: undefined }));
  return done(204);
}
