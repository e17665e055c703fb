/**
 * ACLs as AWS has them where a bucket's owner owns everything in it: the owner has full control, which is
 * what every question is answered, and what alone may be set.
 */
import { AwsError } from "../../aws/errors.ts";
import { checkDocumentGrants, checkHeaderGrants, malformedAcl } from "./acl_grants.ts";
import { canonicalId, owner } from "./answer_parts.ts";
import { DetailedError, invalidArgument, ownBucket, type S3Call } from "./call.ts";
import { readDocument } from "./body.ts";
import { done, maybeNode, nodes } from "./document.ts";
import { askedVersion, meantObject, meantVersion, tellVersion } from "./version_ids.ts";
import { element, parseXml, Raw, text, xmlResponse } from "./xml.ts";

const xsi = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser"';

function acl(account_id: string): Response {
  return xmlResponse("AccessControlPolicy", [
    owner(account_id),
    element(
      "AccessControlList",
      element("Grant", [
        new Raw(
          `<Grantee ${xsi}><ID>${canonicalId(account_id)}</ID></Grantee>`,
        ),
        element("Permission", "FULL_CONTROL"),
      ]),
    ),
  ]);
}

const unsupported = () =>
  new AwsError("AccessControlListNotSupported", "The bucket does not allow ACLs");

/** Canned ACLs that say what is so anyway. */
const ownersOnly: readonly string[] = ["private", "bucket-owner-full-control"];
const canned: readonly string[] = [
  ...ownersOnly,
  "public-read",
  "public-read-write",
  "authenticated-read",
  "aws-exec-read",
  "bucket-owner-read",
  "log-delivery-write",
];
const grantPrefix = "x-amz-grant-";

/**
 * Whether headers ask for an ACL, which can only be the owner's.
 * @param refused what is said of another
 * @throws AwsError `AccessControlListNotSupported`; `InvalidArgument`, `InvalidRequest` for what is none
 */
export function askedAcl(headers: Headers, refused = unsupported): boolean {
  const asked = headers.get("x-amz-acl");
  const grants = [...headers].filter(([name]) => name.startsWith(grantPrefix));
  // AWS says nothing in words.
  if (asked !== null && !canned.includes(asked)) throw invalidArgument("", "x-amz-acl", asked);
  if (asked !== null && grants.length > 0) {
    throw new AwsError(
      "InvalidRequest",
      "Specifying both Canned ACLs and Header Grants is not allowed",
    );
  }
  for (const [name, value] of grants) checkHeaderGrants(name, value);
  if (grants.length > 0 || (asked !== null && !ownersOnly.includes(asked))) throw refused();
  return asked !== null;
}

export function getBucketAcl(call: S3Call): Response {
  return acl(ownBucket(call).account_id);
}

export function getObjectAcl(call: S3Call): Response {
  const bucket = ownBucket(call);
  const object = meantObject(call, bucket, call.key, askedVersion(call.query));
  const answer = acl(bucket.account_id);
  tellVersion(answer.headers, bucket, object);
  return answer;
}

/** Only what it is anyway may be set. */
async function checkAcl(call: S3Call, account_id: string): Promise<void> {
  const body = await readDocument(call);
  if (askedAcl(call.headers)) {
    if (body === "") return;
    throw new AwsError("UnexpectedContent", "This request does not support content");
  }
  if (body === "") {
    throw new DetailedError(
      "MissingSecurityHeader",
      "Your request was missing a required header",
      { elements: { MissingHeaderName: "x-amz-acl" } },
    );
  }
  const root = parseXml(body, "AccessControlPolicy");
  const list = maybeNode(root, "AccessControlList");
  const bucketOwner = maybeNode(root, "Owner");
  if (list === undefined || bucketOwner === undefined) throw malformedAcl();
  const grants = nodes(list, "Grant");
  checkDocumentGrants(bucketOwner, grants);
  const ours = grants.every((grant) =>
    text(grant, "Permission") === "FULL_CONTROL" &&
    text(maybeNode(grant, "Grantee") ?? {}, "ID") === canonicalId(account_id)
  );
  if (grants.length !== 1 || !ours) throw unsupported();
}

export async function putBucketAcl(call: S3Call): Promise<Response> {
  await checkAcl(call, ownBucket(call).account_id);
  return done();
}

export async function putObjectAcl(call: S3Call): Promise<Response> {
  const bucket = ownBucket(call);
  const object = meantVersion(call, bucket);
  await checkAcl(call, bucket.account_id);
  const answer = done();
  tellVersion(answer.headers, bucket, object);
  return answer;
}
