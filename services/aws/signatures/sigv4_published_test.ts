import assert from "node:assert/strict";
import { type SignedRequest, verify } from "./sigv4.ts";
import { codeOf, lookupWith, presignedTarget, sha256 } from "../../../tests/kit/official_signer.ts";

const s3Secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const suiteSecret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

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
