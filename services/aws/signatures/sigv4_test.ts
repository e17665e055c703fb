import assert from "node:assert/strict";
import { AwsError } from "../errors.ts";
import { claimedScope, type SignedRequest, verify, type VerifyOptions } from "./sigv4.ts";
import {
  type Case,
  codeOf,
  lookupWith,
  now,
  oracleInput,
  presignedTarget,
  received,
  sha256,
  signer,
} from "../../../tests/kit/official_signer.ts";
import { seeded } from "../../../tests/kit/random.ts";

Deno.test("each malformed claim has AWS's own error code", async () => {
  const good: Case = { name: "", service: "ec2", path: "/" };
  const signed = received(good, await signer("ec2").sign(oracleInput(good), { signingDate: now }));
  const s3Case: Case = { name: "", service: "s3", path: "/b" };
  const s3 = received(s3Case, await signer("s3").sign(oracleInput(s3Case), { signingDate: now }));
  const authorization = signed.headers.get("authorization") ?? "";
  const s3Authorization = s3.headers.get("authorization") ?? "";
  const withAuth = (request: typeof signed, value: string | undefined, more: object = {}) => {
    const headers = new Headers(request.headers);
    if (value === undefined) headers.delete("authorization");
    else headers.set("authorization", value);
    return { ...request, headers, ...more };
  };
  const run = (request: SignedRequest, options: VerifyOptions = {}) =>
    codeOf(verify(request, lookupWith("secret"), { now, body_sha256: sha256(""), ...options }));

  assert.equal(await run(signed), "accepted");
  assert.equal(await run(withAuth(signed, undefined)), "MissingAuthenticationToken 403");
  for (
    const broken of [
      "",
      "AWS4-HMAC-SHA256",
      "Bearer x",
      authorization.replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"),
      authorization.replace(/Signature=.*/, ""),
      authorization.replace(/SignedHeaders=[^,]*,/, ""),
      authorization.replace(/SignedHeaders=[^,]*/, "SignedHeaders=x-amz-date;host"),
      authorization.replace("aws4_request", "aws5_request"),
      authorization.replace("AKIATEST", "AKIA TEST"),
      authorization.replace("20261121", "2026112"),
      authorization + ", Signature=" + "0".repeat(64),
    ]
  ) assert.equal(await run(withAuth(signed, broken)), "IncompleteSignature 400", broken);
  assert.equal(
    await run(withAuth(s3, s3Authorization.replace("Signature=", "Sig="))),
    "AuthorizationHeaderMalformed 400",
  );
  for (const value of ["zz", "A".repeat(64), "0".repeat(63), "0".repeat(65)]) {
    assert.equal(
      await run(withAuth(signed, authorization.replace(/Signature=.*/, `Signature=${value}`))),
      "SignatureDoesNotMatch 403",
    );
  }
  assert.equal(
    await run({ ...signed, target: "/?X-Amz-Signature=1" }),
    "InvalidArgument 400",
  );
  const skewed = { now: new Date(now.getTime() + 16 * 60_000) };
  assert.equal(await run(signed, skewed), "RequestExpired 400");
  assert.equal(await run(s3, skewed), "RequestTimeTooSkewed 403");
  assert.equal(await run(signed, { service: ["s3"] }), "AuthorizationHeaderMalformed 400");
  assert.equal(await run(signed, { service: ["sts"] }), "SignatureDoesNotMatch 403");
  const extra = new Headers(s3.headers);
  extra.set("x-amz-acl", "public-read");
  assert.equal(await run({ ...s3, headers: extra }), "AccessDenied 403");
  assert.equal(await run(s3, { body_sha256: sha256("x") }), "XAmzContentSHA256Mismatch 400");
  const otherBody = { body_sha256: sha256("x") };
  assert.equal(await run(signed, otherBody), "SignatureDoesNotMatch 403");
  const unsigned = { ...otherBody, unsigned_payload: true };
  assert.equal(
    await run(signed, unsigned),
    "SignatureDoesNotMatch 403",
    "who signs it is believed",
  );
  for (const expires of ["-1", "604801", "1e3", "", "1.5"]) {
    const target = presignedTarget.replace("X-Amz-Expires=86400", `X-Amz-Expires=${expires}`);
    const anonymous = { method: "GET", target, authority: "h", headers: new Headers() };
    assert.equal(await run(anonymous), "AuthorizationQueryParametersError 400", expires);
    const other = { ...anonymous, target: target.replace("%2Fs3%2F", "%2Fsts%2F") };
    assert.equal(await run(other), "IncompleteSignature 400", expires);
  }
  assert.equal(
    await run({
      method: "GET",
      target: presignedTarget + "&X-Amz-Date=20130524T000000Z",
      authority: "h",
      headers: new Headers(),
    }),
    "AuthorizationQueryParametersError 400",
  );
});

Deno.test("the claimed scope is the one that is verified, whatever else the header says", () => {
  const of = (authorization: string) =>
    claimedScope({
      method: "GET",
      target: "/?X-Amz-Credential=Q/20261121/r/ec2/aws4_request",
      authority: "h",
      headers: new Headers({ authorization }),
    })?.service;
  const credential = (service: string) => `Credential=A/20261121/r/${service}/aws4_request`;
  assert.equal(of(`AWS4-HMAC-SHA256 X${credential("sts")}, ${credential("s3")}`), "s3");
  assert.equal(of(`AWS4-HMAC-SHA256 ${credential("sts")}, ${credential("s3")}`), undefined);
  assert.equal(of(`AWS4-HMAC-SHA256 Signature="${credential("sts")}"`), undefined);
  assert.equal(of("Basic abc"), undefined);
});

Deno.test("an unknown access key has the name that each service gives it", async () => {
  const unknown = () =>
    Promise.reject(
      new AwsError(
        "InvalidClientTokenId",
        "The security token included in the request is invalid.",
        {
          status: 403,
        },
      ),
    );
  for (
    const [service, code] of [
      ["s3", "InvalidAccessKeyId 403"],
      ["ec2", "AuthFailure 401"],
      ["sts", "InvalidClientTokenId 403"],
    ] as const
  ) {
    const of: Case = { name: "", service, path: "/" };
    const signed = received(of, await signer(service).sign(oracleInput(of), { signingDate: now }));
    assert.equal(await codeOf(verify(signed, unknown, { now, body_sha256: sha256("") })), code);
  }
});

Deno.test("no request, however broken, makes the verifier fail otherwise than with an AwsError", () =>
  seeded(async (source) => {
    const random = (below: number) => source.below(below);
    const of: Case = { name: "", service: "s3", path: "/b/k", query: { a: "b" } };
    const base = received(of, await signer("s3").sign(oracleInput(of), { signingDate: now }));
    const alphabet = "%=&;,/ AZaz09~+\\\"'?#.:";
    for (let round = 0; round < 3_000; round++) {
      const mutate = (text: string) => {
        const chars = [...text];
        for (let n = random(4); n >= 0; n--) {
          chars.splice(random(chars.length + 1), random(3), alphabet[random(alphabet.length)]!);
        }
        return chars.join("");
      };
      const headers = new Headers(base.headers);
      headers.set("authorization", mutate(headers.get("authorization")!));
      const target = random(2) === 0 ? mutate(base.target) : mutate(presignedTarget);
      await codeOf(verify({ ...base, target, headers }, lookupWith("secret"), { now }));
    }
  }));
