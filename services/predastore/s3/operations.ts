/**
 * Which operation a request asks for, by its method, its target and the sub-resource in its query; and
 * who serves it. What S3 has and we have not is known by its name, and answered `NotImplemented`.
 */
import { AwsError } from "../../aws/errors.ts";
import { DetailedError } from "./call.ts";
import { getBucketAcl, getObjectAcl, putBucketAcl, putObjectAcl } from "./acl.ts";
import { getObjectAttributes } from "./attributes.ts";
import {
  deleteBucketPolicy,
  getBucketPolicy,
  getBucketPolicyStatus,
  putBucketPolicy,
} from "./bucket_policy.ts";
import {
  createBucket,
  deleteBucket,
  getBucketLocation,
  headBucket,
  listBuckets,
} from "./buckets.ts";
import type { S3Call } from "./call.ts";
import type { Target } from "./target.ts";
import { copyObject } from "./copy_object.ts";
import { deleteBucketCors, getBucketCors, putBucketCors } from "./cors.ts";
import { deleteObject, deleteObjects } from "./delete_object.ts";
import { deleteBucketEncryption, getBucketEncryption, putBucketEncryption } from "./encryption.ts";
import { getObject, headObject } from "./get_object.ts";
import {
  deleteBucketLifecycle,
  getBucketLifecycleConfiguration,
  putBucketLifecycleConfiguration,
} from "./lifecycle.ts";
import { listMultipartUploads, listObjectsV1, listObjectsV2 } from "./listing.ts";
import {
  deleteBucketReplication,
  deleteBucketWebsite,
  deleteConfigurationById,
  getBucketAccelerateConfiguration,
  getBucketLogging,
  getBucketReplication,
  getBucketRequestPayment,
  getBucketWebsite,
  getConfigurationById,
  listNoConfigurations,
  putBucketAccelerateConfiguration,
  putBucketLogging,
  putBucketRequestPayment,
  restoreObject,
} from "./unconfigured.ts";
import { completeMultipartUpload } from "./complete_upload.ts";
import { uploadPartCopy } from "./copy_part.ts";
import { abortMultipartUpload, createMultipartUpload, listParts } from "./multipart.ts";
import { uploadPart } from "./upload_part.ts";
import {
  getBucketNotificationConfiguration,
  putBucketNotificationConfiguration,
} from "./notification.ts";
import {
  getObjectLegalHold,
  getObjectLockConfiguration,
  getObjectRetention,
  putObjectLegalHold,
  putObjectLockConfiguration,
  putObjectRetention,
} from "./object_lock.ts";
import { putObject } from "./put_object.ts";
import { postObject } from "./post_object.ts";
import {
  deleteBucketOwnershipControls,
  deletePublicAccessBlock,
  getBucketOwnershipControls,
  getPublicAccessBlock,
  putBucketOwnershipControls,
  putPublicAccessBlock,
} from "./public_access.ts";
import {
  deleteBucketTagging,
  deleteObjectTagging,
  getBucketTagging,
  getObjectTagging,
  putBucketTagging,
  putObjectTagging,
} from "./tagging.ts";
import { getBucketVersioning, listObjectVersions, putBucketVersioning } from "./versioning.ts";

export type Handler = (call: S3Call) => Promise<Response> | Response;

