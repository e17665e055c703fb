/**
 * What a request to S3 says of its signature. S3 looks at its parts in an order of its own (the date before the
 * credential, what is expired before what is malformed), and tells in elements of its refusals what it looked at.
 */
import { AwsError } from "../errors.ts";
import { DetailedError } from "../detailed_error.ts";
import {
  algorithm,
  authorizationFields,
  type Claim,
  fromHttpDate,
  parseCredential,
  type Read,
  readSignedHeaders,
  signedAt,
  skew_ms,
  withToken,
} from "./claims.ts";

const week_s = 604_800;
const seconds = (ms: number) => `${new Date(ms).toISOString().slice(0, 19)}Z`;
const denied = (message: string, elements: Readonly<Record<string, string>> = {}) =>
  new DetailedError("AccessDenied", message, { status: 403, elements });

/** @throws AwsError as S3 refuses what is malformed, out of date or of another kind */
export function readS3Claim(request: Read, now: Date): Claim {
  const at = request.target.indexOf("?");
  const query = new URLSearchParams(at < 0 ? "" : request.target.slice(at + 1));
  const authorization = request.headers.get("authorization") ?? "";
  const inQuery = query.has("X-Amz-Algorithm");
  if ([authorization !== "", inQuery, query.has("Signature")].filter((one) => one).length > 1) {
    throw invalidHeader(
      "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified",
      authorization === "" ? undefined : authorization,
    );
  }
  if (inQuery) return readQuery(query, now);
  if (authorization !== "") return readHeader(authorization, request.headers, now);
  throw oldQuery(query);
}

/** Whether a request to S3 is signed at all, however badly. */
export function isSigned(
  { headers, target }: { readonly headers: Headers; readonly target: string },
) {
  const at = target.indexOf("?");
  const query = new URLSearchParams(at < 0 ? "" : target.slice(at + 1));
  return (headers.get("authorization") ?? "") !== "" || query.has("X-Amz-Algorithm") ||
    query.has("Signature");
}

const invalidHeader = (message: string, value: string | undefined) =>
  new DetailedError("InvalidArgument", message, {
    elements: {
      ArgumentName: "Authorization",
      ...(value === undefined ? {} : { ArgumentValue: value }),
    },
  });

/** What regions say that never had Signature Version 2. */
export const onlyVersion4 = () =>
  new AwsError(
    "InvalidRequest",
    "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
  );

function oldHeader(authorization: string): AwsError {
  return /^AWS [^ :]*:[^:]+$/i.test(authorization) ? onlyVersion4() : invalidHeader(
    "AWS authorization header is invalid.  Expected AwsAccessKeyId:signature",
    authorization,
  );
}

function oldQuery(query: URLSearchParams): AwsError {
  return query.has("Expires") && query.has("AWSAccessKeyId") ? onlyVersion4() : denied(
    "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters",
  );
}

function readHeader(authorization: string, headers: Read["headers"], now: Date): Claim {
  const space = authorization.indexOf(" ");
  if (space < 0) {
    throw invalidHeader(
      "Authorization header is invalid -- one and only one ' ' (space) required",
      authorization,
    );
  }
  const scheme = authorization.slice(0, space).toUpperCase();
  if (scheme === "AWS") throw oldHeader(authorization);
  if (scheme !== algorithm) throw invalidHeader("Unsupported Authorization Type", authorization);
  const amz_date = headers.get("x-amz-date") ?? fromHttpDate(headers.get("date")) ?? "";
  const signed_ms = signedAt(amz_date);
  if (signed_ms === undefined) {
    throw denied("AWS authentication requires a valid Date or x-amz-date header");
  }
  if (Math.abs(now.getTime() - signed_ms) > skew_ms) {
    throw new DetailedError(
      "RequestTimeTooSkewed",
      "The difference between the request time and the current time is too large.",
      {
        status: 403,
        elements: {
          RequestTime: amz_date,
          ServerTime: seconds(now.getTime()),
          MaxAllowedSkewMilliseconds: String(skew_ms),
        },
      },
    );
  }
  const fail = (message: string) =>
    new AwsError(
      "AuthorizationHeaderMalformed",
      `The authorization header is malformed; ${message}`,
    );
  const named = authorizationFields(authorization);
  const [credential, names, signature] = ["Credential", "SignedHeaders", "Signature"]
    .map((name) => named.get(name));
  if (credential === undefined || names === undefined || signature === undefined) {
    throw fail(
      "the authorization header requires three components: Credential, SignedHeaders, and Signature.",
    );
  }
  const scope = scopeOf(credential, fail);
  if (scope.date !== amz_date.slice(0, 8)) {
    throw fail("Invalid credential date. Date is not the same as X-Amz-Date.");
  }
  return {
    scope: withToken(scope, headers.get("x-amz-security-token")),
    signed_headers: readSignedHeaders(names, fail),
    signature,
    amz_date,
    presigned: false,
    expires_s: 0,
  };
}

