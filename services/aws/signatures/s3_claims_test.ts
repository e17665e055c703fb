import assert from "node:assert/strict";
import { createHash, createHmac } from "node:crypto";
import { AwsError } from "../errors.ts";
import { DetailedError } from "../detailed_error.ts";
import { isSigned } from "./s3_claims.ts";
import { credentialScope, deriveSigningKey, verify } from "./sigv4.ts";

const now = new Date("2026-11-21T10:00:00.400Z");
const scope = { access_key_id: "AKIATEST", date: "20261121", region: "eu-west-1", service: "s3" };
const credential = `AKIATEST/${credentialScope(scope)}`;
const signature = "0".repeat(64);
const authorization =
  `AWS4-HMAC-SHA256 Credential=${credential}, SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature=${signature}`;

/** What S3 says of it: code, status, message and elements. */
async function refusal(
  target: string,
  given: Readonly<Record<string, string>> = {},
): Promise<{ code: string; status: number; message: string } & Record<string, unknown>> {
  const headers = new Headers(given);
  const lookup = (asked: { readonly access_key_id: string }) =>
    asked.access_key_id === "AKIATEST"
      ? Promise.resolve({
        key: deriveSigningKey("secret", scope).toBase64(),
        account_id: "123456789012",
        principal_arn: "",
        user_id: "",
        valid_until_ms: 0,
      })
      : Promise.reject(new AwsError("InvalidClientTokenId", "", { status: 403 }));
  try {
    await verify({ method: "GET", target, authority: "h", headers }, lookup, {
      now,
      service: ["s3"],
    });
  } catch (error) {
    assert.ok(error instanceof AwsError, String(error));
    const { code, status, message } = error;
    return { code, status, message, ...(error instanceof DetailedError ? error.elements : {}) };
  }
  throw new Error("accepted");
}

const signed = (value: string, more: Record<string, string> = {}) =>
  refusal("/b/k", {
    authorization: value,
    "x-amz-date": "20261121T100000Z",
    "x-amz-content-sha256": "UNSIGNED-PAYLOAD",
    ...more,
  });

Deno.test("S3's claims: what an Authorization header is not, in S3's words", async () => {
  const invalid = (message: string, value: string) => ({
    code: "InvalidArgument",
    status: 400,
    message,
    ArgumentName: "Authorization",
    ArgumentValue: value,
  });
  for (const value of ["Bearer", "AWS4-HMAC-SHA256"]) {
    assert.deepEqual(
      await signed(value),
      invalid("Authorization header is invalid -- one and only one ' ' (space) required", value),
    );
  }
  for (const value of ["Bearer x", "AWS4 HAHAHA", "AWS4-HMAC-SHA512 Credential=x"]) {
    assert.deepEqual(await signed(value), invalid("Unsupported Authorization Type", value));
  }
  for (const value of ["AWS HAHAHA", "AWS key:", "AWS key:a:b"]) {
    assert.deepEqual(
      await signed(value),
      invalid("AWS authorization header is invalid.  Expected AwsAccessKeyId:signature", value),
    );
  }
  assert.deepEqual(await signed("AWS AKIATEST:FWeDfwojDSdS2Ztmpfeubhd9isU="), {
    code: "InvalidRequest",
    status: 400,
    message:
      "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
  });
  for (const query of ["X-Amz-Algorithm=AWS4-HMAC-SHA256", "Signature=x"]) {
    const { code, ArgumentValue } = await refusal(`/b?${query}`, { authorization });
    assert.equal(code, "InvalidArgument");
    assert.equal(ArgumentValue, authorization);
  }
});

Deno.test("S3's claims: a date is looked at before what it is the date of", async () => {
  const broken = "AWS4-HMAC-SHA256 Credential=HAHAHA";
  for (const date of ["Bad Date", "", "20261121"]) {
    assert.deepEqual(await signed(broken, { "x-amz-date": date }), {
      code: "AccessDenied",
      status: 403,
      message: "AWS authentication requires a valid Date or x-amz-date header",
    });
  }
  assert.deepEqual(await signed(broken, { "x-amz-date": "20261121T094459Z" }), {
    code: "RequestTimeTooSkewed",
    status: 403,
    message: "The difference between the request time and the current time is too large.",
    RequestTime: "20261121T094459Z",
    ServerTime: "2026-11-21T10:00:00Z",
    MaxAllowedSkewMilliseconds: "900000",
  });
});

Deno.test("S3's claims: which component of a header or a query is wrong", async () => {
  const format =
    'the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".';
  const wrong = [
    [credential, "HAHAHA", format],
    [credential, `${credential}/more`, format],
    ["eu-west-1", "", "a non-empty region must be provided in the credential."],
    ["/s3/", "/ec2/", 'incorrect service "ec2". This endpoint belongs to "s3".'],
    ["aws4_request", "aws5", 'incorrect terminal "aws5". This endpoint uses "aws4_request".'],
  ] as const;
  for (const [part, by, message] of wrong) {
    assert.deepEqual(await signed(authorization.replace(part, by)), {
      code: "AuthorizationHeaderMalformed",
      status: 400,
      message: `The authorization header is malformed; ${message}`,
    });
    assert.deepEqual(
      await refusal(presigned({ "X-Amz-Credential": credential.replace(part, by) })),
      {
        code: "AuthorizationQueryParametersError",
        status: 400,
        message: `Error parsing the X-Amz-Credential parameter; ${message}`,
      },
    );
  }
  for (const name of ["Credential", "SignedHeaders", "Signature"]) {
    const { code, message } = await signed(authorization.replace(`${name}=`, "Other="));
    assert.equal(code, "AuthorizationHeaderMalformed");
    assert.match(message, /; the authorization header requires three components: /);
  }
  const other = await signed(authorization.replace("20261121", "20261120"));
  assert.equal(
    other.message,
    "The authorization header is malformed; Invalid credential date. Date is not the same as X-Amz-Date.",
  );
  assert.deepEqual(await signed(authorization.replace("AKIATEST", "AKIANOBODY")), {
    code: "InvalidAccessKeyId",
    status: 403,
    message: "The AWS Access Key Id you provided does not exist in our records.",
    AWSAccessKeyId: "AKIANOBODY",
  });
});

