/**
 * The actions that S3 has by IAM's names, and what each is done to. A policy that names another, or one that none of
 * its resources can have done to it, says something else than whoever wrote it believes.
 *
 * `tests/predastore/policy_actions_test.ts` holds the list against what the pinned client of AWS's documents, so that a newer
 * client tells what is missing.
 */
import { matchTokens, tokensOf } from "../../aws/wildcards.ts";

export type Kind = "bucket" | "object";

const words = (text: string) => text.trim().split(/\s+/);

const ofObjects = words(`
  AbortMultipartUpload BypassGovernanceRetention
  DeleteObject DeleteObjectAnnotation DeleteObjectTagging DeleteObjectVersion DeleteObjectVersionTagging
  GetObject GetObjectAcl GetObjectAnnotation GetObjectAttributes GetObjectLegalHold GetObjectRetention GetObjectTagging
  GetObjectTorrent GetObjectVersion GetObjectVersionAcl GetObjectVersionAttributes GetObjectVersionForReplication
  GetObjectVersionTagging GetObjectVersionTorrent
  InitiateReplication ListMultipartUploadParts ListObjectAnnotations ObjectOwnerOverrideToBucketOwner
  PutObject PutObjectAcl PutObjectAnnotation PutObjectLegalHold PutObjectRetention PutObjectTagging PutObjectVersionAcl
  PutObjectVersionTagging
  ReplicateDelete ReplicateObject ReplicateTags RestoreObject UpdateObjectEncryption
`);

const ofBuckets = words(`
  CreateBucket CreateBucketMetadataTableConfiguration CreateSession
  DeleteBucket DeleteBucketMetadataTableConfiguration DeleteBucketPolicy DeleteBucketWebsite
  GetAccelerateConfiguration GetAnalyticsConfiguration GetBucketAbac GetBucketAcl GetBucketCORS GetBucketLocation
  GetBucketLogging GetBucketMetadataTableConfiguration GetBucketNotification GetBucketObjectLockConfiguration
  GetBucketOwnershipControls GetBucketPolicy GetBucketPolicyStatus GetBucketPublicAccessBlock GetBucketRequestPayment
  GetBucketTagging GetBucketVersioning GetBucketWebsite GetEncryptionConfiguration GetIntelligentTieringConfiguration
  GetInventoryConfiguration GetLifecycleConfiguration GetMetricsConfiguration GetReplicationConfiguration
  ListBucket ListBucketMultipartUploads ListBucketVersions ListTagsForResource
  PutAccelerateConfiguration PutAnalyticsConfiguration PutBucketAbac PutBucketAcl PutBucketCORS PutBucketLogging
  PutBucketNotification PutBucketObjectLockConfiguration PutBucketOwnershipControls PutBucketPolicy
  PutBucketPublicAccessBlock PutBucketRequestPayment PutBucketTagging PutBucketVersioning PutBucketWebsite
  PutEncryptionConfiguration PutIntelligentTieringConfiguration PutInventoryConfiguration PutLifecycleConfiguration
  PutMetricsConfiguration PutReplicationConfiguration
  TagResource UntagResource UpdateBucketMetadataAnnotationTableConfiguration
  UpdateBucketMetadataInventoryTableConfiguration UpdateBucketMetadataJournalTableConfiguration
`);

/** Of accounts, access points and jobs: nothing that a bucket's policy could be about. */
const ofOthers = words(`
  AssociateAccessGrantsIdentityCenter CreateAccessGrant CreateAccessGrantsInstance CreateAccessGrantsLocation
  CreateAccessPoint CreateAccessPointForObjectLambda CreateJob CreateMultiRegionAccessPoint CreateStorageLensGroup
  DeleteAccessGrant DeleteAccessGrantsInstance DeleteAccessGrantsInstanceResourcePolicy DeleteAccessGrantsLocation
  DeleteAccessPoint DeleteAccessPointForObjectLambda DeleteAccessPointPolicy DeleteAccessPointPolicyForObjectLambda
  DeleteJobTagging DeleteMultiRegionAccessPoint DeleteStorageLensConfiguration DeleteStorageLensConfigurationTagging
  DeleteStorageLensGroup DescribeJob DescribeMultiRegionAccessPointOperation DissociateAccessGrantsIdentityCenter
  GetAccessGrant GetAccessGrantsInstance GetAccessGrantsInstanceForPrefix GetAccessGrantsInstanceResourcePolicy
  GetAccessGrantsLocation GetAccessPoint GetAccessPointConfigurationForObjectLambda GetAccessPointForObjectLambda
  GetAccessPointPolicy GetAccessPointPolicyForObjectLambda GetAccessPointPolicyStatus
  GetAccessPointPolicyStatusForObjectLambda GetAccountPublicAccessBlock GetDataAccess GetJobTagging
  GetMultiRegionAccessPoint GetMultiRegionAccessPointPolicy GetMultiRegionAccessPointPolicyStatus
  GetMultiRegionAccessPointRoutes GetStorageLensConfiguration GetStorageLensConfigurationTagging GetStorageLensDashboard
  GetStorageLensGroup ListAccessGrants ListAccessGrantsInstances ListAccessGrantsLocations ListAccessPoints
  ListAccessPointsForObjectLambda ListAllMyBuckets ListCallerAccessGrants ListJobs ListMultiRegionAccessPoints
  ListStorageLensConfigurations ListStorageLensGroups PauseReplication PutAccessGrantsInstanceResourcePolicy
  PutAccessPointConfigurationForObjectLambda PutAccessPointPolicy PutAccessPointPolicyForObjectLambda
  PutAccessPointPublicAccessBlock PutAccountPublicAccessBlock PutJobTagging PutMultiRegionAccessPointPolicy
  PutStorageLensConfiguration PutStorageLensConfigurationTagging SubmitMultiRegionAccessPointRoutes UpdateAccessGrantsLocation
  UpdateJobPriority UpdateJobStatus UpdateStorageLensGroup
`);

const known: readonly (readonly [name: string, kind: Kind | undefined])[] = [
  ...ofObjects.map((name) => [name.toLowerCase(), "object"] as const),
  ...ofBuckets.map((name) => [name.toLowerCase(), "bucket"] as const),
  ...ofOthers.map((name) => [name.toLowerCase(), undefined] as const),
];

/** Whether a whole text is what a pattern with `*` and `?` means. */
export const matches = (pattern: string, text: string) =>
  matchTokens(tokensOf(pattern), Array.from(text));

/** What the actions that a pattern means are done to; nothing where it means none. */
export function kindsOf(action: string): ReadonlySet<Kind | undefined> | undefined {
  const pattern = action === "*" ? action : /^s3:(.*)$/i.exec(action)?.[1];
  if (pattern === undefined) return undefined;
  const wanted = pattern.toLowerCase();
  const kinds = new Set(
    known.filter(([name]) => matches(wanted, name)).map(([, kind]) => kind),
  );
  return kinds.size === 0 ? undefined : kinds;
}
