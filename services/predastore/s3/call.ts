/**
 * One S3 request: what it names, who asks, and what the query and headers say, each checked once.
 *
 * The key comes from the raw target: `..`, doubled slashes and every byte that UTF-8 allows belong to
 * it. Nothing here is believed before the signature is verified; the door does that in between.
 */
import type { SigningGrant, SigningScope, Verified } from "../../aws/signatures/sigv4.ts";
import { DetailedError } from "../../aws/detailed_error.ts";
import { AwsError } from "../../aws/errors.ts";
import type { WrittenPolicy } from "../../identity/contract.ts";
import type { Log } from "../../log/log.ts";
import type { BucketRow } from "../index/rows.ts";
import { noSuchBucket } from "../objects/commits.ts";
import type { Store } from "../store.ts";
import type { Permission } from "./permissions.ts";
import type { Target } from "./target.ts";

export { DetailedError };

/** What identity knows of the principals that a bucket's policy names. */
export interface PolicyTrust {
  /** What is kept beside a policy. @throws AwsError `MalformedPolicyDocument` when it names who is not there */
  of(document: string): Promise<NonNullable<WrittenPolicy["trusted"]>>;
  /** The policy as its owner sees it. */
  shown(policy: WrittenPolicy): Promise<string>;
}

export interface S3Call extends Target {
  readonly store: Store;
  readonly log: Log;
  readonly region: string;
  readonly request: Request;
  readonly method: string;
  readonly headers: Headers;
  readonly request_id: string;
  /** The host that the client addressed. */
  readonly authority: string;
  /** Empty for the system. */
  readonly account_id: string;
  /** Undefined on the system's door. */
  readonly verified: Verified | undefined;
  /** Buckets of others whose policies let the caller do what it asks. */
  readonly shared: ReadonlySet<string>;
  readonly policyTrust: PolicyTrust;
  /** Finds the key that a form was signed with. */
  readonly lookup: (scope: SigningScope) => Promise<SigningGrant>;
  /** Whether somebody else than the caller may: whoever signed a form. */
  readonly mayAs: (
    signature: Pick<Verified, "grant" | "scope" | "amz_date">,
    permission: Permission,
    /** What the form says in place of headers. */
    form: Headers,
  ) => Promise<boolean>;
  /** Whether the caller may do that too, where the target alone does not say it all. */
  readonly may: (permission: Permission) => Promise<boolean>;
  /** Ends the request when its body stops coming. */
  readonly watch: BodyWatch;
}

/** Who stops bodies that no longer come. */
export interface BodyWatch {
  /** @returns to be called with each chunk, and to be closed in the end */
  begin(stop: () => void): { progress(): void; end(): void };
}

/** The account of whoever signs nothing; no bucket belongs to it. */
export const anonymousAccount = "anonymous";
export const isAnonymous = (call: S3Call) => call.account_id === anonymousAccount;

export const isSystem = (call: S3Call) => call.verified === undefined;

/** @throws AwsError `AccessDenied`, `InvalidBucketOwnerAWSAccountID` */
function checkOwner(bucket: BucketRow, expected: string | null): void {
  if (expected === null) return;
  if (!/^\d{12}$/.test(expected)) {
    throw new AwsError(
      "InvalidBucketOwnerAWSAccountID",
      `The value of the expected bucket owner parameter must be an AWS Account ID... [${expected}]`,
    );
  }
  if (expected !== bucket.account_id) throw accessDenied();
}

/** What the first buckets of S3 could be called, which is more than what new ones can. */
const canBeBucket = /^[A-Za-z0-9._-]{3,255}$/;

export const invalidBucketName = () =>
  new AwsError("InvalidBucketName", "The specified bucket is not valid.");

