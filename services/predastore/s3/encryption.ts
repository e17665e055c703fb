/** Encryption at rest (SSE-S3): every object of an account is sealed, as AWS does; other kinds are refused. */
import { AwsError } from "../../aws/errors.ts";
import type { Seal } from "../index/rows.ts";
import { invalidArgument, isSystem, notImplemented, ownBucket, type S3Call } from "./call.ts";
import { done, flag, maybeNode, nodes, readRoot, setBucket } from "./document.ts";
import { element, malformedXml, text, xmlResponse } from "./xml.ts";

export async function putBucketEncryption(call: S3Call): Promise<Response> {
  ownBucket(call);
  const root = await readRoot(call, "ServerSideEncryptionConfiguration");
  const [rule, ...more] = nodes(root, "Rule");
  if (rule === undefined || more.length > 0) throw malformedXml();
  const by = maybeNode(rule, "ApplyServerSideEncryptionByDefault");
  const algorithm = by === undefined ? "AES256" : text(by, "SSEAlgorithm");
  if (algorithm === "aws:kms" || algorithm === "aws:kms:dsse") throw notImplemented(algorithm);
  if (algorithm !== "AES256") throw malformedXml();
  if (by !== undefined && text(by, "KMSMasterKeyID") !== undefined) {
    throw invalidArgument(
      "a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms or aws:kms:dsse",
      "ApplyServerSideEncryptionByDefault",
    );
  }
  const bucket_key = flag(rule, "BucketKeyEnabled");
  await setBucket(call, () => ({ bucket_key }));
  return done();
}

export function getBucketEncryption(call: S3Call): Response {
  const { bucket_key = false } = ownBucket(call).settings;
  return xmlResponse(
    "ServerSideEncryptionConfiguration",
    element("Rule", [
      element("ApplyServerSideEncryptionByDefault", element("SSEAlgorithm", "AES256")),
      element("BucketKeyEnabled", bucket_key),
    ]),
  );
}

/** There is always one: taking it away brings back what a new bucket has. */
export async function deleteBucketEncryption(call: S3Call): Promise<Response> {
  await setBucket(call, () => ({ bucket_key: undefined }));
  return done(204);
}

/** The key for what the call writes. The system's own objects are sealed by those who write them. */
export function sealFor(call: S3Call): Seal | undefined {
  const { sealing } = call.store.options;
  const asked = call.headers.get("x-amz-server-side-encryption");
  if (asked !== null && asked !== "AES256") {
    if (asked.startsWith("aws:kms")) {
      throw notImplemented(`x-amz-server-side-encryption: ${asked}`);
    }
    throw invalidArgument(
      "The encryption method specified is not supported",
      "x-amz-server-side-encryption",
      asked,
    );
  }
  return isSystem(call) ? undefined : sealing?.newSeal();
}

/** No object is sealed under a key that its reader has to bring. @throws AwsError `InvalidRequest` */
export function refuseCustomerKey(headers: Headers): void {
  if (headers.has("x-amz-server-side-encryption-customer-algorithm")) {
    throw new AwsError(
      "InvalidRequest",
      "The encryption parameters are not applicable to this object.",
    );
  }
}

/** What answers say of an object that is sealed. */
export function tellSeal(headers: Headers, seal: Seal | undefined): void {
  if (seal !== undefined) headers.set("x-amz-server-side-encryption", "AES256");
}
