/** Who serves each operation. What S3 has and we have not is known by its name, and answered `NotImplemented`. */
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