/** The scope, which is any region's. */
function scopeOf(credential: string, fail: (message: string) => AwsError) {
  const [key = "", , region, service, end, ...more] = credential.split("/");
  if (end === undefined || more.length > 0) {
    throw fail(
      'the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".',
    );
  }
  if (region === "") throw fail("a non-empty region must be provided in the credential.");
  if (service !== "s3") {
    throw fail(`incorrect service "${service}". This endpoint belongs to "s3".`);
  }
  if (end !== "aws4_request") {
    throw fail(`incorrect terminal "${end}". This endpoint uses "aws4_request".`);
  }
  const scope = parseCredential(credential);
  if (scope !== undefined) return scope;
  // No key is called that, no day is, or no region.
  throw unknownAccessKey(key);
}

export const unknownAccessKey = (access_key_id: string, cause?: unknown) =>
  new DetailedError(
    "InvalidAccessKeyId",
    "The AWS Access Key Id you provided does not exist in our records.",
    { status: 403, elements: { AWSAccessKeyId: access_key_id }, cause },
  );

const needed = [
  "X-Amz-Credential",
  "X-Amz-Signature",
  "X-Amz-Date",
  "X-Amz-SignedHeaders",
  "X-Amz-Expires",
];

function readQuery(query: URLSearchParams, now: Date): Claim {
  const fail = (message: string) => new AwsError("AuthorizationQueryParametersError", message);
  const of = (name: string) => query.get(name) ?? "";
  if (of("X-Amz-Algorithm") !== algorithm) {
    throw fail(`X-Amz-Algorithm only supports "${algorithm} and AWS4-ECDSA-P256-SHA256"`);
  }
  // One that is there twice would be read otherwise by whoever signed it.
  if (needed.some((name) => query.getAll(name).length !== 1)) {
    throw fail(
      "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.",
    );
  }
  const amz_date = of("X-Amz-Date");
  const signed_ms = signedAt(amz_date);
  if (signed_ms === undefined) {
    throw fail(`X-Amz-Date must be in the ISO8601 Long Format "yyyyMMdd'T'HHmmss'Z'"`);
  }
  const expires = of("X-Amz-Expires");
  if (!/^-?\d{1,15}$/.test(expires)) throw fail("X-Amz-Expires should be a number");
  const expires_s = Number(expires);
  if (expires_s < 0) throw fail("X-Amz-Expires must be non-negative");
  if (expires_s > week_s) {
    throw fail(
      `X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than ${week_s} seconds`,
    );
  }
  const times = {
    Expires: seconds(signed_ms + expires_s * 1_000),
    ServerTime: seconds(now.getTime()),
  };
  const age_ms = now.getTime() - signed_ms;
  if (age_ms < -skew_ms) {
    throw denied("Request is not yet valid", { "X-Amz-Date": String(signed_ms), ...times });
  }
  if (age_ms > expires_s * 1_000) {
    throw denied("Request has expired", { "X-Amz-Expires": expires, ...times });
  }
  const scope = scopeOf(
    of("X-Amz-Credential"),
    (message) => fail(`Error parsing the X-Amz-Credential parameter; ${message}`),
  );
  if (scope.date !== amz_date.slice(0, 8)) {
    throw fail(
      `Invalid credential date "${scope.date}". This date is not the same as X-Amz-Date: "${
        amz_date.slice(0, 8)
      }".`,
    );
  }
  return {
    scope: withToken(scope, query.get("X-Amz-Security-Token") ?? undefined),
    signed_headers: readSignedHeaders(of("X-Amz-SignedHeaders"), fail),
    signature: of("X-Amz-Signature"),
    amz_date,
    presigned: true,
    expires_s,
  };
}

const inHex = (bytes: Uint8Array) =>
  [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");

/** What was signed here, for a client to find where it signed something else. */
export function signatureDiffers(
  { scope, signature }: Pick<Claim, "scope" | "signature">,
  string_to_sign: string,
  canonical_request?: string,
): DetailedError {
  const bytes = (text: string) => inHex(Buffer.from(text, "latin1"));
  return new DetailedError(
    "SignatureDoesNotMatch",
    "The request signature we calculated does not match the signature you provided. Check your key and signing method.",
    {
      status: 403,
      elements: {
        AWSAccessKeyId: scope.access_key_id,
        StringToSign: string_to_sign,
        SignatureProvided: signature,
        StringToSignBytes: bytes(string_to_sign),
        ...(canonical_request === undefined ? {} : {
          CanonicalRequest: canonical_request,
          CanonicalRequestBytes: bytes(canonical_request),
        }),
      },
    },
  );
}
