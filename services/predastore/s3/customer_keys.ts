/**
 * Keys of clients' own (SSE-C): read from a request's headers, held against what an object or upload was sealed
 * under, and told back by their MD5. Nothing here outlives its request. Every door is TLS or a socket of this machine's.
 */
import { createHash } from "node:crypto";
import { AwsError } from "../../aws/errors.ts";
import { customerKey_bytes, isCustomers, opens } from "../encryption/customer_seal.ts";
import type { Bytes } from "../index/columns.ts";
import type { BucketRow, Seal } from "../index/rows.ts";
import { accessDenied, DetailedError, invalidArgument, isSystem, type S3Call } from "./call.ts";
import { objectArn } from "./permissions.ts";

export const sse = "x-amz-server-side-encryption";
/** Of the source of a copy. */
export const sourceSse = "x-amz-copy-source-server-side-encryption";

function keyError(message: string): AwsError {
  return invalidArgument(message, sse, "null");
}

const must = (what: string) =>
  keyError(`Requests specifying Server Side Encryption with Customer provided keys must ${what}.`);
export const secretKeyNeeded = () => must("provide an appropriate secret key");
const invalidKey = () => keyError("The secret key was invalid for the specified algorithm.");

const invalidRequest = (message: string) => new AwsError("InvalidRequest", message);
const keyNeeded = () =>
  invalidRequest(
    "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object.",
  );
const notApplicable = () =>
  invalidRequest("The encryption parameters are not applicable to this object.");
/** S3 says so too of a part that has a key where its upload has none. */
const begunWithKey = () =>
  invalidRequest(
    "The multipart upload initiate requested encryption. Subsequent part requests must include the appropriate encryption parameters.",
  );
const begunWithAnother = () =>
  invalidRequest("The provided encryption parameters did not match the ones used originally.");
const wrongKey = () =>
  new AwsError(
    "AccessDenied",
    "Requests specifying Server Side Encryption with Customer provided keys must provide the correct secret key.",
    { status: 403 },
  );

function bytesOf(base64: string): Bytes {
  try {
    return Uint8Array.fromBase64(base64);
  } catch {
    throw invalidKey();
  }
}

const givenOf = (headers: Headers, of: string) => (what: string) =>
  headers.get(`${of}-customer-${what}`);

/** Whether anything is said of a client's own key. */
export function namesKey(headers: Headers, of = sse): boolean {
  const given = givenOf(headers, of);
  return ["algorithm", "key", "key-md5"].some((what) => given(what) !== null);
}

const digestOf = (key: Bytes) => createHash("md5").update(key).digest("base64");

/**
 * The key that comes along, of whatever length.
 * @param digested whether its MD5 must come too, as to a write: who reads would see at once that it is another
 * @throws AwsError where it is none, or not whole
 */
function broughtKey(headers: Headers, of: string, digested = false): Bytes | undefined {
  if (!namesKey(headers, of)) return undefined;
  const given = givenOf(headers, of);
  const [algorithm, key, md5] = [given("algorithm"), given("key"), given("key-md5")];
  if (algorithm === null) throw must("provide a valid encryption algorithm");
  if (algorithm !== "AES256") {
    throw new DetailedError(
      "InvalidEncryptionAlgorithmError",
      "The Encryption request you specified is not valid. Supported value: AES256.",
      { elements: { ArgumentName: sse, ArgumentValue: algorithm } },
    );
  }
  if (key === null) throw secretKeyNeeded();
  if (md5 === null && digested) {
    throw must("provide the client calculated MD5 of the secret key");
  }
  const bytes = bytesOf(key);
  if (md5 !== null && digestOf(bytes) !== md5) {
    throw keyError("The calculated MD5 hash of the key did not match the hash that was provided.");
  }
  return bytes;
}

/**
 * The key that comes along.
 * @param digested whether its MD5 must come too
 * @throws AwsError where it is none, or not whole
 */
export function customerKey(
  headers: Headers,
  of = sse,
  digested = false,
): Bytes | undefined {
  const key = broughtKey(headers, of, digested);
  if (key !== undefined && key.length !== customerKey_bytes) throw invalidKey();
  return key;
}

/**
 * What opens an object, for those under a client's own key.
 * @throws AwsError `InvalidRequest` where it is missing or not asked for, `AccessDenied` where it is another
 */
export function keyToRead(headers: Headers, seal: Seal | undefined, of = sse): Bytes | undefined {
  if (!isCustomers(seal)) {
    if (customerKey(headers, of) !== undefined) throw notApplicable();
    return undefined;
  }
  const key = broughtKey(headers, of);
  if (key === undefined) throw keyNeeded();
  // To a read, a key of another length is another key.
  if (key.length === customerKey_bytes && opens(seal, key)) return key;
  throw of === sse ? wrongKey() : accessDenied();
}

/** A part comes with the key that its upload was begun with. @throws AwsError `InvalidRequest` */
export function checkPartKey(headers: Headers, seal: Seal | undefined): void {
  const key = customerKey(headers);
  if (isCustomers(seal) !== (key !== undefined)) throw begunWithKey();
  if (key !== undefined && isCustomers(seal) && !opens(seal, key)) throw begunWithAnother();
}

/** A bucket may take no objects under keys of clients' own. @throws AwsError `AccessDenied` */
export function checkTakesKeys(call: S3Call, { name, settings }: BucketRow): void {
  if (settings.customer_keys_blocked !== true || isSystem(call) || !namesKey(call.headers)) return;
  const copies = call.headers.has("x-amz-copy-source") && !call.query.has("uploadId");
  const user = call.verified?.grant.principal_arn || "anonymous";
  throw new AwsError(
    "AccessDenied",
    `User: ${user} is not authorized to perform: s3:${
      copies ? "CopyObject" : "PutObject"
    } on resource: "${
      objectArn(name, call.key)
    }" because this bucket has blocked upload requests that specify Server Side Encryption with Customer provided keys (SSE-C). Please specify a different server-side encryption type`,
    { status: 403 },
  );
}

/**
 * What an answer says of how an object is sealed.
 * @param asked the request's headers, where they have the key; the end of an upload tells of none
 */
export function tellSeal(headers: Headers, seal: Seal | undefined, asked?: Headers): void {
  if (!isCustomers(seal)) {
    if (seal !== undefined) headers.set(sse, "AES256");
    return;
  }
  const key = asked && customerKey(asked);
  if (key === undefined) return;
  headers.set(`${sse}-customer-algorithm`, "AES256");
  headers.set(`${sse}-customer-key-MD5`, digestOf(key));
}
