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

/** The same with its headers read once: each look into `Headers` costs more than a hash. */
interface Read extends Omit<SignedRequest, "headers"> {
  readonly headers: ReadonlyMap<string, string>;
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

/** What the caller claims, before anything is believed. */
interface Claim {
  readonly scope: SigningScope;
  readonly signed_headers: readonly string[];
  readonly signature: string;
  readonly amz_date: string;
  readonly presigned: boolean;
  readonly expires_s: number;
}

/** Of what form a session token can be at all; whether it is one, identity says. */
const sessionToken = /^[A-Za-z0-9+/=_-]{1,4096}$/;

const algorithm = "AWS4-HMAC-SHA256";
/** How far a clock may be off. */
const skew_ms = 15 * 60_000;
const unsignedPayload = "UNSIGNED-PAYLOAD";
const emptySha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const scopePart = /^[A-Za-z0-9_.\-]{1,64}$/;
const accessKeyId = /^[A-Za-z0-9_\-]{1,128}$/;
const headerName = /^[a-z0-9!#$%&'*+\-.^_`|~]{1,128}$/;
const hexSignature = /^[0-9a-f]{64}$/;
const amzDate = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/;

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

/** The `Name=value` parts of an Authorization header; a name given twice is there as `undefined`. */
function authorizationFields(authorization: string): ReadonlyMap<string, string | undefined> {
  const fields = new Map<string, string | undefined>();
  const space = authorization.indexOf(" ");
  for (const part of authorization.slice(space + 1).split(",")) {
    const equals = part.indexOf("=");
    if (equals < 0) continue;
    const name = part.slice(0, equals).trim();
    fields.set(name, fields.has(name) ? undefined : part.slice(equals + 1).trim());
  }
  return fields;
}

function parseCredential(text: string): SigningScope | undefined {
  const parts = text.split("/");
  const [access_key_id = "", date = "", region = "", service = "", end] = parts;
  if (
    parts.length !== 5 || end !== "aws4_request" || !accessKeyId.test(access_key_id) ||
    !/^\d{8}$/.test(date) || !scopePart.test(region) || !scopePart.test(service)
  ) return undefined;
  return { access_key_id, date, region, service };
}

function incomplete(message: string, service: string | undefined, presigned: boolean): AwsError {
  if (service !== "s3") return new AwsError("IncompleteSignature", message);
  return new AwsError(
    presigned ? "AuthorizationQueryParametersError" : "AuthorizationHeaderMalformed",
    message,
  );
}

function readClaim(request: Read): Claim {
  const at = request.target.indexOf("?");
  const query = new URLSearchParams(at < 0 ? "" : request.target.slice(at + 1));
  const authorization = request.headers.get("authorization");
  const inQuery = query.has("X-Amz-Algorithm") || query.has("X-Amz-Signature") ||
    query.has("X-Amz-Credential");
  if (authorization !== undefined && inQuery) {
    throw new AwsError(
      "InvalidArgument",
      "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified",
    );
  }
  if (inQuery) return readQueryClaim(query);
  if (authorization === undefined) {
    throw new AwsError("MissingAuthenticationToken", "Request is missing Authentication Token", {
      status: 403,
    });
  }
  return readHeaderClaim(authorization, request.headers);
}

function readHeaderClaim(authorization: string, headers: Read["headers"]): Claim {
  const space = authorization.indexOf(" ");
  const scheme = space < 0 ? authorization : authorization.slice(0, space);
  const named = authorizationFields(authorization);
  const credential = named.get("Credential");
  const scope = credential === undefined ? undefined : parseCredential(credential);
  const fail = (message: string) => incomplete(message, scope?.service, false);
  if (scheme !== algorithm || authorization.length > 8_192) {
    throw fail(`Authorization header requires '${algorithm}' as its algorithm.`);
  }
  for (const name of ["Credential", "Signature", "SignedHeaders"]) {
    if (named.get(name) === undefined) {
      throw fail(`Authorization header requires exactly one '${name}' parameter.`);
    }
  }
  if (scope === undefined) {
    throw fail(
      "Credential must have the form <access-key-id>/<yyyymmdd>/<region>/<service>/aws4_request.",
    );
  }
  const date = headers.get("x-amz-date") ?? fromHttpDate(headers.get("date"));
  if (date === undefined) {
    throw fail(
      "Authorization header requires existence of either a 'X-Amz-Date' or 'Date' header.",
    );
  }
  return {
    scope: withToken(scope, headers.get("x-amz-security-token")),
    signed_headers: readSignedHeaders(named.get("SignedHeaders") ?? "", fail),
    signature: named.get("Signature") ?? "",
    amz_date: date,
    presigned: false,
    expires_s: 0,
  };
}

function readQueryClaim(query: URLSearchParams): Claim {
  const credential = query.get("X-Amz-Credential");
  const scope = credential === null ? undefined : parseCredential(credential);
  const fail = (message: string) => incomplete(message, scope?.service, true);
  const one = (name: string): string => {
    const values = query.getAll(name);
    if (values.length !== 1) {
      throw fail(
        scope?.service === "s3" && values.length === 0
          ? "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters."
          : `Query-string authentication requires exactly one ${name} parameter.`,
      );
    }
    return values[0] ?? "";
  };
  if (one("X-Amz-Algorithm") !== algorithm) {
    throw fail(`X-Amz-Algorithm only supports "${algorithm}"`);
  }
  one("X-Amz-Credential");
  if (scope === undefined) {
    throw fail(
      'Error parsing the X-Amz-Credential parameter; the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".',
    );
  }
  // S3 demands an expiry; elsewhere a query signature without one lives as long as a header's.
  const expires = query.has("X-Amz-Expires") || scope.service === "s3"
    ? one("X-Amz-Expires")
    : "900";
  if (!/^-?\d{1,15}$/.test(expires)) throw fail("X-Amz-Expires should be a number");
  if (Number(expires) < 0) throw fail("X-Amz-Expires must be non-negative");
  if (Number(expires) === 0) throw fail("X-Amz-Expires must be at least 1 (second)");
  if (Number(expires) > 604_800) {
    throw fail(
      "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds",
    );
  }
  return {
    scope: withToken(scope, query.get("X-Amz-Security-Token") ?? undefined),
    signed_headers: readSignedHeaders(one("X-Amz-SignedHeaders"), fail),
    signature: one("X-Amz-Signature"),
    amz_date: one("X-Amz-Date"),
    presigned: true,
    expires_s: Number(expires),
  };
}

/** A token that can be none names no session: identity refuses it as it refuses any wrong one. */
function withToken(scope: SigningScope, token: string | undefined): SigningScope {
  if (token === undefined || token === "") return scope;
  return { ...scope, session_token: sessionToken.test(token) ? token : "malformed" };
}

function readSignedHeaders(text: string, fail: (message: string) => AwsError): string[] {
  const names = text.split(";");
  const wellFormed = names.length <= 100 &&
    names.every((name, at) => headerName.test(name) && (at === 0 || name > (names[at - 1] ?? "")));
  if (!wellFormed) throw fail("SignedHeaders must be lower-case header names, sorted.");
  return names;
}

function fromHttpDate(text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  const at = Date.parse(text);
  return Number.isNaN(at) ? undefined : new Date(at).toISOString().replace(/[-:]|\.\d{3}/g, "");
}

function checkTime(claim: Claim, now: Date): void {
  const s3 = claim.scope.service === "s3";
  const fields = amzDate.exec(claim.amz_date)?.slice(1).map(Number);
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = fields ?? [];
  const signed = Date.UTC(year, month - 1, day, hour, minute, second);
  if (fields === undefined || Number.isNaN(signed)) {
    throw incomplete(
      "Date must be in ISO-8601 'basic format', for example 20261121T100000Z.",
      claim.scope.service,
      claim.presigned,
    );
  }
  if (claim.amz_date.slice(0, 8) !== claim.scope.date) {
    throw new AwsError(
      "SignatureDoesNotMatch",
      `Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '${claim.scope.date}' != '${
        claim.amz_date.slice(0, 8)
      }'.`,
      { status: 403 },
    );
  }
  const age = now.getTime() - signed;
  if (claim.presigned) {
    const early = age < -skew_ms;
    if (!early && age <= claim.expires_s * 1_000) return;
    throw s3
      ? new AwsError("AccessDenied", early ? "Request is not yet valid" : "Request has expired", {
        status: 403,
      })
      : new AwsError("RequestExpired", "Request has expired.");
  }
  if (Math.abs(age) <= skew_ms) return;
  throw s3
    ? new AwsError(
      "RequestTimeTooSkewed",
      "The difference between the request time and the current time is too large.",
      { status: 403 },
    )
    : new AwsError(
      "RequestExpired",
      `Request has expired. It was signed at ${claim.amz_date}; this node's clock says ${
        now.toISOString().replace(/[-:]|\.\d{3}/g, "")
      }.`,
    );
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
  for (const name of request.headers.keys()) {
    // Clients may add a session token after signing, and repeat a presigned payload's hash.
    if (!name.startsWith("x-amz-") || signed.has(name) || name === "x-amz-security-token") continue;
    if (claim.presigned && name === "x-amz-content-sha256") continue;
    throw fail(`There were headers present in the request which were not signed: ${name}`);
  }
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

export const signatureMismatch = () =>
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
  const claim = readClaim(request);
  const { scope } = claim;
  if (options.service !== undefined && !options.service.includes(scope.service)) {
    throw new AwsError(
      "SignatureDoesNotMatch",
      `Credential should be scoped to correct service: '${options.service.join("' or '")}'.`,
      { status: 403 },
    );
  }
  checkTime(claim, options.now ?? new Date());
  checkCovered(request, claim);
  const declared = declaredHash(request, claim);
  const payload = payloadLine(claim, declared, options.body_sha256);
  let grant: SigningGrant;
  try {
    grant = await lookup(scope);
  } catch (cause) {
    throw unknownKey(cause, scope.service);
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
  throw signatureMismatch();
}

/** Each service has its own name for an access key that does not exist, and for one that has ended. */
function unknownKey(cause: unknown, service: string): unknown {
  if (!(cause instanceof AwsError)) return cause;
  if (cause.code === "ExpiredToken" && service === "s3") {
    return new AwsError("ExpiredToken", "The provided token has expired.", { cause });
  }
  if (cause.code === "ExpiredToken" && service === "ec2") {
    return new AwsError("RequestExpired", "Request has expired.", { cause });
  }
  if (cause.code !== "InvalidClientTokenId") return cause;
  if (service === "s3") {
    return new AwsError(
      "InvalidAccessKeyId",
      "The AWS Access Key Id you provided does not exist in our records.",
      { status: 403, cause },
    );
  }
  if (service === "ec2") {
    return new AwsError(
      "AuthFailure",
      "AWS was not able to validate the provided access credentials",
      { status: 401, cause },
    );
  }
  return cause;
}
