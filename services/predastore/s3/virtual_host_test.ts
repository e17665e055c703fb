import assert from "node:assert/strict";
import { hostBucket, pathStyle } from "./virtual_host.ts";

Deno.test("a host names a bucket where what is right of it is an endpoint", () => {
  const cases: readonly (readonly [string, string | undefined])[] = [
    ["bucket.localhost:9002", "bucket"],
    ["my.bucket.localhost", "my.bucket"],
    ["bucket.s3.eu-north-1.example.com", "bucket"],
    ["bucket.s3-eu-north-1.example.com", "bucket"],
    ["a.b.s3.example.com:9999", "a.b"],
    ["localhost:9002", undefined],
    ["s3.localhost", undefined],
    ["s3.eu-north-1.localhost", undefined],
    ["node.example.com", undefined],
    ["127.0.0.1:9002", undefined],
    ["[::1]:9002", undefined],
    ["UPPER.localhost", "upper"],
    ["b.localhost", undefined],
  ];
  for (const [authority, bucket] of cases) assert.equal(hostBucket(authority), bucket, authority);
  assert.equal(pathStyle("bucket.localhost", "/key?x"), "/bucket/key?x");
  assert.equal(pathStyle("localhost", "/bucket/key"), "/bucket/key");
});
