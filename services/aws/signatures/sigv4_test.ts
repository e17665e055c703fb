import assert from "node:assert/strict";
import { createHash, createHmac } from "node:crypto";
import { SignatureV4 } from "@smithy/signature-v4";
import { AwsError } from "../errors.ts";
import {
  claimedScope,
  deriveSigningKey,
  type SignedRequest,
  type SigningGrant,
  type SigningScope,
  verify,
  type VerifyOptions,
} from "./sigv4.ts";

const s3Secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const suiteSecret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

const lookupWith = (secret: string) => (scope: SigningScope): Promise<SigningGrant> =>
  Promise.resolve({
    key: Buffer.from(deriveSigningKey(secret, scope)).toString("base64"),
    account_id: "123456789012",
    principal_arn: "arn:aws:iam::123456789012:user/test",
    user_id: "AIDAEXAMPLE",
    valid_until_ms: Date.now() + 60_000,
  });

const sha256 = (text: string | Uint8Array) => createHash("sha256").update(text).digest("hex");

async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    if (error instanceof AwsError) return `${error.code} ${error.status}`;
    throw error;
  }
  return "accepted";
}

/** What AWS publishes as its Signature Version 4 test suite: 30 August 2015, `host` and more. */
const suite: [
  name: string,
  method: string,
  target: string,
  headers: [string, string][],
  signature: string,
  body?: string,
][] = [
  [
    "get-vanilla",
    "GET",
    "/",
    [],
    "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
  ],
  [
    "get-vanilla-query-order-key-case",
    "GET",
    "/?Param2=value2&Param1=value1",
    [],
    "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
  ],
  [
    "get-vanilla-empty-query-key",
    "GET",
    "/?Param1=value1",
    [],
    "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb",
  ],
  [
    "get-vanilla-query-unreserved",
    "GET",
    "/?-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz=-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
    [],
    "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197",
  ],
  [
    "get-vanilla-utf8-query",
    "GET",
    "/?ሴ=bar",
    [],
    "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04",
  ],
  [
    "get-unreserved",
    "GET",
    "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
    [],
    "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
  ],
  ["get-utf8", "GET", "/ሴ", [], "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"],
  [
    "get-space-normalized",
    "GET",
    "/example space/",
    [],
    "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741",
  ],
  [
    "get-slash-normalized",
    "GET",
    "//",
    [],
    "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
  ],
  [
    "get-slash-dot-slash-normalized",
    "GET",
    "/./",
    [],
    "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
  ],
  [
    "get-slash-pointless-dot-normalized",
    "GET",
    "/./example",
    [],
    "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5",
  ],
  [
    "get-slashes-normalized",
    "GET",
    "//example//",
    [],
    "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84",
  ],
  [
    "get-relative-normalized",
    "GET",
    "/example/..",
    [],
    "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
  ],
  [
    "get-relative-relative-normalized",
    "GET",
    "/example1/example2/../..",
    [],
    "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
  ],
  ["get-header-key-duplicate", "GET", "/", [["My-Header1", "value2"], ["My-Header1", "value2"], [
    "My-Header1",
    "value1",
  ]], "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea"],
  ["get-header-value-order", "GET", "/", [["My-Header1", "value4"], ["My-Header1", "value1"], [
    "My-Header1",
    "value3",
  ], ["My-Header1", "value2"]], "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01"],
  [
    "get-header-value-trim",
    "GET",
    "/",
    [["My-Header1", " value1"], ["My-Header2", ' "a   b   c"']],
    "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
  ],
  [
    "post-vanilla",
    "POST",
    "/",
    [],
    "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
  ],
  [
    "post-header-key-sort",
    "POST",
    "/",
    [["My-Header1", "value1"]],
    "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
  ],
  [
    "post-header-value-case",
    "POST",
    "/",
    [["My-Header1", "VALUE1"]],
    "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d",
  ],
  [
    "post-x-www-form-urlencoded",
    "POST",
    "/",
    [["Content-Type", "application/x-www-form-urlencoded"]],
    "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
    "Param1=value1",
  ],
  ["post-sts-header-before", "POST", "/", [[
    "X-Amz-Security-Token",
    "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==",
  ]], "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"],
];

Deno.test("the published Signature V4 suite is accepted, and refused with one digit changed", async (t) => {
  for (const [name, method, target, given, signature, body] of suite) {
    await t.step(name, async () => {
      const headers = new Headers({ "x-amz-date": "20150830T123600Z" });
      for (const [key, value] of given) headers.append(key, value);
      const names = [...new Set(["host", ...headers.keys()])].sort().join(";");
      const request = (signed: string): SignedRequest => {
        const all = new Headers(headers);
        all.set(
          "authorization",
          `AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=${names}, Signature=${signed}`,
        );
        return { method, target, authority: "example.amazonaws.com", headers: all };
      };
      const options = { now: new Date("2015-08-30T12:40:00Z"), body_sha256: sha256(body ?? "") };
      const verified = await verify(request(signature), lookupWith(suiteSecret), options);
      assert.equal(verified.scope.access_key_id, "AKIDEXAMPLE");
      const wrong = (signature[0] === "0" ? "1" : "0") + signature.slice(1);
      assert.equal(
        await codeOf(verify(request(wrong), lookupWith(suiteSecret), options)),
        "SignatureDoesNotMatch 403",
      );
    });
  }
});