/** A bucket, if its owner asks, or somebody whom its policy lets in. */
function openBucket(call: S3Call, name: string, ownerHeader: string): BucketRow {
  const bucket = call.store.buckets.find(name);
  if (bucket === undefined) throw canBeBucket.test(name) ? noSuchBucket() : invalidBucketName();
  if (bucket.account_id !== call.account_id && !call.shared.has(name)) throw accessDenied();
  checkOwner(bucket, call.headers.get(ownerHeader));
  return bucket;
}

/**
 * The bucket of which each object is asked about by itself: its own policy may let others do that.
 * @throws AwsError as `ownBucket`
 */
export function bucketOfMany(call: S3Call): BucketRow {
  const bucket = call.store.buckets.find(call.bucket);
  if (bucket?.settings.policy === undefined) return ownBucket(call);
  checkOwner(bucket, call.headers.get("x-amz-expected-bucket-owner"));
  return bucket;
}

/** Whether the caller may, in its own bucket or by the bucket's policy. */
export const mayIn = async (call: S3Call, bucket: BucketRow, permission: Permission) =>
  await call.may(permission) &&
  (bucket.account_id === call.account_id || call.shared.has(bucket.name));

/**
 * The bucket that the call names.
 * @throws AwsError `NoSuchBucket`, `AccessDenied`, `InvalidBucketOwnerAWSAccountID`
 */
export const ownBucket = (call: S3Call): BucketRow =>
  openBucket(call, call.bucket, "x-amz-expected-bucket-owner");

/** The bucket that the call copies from, which has an owner of its own. @throws AwsError as `ownBucket` */
export const sourceBucket = (call: S3Call, name: string): BucketRow =>
  openBucket(call, name, "x-amz-source-expected-bucket-owner");

export const accessDenied = () => new AwsError("AccessDenied", "Access Denied", { status: 403 });
export const noSuchKey = () =>
  new AwsError("NoSuchKey", "The specified key does not exist.", { status: 404 });
export const notImplemented = (what: string) =>
  new AwsError(
    "NotImplemented",
    `A header or query you provided implies functionality that is not implemented: ${what}`,
    { status: 501 },
  );

/** A header that asks for what is not served, and is never ignored. */
export const notImplementedHeader = (name: string) =>
  new DetailedError(
    "NotImplemented",
    "A header you provided implies functionality that is not implemented",
    { status: 501, elements: { Header: name } },
  );

/** @param name of the header or parameter, as AWS writes it; with its value where that was given */
export function invalidArgument(message: string, name?: string, value?: string): AwsError {
  const elements = {
    ...(name === undefined ? {} : { ArgumentName: name }),
    ...(value === undefined ? {} : { ArgumentValue: value }),
  };
  return new DetailedError("InvalidArgument", message, { elements });
}

const leastInteger = -(2 ** 31);
export const mostInteger = 2 ** 31 - 1;

/**
 * A number of the query, which S3 reads for its value: `-0` is 0 and `0005` is 5. An empty one is none.
 * @throws AwsError `InvalidArgument`
 */
export function integer({ query }: Pick<S3Call, "query">, name: string): number | undefined {
  const value = query.get(name);
  if (value === null || value === "") return undefined;
  const number = /^-?\d+$/.test(value) ? Number(value) + 0 : NaN;
  if (number >= leastInteger && number <= mostInteger) return number;
  throw invalidArgument(`Provided ${name} not an integer or within integer range`, name, value);
}

/**
 * One that must be within bounds.
 * @param named how the refusal calls it
 * @throws AwsError `InvalidArgument`
 */
export function wholeNumber(
  call: Pick<S3Call, "query">,
  name: string,
  from: number,
  to: number,
  named = name,
): number | undefined {
  const number = integer(call, name);
  if (number === undefined || (number >= from && number <= to)) return number;
  throw invalidArgument(
    `Argument ${named} must be an integer between ${from} and ${to}`,
    named,
    String(number),
  );
}

/** Small documents that some calls carry. @throws AwsError `MalformedXML` when it is too long */
export const largestDocument_bytes = 2 << 20;