/** The operations that are served. */
export const served: Readonly<Record<string, Handler>> = {
  AbortMultipartUpload: abortMultipartUpload,
  CompleteMultipartUpload: completeMultipartUpload,
  CopyObject: copyObject,
  CreateBucket: createBucket,
  CreateMultipartUpload: createMultipartUpload,
  DeleteBucket: deleteBucket,
  DeleteBucketCors: deleteBucketCors,
  DeleteBucketEncryption: deleteBucketEncryption,
  DeleteBucketLifecycle: deleteBucketLifecycle,
  DeleteBucketOwnershipControls: deleteBucketOwnershipControls,
  DeleteBucketPolicy: deleteBucketPolicy,
  DeleteBucketTagging: deleteBucketTagging,
  DeleteObject: deleteObject,
  DeleteObjectTagging: deleteObjectTagging,
  DeleteObjects: deleteObjects,
  DeletePublicAccessBlock: deletePublicAccessBlock,
  GetBucketAcl: getBucketAcl,
  GetBucketCors: getBucketCors,
  GetBucketEncryption: getBucketEncryption,
  GetBucketLifecycleConfiguration: getBucketLifecycleConfiguration,
  GetBucketLocation: getBucketLocation,
  GetBucketNotificationConfiguration: getBucketNotificationConfiguration,
  GetBucketOwnershipControls: getBucketOwnershipControls,
  GetBucketPolicy: getBucketPolicy,
  GetBucketPolicyStatus: getBucketPolicyStatus,
  GetBucketTagging: getBucketTagging,
  GetBucketVersioning: getBucketVersioning,
  GetObject: getObject,
  GetObjectAcl: getObjectAcl,
  GetObjectAttributes: getObjectAttributes,
  GetObjectLegalHold: getObjectLegalHold,
  GetObjectLockConfiguration: getObjectLockConfiguration,
  GetObjectRetention: getObjectRetention,
  GetObjectTagging: getObjectTagging,
  GetPublicAccessBlock: getPublicAccessBlock,
  DeleteBucketAnalyticsConfiguration: deleteConfigurationById,
  DeleteBucketIntelligentTieringConfiguration: deleteConfigurationById,
  DeleteBucketInventoryConfiguration: deleteConfigurationById,
  DeleteBucketMetricsConfiguration: deleteConfigurationById,
  DeleteBucketReplication: deleteBucketReplication,
  DeleteBucketWebsite: deleteBucketWebsite,
  GetBucketAccelerateConfiguration: getBucketAccelerateConfiguration,
  GetBucketAnalyticsConfiguration: getConfigurationById,
  GetBucketIntelligentTieringConfiguration: getConfigurationById,
  GetBucketInventoryConfiguration: getConfigurationById,
  GetBucketLogging: getBucketLogging,
  GetBucketMetricsConfiguration: getConfigurationById,
  GetBucketReplication: getBucketReplication,
  GetBucketRequestPayment: getBucketRequestPayment,
  GetBucketWebsite: getBucketWebsite,
  HeadBucket: headBucket,
  HeadObject: headObject,
  ListBucketAnalyticsConfigurations: listNoConfigurations("ListBucketAnalyticsConfigurationResult"),
  ListBucketIntelligentTieringConfigurations: listNoConfigurations(
    "ListBucketIntelligentTieringConfigurationsOutput",
  ),
  ListBucketInventoryConfigurations: listNoConfigurations("ListInventoryConfigurationsResult"),
  ListBucketMetricsConfigurations: listNoConfigurations("ListMetricsConfigurationsResult"),
  ListBuckets: listBuckets,
  ListMultipartUploads: listMultipartUploads,
  ListObjectVersions: listObjectVersions,
  ListObjects: listObjectsV1,
  ListObjectsV2: listObjectsV2,
  ListParts: listParts,
  PostObject: postObject,
  PutBucketAccelerateConfiguration: putBucketAccelerateConfiguration,
  PutBucketAcl: putBucketAcl,
  PutBucketCors: putBucketCors,
  PutBucketEncryption: putBucketEncryption,
  PutBucketLifecycleConfiguration: putBucketLifecycleConfiguration,
  PutBucketLogging: putBucketLogging,
  PutBucketNotificationConfiguration: putBucketNotificationConfiguration,
  PutBucketOwnershipControls: putBucketOwnershipControls,
  PutBucketPolicy: putBucketPolicy,
  PutBucketRequestPayment: putBucketRequestPayment,
  PutBucketTagging: putBucketTagging,
  PutBucketVersioning: putBucketVersioning,
  PutObject: putObject,
  PutObjectAcl: putObjectAcl,
  PutObjectLegalHold: putObjectLegalHold,
  PutObjectLockConfiguration: putObjectLockConfiguration,
  PutObjectRetention: putObjectRetention,
  PutObjectTagging: putObjectTagging,
  PutPublicAccessBlock: putPublicAccessBlock,
  RestoreObject: restoreObject,
  UploadPart: uploadPart,
  UploadPartCopy: uploadPartCopy,
};

/** Sub-resources of a bucket, as AWS's operation names call them. */
const bucketSubresources: Readonly<Record<string, string>> = {
  abac: "BucketAbac",
  accelerate: "BucketAccelerateConfiguration",
  acl: "BucketAcl",
  analytics: "BucketAnalyticsConfiguration",
  cors: "BucketCors",
  encryption: "BucketEncryption",
  "intelligent-tiering": "BucketIntelligentTieringConfiguration",
  inventory: "BucketInventoryConfiguration",
  lifecycle: "BucketLifecycleConfiguration",
  logging: "BucketLogging",
  metadataAnnotationTable: "BucketMetadataAnnotationTableConfiguration",
  metadataConfiguration: "BucketMetadataConfiguration",
  metadataInventoryTable: "BucketMetadataInventoryTableConfiguration",
  metadataJournalTable: "BucketMetadataJournalTableConfiguration",
  metadataTable: "BucketMetadataTableConfiguration",
  metrics: "BucketMetricsConfiguration",
  notification: "BucketNotificationConfiguration",
  "object-lock": "ObjectLockConfiguration",
  ownershipControls: "BucketOwnershipControls",
  policy: "BucketPolicy",
  policyStatus: "BucketPolicyStatus",
  publicAccessBlock: "PublicAccessBlock",
  replication: "BucketReplication",
  requestPayment: "BucketRequestPayment",
  tagging: "BucketTagging",
  versioning: "BucketVersioning",
  website: "BucketWebsite",
};

/** Sub-resources of an object. */
const objectSubresources: Readonly<Record<string, string>> = {
  acl: "ObjectAcl",
  annotation: "ObjectAnnotation",
  attributes: "ObjectAttributes",
  encryption: "ObjectEncryption",
  "legal-hold": "ObjectLegalHold",
  retention: "ObjectRetention",
  tagging: "ObjectTagging",
  torrent: "ObjectTorrent",
};

