/** Lifecycle configurations: read, checked and shown. `../lifecycle.ts` acts on them. */
import { AwsError } from "../../aws/errors.ts";
import type { LifecycleFilter, LifecycleRule } from "../objects/settings.ts";
import { invalidArgument, ownBucket, type S3Call } from "./call.ts";
import {
  count,
  done,
  flag,
  maybeNode,
  newerVersions,
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

const longestPrefix_bytes = 1024;
const largestSize_bytes = 1_099_511_627_776_000;

const invalid = (message: string) => new AwsError("InvalidRequest", message);

function tagsIn(node: XmlNode) {
  return nodes(node, "Tag").map((one) => {
    const [key, value] = [requiredText(one, "Key"), requiredText(one, "Value")];
    if (key.length < 1 || key.length > 128) {
      throw invalid("A Tag's Key must be a length between 1 and 128.");
    }
    if (value.length > 256) {
      throw invalid("A Tag's Value must be a length between 0 and 256.");
    }
    return { key, value };
  });
}

function prefixIn(node: XmlNode): string | undefined {
  const prefix = text(node, "Prefix");
  if (new TextEncoder().encode(prefix).length <= longestPrefix_bytes) return prefix;
  throw invalid(`The maximum size of a prefix is ${longestPrefix_bytes}`);
}

function sizeIn(node: XmlNode, name: string, least: number): number | undefined {
  const value = text(node, name);
  if (value === undefined) return undefined;
  if (!/^-?\d{1,18}$/.test(value)) throw malformedXml();
  const size = Number(value);
  if (size >= least && size <= largestSize_bytes) return size;
  throw invalid(`'${name}' should be between ${least} and ${largestSize_bytes}.`);
}

function filterOf(rule: XmlNode): LifecycleFilter {
  const filter = maybeNode(rule, "Filter");
  const old = prefixIn(rule);
  if ((filter === undefined) === (old === undefined)) throw malformedXml();
  // Until 2016 the prefix stood in the rule itself.
  if (filter === undefined) return { prefix: old ?? "", tags: [], form: "rule" };
  const and = maybeNode(filter, "And");
  // More than one condition stands in And, and nothing else.
  if (Object.values(filter).flat().length > 1) throw malformedXml();
  if (and !== undefined && Object.values(and).flat().length < 2) throw malformedXml();
  const inner = and ?? filter;
  const tags = tagsIn(inner);
  if (new Set(tags.map(({ key }) => key)).size < tags.length) {
    throw invalid("Duplicate Tag Keys are not allowed.");
  }
  const above = sizeIn(inner, "ObjectSizeGreaterThan", 0);
  const below = sizeIn(inner, "ObjectSizeLessThan", 1);
  if (above !== undefined && below !== undefined && below <= above) {
    throw invalid("'ObjectSizeLessThan' has to be a value greater than 'ObjectSizeGreaterThan'.");
  }
  return {
    prefix: prefixIn(inner) ?? "",
    tags,
    ...(and !== undefined ? { form: "and" } : {}),
    ...(Object.keys(filter).length === 0 ? { form: "empty" } : {}),
    ...(above === undefined ? {} : { above_bytes: above }),
    ...(below === undefined ? {} : { below_bytes: below }),
  };
}

/** What filters by more than a name is of objects: uploads and delete markers have no tags and no size. */
function checkFilter(action: string, { tags, above_bytes, below_bytes }: LifecycleFilter): void {
  if (tags.length > 0) throw invalid(`${action} cannot be specified with Tags.`);
  if (above_bytes !== undefined || below_bytes !== undefined) {
    throw invalid(`${action} cannot be specified with Object Size.`);
  }
}

/** Rules of both forms do not stand together, and those of the old one have prefixes apart. */
function checkForms(rules: readonly LifecycleRule[]): void {
  const old = rules.filter(({ filter }) => filter.form === "rule");
  if (old.length > 0 && old.length < rules.length) {
    throw invalid(
      rules[0] === old[0]
        ? "Filter element can only be used in Lifecycle V2."
        : "Base level prefix cannot be used in Lifecycle V2, prefixes are only supported in the Filter.",
    );
  }
  if (old.some(({ noncurrent_kept }) => noncurrent_kept !== undefined)) {
    throw invalid("NewerNoncurrentVersions element can only be used in Lifecycle V2.");
  }
  const prefixes = {
    Expiration: old.filter((one) => (one.expire_days ?? one.expire_at_ms) !== undefined),
    NoncurrentVersionExpiration: old.filter((one) => one.noncurrent_days !== undefined),
  };
  for (const [action, same] of Object.entries(prefixes)) {
    const sorted = same.map(({ filter }) => filter.prefix).toSorted();
    for (const [at, prefix] of sorted.entries()) {
      const next = sorted[at + 1];
      if (next?.startsWith(prefix) !== true) continue;
      throw invalid(
        `Found overlapping prefixes '${prefix}' and '${next}' for same action type '${action}'`,
      );
    }
  }
}

function ruleOf(node: XmlNode): LifecycleRule {
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
    : newerVersions(noncurrent, "NoncurrentVersionExpiration");
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
  const moves = transitionsOf(node, filter, { days, date, noncurrent_days });
  if (
    expiration === undefined && noncurrent === undefined && abort === undefined &&
    moves.transitions === undefined && moves.noncurrent_transitions === undefined
  ) {
    throw invalid("At least one action needs to be specified in a rule");
  }
  if (expiration !== undefined && text(expiration, "ExpiredObjectDeleteMarker") !== undefined) {
    checkFilter("ExpiredObjectDeleteMarker", filter);
  }
  if (abort !== undefined) checkFilter("AbortIncompleteMultipartUpload", filter);
  return {
    id: text(node, "ID") || btoa(crypto.randomUUID()),
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
  const lifecycle = nodes(root, "Rule").map((node) => ruleOf(node));
  if (lifecycle.length === 0 || lifecycle.length > mostRules) throw malformedXml();
  checkForms(lifecycle);
  const ids = lifecycle.map(({ id }) => id);
  const long = ids.find((id) => id.length > longestId);
  if (long !== undefined) {
    throw invalidArgument("ID length should not exceed allowed limit of 255", "ID", long);
  }
  const twice = ids.find((id, at) => ids.indexOf(id) < at);
  if (twice !== undefined) {
    throw invalidArgument(
      "Rule ID must be unique. Found same ID for more than one rule",
      "ID",
      twice,
    );
  }
  const minimum = call.headers.get(minimumHeader) ?? minima[0];
  if (!minima.some((one) => one === minimum)) {
    throw invalid(`Invalid TransitionDefaultMinimumObjectSize found: ${minimum}`);
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
    // Where one condition is left, the other was a prefix of nothing.
    const whole = parts.length < 2 ? [element("Prefix", ""), ...parts] : parts;
    return element("Filter", element("And", whole));
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
