/**
 * What each S3 operation needs leave for, by IAM's names: the actions, and the buckets and objects that
 * they touch. An operation that is not in the table needs an action that no policy but `*` allows.
 *
 * DeleteObjects asks for each key by itself, and PutObjectTagging, PutObjectRetention and PutObjectLegalHold with what
 * their documents say, where that is known.
 */
import { copySourceTarget, type Target } from "./target.ts";

export interface Permission {
  /** `s3:GetObject` */
  readonly action: string;
  /** ARN, or `*`. */
  readonly resource: string;
  readonly conditions?: Readonly<Record<string, string | readonly string[]>>;
  /** Of the object, where the request names one. */
  readonly version?: string | null | undefined;
  /** Of `s3:PutObject`: whether an object comes of it, and not only a part of one. */
  readonly creates?: boolean;
}

export const bucketArn = (bucket: string) => `arn:aws:s3:::${bucket}`;
export const objectArn = (bucket: string, key: string) => `arn:aws:s3:::${bucket}/${key}`;

/** The key that an ARN is of, where it is an object's. */
export function keyOf(resource: string): string | undefined {
  return /^arn:aws:s3:::[^/]+\/(.+)$/s.exec(resource)?.[1];
}

/** The bucket that an ARN is of. */
export function bucketOf(resource: string): string | undefined {
  return /^arn:aws:s3:::([^/]+)/.exec(resource)?.[1];
}

/** On the bucket. */
const bucketActions: Readonly<Record<string, string>> = {
  CreateBucket: "s3:CreateBucket",
  CreateBucketMetadataConfiguration: "s3:CreateBucketMetadataTableConfiguration",
  DeleteBucket: "s3:DeleteBucket",
  DeleteBucketAnalyticsConfiguration: "s3:PutAnalyticsConfiguration",
  DeleteBucketCors: "s3:PutBucketCORS",
  DeleteBucketEncryption: "s3:PutEncryptionConfiguration",
  DeleteBucketIntelligentTieringConfiguration: "s3:PutIntelligentTieringConfiguration",
  DeleteBucketInventoryConfiguration: "s3:PutInventoryConfiguration",
  DeleteBucketLifecycle: "s3:PutLifecycleConfiguration",
  DeleteBucketMetadataConfiguration: "s3:DeleteBucketMetadataTableConfiguration",
  DeleteBucketMetricsConfiguration: "s3:PutMetricsConfiguration",
  DeleteBucketOwnershipControls: "s3:PutBucketOwnershipControls",
  DeleteBucketPolicy: "s3:DeleteBucketPolicy",
  DeleteBucketReplication: "s3:PutReplicationConfiguration",
  DeleteBucketTagging: "s3:PutBucketTagging",
  DeleteBucketWebsite: "s3:DeleteBucketWebsite",
  DeletePublicAccessBlock: "s3:PutBucketPublicAccessBlock",
  GetBucketAccelerateConfiguration: "s3:GetAccelerateConfiguration",
  GetBucketAcl: "s3:GetBucketAcl",
  GetBucketAnalyticsConfiguration: "s3:GetAnalyticsConfiguration",
  GetBucketCors: "s3:GetBucketCORS",
  GetBucketEncryption: "s3:GetEncryptionConfiguration",
  GetBucketIntelligentTieringConfiguration: "s3:GetIntelligentTieringConfiguration",
  GetBucketInventoryConfiguration: "s3:GetInventoryConfiguration",
  GetBucketLifecycleConfiguration: "s3:GetLifecycleConfiguration",
  GetBucketLocation: "s3:GetBucketLocation",
  GetBucketLogging: "s3:GetBucketLogging",
  GetBucketMetadataConfiguration: "s3:GetBucketMetadataTableConfiguration",
  GetBucketMetricsConfiguration: "s3:GetMetricsConfiguration",
  GetBucketNotificationConfiguration: "s3:GetBucketNotification",
  GetBucketOwnershipControls: "s3:GetBucketOwnershipControls",
  GetBucketPolicy: "s3:GetBucketPolicy",
  GetBucketPolicyStatus: "s3:GetBucketPolicyStatus",
  GetBucketReplication: "s3:GetReplicationConfiguration",
  GetBucketRequestPayment: "s3:GetBucketRequestPayment",
  GetBucketTagging: "s3:GetBucketTagging",
  GetBucketVersioning: "s3:GetBucketVersioning",
  GetBucketWebsite: "s3:GetBucketWebsite",
  GetObjectLockConfiguration: "s3:GetBucketObjectLockConfiguration",
  GetPublicAccessBlock: "s3:GetBucketPublicAccessBlock",
  HeadBucket: "s3:ListBucket",
  ListBucketAnalyticsConfigurations: "s3:GetAnalyticsConfiguration",
  ListBucketIntelligentTieringConfigurations: "s3:GetIntelligentTieringConfiguration",
  ListBucketInventoryConfigurations: "s3:GetInventoryConfiguration",
  ListBucketMetricsConfigurations: "s3:GetMetricsConfiguration",
  ListObjectVersions: "s3:ListBucketVersions",
  ListMultipartUploads: "s3:ListBucketMultipartUploads",
  ListObjects: "s3:ListBucket",
  ListObjectsV2: "s3:ListBucket",
  PutBucketAccelerateConfiguration: "s3:PutAccelerateConfiguration",
  PutBucketAcl: "s3:PutBucketAcl",
  PutBucketAnalyticsConfiguration: "s3:PutAnalyticsConfiguration",
  PutBucketCors: "s3:PutBucketCORS",
  PutBucketEncryption: "s3:PutEncryptionConfiguration",
  PutBucketIntelligentTieringConfiguration: "s3:PutIntelligentTieringConfiguration",
  PutBucketInventoryConfiguration: "s3:PutInventoryConfiguration",
  PutBucketLifecycleConfiguration: "s3:PutLifecycleConfiguration",
  PutBucketLogging: "s3:PutBucketLogging",
  PutBucketMetricsConfiguration: "s3:PutMetricsConfiguration",
  PutBucketNotificationConfiguration: "s3:PutBucketNotification",
  PutBucketOwnershipControls: "s3:PutBucketOwnershipControls",
  PutBucketPolicy: "s3:PutBucketPolicy",
  PutBucketReplication: "s3:PutReplicationConfiguration",
  PutBucketRequestPayment: "s3:PutBucketRequestPayment",
  PutBucketTagging: "s3:PutBucketTagging",
  PutBucketVersioning: "s3:PutBucketVersioning",
  PutBucketWebsite: "s3:PutBucketWebsite",
  PutObjectLockConfiguration: "s3:PutBucketObjectLockConfiguration",
  PutPublicAccessBlock: "s3:PutBucketPublicAccessBlock",
};

