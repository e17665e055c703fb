/**
 * ACLs as AWS has them where a bucket's owner owns everything in it: the owner has full control, which is
 * what every question is answered, and what alone may be set.
 */
import { AwsError } from "../../aws/errors.ts";
import { owner } from "./answer_parts.ts";
import { ownBucket, type S3Call } from "./call.ts";
import { readDocument } from "./body.ts";
import { done, maybeNode, nodes } from "./document.ts";
import { askedVersion, meantObject } from "./version_ids.ts";
import { element, malformedXml, parseXml, Raw, text, xmlResponse } from "./xml.ts";

const xsi = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser"';

function acl(account_id: string): Response {
  return xmlResponse("AccessControlPolicy", [
    owner(account_id),
    element(
      "AccessControlList",
      element("Grant", [
        new Raw(
          `<Grantee ${xsi}><ID>${
            account_id.padStart(64, "0")
          }</ID><DisplayName>${account_id}</DisplayName></Grantee>`,
        ),
        element("Permission", "FULL_CONTROL"),
      ]),
    ),
  ]);
}

const unsupported = () =>
  new AwsError("AccessControlListNotSupported", "The bucket does not allow ACLs");

export function getBucketAcl(call: S3Call): Response {
  return acl(ownBucket(call).account_id);
}

export function getObjectAcl(call: S3Call): Response {
  const bucket = ownBucket(call);
  meantObject(call, bucket, call.key, askedVersion(call.query));
  return acl(bucket.account_id);
}

/** Only what it is anyway may be set. */
async function checkAcl(call: S3Call, account_id: string): Promise<void> {
  const canned = call.headers.get("x-amz-acl");
  const body = await readDocument(call);
  if ([...call.headers.keys()].some((name) => name.startsWith("x-amz-grant-"))) throw unsupported();
  if (canned !== null) {
    if (canned === "private" || canned === "bucket-owner-full-control") return;
    throw unsupported();
  }
  if (body === "") {
    throw new AwsError(
      "MissingSecurityHeader",
      "Your request was missing a required header",
    );
  }
  const root = parseXml(body, "AccessControlPolicy");
  const grants = nodes(maybeNode(root, "AccessControlList") ?? {}, "Grant");
  if (maybeNode(root, "Owner") === undefined) throw malformedXml();
  const ours = grants.every((grant) =>
    text(grant, "Permission") === "FULL_CONTROL" &&
    text(maybeNode(grant, "Grantee") ?? {}, "ID") === account_id.padStart(64, "0")
  );
  if (grants.length !== 1 || !ours) throw unsupported();
}

export async function putBucketAcl(call: S3Call): Promise<Response> {
  await checkAcl(call, ownBucket(call).account_id);
  return done();
}

export async function putObjectAcl(call: S3Call): Promise<Response> {
  const bucket = ownBucket(call);
  meantObject(call, bucket, call.key, askedVersion(call.query));
  await checkAcl(call, bucket.account_id);
  return done();
}
