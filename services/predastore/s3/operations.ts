/** Who serves each operation. What S3 has and we have not is known by its name, and answered `NotImplemented`. */
import { getBucketAcl, getObjectAcl, putBucketAcl, putObjectAcl } from "./acl.ts";
import {
  deleteObjectAnnotation,
  getObjectAnnotation,
  listObjectAnnotations,
} from "./annotations.ts";
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
  getBucketAbac,
  getBucketAccelerateConfiguration,
  getBucketLogging,
  getBucketReplication,
  getBucketRequestPayment,
  getBucketWebsite,
  getConfigurationById,
  listDirectoryBuckets,
  listNoConfigurations,
  noMetadataConfiguration,
  putBucketAbac,
  putBucketAccelerateConfiguration,
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
  putBucketAnalyticsConfiguration,
  putBucketIntelligentTieringConfiguration,
  putBucketInventoryConfiguration,
  putBucketLogging,
  putBucketMetricsConfiguration,
  putBucketReplication,
  putBucketWebsite,
} from "./refused_configurations.ts";
import {
  deleteBucketTagging,
  deleteObjectTagging,
  getBucketTagging,
  getObjectTagging,
  putBucketTagging,
  putObjectTagging,
} from "./tagging.ts";
import { getObjectTorrent, selectObjectContent } from "./withdrawn.ts";
import { getBucketVersioning, listObjectVersions, putBucketVersioning } from "./versioning.ts";

export type Handler = (call: S3Call) => Promise<Response> | Response;

/** Operations that are refused in the end: what is wrong with a request is told as AWS tells it. */
export const refusing: Readonly<Record<string, Handler>> = {
  PutBucketAnalyticsConfiguration: putBucketAnalyticsConfiguration,
  PutBucketIntelligentTieringConfiguration: putBucketIntelligentTieringConfiguration,
  PutBucketInventoryConfiguration: putBucketInventoryConfiguration,
  PutBucketMetricsConfiguration: putBucketMetricsConfiguration,
  PutBucketReplication: putBucketReplication,
  PutBucketWebsite: putBucketWebsite,
};

/** Operations that AWS has withdrawn, and refuses as it does here. */
export const withdrawn: Readonly<Record<string, Handler>> = {
  GetObjectTorrent: getObjectTorrent,
  SelectObjectContent: selectObjectContent,
};

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
  DeleteObjectAnnotation: deleteObjectAnnotation,
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
  GetObjectAnnotation: getObjectAnnotation,
  GetObjectAttributes: getObjectAttributes,
  GetObjectLegalHold: getObjectLegalHold,
  GetObjectLockConfiguration: getObjectLockConfiguration,
  GetObjectRetention: getObjectRetention,
  GetObjectTagging: getObjectTagging,
  GetPublicAccessBlock: getPublicAccessBlock,
  DeleteBucketAnalyticsConfiguration: deleteConfigurationById,
  DeleteBucketIntelligentTieringConfiguration: deleteConfigurationById,
  DeleteBucketInventoryConfiguration: deleteConfigurationById,
  DeleteBucketMetadataConfiguration: noMetadataConfiguration,
  DeleteBucketMetadataTableConfiguration: noMetadataConfiguration,
  DeleteBucketMetricsConfiguration: deleteConfigurationById,
  DeleteBucketReplication: deleteBucketReplication,
  DeleteBucketWebsite: deleteBucketWebsite,
  GetBucketAbac: getBucketAbac,
  GetBucketAccelerateConfiguration: getBucketAccelerateConfiguration,
  GetBucketAnalyticsConfiguration: getConfigurationById,
  GetBucketIntelligentTieringConfiguration: getConfigurationById,
  GetBucketInventoryConfiguration: getConfigurationById,
  GetBucketLogging: getBucketLogging,
  GetBucketMetadataConfiguration: noMetadataConfiguration,
  GetBucketMetadataTableConfiguration: noMetadataConfiguration,
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
  ListDirectoryBuckets: listDirectoryBuckets,
  ListMultipartUploads: listMultipartUploads,
  ListObjectAnnotations: listObjectAnnotations,
  ListObjectVersions: listObjectVersions,
  ListObjects: listObjectsV1,
  ListObjectsV2: listObjectsV2,
  ListParts: listParts,
  PostObject: postObject,
  PutBucketAbac: putBucketAbac,
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
  UpdateBucketMetadataAnnotationTableConfiguration: noMetadataConfiguration,
  UpdateBucketMetadataInventoryTableConfiguration: noMetadataConfiguration,
  UpdateBucketMetadataJournalTableConfiguration: noMetadataConfiguration,
  UploadPart: uploadPart,
  UploadPartCopy: uploadPartCopy,
};
