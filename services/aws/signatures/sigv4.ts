/**
 * Verifies AWS Signature Version 4: signed headers and presigned queries.
 *
 * The verifier reads only what was sent: the raw request target (never a parsed `URL`, which would
 * normalise dot segments and escapes), the authority, and the headers. It needs no secret: identity
 * derives a signing key for one credential scope, and `lookup` brings it. S3 paths are encoded once
 * and kept as they are; all others are normalised and encoded twice.
 *
 * The body is hashed by whoever reads it. For all services but S3 the caller gives that hash
 * (`body_sha256`) and the signature covers it; for S3 the signature covers the *declared*
 * `x-amz-content-sha256`, which `Verified.payload_hash` hands out, and the caller must compare it
 * with what it read (or decode `aws-chunked`, see chunked.ts). A request that does not verify is an
 * `AwsError` with AWS's code for that service; nothing of the expected signature is ever told.
 */
import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import type { SigningGrant, SigningScope } from "../../identity/contract.ts";
import { AwsError } from "../errors.ts";
import {
  algorithm,
  authorizationFields,
  checkTime,
  type Claim,
  parseCredential,
  type Read,
  readClaim,
  withToken,
} from "./claims.ts";
import { DetailedError } from "../detailed_error.ts";
import { readS3Claim, signatureDiffers, unknownAccessKey } from "./s3_claims.ts";
import { canonicalQuery, doubleEncodedPath, onceEncodedPaths } from "./uri_encoding.ts";

export type { SigningGrant, SigningScope };

export interface SignedRequest {
  readonly method: string;
  /** Path and query exactly as sent. */
  readonly target: string;
  /** The `Host` header, or over HTTP/2 `:authority`. */
  readonly authority: string;
  readonly headers: Headers;
}

export interface VerifyOptions {
  readonly now?: Date;
  /** Services that a signature may be scoped to; any unless given. */
  readonly service?: readonly string[];
  /** SHA-256 of the body, hex. Needed for every service but S3, where it is optional. */
  readonly body_sha256?: string;
  /** The operation lets its callers leave the body out of the signature, and checks it by other means. */
  readonly unsigned_payload?: boolean;
  /** Overrides the service's rule for dot segments and doubled slashes in paths. */
  readonly normalise_path?: boolean;
}

export interface Verified {
  readonly grant: SigningGrant;
  readonly scope: SigningScope;
  /** Lower case, sorted. */
  readonly signed_headers: readonly string[];
  readonly presigned: boolean;
  /** The `x-amz-content-sha256` that was signed, if any: the caller must hold the body against it. */
  readonly payload_hash: string | undefined;
  readonly signature: string;
  /** `20261121T100000Z` */
  readonly amz_date: string;
  readonly signing_key: Uint8Array;
}

const unsignedPayload = "UNSIGNED-PAYLOAD";
const emptySha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const hexSignature = /^[0-9a-f]{64}$/;

/** `20261121/us-east-1/s3/aws4_request` */
export function credentialScope(scope: SigningScope): string {
  return `${scope.date}/${scope.region}/${scope.service}/aws4_request`;
}

/** The signing key of a scope; identity and tests derive it, nobody else sees a secret. */
export function deriveSigningKey(secret: string, scope: Omit<SigningScope, "access_key_id">) {
  const mac = (key: string | Uint8Array, text: string): Uint8Array =>
    createHmac("sha256", key).update(text).digest();
  const date = mac(`AWS4${secret}`, scope.date);
  return mac(mac(mac(date, scope.region), scope.service), "aws4_request");
}

/**
 * What a request says about its signature, without believing it: for choosing service and protocol, and for asking
 * whether there is such a signer at all.
 * It is read by the same rules as `verify` reads it, so that both always see the same scope.
 */
export function claimedScope(request: SignedRequest): SigningScope | undefined {
  const authorization = request.headers.get("authorization");
  if (authorization !== null) {
    const credential = authorizationFields(authorization).get("Credential");
    const scope = credential === undefined ? undefined : parseCredential(credential);
    return scope && withToken(scope, request.headers.get("x-amz-security-token") ?? undefined);
  }
  const at = request.target.indexOf("?");
  if (at < 0) return undefined;
  const query = new URLSearchParams(request.target.slice(at + 1));
  const credential = query.get("X-Amz-Credential");
  const scope = credential === null ? undefined : parseCredential(credential);
  return scope && withToken(scope, query.get("X-Amz-Security-Token") ?? undefined);
}