/** The examples of the S3 documentation: 24 May 2013. */
const s3Examples: [string, string, string, Record<string, string>, string][] = [
  ["GET object with a range", "GET", "/test.txt", {
    range: "bytes=0-9",
    "x-amz-content-sha256": sha256(""),
  }, "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"],
  ["PUT object", "PUT", "/test%24file.text", {
    date: "Fri, 24 May 2013 00:00:00 GMT",
    "x-amz-storage-class": "REDUCED_REDUNDANCY",
    "x-amz-content-sha256": "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
  }, "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"],
  ["GET bucket lifecycle", "GET", "/?lifecycle", {
    "x-amz-content-sha256": sha256(""),
  }, "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"],
  ["list objects", "GET", "/?max-keys=2&prefix=J", {
    "x-amz-content-sha256": sha256(""),
  }, "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"],
  ["chunked upload", "PUT", "/examplebucket/chunkObject.txt", {
    "content-encoding": "aws-chunked",
    "content-length": "66824",
    "x-amz-storage-class": "REDUCED_REDUNDANCY",
    "x-amz-decoded-content-length": "66560",
    "x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
  }, "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"],
];

Deno.test("the examples of the S3 documentation are accepted", async (t) => {
  for (const [name, method, target, headers, signature] of s3Examples) {
    await t.step(name, async () => {
      const all = new Headers({ ...headers, "x-amz-date": "20130524T000000Z" });
      const names = ["host", ...all.keys()].sort().join(";");
      all.set(
        "authorization",
        `AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders=${names},Signature=${signature}`,
      );
      const authority = name === "chunked upload"
        ? "s3.amazonaws.com"
        : "examplebucket.s3.amazonaws.com";
      const verified = await verify(
        { method, target, authority, headers: all },
        lookupWith(s3Secret),
        { now: new Date("2013-05-24T00:10:00Z"), service: ["s3"] },
      );
      assert.equal(verified.payload_hash, headers["x-amz-content-sha256"]);
      assert.equal(verified.presigned, false);
    });
  }
});

const presignedTarget =
  "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";

Deno.test("the presigned example of the S3 documentation lives for its day and not longer", async () => {
  const request: SignedRequest = {
    method: "GET",
    target: presignedTarget,
    authority: "examplebucket.s3.amazonaws.com",
    headers: new Headers(),
  };
  const at = (now: string) => verify(request, lookupWith(s3Secret), { now: new Date(now) });
  const verified = await at("2013-05-24T23:59:59Z");
  assert.equal(verified.presigned, true);
  assert.equal(verified.payload_hash, undefined);
  assert.equal(await codeOf(at("2013-05-25T00:00:01Z")), "AccessDenied 403");
  assert.equal(await codeOf(at("2013-05-23T23:40:00Z")), "AccessDenied 403");
  const longer = { ...request, target: presignedTarget.replace("86400", "604800") };
  assert.equal(
    await codeOf(verify(longer, lookupWith(s3Secret), { now: new Date("2013-05-24T01:00:00Z") })),
    "SignatureDoesNotMatch 403",
  );
});

