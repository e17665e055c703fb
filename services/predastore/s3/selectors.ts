/**
 * Sub-resources: names in the query that choose another operation on a bucket or an object. A request has one of
 * them at most, whatever its value, and each takes methods of its own.
 */
import { DetailedError, invalidArgument } from "./call.ts";

export interface Selector {
  /** What a refusal calls it. */
  readonly kind: string;
  /** AWS's names of its operations, by their methods. */
  readonly operations: Readonly<Record<string, string>>;
}

type Selectors = Readonly<Record<string, Selector>>;

/** Read and set, and mostly taken away, by operations that are named alike. */
function setting(kind: string, name: string, ...methods: readonly ("GET" | "PUT" | "DELETE")[]) {
  const verbs = { GET: "Get", PUT: "Put", DELETE: "Delete" };
  return {
    kind,
    operations: Object.fromEntries(methods.map((method) => [method, verbs[method] + name])),
  };
}

/** Of those there are many, each with an id, and asked for without one all are listed. */
export const lists: Readonly<Record<string, string>> = {
  GetBucketAnalyticsConfiguration: "ListBucketAnalyticsConfigurations",
  GetBucketIntelligentTieringConfiguration: "ListBucketIntelligentTieringConfigurations",
  GetBucketInventoryConfiguration: "ListBucketInventoryConfigurations",
  GetBucketMetricsConfiguration: "ListBucketMetricsConfigurations",
  GetObjectAnnotation: "ListObjectAnnotations",
};

const all = ["GET", "PUT", "DELETE"] as const;

/** Those that a key's path has too: there they are of its bucket, whatever the key. */
const ofBucketAnywhere: Selectors = {
  accelerate: setting("ACCELERATE", "BucketAccelerateConfiguration", "GET", "PUT"),
  cors: setting("CORS", "BucketCors", ...all),
  inventory: setting("INVENTORY", "BucketInventoryConfiguration", ...all),
  lifecycle: {
    kind: "LIFECYCLE",
    operations: {
      GET: "GetBucketLifecycleConfiguration",
      PUT: "PutBucketLifecycleConfiguration",
      DELETE: "DeleteBucketLifecycle",
    },
  },
  location: setting("LOCATION", "BucketLocation", "GET"),
  logging: setting("LOGGING_STATUS", "BucketLogging", "GET", "PUT"),
  notification: setting("NOTIFICATION", "BucketNotificationConfiguration", "GET", "PUT"),
  policy: setting("BUCKETPOLICY", "BucketPolicy", ...all),
  replication: setting("REPLICATION", "BucketReplication", ...all),
  requestPayment: setting("REQUEST_PAYMENT", "BucketRequestPayment", "GET", "PUT"),
  versions: { kind: "BUCKETVERSIONS", operations: { GET: "ListObjectVersions" } },
  versioning: setting("VERSIONING", "BucketVersioning", "GET", "PUT"),
  website: setting("WEBSITE", "BucketWebsite", ...all),
};

const table = (kind: string) => ({
  kind: `BUCKET_METADATA_${kind}_TABLE_CONFIGURATION`,
  operations: {
    PUT: `UpdateBucketMetadata${kind.charAt(0)}${kind.slice(1).toLowerCase()}TableConfiguration`,
  },
});

const deleteMany: Selector = {
  kind: "MULTI_OBJECT_DELETE",
  operations: { POST: "DeleteObjects" },
};

