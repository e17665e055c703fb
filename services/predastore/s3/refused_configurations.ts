/**
 * Configurations that a bucket cannot have here: what is wrong with one is told in AWS's words, as far as AWS tells it
 * before anything else, and one that is sound is `NotImplemented`.
 */
import { AwsError } from "../../aws/errors.ts";
import { DetailedError, invalidArgument, notImplemented, ownBucket, type S3Call } from "./call.ts";
import { flag, maybeNode, nodes, oneOf, readRoot, requiredText, texts } from "./document.ts";
import { malformedXml, text, type XmlNode } from "./xml.ts";

const invalidRequest = (message: string) => new AwsError("InvalidRequest", message);

/** What must be there once. @throws AwsError `MalformedXML` */
function requiredNode(node: XmlNode, name: string): XmlNode {
  const found = maybeNode(node, name);
  if (found === undefined) throw malformedXml();
  return found;
}

/** A configuration with an id, which its query says too. */
async function readIdentified(call: S3Call, root: string): Promise<XmlNode> {
  ownBucket(call);
  const node = await readRoot(call, root);
  const id = requiredText(node, "Id");
  if (id !== call.query.get("id")) {
    throw new AwsError(
      "IdMismatch",
      "Document ID does not match the specified configuration ID.",
    );
  }
  return node;
}

/** @throws AwsError `InvalidS3DestinationBucket` */
function checkDestination(node: XmlNode): void {
  if (/^arn:aws:s3:::[^/]+$/.test(requiredText(node, "Bucket"))) return;
  throw new AwsError("InvalidS3DestinationBucket", "Invalid bucket ARN.");
}

export async function putBucketAnalyticsConfiguration(call: S3Call): Promise<never> {
  const root = await readIdentified(call, "AnalyticsConfiguration");
  const data = maybeNode(requiredNode(root, "StorageClassAnalysis"), "DataExport");
  if (data !== undefined) {
    oneOf(text(data, "OutputSchemaVersion"), "V_1");
    const to = requiredNode(requiredNode(data, "Destination"), "S3BucketDestination");
    oneOf(text(to, "Format"), "CSV");
    checkDestination(to);
  }
  throw notImplemented("storage class analysis");
}

export async function putBucketIntelligentTieringConfiguration(call: S3Call): Promise<never> {
  const root = await readIdentified(call, "IntelligentTieringConfiguration");
  oneOf(text(root, "Status"), "Enabled", "Disabled");
  const tiers = nodes(root, "Tiering");
  if (tiers.length === 0) throw malformedXml();
  for (const tier of tiers) {
    oneOf(text(tier, "AccessTier"), "ARCHIVE_ACCESS", "DEEP_ARCHIVE_ACCESS");
    if (!/^\d{1,9}$/.test(requiredText(tier, "Days"))) throw malformedXml();
  }
  throw notImplemented("archive tiers");
}

const inventoryFields: readonly string[] = [
  ...["Size", "LastModifiedDate", "StorageClass", "ETag", "IsMultipartUploaded"],
  ...["ReplicationStatus", "EncryptionStatus", "ObjectLockRetainUntilDate", "ObjectLockMode"],
  ...["ObjectLockLegalHoldStatus", "IntelligentTieringAccessTier", "BucketKeyStatus"],
  ...["ChecksumAlgorithm", "ObjectAccessControlList", "ObjectOwner", "LifecycleExpirationDate"],
  ...["IntelligentTieringReferenceDate", "ObjectLockEventHoldDuration"],
  "ObjectLockEventHoldStatus",
];

export async function putBucketInventoryConfiguration(call: S3Call): Promise<never> {
  const root = await readIdentified(call, "InventoryConfiguration");
  requiredText(root, "IsEnabled");
  flag(root, "IsEnabled");
  oneOf(text(root, "IncludedObjectVersions"), "All", "Current");
  oneOf(text(requiredNode(root, "Schedule"), "Frequency"), "Daily", "Weekly");
  const to = requiredNode(requiredNode(root, "Destination"), "S3BucketDestination");
  oneOf(text(to, "Format"), "CSV", "ORC", "Parquet");
  for (const field of texts(maybeNode(root, "OptionalFields") ?? {}, "Field")) {
    if (!inventoryFields.includes(field)) throw malformedXml();
  }
  checkDestination(to);
  throw notImplemented("inventories");
}