const verbs: Readonly<Record<string, string>> = { GET: "Get", PUT: "Put", DELETE: "Delete" };

/** Sub-resources of which there are many, each with an id or a name; asked for without one, all are listed. */
const listed: Readonly<Record<string, string>> = {
  analytics: "ListBucketAnalyticsConfigurations",
  annotation: "ListObjectAnnotations",
  "intelligent-tiering": "ListBucketIntelligentTieringConfigurations",
  inventory: "ListBucketInventoryConfigurations",
  metrics: "ListBucketMetricsConfigurations",
};

/** Names that do not follow from the sub-resource. */
const irregular: Readonly<Record<string, string>> = {
  DeleteBucketLifecycleConfiguration: "DeleteBucketLifecycle",
  PutBucketMetadataAnnotationTableConfiguration: "UpdateBucketMetadataAnnotationTableConfiguration",
  PutBucketMetadataInventoryTableConfiguration: "UpdateBucketMetadataInventoryTableConfiguration",
  PutBucketMetadataJournalTableConfiguration: "UpdateBucketMetadataJournalTableConfiguration",
  PutObjectEncryption: "UpdateObjectEncryption",
};

/** Sub-resources of a bucket that are made by POST. */
const created = ["metadataConfiguration", "metadataTable"];

const methodNotAllowed = () =>
  new AwsError(
    "MethodNotAllowed",
    "The specified method is not allowed against this resource.",
    { status: 405 },
  );

function subresource(
  method: string,
  query: URLSearchParams,
  of: Readonly<Record<string, string>>,
): string | undefined {
  for (const [name, suffix] of Object.entries(of)) {
    if (!query.has(name)) continue;
    const verb = method === "POST" && created.includes(name) ? "Create" : verbs[method];
    if (verb === undefined) throw methodNotAllowed();
    const list = listed[name];
    if (
      list !== undefined && method === "GET" && !query.has("id") && !query.has("annotationName")
    ) {
      return list;
    }
    return irregular[verb + suffix] ?? verb + suffix;
  }
  return undefined;
}

function bucketOperation(method: string, query: URLSearchParams, headers: Headers): string {
  if (query.has("session")) return "CreateSession";
  const named = subresource(method, query, bucketSubresources);
  if (named !== undefined) return named;
  switch (method) {
    case "GET":
      if (query.has("location")) return "GetBucketLocation";
      if (query.has("uploads")) return "ListMultipartUploads";
      if (query.has("versions")) return "ListObjectVersions";
      return query.get("list-type") === "2" ? "ListObjectsV2" : "ListObjects";
    case "HEAD":
      return "HeadBucket";
    case "PUT":
      return "CreateBucket";
    case "DELETE":
      return "DeleteBucket";
    case "POST":
      if (query.has("delete")) return "DeleteObjects";
      if (headers.get("content-type")?.startsWith("multipart/form-data") === true) {
        return "PostObject";
      }
      throw new DetailedError(
        "PreconditionFailed",
        "At least one of the pre-conditions you specified did not hold",
        {
          status: 412,
          elements: {
            Condition: "Bucket POST must be of the enclosure-type multipart/form-data",
          },
        },
      );
    default:
      throw methodNotAllowed();
  }
}

function objectOperation(method: string, query: URLSearchParams, headers: Headers): string {
  const named = subresource(method, query, objectSubresources);
  if (named !== undefined) return named;
  const copies = headers.has("x-amz-copy-source");
  switch (method) {
    case "GET":
      return query.has("uploadId") ? "ListParts" : "GetObject";
    case "HEAD":
      return "HeadObject";
    case "PUT":
      if (query.has("renameObject")) return "RenameObject";
      if (query.has("uploadId") || query.has("partNumber")) {
        return copies ? "UploadPartCopy" : "UploadPart";
      }
      return copies ? "CopyObject" : "PutObject";
    case "DELETE":
      return query.has("uploadId") ? "AbortMultipartUpload" : "DeleteObject";
    case "POST":
      if (query.has("uploads")) return "CreateMultipartUpload";
      if (query.has("uploadId")) return "CompleteMultipartUpload";
      if (query.has("restore")) return "RestoreObject";
      if (query.has("select")) return "SelectObjectContent";
      throw methodNotAllowed();
    default:
      throw methodNotAllowed();
  }
}

/** AWS's name of what is asked for. @throws AwsError `MethodNotAllowed` */
export function operationOf(method: string, target: Target, headers: Headers): string {
  if (target.bucket === "") {
    if (method !== "GET") throw methodNotAllowed();
    return target.query.get("x-id") === "ListDirectoryBuckets"
      ? "ListDirectoryBuckets"
      : "ListBuckets";
  }
  return target.key === ""
    ? bucketOperation(method, target.query, headers)
    : objectOperation(method, target.query, headers);
}
