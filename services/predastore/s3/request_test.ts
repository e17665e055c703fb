import * as s3 from "@aws-sdk/client-s3";
import assert from "node:assert/strict";
import { AwsError } from "../../aws/errors.ts";
import { NormalizedSchema, operationsOf } from "../../aws/schema/smithy_schema.ts";
import type { ObjectRow } from "../index/rows.ts";
import { parseTarget } from "./target.ts";
import { notModified, writeCondition } from "./conditions.ts";
import { operationOf } from "./operation_names.ts";
import { served } from "./operations.ts";
import { parseRange } from "./ranges.ts";
import { children, escapeXml, parseXml, text } from "./xml.ts";

const code = (wanted: string) => (error: unknown) =>
  error instanceof AwsError && error.code === wanted;

Deno.test("a key is every byte of the raw path after the bucket", () => {
  const cases: readonly (readonly [string, string, string])[] = [
    ["/", "", ""],
    ["/b", "b", ""],
    ["/b/", "b", ""],
    ["/b/a/../c", "b", "a/../c"],
    ["/b//x", "b", "/x"],
    ["/b/a%2Fb+c%20d?x=1", "b", "a/b+c d"],
    ["/b/%00%C3%A9", "b", "\u0000é"],
    ["/b/%EF%BB%BFx", "b", "\ufeffx"],
  ];
  for (const [target, bucket, key] of cases) {
    const found = parseTarget(target);
    assert.deepEqual([found.bucket, found.key], [bucket, key], target);
  }
  for (const bad of ["/b/%", "/b/%4", "/b/%zz", "/b/%ff", "/b/%ed%a0%80"]) {
    assert.throws(() => parseTarget(bad), code("InvalidURI"), bad);
  }
  assert.throws(() => parseTarget(`/b/${"x".repeat(1025)}`), code("KeyTooLongError"));
  assert.throws(() => parseTarget(`/b/${"%C3%A9".repeat(513)}`), code("KeyTooLongError"));
  assert.equal(parseTarget(`/b/${"%C3%A9".repeat(512)}`).key.length, 512);
});

Deno.test("ranges give exactly what they name, and malformed ones nothing", () => {
  const size = 100;
  assert.deepEqual(parseRange("bytes=0-0", size), { from: 0, to: 1 });
  assert.deepEqual(parseRange("bytes=90-200", size), { from: 90, to: 100 });
  assert.deepEqual(parseRange("bytes=-10", size), { from: 90, to: 100 });
  assert.deepEqual(parseRange("bytes=-1000", size), { from: 0, to: 100 });
  assert.deepEqual(parseRange("bytes=99-", size), { from: 99, to: 100 });
  for (const bad of [null, "", "bytes", "bytes=-", "bytes=5-4", "bytes=0-1,3-4", "lines=1-2"]) {
    assert.equal(parseRange(bad, size), undefined, String(bad));
  }
  for (const beyond of ["bytes=100-", "bytes=-0", "bytes=1000-2000"]) {
    assert.throws(() => parseRange(beyond, size), code("InvalidRange"), beyond);
  }
  assert.throws(() => parseRange("bytes=0-", 0), code("InvalidRange"));
});

Deno.test("If-Match wins over dates, and If-None-Match over If-Modified-Since", () => {
  const object = { etag: "e", modified_ms: Date.parse("2026-01-02T00:00:00.900Z") };
  const ask = (headers: HeadersInit) => notModified(new Headers(headers), object);
  const before = "Thu, 01 Jan 2026 00:00:00 GMT";
  const at = "Fri, 02 Jan 2026 00:00:00 GMT";
  assert.equal(ask({ "if-match": '"e"', "if-unmodified-since": before }), false);
  assert.throws(() => ask({ "if-match": '"x"' }), code("PreconditionFailed"));
  assert.throws(() => ask({ "if-unmodified-since": before }), code("PreconditionFailed"));
  assert.equal(ask({ "if-unmodified-since": at }), false);
  assert.equal(ask({ "if-none-match": '"a", "e"' }), true);
  assert.equal(ask({ "if-none-match": '"x"', "if-modified-since": at }), false);
  assert.equal(ask({ "if-modified-since": at }), true);
  assert.equal(ask({ "if-modified-since": "rubbish" }), false);
  assert.throws(
    () => writeCondition(new Headers({ "if-none-match": '"e"' })),
    code("NotImplemented"),
  );
});