/** The hash that the official signer wants. */
class NodeHash {
  readonly #state;
  constructor(secret?: string | Uint8Array) {
    this.#state = secret === undefined ? createHash("sha256") : createHmac("sha256", secret);
  }
  update(data: string | Uint8Array) {
    this.#state.update(data);
  }
  digest() {
    return Promise.resolve(new Uint8Array(this.#state.digest()));
  }
  reset() {}
}

interface Case {
  readonly name: string;
  readonly service: string;
  readonly method?: string;
  readonly path: string;
  readonly query?: Record<string, string | string[]>;
  readonly headers?: Record<string, string>;
  readonly body?: string;
}

const segments = [
  "plain",
  "with space",
  "a+b",
  "a%b",
  "%41",
  "ü",
  "日本語",
  "emoji-😀",
  "q?mark",
  "hash#",
  "semi;colon",
  "a=b&c=d",
  "quote'\"",
  "(paren)!*",
  "back\\slash",
  "tilde~",
  "at@colon:",
  "{brace}",
  "comma,dollar$",
];
const cases: Case[] = [
  ...["s3", "ebs"].flatMap((service) =>
    segments.map((segment): Case => ({
      name: `${service} path with ${segment}`,
      service,
      path: `/bucket/${segment.split("/").map(encodeURIComponent).join("/")}/end`,
    }))
  ),
  ...["s3", "ec2"].flatMap((service) =>
    segments.map((segment): Case => ({
      name: `${service} query with ${segment}`,
      service,
      path: "/",
      query: { prefix: segment, [segment]: "", Multi: ["b", "a", segment] },
    }))
  ),
  ...["s3", "iam"].flatMap((service): Case[] => [
    {
      name: `${service} inner white space`,
      service,
      path: "/",
      headers: { "x-amz-meta-a": "  a   b \t c " },
    },
    { name: `${service} empty header`, service, path: "/", headers: { "x-amz-meta-a": "" } },
    {
      name: `${service} several values`,
      service,
      path: "/",
      headers: { "x-amz-meta-a": "one, two,three" },
    },
    {
      name: `${service} POST body`,
      service,
      path: "/",
      method: "POST",
      body: "Action=A&Version=1",
    },
    { name: `${service} token`, service, path: "/", headers: { "x-amz-security-token": "abc/+=" } },
    { name: `${service} trailing slash`, service, path: "/a/b/" },
  ]),
  { name: "s3 keeps dot segments and doubled slashes", service: "s3", path: "/bucket/../a/./b//c" },
  { name: "ebs normalises dot segments", service: "ebs", path: "/a/../b/./c" },
];

const now = new Date("2026-11-21T10:00:00Z");
const signer = (service: string, secret = "secret") =>
  new SignatureV4({
    credentials: { accessKeyId: "AKIATEST", secretAccessKey: secret },
    region: "ap-southeast-2",
    service,
    // deno-lint-ignore no-explicit-any
    sha256: NodeHash as any,
    uriEscapePath: service !== "s3",
    applyChecksum: service === "s3",
  });

function targetOf(path: string, query: Record<string, string | string[]> | undefined): string {
  const pairs = Object.entries(query ?? {}).flatMap(([name, value]) =>
    [value].flat().map((one) => `${encodeURIComponent(name)}=${encodeURIComponent(one)}`)
  );
  return pairs.length === 0 ? path : `${path}?${pairs.join("&")}`;
}

function oracleInput(of: Case) {
  return {
    method: of.method ?? "GET",
    protocol: "https:",
    hostname: "localhost",
    port: 9999,
    path: of.path,
    query: of.query ?? {},
    headers: { host: "localhost:9999", ...of.headers },
    ...(of.body === undefined ? {} : { body: of.body }),
  };
}

const received = (of: Case, signed: { headers: Record<string, string>; query?: unknown }) => {
  const headers = new Headers(signed.headers);
  headers.delete("host");
  return {
    method: of.method ?? "GET",
    target: targetOf(of.path, (signed.query ?? of.query) as Case["query"]),
    authority: "localhost:9999",
    headers,
  };
};

Deno.test("what the official signer signs is accepted, and not with anything changed", async (t) => {
  assert.ok(cases.length >= 85, `${cases.length} cases`);
  for (const of of cases) {
    await t.step(of.name, async () => {
      const signed = await signer(of.service).sign(oracleInput(of), { signingDate: now });
      const request = received(of, signed);
      const options: VerifyOptions = { now, body_sha256: sha256(of.body ?? "") };
      const verified = await verify(request, lookupWith("secret"), options);
      assert.equal(verified.scope.service, of.service);
      for (
        const changed of [
          { ...request, method: "DELETE" },
          { ...request, authority: "localhost:9998" },
          { ...request, target: request.target.replace(/\?|$/, "x$&") },
          { ...request, target: request.target + (of.query ? "&extra=1" : "?extra=1") },
        ]
      ) {
        assert.equal(
          await codeOf(verify(changed, lookupWith("secret"), options)),
          "SignatureDoesNotMatch 403",
        );
      }
      assert.notEqual(await codeOf(verify(request, lookupWith("other"), options)), "accepted");
    });
  }
});

const unsignedPayload = { "x-amz-content-sha256": "UNSIGNED-PAYLOAD" };

Deno.test("what the official presigner signs is accepted until it expires", async (t) => {
  for (const of of cases.filter((each) => each.body === undefined)) {
    await t.step(of.name, async () => {
      const input = oracleInput(of);
      // As the S3 presigner of the SDK does.
      if (of.service === "s3") Object.assign(input.headers, unsignedPayload);
      const signed = await signer(of.service).presign(input, {
        signingDate: now,
        expiresIn: 600,
      });
      const request = received(of, signed);
      const options = { now, body_sha256: sha256("") };
      const optionsFor = of.service === "s3" ? { now } : options;
      const verified = await verify(request, lookupWith("secret"), optionsFor);
      assert.equal(verified.presigned, true);
      const late = { ...optionsFor, now: new Date(now.getTime() + 601_000) };
      assert.equal(
        await codeOf(verify(request, lookupWith("secret"), late)),
        of.service === "s3" ? "AccessDenied 403" : "RequestExpired 400",
      );
    });
  }
});

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

Deno.test("no request, however broken, makes the verifier fail otherwise than with an AwsError", async () => {
  const seed = crypto.getRandomValues(new Uint32Array(1))[0]!;
  console.log(`seed ${seed}`);
  let state = seed;
  const random = (below: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state % below;
  };
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
});
