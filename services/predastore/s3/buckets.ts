/** ListBuckets, CreateBucket, HeadBucket, DeleteBucket and GetBucketLocation. */
import { AwsError } from "../../aws/errors.ts";
import { toldCode } from "../operator/bucket_code.ts";
import { parseCode } from "../extents/code.ts";
import { erasureCodeHeader } from "../contract.ts";
import type { BucketRow } from "../index/rows.ts";
import { documentDate, owner } from "./answer_parts.ts";
import type { Tag } from "../objects/settings.ts";
import {
  accessDenied,
  DetailedError,
  invalidArgument,
  invalidBucketName,
  isSystem,
  notImplemented,
  ownBucket,
  type S3Call,
  wholeNumber,
} from "./call.ts";
import { readDocument } from "./body.ts";
import { refuseUnserved } from "./object_headers.ts";
import { bucketArn } from "./permissions.ts";
import { bucketTags } from "./tagging.ts";
import { document, element, parseXml, text, xmlResponse } from "./xml.ts";

/** Names that the system keeps for itself. */
const reserved =
  /^mulga-|^xn--|^sthree-|^amzn-s3-demo-|-s3alias$|--ol-s3$|--x-s3$|--table-s3$|\.mrap$|^\d+\.\d+\.\d+\.\d+$/;

/** @throws AwsError `InvalidBucketName` */
function checkBucketName(name: string, system: boolean): void {
  const wellFormed = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(name) &&
    !/\.\.|\.-|-\./.test(name);
  if (wellFormed && (system || !reserved.test(name))) return;
  throw invalidBucketName();
}

/** Whether it could be the name of a region, and of whichever. */
const isRegion = (name: string) => /^[a-z]+(-[a-z]+)+-\d+$/i.test(name);

/** Only buckets of the endpoint's own region can be asked for. @throws AwsError `InvalidArgument` */
function checkRegion({ query, region }: S3Call): void {
  const asked = query.get("bucket-region");
  if (asked === null || asked.toLowerCase() === region) return;
  throw invalidArgument(
    isRegion(asked)
      ? "Requests with bucket-region specified must be made to the corresponding regional endpoint"
      : `Argument value ${asked} is not a valid AWS Region`,
    "bucket-region",
  );
}

export function listBuckets(call: S3Call): Response {
  const limit = wholeNumber(call, "max-buckets", 1, 10_000) ?? 10_000;
  const prefix = call.query.get("prefix") ?? "";
  checkRegion(call);
  const token = call.query.get("continuation-token");
  let after = "";
  if (token !== null) {
    try {
      after = new TextDecoder().decode(Uint8Array.fromBase64(token, { alphabet: "base64url" }));
    } catch {
      throw invalidArgument("The continuation token provided is incorrect", "continuation-token");
    }
  }
  // The region is told to those who page or choose.
  const paged = ["max-buckets", "prefix", "continuation-token", "bucket-region"]
    .some((name) => call.query.has(name));
  const all = call.store.index.buckets.ofAccount(call.account_id)
    .filter((bucket) => bucket.name.startsWith(prefix) && bucket.name > after);
  const page = all.slice(0, limit);
  const last = page.at(-1);
  return xmlResponse("ListAllMyBucketsResult", [
    owner(call.account_id),
    element(
      "Buckets",
      page.map((bucket) =>
        element("Bucket", [
          element("Name", bucket.name),
          element("CreationDate", documentDate(bucket.created_ms)),
          paged ? element("BucketRegion", bucket.region) : undefined,
          element("BucketArn", bucketArn(bucket.name)),
        ])
      ),
    ),
    call.query.has("prefix") ? element("Prefix", prefix) : undefined,
    page.length < all.length && last !== undefined
      ? element(
        "ContinuationToken",
        new TextEncoder().encode(last.name).toBase64({ alphabet: "base64url" }),
      )
      : undefined,
  ]);
}

/** What S3 answers in its first region, which has no name in location constraints. */
const firstRegion = "us-east-1";

