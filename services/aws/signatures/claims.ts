/**
 * What a request says of its signature, before anything is believed: by the rules of all services but S3, which has
 * words of its own for what is wrong (s3_claims.ts).
 */
import type { SigningScope } from "../../identity/contract.ts";
import { AwsError } from "../errors.ts";

/** The same with its headers read once: each look into `Headers` costs more than a hash. */
export interface Read {
  readonly method: string;
  readonly target: string;
  readonly authority: string;
  readonly headers: ReadonlyMap<string, string>;
}

/** What the caller claims, before anything is believed. */
export interface Claim {
  readonly scope: SigningScope;
  readonly signed_headers: readonly string[];
  readonly signature: string;
  readonly amz_date: string;
  readonly presigned: boolean;
  readonly expires_s: number;
}

/** Of what form a session token can be at all; whether it is one, identity says. */
const sessionToken = /^[A-Za-z0-9+/=_-]{1,4096}$/;

export const algorithm = "AWS4-HMAC-SHA256";
/** How far a clock may be off. */
export const skew_ms = 15 * 60_000;
const scopePart = /^[A-Za-z0-9_.\-]{1,64}$/;
const accessKeyId = /^[A-Za-z0-9_\-]{1,128}$/;
const headerName = /^[a-z0-9!#$%&'*+\-.^_`|~]{1,128}$/;
const amzDate = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/;

/** The `Name=value` parts of an Authorization header; a name given twice is there as `undefined`. */
export function authorizationFields(
  authorization: string,
): ReadonlyMap<string, string | undefined> {
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

export function parseCredential(text: string): SigningScope | undefined {
  const parts = text.split("/");
  const [access_key_id = "", date = "", region = "", service = "", end] = parts;
  if (
    parts.length !== 5 || end !== "aws4_request" || !accessKeyId.test(access_key_id) ||
    !/^\d{8}$/.test(date) || !scopePart.test(region) || !scopePart.test(service)
  ) return undefined;
  return { access_key_id, date, region, service };
}

const fail = (message: string) => new AwsError("IncompleteSignature", message);

/** @throws AwsError `MissingAuthenticationToken`, `IncompleteSignature`, `InvalidArgument` */
export function readClaim(request: Read): Claim {
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
  const one = (name: string): string => {
    const values = query.getAll(name);
    if (values.length === 1) return values[0] ?? "";
    throw fail(`Query-string authentication requires exactly one ${name} parameter.`);
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
  // A query signature without an expiry lives as long as a header's.
  const expires = query.has("X-Amz-Expires") ? one("X-Amz-Expires") : "900";
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
export function withToken(scope: SigningScope, token: string | undefined): SigningScope {
  if (token === undefined || token === "") return scope;
  return { ...scope, session_token: sessionToken.test(token) ? token : "malformed" };
}

export function readSignedHeaders(text: string, fail: (message: string) => AwsError): string[] {
  const names = text.split(";");
  const wellFormed = names.length <= 100 &&
    names.every((name, at) => headerName.test(name) && (at === 0 || name > (names[at - 1] ?? "")));
  if (!wellFormed) throw fail("SignedHeaders must be lower-case header names, sorted.");
  return names;
}

export function fromHttpDate(text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  const at = Date.parse(text);
  return Number.isNaN(at) ? undefined : new Date(at).toISOString().replace(/[-:]|\.\d{3}/g, "");
}

/** When that was; undefined for what is no time. */
export function signedAt(amz_date: string): number | undefined {
  const fields = amzDate.exec(amz_date)?.slice(1).map(Number);
  if (fields === undefined) return undefined;
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = fields;
  return Date.UTC(year, month - 1, day, hour, minute, second);
}

/** @throws AwsError `RequestExpired`; `SignatureDoesNotMatch` where the scope is of another day */
export function checkTime(claim: Claim, now: Date): void {
  const signed = signedAt(claim.amz_date);
  if (signed === undefined) {
    throw fail("Date must be in ISO-8601 'basic format', for example 20261121T100000Z.");
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
    throw new AwsError("RequestExpired", "Request has expired.");
  }
  if (Math.abs(age) <= skew_ms) return;
  throw new AwsError(
    "RequestExpired",
    `Request has expired. It was signed at ${claim.amz_date}; this node's clock says ${
      now.toISOString().replace(/[-:]|\.\d{3}/g, "")
    }.`,
  );
}