function presigned(more: Record<string, string | undefined>): string {
  const query = new URLSearchParams({
    "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
    "X-Amz-Credential": credential,
    "X-Amz-Date": "20261121T100000Z",
    "X-Amz-Expires": "60",
    "X-Amz-SignedHeaders": "host",
    "X-Amz-Signature": signature,
  });
  for (const [name, value] of Object.entries(more)) {
    if (value === undefined) query.delete(name);
    else query.set(name, value);
  }
  return `/b/k?${query}`;
}

Deno.test("S3's claims: when a presigned URL lives, and what it needs", async () => {
  assert.deepEqual(await refusal(presigned({ "X-Amz-Expires": "0" })), {
    code: "AccessDenied",
    status: 403,
    message: "Request has expired",
    "X-Amz-Expires": "0",
    Expires: "2026-11-21T10:00:00Z",
    ServerTime: "2026-11-21T10:00:00Z",
  });
  assert.deepEqual(await refusal(presigned({ "X-Amz-Date": "20261121T101501Z" })), {
    code: "AccessDenied",
    status: 403,
    message: "Request is not yet valid",
    "X-Amz-Date": String(Date.parse("2026-11-21T10:15:01Z")),
    Expires: "2026-11-21T10:16:01Z",
    ServerTime: "2026-11-21T10:00:00Z",
  });
  // What has expired is told so, whatever else is wrong with it.
  const past = { "X-Amz-Date": "20261121T090000Z", "X-Amz-Credential": "HAHAHA" };
  assert.equal((await refusal(presigned(past))).message, "Request has expired");
  for (
    const [more, message] of [
      [
        { "X-Amz-Algorithm": "AWS4-HMAC-SHA512" },
        'X-Amz-Algorithm only supports "AWS4-HMAC-SHA256 and AWS4-ECDSA-P256-SHA256"',
      ],
      [
        { "X-Amz-Expires": undefined },
        "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.",
      ],
      [
        { "X-Amz-Date": "today" },
        "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"",
      ],
      [{ "X-Amz-Expires": "-7" }, "X-Amz-Expires must be non-negative"],
      [{ "X-Amz-Expires": "1e3" }, "X-Amz-Expires should be a number"],
      [
        { "X-Amz-Expires": "604801" },
        "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds",
      ],
      [
        { "X-Amz-Credential": credential.replace("20261121", "20261120") },
        'Invalid credential date "20261120". This date is not the same as X-Amz-Date: "20261121".',
      ],
    ] as const
  ) {
    assert.deepEqual(await refusal(presigned(more)), {
      code: "AuthorizationQueryParametersError",
      status: 400,
      message,
    });
  }
  assert.deepEqual(await refusal("/b?Signature=x&Expires=1"), {
    code: "AccessDenied",
    status: 403,
    message:
      "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters",
  });
  assert.equal(
    (await refusal("/b?Signature=x&Expires=1&AWSAccessKeyId=k")).code,
    "InvalidRequest",
  );
});

Deno.test("S3's claims: a signature that differs is shown what was signed here", async () => {
  const told = await signed(authorization);
  assert.equal(told.code, "SignatureDoesNotMatch");
  assert.equal(
    told.message,
    "The request signature we calculated does not match the signature you provided. Check your key and signing method.",
  );
  assert.equal(told["AWSAccessKeyId"], "AKIATEST");
  assert.equal(told["SignatureProvided"], signature);
  const canonical = String(told["CanonicalRequest"]);
  assert.match(canonical, /^GET\n\/b\/k\n\nhost:h\nx-amz-content-sha256:UNSIGNED-PAYLOAD\n/);
  const toSign = String(told["StringToSign"]);
  const digest = createHash("sha256").update(canonical).digest("hex");
  assert.equal(toSign.split("\n").at(-1), digest);
  const hex = (text: string) => Buffer.from(text).toString("hex").match(/../g)?.join(" ");
  assert.equal(told["StringToSignBytes"], hex(toSign));
  assert.equal(told["CanonicalRequestBytes"], hex(canonical));
  // Who signs that is let in.
  const right = createHmac("sha256", deriveSigningKey("secret", scope)).update(toSign).digest(
    "hex",
  );
  await assert.rejects(signed(authorization.replace(signature, right)), /accepted/);
  assert.deepEqual(await signed(authorization, { "x-amz-b": "1", "x-amz-a": "2" }), {
    code: "AccessDenied",
    status: 403,
    message: "There were headers present in the request which were not signed",
    HeadersNotSigned: "x-amz-a, x-amz-b",
  });
});

Deno.test("S3's claims: a request is signed where it has a header, an algorithm or an old signature", () => {
  const of = (target: string, headers: HeadersInit = {}) =>
    isSigned({ target, headers: new Headers(headers) });
  assert.equal(of("/b", { authorization: "" }), false);
  assert.equal(of("/b?X-Amz-Signature=x&X-Amz-Credential=y&AWSAccessKeyId=z"), false);
  assert.equal(of("/b", { authorization: "x" }), true);
  assert.equal(of("/b?X-Amz-Algorithm"), true);
  assert.equal(of("/b?Signature=x"), true);
});