/** On the object. */
const objectActions: Readonly<Record<string, string>> = {
  AbortMultipartUpload: "s3:AbortMultipartUpload",
  CompleteMultipartUpload: "s3:PutObject",
  CopyObject: "s3:PutObject",
  CreateMultipartUpload: "s3:PutObject",
  DeleteObject: "s3:DeleteObject",
  DeleteObjectTagging: "s3:DeleteObjectTagging",
  GetObject: "s3:GetObject",
  GetObjectAcl: "s3:GetObjectAcl",
  GetObjectAttributes: "s3:GetObject",
  GetObjectLegalHold: "s3:GetObjectLegalHold",
  GetObjectRetention: "s3:GetObjectRetention",
  GetObjectTagging: "s3:GetObjectTagging",
  HeadObject: "s3:GetObject",
  ListParts: "s3:ListMultipartUploadParts",
  PutObject: "s3:PutObject",
  PutObjectAcl: "s3:PutObjectAcl",
  PutObjectLegalHold: "s3:PutObjectLegalHold",
  PutObjectRetention: "s3:PutObjectRetention",
  SelectObjectContent: "s3:GetObject",
  UploadPart: "s3:PutObject",
  UploadPartCopy: "s3:PutObject",
};

/** What a version id in the query makes of them. */
const versionActions: Readonly<Record<string, string>> = {
  "s3:DeleteObject": "s3:DeleteObjectVersion",
  "s3:DeleteObjectTagging": "s3:DeleteObjectVersionTagging",
  "s3:GetObject": "s3:GetObjectVersion",
  "s3:GetObjectAcl": "s3:GetObjectVersionAcl",
  "s3:GetObjectAttributes": "s3:GetObjectVersionAttributes",
  "s3:GetObjectTagging": "s3:GetObjectVersionTagging",
  "s3:PutObjectAcl": "s3:PutObjectVersionAcl",
};