Deno.test("ETags in conditions may lack either quote or both", () => {
  const current = { etag: "e1" } as ObjectRow;
  const condition = (value: string) => writeCondition(new Headers({ "if-match": value }));
  for (const value of ['"e1"', "e1", 'e1"', '"e1', 'W/"e1"']) condition(value)(current);
  for (const value of ['"e2"', "e", '""', '"e1""']) {
    assert.throws(() => condition(value)(current), code("PreconditionFailed"), value);
  }
});

Deno.test("each request is known by AWS's name of its operation", () => {
  const cases: readonly (readonly [string, string, string, HeadersInit?])[] = [
    ["GET", "/", "ListBuckets"],
    ["GET", "/b?location", "GetBucketLocation"],
    ["GET", "/b?list-type=2", "ListObjectsV2"],
    ["GET", "/b/?versions", "ListObjectVersions"],
    ["PUT", "/b?versioning", "PutBucketVersioning"],
    ["DELETE", "/b?lifecycle", "DeleteBucketLifecycle"],
    ["POST", "/b?delete", "DeleteObjects"],
    ["POST", "/b", "PostObject", { "content-type": "multipart/form-data; boundary=x" }],
    ["GET", "/b/k?acl", "GetObjectAcl"],
    ["PUT", "/b/k?tagging", "PutObjectTagging"],
    ["PUT", "/b/k", "CopyObject", { "x-amz-copy-source": "/b/j" }],
    ["PUT", "/b/k?partNumber=1&uploadId=u", "UploadPart"],
    ["POST", "/b/k?uploads", "CreateMultipartUpload"],
    ["POST", "/b/k?uploadId=u", "CompleteMultipartUpload"],
    ["DELETE", "/b/k?uploadId=u", "AbortMultipartUpload"],
    ["HEAD", "/b/k", "HeadObject"],
  ];
  for (const [method, target, name, headers] of cases) {
    assert.equal(operationOf(method, parseTarget(target), new Headers(headers)), name, target);
  }
  assert.throws(
    () => operationOf("PATCH", parseTarget("/b/k"), new Headers()),
    code("MethodNotAllowed"),
  );
  assert.equal(Object.keys(served).length, 98);
});

Deno.test("what is served is told from what is not: every operation of Amazon's client goes by its own name", () => {
  for (const { name, http, input } of operationsOf(s3)) {
    // This one goes to a host of Lambda's own.
    if (name === "WriteGetObjectResponse" || http === undefined) continue;
    const [method, uri] = http;
    const [path = "", literal = ""] = uri.split("?");
    const query = new URLSearchParams(literal);
    const headers = new Headers();
    for (const [, member] of NormalizedSchema.of(input).structIterator()) {
      const { httpQuery, httpHeader } = member.getMergedTraits() as Record<string, unknown>;
      const given = typeof httpQuery === "string" &&
        ["uploadId", "partNumber", "id", "annotationName"].includes(httpQuery);
      if (given) query.set(httpQuery, "1");
      if (httpHeader === "x-amz-copy-source") headers.set(httpHeader, "b/k");
    }
    const bucket = /^List(Directory)?Buckets$/.test(name) ? "" : "b";
    const key = path.includes("{Key") ? "k" : "";
    assert.equal(operationOf(method, { bucket, key, query }, headers), name, `${method} ${uri}`);
  }
});

Deno.test("XML is escaped for any reader, and hostile XML is refused", () => {
  assert.equal(escapeXml(`<a&"\u0001\r>`), "&lt;a&amp;&quot;&#x1;&#13;&gt;");
  const root = parseXml(
    "<Delete><Object><Key>a</Key></Object><Quiet>true</Quiet></Delete>",
    "Delete",
  );
  assert.equal(children(root, "Object").length, 1);
  assert.equal(text(root, "Quiet"), "true");
  for (
    const bad of [
      "",
      "text",
      "<Delete>",
      "<Other/>",
      `${"<a>".repeat(50_000)}`,
      "<Delete><Object></Delete>",
    ]
  ) assert.throws(() => parseXml(bad, "Delete"), code("MalformedXML"), bad.slice(0, 30));
  assert.equal(({} as Record<string, unknown>)["polluted"], undefined);
});