/** A header that changes what the request means must be covered by the signature. */
function checkCovered(request: Read, claim: Claim): void {
  const signed = new Set(claim.signed_headers);
  const fail = (message: string) =>
    new AwsError(claim.scope.service === "s3" ? "AccessDenied" : "SignatureDoesNotMatch", message, {
      status: 403,
    });
  if (!signed.has("host") && !signed.has(":authority")) {
    throw fail("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.");
  }
  // Clients may add a session token after signing, and repeat a presigned payload's hash.
  const missing = [...request.headers.keys()].filter((name) =>
    name.startsWith("x-amz-") && !signed.has(name) && name !== "x-amz-security-token" &&
    !(claim.presigned && name === "x-amz-content-sha256")
  );
  if (missing.length === 0) return;
  const names = missing.sort().join(", ");
  const message = "There were headers present in the request which were not signed";
  if (claim.scope.service !== "s3") throw fail(`${message}: ${names}`);
  throw new DetailedError("AccessDenied", message, {
    status: 403,
    elements: { HeadersNotSigned: names },
  });
}

function declaredHash(request: Read, claim: Claim): string | undefined {
  const header = request.headers.get("x-amz-content-sha256");
  if (!claim.presigned) return header;
  if (header !== undefined && claim.signed_headers.includes("x-amz-content-sha256")) return header;
  const at = request.target.indexOf("?");
  return new URLSearchParams(request.target.slice(at + 1)).get("X-Amz-Content-Sha256") ?? undefined;
}

/** What stands in the canonical request for the body. */
function payloadLine(
  claim: Claim,
  declared: string | undefined,
  body_sha256: string | undefined,
): string {
  if (claim.scope.service !== "s3") return body_sha256 ?? declared ?? emptySha256;
  if (declared !== undefined) {
    if (body_sha256 !== undefined && hexSignature.test(declared) && declared !== body_sha256) {
      throw new AwsError(
        "XAmzContentSHA256Mismatch",
        "The provided 'x-amz-content-sha256' header does not match what was computed.",
      );
    }
    return declared;
  }
  if (claim.presigned) return unsignedPayload;
  throw new AwsError(
    "InvalidRequest",
    "Missing required header for this request: x-amz-content-sha256",
  );
}

function headerBlock(request: Read, names: readonly string[], tight: boolean): string {
  let block = "";
  for (const name of names) {
    const raw = name === "host" || name === ":authority"
      ? request.authority
      : request.headers.get(name) ?? "";
    const value = raw.trim().replace(/[ \t]+/g, " ");
    block += `${name}:${tight ? value.replaceAll(", ", ",") : value}\n`;
  }
  return block;
}

/**
 * The forms that a right signer may have signed. `Headers` joins repeated headers with ", " where
 * the canonical form has ",", and clients differ in how they escape S3 keys on the wire; the first
 * form is right for nearly every request, and the others cost only those that fail it.
 */
function* canonicalRequests(
  request: Read,
  claim: Claim,
  payload: string,
  normalise: boolean | undefined,
): Generator<string> {
  const at = request.target.indexOf("?");
  const path = at < 0 ? request.target : request.target.slice(0, at);
  const query = canonicalQuery(at < 0 ? "" : request.target.slice(at + 1), claim.presigned);
  const s3 = claim.scope.service === "s3";
  const paths = s3 ? onceEncodedPaths(path) : [doubleEncodedPath(path, normalise ?? true)];
  const names = claim.signed_headers.join(";");
  const loose = headerBlock(request, claim.signed_headers, false);
  const blocks = loose.includes(", ")
    ? [loose, headerBlock(request, claim.signed_headers, true)]
    : [loose];
  for (const canonicalPath of paths) {
    for (const block of blocks) {
      yield `${request.method}\n${canonicalPath}\n${query}\n${block}\n${names}\n${payload}`;
    }
  }
}

// deno-lint-ignore no-control-regex
const isAscii = (text: string) => /^[\x00-\x7f]*$/.test(text);