export const ofBuckets: Selectors = {
  ...ofBucketAnywhere,
  abac: setting("BUCKET_ABAC", "BucketAbac", "GET", "PUT"),
  acl: setting("ACL", "BucketAcl", "GET", "PUT"),
  analytics: setting("ANALYTICS", "BucketAnalyticsConfiguration", ...all),
  delete: deleteMany,
  encryption: setting("ENCRYPTION", "BucketEncryption", ...all),
  "intelligent-tiering": setting(
    "INTELLIGENT_TIERING",
    "BucketIntelligentTieringConfiguration",
    ...all,
  ),
  metadataAnnotationTable: table("ANNOTATION"),
  metadataConfiguration: {
    kind: "BUCKET_METADATA_CONFIGURATION",
    operations: {
      GET: "GetBucketMetadataConfiguration",
      POST: "CreateBucketMetadataConfiguration",
      DELETE: "DeleteBucketMetadataConfiguration",
    },
  },
  metadataInventoryTable: table("INVENTORY"),
  metadataJournalTable: table("JOURNAL"),
  metadataTable: {
    kind: "BUCKET_METADATA_TABLE_CONFIGURATION",
    operations: {
      GET: "GetBucketMetadataTableConfiguration",
      POST: "CreateBucketMetadataTableConfiguration",
      DELETE: "DeleteBucketMetadataTableConfiguration",
    },
  },
  metrics: setting("METRICS", "BucketMetricsConfiguration", ...all),
  "object-lock": setting("OBJECT_LOCK_CONFIGURATION", "ObjectLockConfiguration", "GET", "PUT"),
  ownershipControls: setting("OWNERSHIP_CONTROLS", "BucketOwnershipControls", ...all),
  policyStatus: setting("POLICY_STATUS", "BucketPolicyStatus", "GET"),
  publicAccessBlock: setting("PUBLIC_ACCESS_BLOCK", "PublicAccessBlock", ...all),
  tagging: setting("TAGGING", "BucketTagging", ...all),
  uploads: { kind: "UPLOADS", operations: { GET: "ListMultipartUploads" } },
};

export const ofObjects: Selectors = {
  ...ofBucketAnywhere,
  acl: setting("ACL", "ObjectAcl", "GET", "PUT"),
  annotation: setting("OBJECT_ANNOTATIONS", "ObjectAnnotation", ...all),
  attributes: setting("OBJECT_ATTRIBUTES", "ObjectAttributes", "GET"),
  delete: deleteMany,
  encryption: { kind: "OBJECT_ENCRYPTION", operations: { PUT: "UpdateObjectEncryption" } },
  "legal-hold": setting("OBJECT_LOCK_LEGALHOLD", "ObjectLegalHold", "GET", "PUT"),
  restore: { kind: "RESTORE", operations: { POST: "RestoreObject" } },
  retention: setting("OBJECT_LOCK_RETENTION", "ObjectRetention", "GET", "PUT"),
  select: { kind: "SELECT", operations: { POST: "SelectObjectContent" } },
  tagging: setting("OBJECT_TAGGING", "ObjectTagging", ...all),
  torrent: setting("TORRENT", "ObjectTorrent", "GET"),
  uploadId: {
    kind: "UPLOAD",
    operations: {
      GET: "ListParts",
      POST: "CompleteMultipartUpload",
      DELETE: "AbortMultipartUpload",
    },
  },
  uploads: { kind: "UPLOADS", operations: { POST: "CreateMultipartUpload" } },
};

/**
 * The one that a query names, if it names one.
 * @param also names that stand beside no other
 * @throws AwsError `InvalidArgument` for more than one
 */
export function selectorOf(
  query: URLSearchParams,
  of: Selectors,
  also: readonly string[] = [],
): Selector | undefined {
  if (query.size === 0) return undefined;
  const named = [...new Set(query.keys())]
    .filter((name) => Object.hasOwn(of, name) || also.includes(name)).sort();
  const [only, ...more] = named;
  if (only === undefined) return undefined;
  if (more.length === 0) return of[only];
  throw invalidArgument(
    `Conflicting query string parameters: ${named.join(", ")}`,
    "ResourceType",
    only,
  );
}

/** @param kind of what is asked, which has no such method, @param methods but these */
export const methodNotAllowed = (kind: string, methods: readonly string[]) =>
  new DetailedError(
    "MethodNotAllowed",
    "The specified method is not allowed against this resource.",
    { status: 405, elements: { ResourceType: kind }, headers: { allow: methods.join(", ") } },
  );