/** What a request's document says of the bucket that is to be made. */
async function asked(call: S3Call): Promise<{ region: string; tags: readonly Tag[] }> {
  const body = await readDocument(call);
  if (body === "") return { region: call.region, tags: [] };
  const root = parseXml(body, "CreateBucketConfiguration");
  if (root["Location"] !== undefined || root["Bucket"] !== undefined) {
    throw notImplemented("directory buckets");
  }
  const tags = bucketTags(root, "Tags");
  if (tags.length > 0) {
    const conditions = {
      "aws:TagKeys": tags.map(({ key }) => key),
      ...Object.fromEntries(tags.map(({ key, value }) => [`aws:RequestTag/${key}`, value])),
    };
    const resource = bucketArn(call.bucket);
    if (!await call.may({ action: "s3:TagResource", resource, conditions })) throw accessDenied();
  }
  return { region: text(root, "LocationConstraint") ?? call.region, tags };
}

const invalidConstraint = (region: string) =>
  new DetailedError("InvalidLocationConstraint", "The specified location-constraint is not valid", {
    elements: { LocationConstraint: region },
  });

const withAcl = () =>
  new AwsError(
    "InvalidBucketAclWithObjectOwnership",
    "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting",
  );

export async function createBucket(call: S3Call): Promise<Response> {
  checkBucketName(call.bucket, isSystem(call));
  const locks = call.headers.get("x-amz-bucket-object-lock-enabled")?.toLowerCase() === "true";
  const ownership = call.headers.get("x-amz-object-ownership");
  if (
    ownership !== null && ownership !== "BucketOwnerEnforced" &&
    ownership !== "BucketOwnerPreferred" && ownership !== "ObjectWriter"
  ) {
    throw invalidArgument(
      `Invalid x-amz-object-ownership header: ${ownership}`,
      "x-amz-object-ownership",
    );
  }
  const enforced = ownership === null || ownership === "BucketOwnerEnforced";
  refuseUnserved(call.headers, enforced ? withAcl : undefined);
  const written = call.headers.get(erasureCodeHeader);
  const code = written === null ? undefined : parseCode(written, call.store.directories.all.length);
  const { region, tags } = await asked(call);
  if (region !== call.region) {
    if (!isRegion(region)) throw invalidConstraint(region);
    throw new AwsError(
      "IllegalLocationConstraintException",
      `The ${region} location constraint is incompatible for the region specific endpoint this request was sent to.`,
    );
  }
  const { created, bucket } = await call.store.buckets.create(
    call.bucket,
    call.account_id,
    region,
    {
      ...(locks ? { versioning: "Enabled" as const, lock: {} } : {}),
      ...(ownership === null ? {} : { ownership }),
      ...(code === undefined ? {} : { code }),
      ...(tags.length === 0 ? {} : { tags }),
    },
  );
  if (!created && bucket.account_id !== call.account_id) {
    throw new AwsError(
      "BucketAlreadyExists",
      "The requested bucket name is not available. The bucket namespace is shared by all users of the system. Please select a different name and try again.",
      { status: 409 },
    );
  }
  // S3 lets the owner repeat this in its first region only.
  if (!created && call.region !== firstRegion) {
    throw new AwsError(
      "BucketAlreadyOwnedByYou",
      "Your previous request to create the named bucket succeeded and you already own it.",
      { status: 409 },
    );
  }
  return new Response(null, {
    headers: { location: `/${call.bucket}`, ...tellCode(call, bucket) },
  });
}

const tellCode = (call: S3Call, bucket: BucketRow) => ({
  [erasureCodeHeader]: toldCode(call.store, bucket).code,
});

export function headBucket(call: S3Call): Response {
  const bucket = ownBucket(call);
  return new Response(null, {
    headers: {
      "content-type": "application/xml",
      "x-amz-bucket-region": bucket.region,
      "x-amz-access-point-alias": "false",
      "x-amz-bucket-arn": bucketArn(bucket.name),
      ...tellCode(call, bucket),
    },
  });
}

export async function deleteBucket(call: S3Call): Promise<Response> {
  await call.store.buckets.delete(ownBucket(call));
  return new Response(null, { status: 204 });
}

export function getBucketLocation(call: S3Call): Response {
  const { region } = ownBucket(call);
  return new Response(document("LocationConstraint", region === firstRegion ? "" : region), {
    headers: { "content-type": "application/xml" },
  });
}