function sameSignature(expected: Uint8Array, given: string): boolean {
  return hexSignature.test(given) && timingSafeEqual(expected, Buffer.from(given, "hex"));
}

const signatureMismatch = () =>
  new AwsError(
    "SignatureDoesNotMatch",
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.",
    { status: 403 },
  );

/**
 * Verifies a signed or presigned request.
 * @throws AwsError `MissingAuthenticationToken`, `IncompleteSignature` (S3:
 *   `AuthorizationHeaderMalformed`, `AuthorizationQueryParametersError`), `RequestExpired` (S3:
 *   `RequestTimeTooSkewed`, `AccessDenied`), `SignatureDoesNotMatch`, `InvalidClientTokenId` (S3:
 *   `InvalidAccessKeyId`, EC2: `AuthFailure`), and whatever `lookup` throws
 */
export async function verify(
  sent: SignedRequest,
  lookup: (scope: SigningScope) => Promise<SigningGrant>,
  options: VerifyOptions = {},
): Promise<Verified> {
  const request: Read = {
    method: sent.method,
    target: sent.target,
    authority: sent.authority,
    headers: new Map(sent.headers),
  };
  const now = options.now ?? new Date();
  const s3 = options.service?.includes("s3") ?? claimedScope(sent)?.service === "s3";
  const claim = s3 ? readS3Claim(request, now) : readClaim(request);
  const { scope } = claim;
  if (options.service !== undefined && !options.service.includes(scope.service)) {
    throw new AwsError(
      "SignatureDoesNotMatch",
      `Credential should be scoped to correct service: '${options.service.join("' or '")}'.`,
      { status: 403 },
    );
  }
  if (!s3) checkTime(claim, now);
  checkCovered(request, claim);
  const declared = declaredHash(request, claim);
  const payload = payloadLine(claim, declared, options.body_sha256);
  let grant: SigningGrant;
  try {
    grant = await lookup(scope);
  } catch (cause) {
    throw unknownKey(cause, scope);
  }
  const signing_key: Uint8Array = Buffer.from(grant.key, "base64");
  const head = `${algorithm}\n${claim.amz_date}\n${credentialScope(scope)}\n`;
  const verified: Verified = {
    grant,
    scope,
    signed_headers: claim.signed_headers,
    presigned: claim.presigned,
    payload_hash: declared,
    signature: claim.signature,
    amz_date: claim.amz_date,
    signing_key,
  };
  for (const line of options.unsigned_payload === true ? [payload, unsignedPayload] : [payload]) {
    for (const canonical of canonicalRequests(request, claim, line, options.normalise_path)) {
      // A header's characters are its bytes here; clients sign those bytes, or the text that they took them for.
      const encodings = isAscii(canonical) ? ["latin1"] as const : ["latin1", "utf8"] as const;
      for (const encoding of encodings) {
        const digest = createHash("sha256").update(canonical, encoding).digest("hex");
        const expected = createHmac("sha256", signing_key).update(head + digest).digest();
        if (sameSignature(expected, claim.signature)) return verified;
      }
    }
  }
  if (s3) {
    const [canonical = ""] = canonicalRequests(request, claim, payload, options.normalise_path);
    const digest = createHash("sha256").update(canonical, "latin1").digest("hex");
    throw signatureDiffers(claim, head + digest, canonical);
  }
  throw signatureMismatch();
}

/** Each service has its own name for an access key that does not exist, and for one that has ended. */
export function unknownKey(cause: unknown, { service, access_key_id }: SigningScope): unknown {
  if (!(cause instanceof AwsError)) return cause;
  if (cause.code === "ExpiredToken" && service === "s3") {
    return new AwsError("ExpiredToken", "The provided token has expired.", { cause });
  }
  if (cause.code === "ExpiredToken" && service === "ec2") {
    return new AwsError("RequestExpired", "Request has expired.", { cause });
  }
  if (cause.code !== "InvalidClientTokenId") return cause;
  if (service === "s3") return unknownAccessKey(access_key_id, cause);
  if (service === "ec2") {
    return new AwsError(
      "AuthFailure",
      "AWS was not able to validate the provided access credentials",
      { status: 401, cause },
    );
  }
  return cause;
}
