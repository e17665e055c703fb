/**
 * What each S3 operation needs leave for, by IAM's names: the actions, and the buckets and objects that
 * they touch. An operation that is not in the table needs an action that no policy but `*` allows.
 *
 * DeleteObjects asks for each key by itself, where the keys are known.
 */
import { parseTarget, type Target } from "./call.ts";

export interface Permission {
  /** `s3:GetObject` */
  readonly action: string;
  /** ARN, or `*`. */
  readonly resource: string;
  readonly conditions?: Readonly<Record<string, string>>;
}

export const bucketArn = (bucket: string) => `arn:aws:s3:::${bucket}`;
export const objectArn = (bucket: string, key: string) => `arn:aws:s3:::${bucket}/${key}`;

/** On the bucket. */
const bucketActions: Readonly<Record<string, string>> = {
  CreateBucket: "s3:CreateBucket",
  DeleteBucket: "s3:DeleteBucket",
  GetBucketLocation: "s3:GetBucketLocation",
  HeadBucket: "s3:ListBucket",
  ListMultipartUploads: "s3:ListBucketMultipartUploads",
  ListObjects: "s3:ListBucket",
  ListObjectsV2: "s3:ListBucket",
};

/** On the object. */
const objectActions: Readonly<Record<string, string>> = {
  AbortMultipartUpload: "s3:AbortMultipartUpload",
  CompleteMultipartUpload: "s3:PutObject",
  CopyObject: "s3:PutObject",
  CreateMultipartUpload: "s3:PutObject",
  DeleteObject: "s3:DeleteObject",
  GetObject: "s3:GetObject",
  HeadObject: "s3:GetObject",
  ListParts: "s3:ListMultipartUploadParts",
  PutObject: "s3:PutObject",
  UploadPart: "s3:PutObject",
  UploadPartCopy: "s3:PutObject",
};

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
  if (operation === "ListBuckets") return [{ action: "s3:ListAllMyBuckets", resource: "*" }];
  if (operation === "DeleteObjects") return [];
  const onBucket = bucketActions[operation];
  if (onBucket !== undefined) {
    const conditions = onBucket === "s3:ListBucket" ? conditionsOf(query) : {};
    return [{ action: onBucket, resource: bucketArn(bucket), conditions }];
  }
  const action = objectActions[operation] ?? `s3:${operation}`;
  const needed: Permission[] = [{
    action,
    resource: key === "" ? bucketArn(bucket) : objectArn(bucket, key),
  }];
  if (operation === "CopyObject" || operation === "UploadPartCopy") {
    const header = headers.get("x-amz-copy-source") ?? "";
    const source = parseTarget(header.startsWith("/") ? header : `/${header}`);
    needed.push({ action: "s3:GetObject", resource: objectArn(source.bucket, source.key) });
  }
  return needed;
}
