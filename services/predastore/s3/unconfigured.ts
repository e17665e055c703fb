/**
 * What buckets can have at AWS and have not here: acceleration, access logs, paying requesters, websites,
 * replication, analytics and their kin. A question gets AWS's answer for a bucket where it was never set,
 * taking it away changes nothing, and asking for what is so anyway succeeds. Whatever would have to act is
 * `NotImplemented` and changes nothing.
 */
import { DetailedError, notImplemented, ownBucket, type S3Call } from "./call.ts";
import { done, notFound, oneOf, readRoot } from "./document.ts";
import { shownClass } from "./storage_class.ts";
import { askedVersion, meantObject } from "./version_ids.ts";
import { element, text, xmlResponse } from "./xml.ts";

/** An answer that is the same for all buckets; whose bucket it is, is asked all the same. */
const always = (answer: () => Response) => (call: S3Call): Response => {
  ownBucket(call);
  return answer();
};

const never = (code: string, message: string) => (call: S3Call): never => {
  ownBucket(call);
  throw notFound(code, message);
};

interface OneWord {
  readonly element: string;
  /** What every bucket has. */
  readonly is: string;
  readonly other: string;
  /** What the other would ask for. */
  readonly refused: string;
}

/** A configuration of one word: what is so anyway may be asked for. */
const onlyAsItIs = (root: string, { element: name, is, other, refused }: OneWord) =>
async (
  call: S3Call,
): Promise<Response> => {
  ownBucket(call);
  if (oneOf(text(await readRoot(call, root), name), is, other) === is) return done();
  throw notImplemented(refused);
};

export const getBucketAccelerateConfiguration = always(() =>
  xmlResponse("AccelerateConfiguration", [])
);

export const putBucketAccelerateConfiguration = onlyAsItIs("AccelerateConfiguration", {
  element: "Status",
  is: "Suspended",
  other: "Enabled",
  refused: "transfer acceleration",
});

export const getBucketLogging = always(() => xmlResponse("BucketLoggingStatus", []));

export const getBucketRequestPayment = always(() =>
  xmlResponse("RequestPaymentConfiguration", element("Payer", "BucketOwner"))
);

export const putBucketRequestPayment = onlyAsItIs("RequestPaymentConfiguration", {
  element: "Payer",
  is: "BucketOwner",
  other: "Requester",
  refused: "requesters who pay",
});

export const getBucketWebsite = never(
  "NoSuchWebsiteConfiguration",
  "The specified bucket does not have a website configuration",
);
export const deleteBucketWebsite = always(() => done(204));

export const getBucketReplication = never(
  "ReplicationConfigurationNotFoundError",
  "The replication configuration was not found",
);
export const deleteBucketReplication = always(() => done(204));

export const getBucketAbac = always(() => xmlResponse("AbacStatus", element("Status", "Disabled")));

export const putBucketAbac = onlyAsItIs("AbacStatus", {
  element: "Status",
  is: "Disabled",
  other: "Enabled",
  refused: "access by the tags of buckets",
});

/** Of tables that tell of a bucket's objects, in either form of their configuration. */
export const noMetadataConfiguration = never(
  "MetadataConfigurationNotFound",
  "The metadata configuration does not exist.",
);

/** No bucket here is a directory. */
export const listDirectoryBuckets = () =>
  xmlResponse("ListAllMyDirectoryBucketsResult", element("Buckets", ""));

/** Of configurations that have an id each, and of which there is none. */
export const getConfigurationById = never(
  "NoSuchConfiguration",
  "The specified configuration does not exist.",
);
export const deleteConfigurationById = getConfigurationById;
export const listNoConfigurations = (root: string) =>
  always(() => xmlResponse(root, element("IsTruncated", false)));

/** No object here is archived, so none can be restored. */
export function restoreObject(call: S3Call): never {
  const object = meantObject(call, ownBucket(call), call.key, askedVersion(call.query));
  throw new DetailedError(
    "InvalidObjectState",
    "Restore is not allowed for the object's current storage class",
    { status: 403, elements: { StorageClass: shownClass(object.meta.storage_class) } },
  );
}