export async function putBucketMetricsConfiguration(call: S3Call): Promise<never> {
  await readIdentified(call, "MetricsConfiguration");
  throw notImplemented("request metrics");
}

export async function putBucketReplication(call: S3Call): Promise<never> {
  const { settings } = ownBucket(call);
  const root = await readRoot(call, "ReplicationConfiguration");
  requiredText(root, "Role");
  const rules = nodes(root, "Rule");
  if (rules.length === 0) throw malformedXml();
  const targets = rules.map((rule) => {
    oneOf(text(rule, "Status"), "Enabled", "Disabled");
    return requiredText(requiredNode(rule, "Destination"), "Bucket");
  });
  if (settings.versioning !== "Enabled") {
    throw invalidRequest(
      "Versioning must be 'Enabled' on the bucket to apply a replication configuration",
    );
  }
  for (const arn of targets) {
    const bucket = call.store.buckets.find(arn.replace(/^arn:aws:s3:::/, ""));
    if (bucket?.settings.versioning !== "Enabled") {
      throw invalidRequest("Destination bucket must have versioning enabled.");
    }
  }
  throw notImplemented("replication");
}

export async function putBucketLogging(call: S3Call): Promise<Response> {
  ownBucket(call);
  const root = await readRoot(call, "BucketLoggingStatus");
  const logging = maybeNode(root, "LoggingEnabled");
  if (logging === undefined) return new Response(null);
  const target = requiredText(logging, "TargetBucket");
  requiredText(logging, "TargetPrefix");
  if (call.store.buckets.find(target) === undefined) {
    throw new DetailedError(
      "InvalidTargetBucketForLogging",
      "The target bucket for logging does not exist",
      { elements: { TargetBucket: target } },
    );
  }
  throw notImplemented("server access logs");
}

const protocols = ["http", "https"];

/** @throws AwsError `InvalidRequest` */
function checkProtocol(redirect: XmlNode): void {
  const protocol = text(redirect, "Protocol");
  if (protocol === undefined || protocols.includes(protocol)) return;
  throw invalidRequest(
    "Invalid protocol, protocol can be http or https. If not defined the protocol will be selected automatically.",
  );
}

function checkRouting(rule: XmlNode): void {
  const redirect = requiredNode(rule, "Redirect");
  checkProtocol(redirect);
  if (
    text(redirect, "ReplaceKeyPrefixWith") !== undefined &&
    text(redirect, "ReplaceKeyWith") !== undefined
  ) {
    throw invalidRequest("You can only define ReplaceKeyPrefix or ReplaceKey but not both.");
  }
  const condition = maybeNode(rule, "Condition");
  if (condition === undefined || Object.keys(condition).length > 0) return;
  throw invalidRequest(
    "Condition cannot be empty. To redirect all requests without a condition, the condition element shouldn't be present.",
  );
}

export async function putBucketWebsite(call: S3Call): Promise<never> {
  ownBucket(call);
  const root = await readRoot(call, "WebsiteConfiguration");
  const routing = maybeNode(root, "RoutingRules");
  const rules = nodes(routing ?? {}, "RoutingRule");
  if (routing !== undefined && rules.length === 0) throw malformedXml();
  const redirect = maybeNode(root, "RedirectAllRequestsTo");
  const index = maybeNode(root, "IndexDocument");
  if (redirect !== undefined) {
    if (index !== undefined || maybeNode(root, "ErrorDocument") !== undefined || rules.length > 0) {
      throw invalidArgument(
        "RedirectAllRequestsTo cannot be provided in conjunction with other Routing Rules.",
        "RedirectAllRequestsTo",
        "not null",
      );
    }
    requiredText(redirect, "HostName");
    checkProtocol(redirect);
  } else {
    if (index === undefined) {
      throw invalidArgument(
        "A value for IndexDocument Suffix must be provided if RedirectAllRequestsTo is empty",
        "IndexDocument",
        "null",
      );
    }
    const suffix = requiredText(index, "Suffix");
    if (suffix === "" || suffix.includes("/")) {
      throw invalidArgument(
        "The IndexDocument Suffix is not well formed",
        "IndexDocument",
        suffix,
      );
    }
    for (const rule of rules) checkRouting(rule);
  }
  throw notImplemented("websites");
}
