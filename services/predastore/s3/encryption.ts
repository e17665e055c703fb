/** Encryption at rest (SSE-S3): every object of an account is sealed, as AWS does; other kinds are refused. */
import { createHash } from "node:crypto";
import { AwsError } from "../../aws/errors.ts";
import type { Seal } from "../index/rows.ts";
import {
  DetailedError,
  invalidArgument,
  isSystem,
  notImplemented,
  ownBucket,
  type S3Call,
} from "./call.ts";
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

const header = "x-amz-server-side-encryption";

function customerError(message: string): AwsError {
  return invalidArgument(message, header, "null");
}

const customers = (must: string) =>
  customerError(
    `Requests specifying Server Side Encryption with Customer provided keys must ${must}.`,
  );

function bytesOf(base64: string): Uint8Array | undefined {
  try {
    return Uint8Array.fromBase64(base64);
  } catch {
    return undefined;
  }
}

/** Whether a key of the client's own comes along. @throws AwsError where it is none, or not whole */
function hasCustomerKey(headers: Headers, of = header): boolean {
  const given = (what: string) => headers.get(`${of}-customer-${what}`);
  const [algorithm, key, md5] = [given("algorithm"), given("key"), given("key-md5")];
  if (algorithm === null && key === null && md5 === null) return false;
  if (algorithm === null) throw customers("provide a valid encryption algorithm");
  if (algorithm !== "AES256") {
    throw new DetailedError(
      "InvalidEncryptionAlgorithmError",
      "The Encryption request you specified is not valid. Supported value: AES256.",
      { elements: { ArgumentName: header, ArgumentValue: algorithm } },
    );
  }
  if (key === null) throw customers("provide an appropriate secret key");
  if (md5 === null) throw customers("provide the client calculated MD5 of the secret key");
  const bytes = bytesOf(key);
  if (bytes?.length !== 32) {
    throw customerError("The secret key was invalid for the specified algorithm.");
  }
  if (createHash("md5").update(bytes).digest("base64") !== md5) {
    throw customerError(
      "The calculated MD5 hash of the key did not match the hash that was provided.",
    );
  }
  return true;
}

/** @throws AwsError `InvalidArgument` for a key of KMS's where KMS is not asked */
function checkKmsKey(headers: Headers): void {
  if (!headers.has(`${header}-aws-kms-key-id`)) return;
  if (headers.get(header)?.startsWith("aws:kms") === true) return;
  throw invalidArgument(
    `Server Side Encryption with AWS KMS managed key requires HTTP header ${header} : aws:kms`,
    header,
  );
}

/** The only encryption that a write may ask for is the usual one. @throws AwsError `NotImplemented` for KMS's and customers' keys */
export function refuseKeys(headers: Headers): void {
  const asked = headers.get(header);
  if (hasCustomerKey(headers)) {
    if (asked === null) throw notImplemented(`${header}-customer-algorithm`);
    throw invalidArgument(
      "Server Side Encryption with Customer provided key is incompatible with the encryption method specified",
      header,
      asked,
    );
  }
  checkKmsKey(headers);
  if (asked === null || asked === "AES256") return;
  if (asked.startsWith("aws:kms")) throw notImplemented(`${header}: ${asked}`);
  throw invalidArgument("The encryption method specified is not supported", header, asked);
}

/** The key for what the call writes. The system's own objects are sealed by those who write them. */
export const sealFor = (call: S3Call): Seal | undefined =>
  isSystem(call) ? undefined : call.store.options.sealing?.newSeal();

/** How an object is encrypted is said where it is begun, and nowhere else. @throws AwsError `InvalidArgument` */
export function takesNoEncryption(headers: Headers): void {
  const asked = headers.get(header);
  if (asked === null) return;
  throw invalidArgument(`${header} header is not supported for this operation.`, header, asked);
}

const notApplicable = () =>
  new AwsError("InvalidRequest", "The encryption parameters are not applicable to this object.");

/** No object is sealed under a key that its reader has to bring. @throws AwsError `InvalidRequest`, `InvalidArgument` */
export function readsSealed(headers: Headers): void {
  takesNoEncryption(headers);
  checkKmsKey(headers);
  if (hasCustomerKey(headers)) throw notApplicable();
}

/** As `readsSealed`, of what is copied. */
export function copiesSealed(headers: Headers): void {
  if (hasCustomerKey(headers, "x-amz-copy-source-server-side-encryption")) throw notApplicable();
}

/** What answers say of an object that is sealed. */
export function tellSeal(headers: Headers, seal: Seal | undefined): void {
  if (seal !== undefined) headers.set("x-amz-server-side-encryption", "AES256");
}
