/**
 * Encryption at rest: every object of an account is sealed, as AWS does, under the store's key (SSE-S3) or its
 * client's own (SSE-C, `customer_keys.ts`); keys of KMS's are refused.
 */
import type { Bytes } from "../index/columns.ts";
import type { BucketRow, Seal } from "../index/rows.ts";
import { invalidArgument, isSystem, notImplemented, ownBucket, type S3Call } from "./call.ts";
import { checkTakesKeys, customerKey, keyToRead, namesKey, sse } from "./customer_keys.ts";
import { done, flag, maybeNode, nodes, oneOf, readRoot, setBucket, texts } from "./document.ts";
import { element, malformedXml, text, xmlResponse } from "./xml.ts";

/** What a bucket may be told not to take. */
const customers = "SSE-C";

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
  const blocks = texts(maybeNode(rule, "BlockedEncryptionTypes") ?? {}, "EncryptionType")
    .map((type) => oneOf(type, "NONE", customers) === customers);
  await setBucket(call, () => ({
    bucket_key,
    // What is not said stays as it is.
    ...(blocks.length === 0 ? {} : { customer_keys_blocked: blocks.includes(true) }),
  }));
  return done();
}

export function getBucketEncryption(call: S3Call): Response {
  const { bucket_key = false, customer_keys_blocked = false } = ownBucket(call).settings;
  return xmlResponse(
    "ServerSideEncryptionConfiguration",
    element("Rule", [
      element("ApplyServerSideEncryptionByDefault", element("SSEAlgorithm", "AES256")),
      element(
        "BlockedEncryptionTypes",
        element("EncryptionType", customer_keys_blocked ? customers : "NONE"),
      ),
      element("BucketKeyEnabled", bucket_key),
    ]),
  );
}

/** There is always one: taking it away brings back what a new bucket has. */
export async function deleteBucketEncryption(call: S3Call): Promise<Response> {
  await setBucket(call, () => ({ bucket_key: undefined, customer_keys_blocked: undefined }));
  return done(204);
}

/** @throws AwsError `InvalidArgument` for a key of KMS's where KMS is not asked */
function checkKmsKey(headers: Headers): void {
  if (!headers.has(`${sse}-aws-kms-key-id`)) return;
  if (headers.get(sse)?.startsWith("aws:kms") === true) return;
  throw invalidArgument(
    `Server Side Encryption with AWS KMS managed key requires HTTP header ${sse} : aws:kms`,
    sse,
  );
}

/** How a write may ask to be encrypted. @throws AwsError `NotImplemented` for KMS's keys, and what is wrong with a client's own */
export function checkAskedSeal(headers: Headers): void {
  const asked = headers.get(sse);
  if (asked !== null && namesKey(headers)) {
    throw invalidArgument(
      "Server Side Encryption with Customer provided key is incompatible with the encryption method specified",
      sse,
      asked,
    );
  }
  customerKey(headers, sse, true);
  checkKmsKey(headers);
  if (asked === null || asked === "AES256") return;
  if (asked.startsWith("aws:kms")) throw notImplemented(`${sse}: ${asked}`);
  throw invalidArgument("The encryption method specified is not supported", sse, asked);
}

/**
 * The key for what the call writes. The system's own objects are sealed by those who write them.
 * @throws AwsError `AccessDenied` where the bucket takes no keys of clients' own
 */
export function sealFor(call: S3Call, bucket: BucketRow): Seal | undefined {
  const { sealing } = call.store.options;
  const key = customerKey(call.headers);
  if (key === undefined) return isSystem(call) ? undefined : sealing?.newSeal();
  checkTakesKeys(call, bucket);
  if (sealing === undefined) throw notImplemented(`${sse}-customer-algorithm`);
  return sealing.newCustomerSeal(key);
}

/** How an object is encrypted is said where it is begun, and nowhere else. @throws AwsError `InvalidArgument` */
export function takesNoEncryption(headers: Headers): void {
  const asked = headers.get(sse);
  if (asked === null) return;
  throw invalidArgument(`${sse} header is not supported for this operation.`, sse, asked);
}

/** What opens an object that is read, where it takes a client's own key. @throws AwsError `InvalidRequest`, `InvalidArgument`, `AccessDenied` */
export function readsSealed(headers: Headers, seal: Seal | undefined): Bytes | undefined {
  takesNoEncryption(headers);
  checkKmsKey(headers);
  return keyToRead(headers, seal);
}