/** What headers of a write ask for besides. */
const headerActions: Readonly<Record<string, string>> = {
  "x-amz-tagging": "s3:PutObjectTagging",
  "x-amz-object-lock-mode": "s3:PutObjectRetention",
  "x-amz-object-lock-legal-hold": "s3:PutObjectLegalHold",
};

/** Operations that write and make no object yet. They can have no conditions, so policies that ask for some exempt them. */
const ofParts: ReadonlySet<string> = new Set([
  "CreateMultipartUpload",
  "UploadPart",
  "UploadPartCopy",
]);

/** Operations whose condition is on what a key has now. */
const conditional: ReadonlySet<string> = new Set([
  "CompleteMultipartUpload",
  "CopyObject",
  "DeleteObject",
  "PutObject",
]);

/** Who compares an ETag learns of the object, and has to be one who may read it. */
export const comparesEtag = (ifMatch: string | null) => ifMatch !== null && ifMatch.trim() !== "*";

/** What headers of a new bucket ask for besides. */
function alsoOfBucket(headers: Headers): string[] {
  const also: string[] = [];
  if (/^true$/i.test(headers.get("x-amz-bucket-object-lock-enabled") ?? "")) {
    also.push("s3:PutBucketObjectLockConfiguration", "s3:PutBucketVersioning");
  }
  if (headers.has("x-amz-object-ownership")) also.push("s3:PutBucketOwnershipControls");
  return also;
}

/** What these ask for stands in their bodies: each key, the signed form, the tags, the lock. */
const saidInBody: ReadonlySet<string> = new Set([
  "DeleteObjects",
  "PostObject",
  "PutObjectLegalHold",
  "PutObjectRetention",
  "PutObjectTagging",
]);

/** Query parameters of listings that policies may look at. */
const listConditions: Readonly<Record<string, string>> = {
  prefix: "s3:prefix",
  delimiter: "s3:delimiter",
  "max-keys": "s3:max-keys",
};

function conditionsOf(query: URLSearchParams): Record<string, string> {
  const conditions: Record<string, string> = {};
  for (const [parameter, key] of Object.entries(listConditions)) {
    const value = query.get(parameter);
    if (value !== null) conditions[key] = value;
  }
  return conditions;
}

/** @throws AwsError `InvalidURI` when the copy source is none */
export function permissionsOf(operation: string, target: Target, headers: Headers): Permission[] {
  const { bucket, key, query } = target;
  if (operation === "ListDirectoryBuckets") {
    return [{ action: "s3express:ListAllMyDirectoryBuckets", resource: "*" }];
  }
  if (operation === "ListBuckets") return [{ action: "s3:ListAllMyBuckets", resource: "*" }];
  if (saidInBody.has(operation)) return [];
  const onBucket = bucketActions[operation];
  if (onBucket !== undefined) {
    const conditions = onBucket.startsWith("s3:ListBucket") ? conditionsOf(query) : {};
    const also = operation === "CreateBucket" ? alsoOfBucket(headers) : [];
    return [onBucket, ...also].map((action) => ({
      action,
      resource: bucketArn(bucket),
      conditions,
    }));
  }
  const plain = objectActions[operation] ?? `s3:${operation}`;
  const actions = operation === "GetObjectAttributes" ? [plain, "s3:GetObjectAttributes"] : [plain];
  const needed: Permission[] = actions.map((action) => ({
    action: query.has("versionId") ? versionActions[action] ?? action : action,
    resource: key === "" ? bucketArn(bucket) : objectArn(bucket, key),
    version: query.get("versionId"),
    ...(action === "s3:PutObject" ? { creates: !ofParts.has(operation) } : {}),
  }));
  if (conditional.has(operation) && comparesEtag(headers.get("if-match"))) {
    needed.push({ action: "s3:GetObject", resource: objectArn(bucket, key) });
  }
  if (plain === "s3:PutObject") {
    for (const [header, also] of Object.entries(headerActions)) {
      if (headers.has(header)) needed.push({ action: also, resource: objectArn(bucket, key) });
    }
  }
  if (operation === "CopyObject" || operation === "UploadPartCopy") {
    const source = copySourceTarget(headers.get("x-amz-copy-source") ?? "");
    needed.push({
      action: source.query.has("versionId") ? "s3:GetObjectVersion" : "s3:GetObject",
      resource: objectArn(source.bucket, source.key),
      version: source.query.get("versionId"),
    });
  }
  return needed;
}
