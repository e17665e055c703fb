/** Headers and parameters that a request cannot have, or not so, are refused as S3 refuses them. */
import assert from "node:assert/strict";
import { assertAnswer, elementOf } from "./answered.ts";
import { openDoor } from "./open_door.ts";

Deno.test("headers: a page to redirect to is a page, wherever it is given", async () => {
  await using door = await openDoor();
  const { say } = door;
  await say("PUT /bucket");
  await say("PUT /bucket/key", {}, "x");
  const told = {
    Code: "InvalidRedirectLocation",
    Message: "The website redirect location must have a prefix of 'http://' or 'https://' or '/'.",
  };
  const to = (page: string) => ({ "x-amz-website-redirect-location": page });
  for (const page of ["page", "ftp://site.example/", "javascript:alert(1)", ""]) {
    assertAnswer(await say("PUT /bucket/to", to(page), "x"), 400, told);
    assertAnswer(await say("POST /bucket/to?uploads", to(page)), 400, told);
    assertAnswer(
      await say("PUT /bucket/to", { ...to(page), "x-amz-copy-source": "bucket/key" }),
      400,
      told,
    );
  }
  assert.equal((await say("HEAD /bucket/to")).status, 404);
  for (const page of ["/page", "http://site.example", "https://site.example/"]) {
    assert.equal((await say("PUT /bucket/to", to(page), "x")).status, 200);
    const { headers } = await say("HEAD /bucket/to");
    assert.equal(headers.get("x-amz-website-redirect-location"), page);
  }
});

Deno.test("headers: no type is the usual type, also where it is empty", async () => {
  await using door = await openDoor();
  await door.say("PUT /bucket");
  await door.say("PUT /bucket/key", { "content-type": "" }, "x");
  const { headers } = await door.say("HEAD /bucket/key");
  assert.equal(headers.get("content-type"), "binary/octet-stream");
});

Deno.test("headers: a body of a length that nobody tells is named by its header", async () => {
  await using door = await openDoor();
  const { say } = door;
  await say("PUT /bucket");
  const made = await say("POST /bucket/key?uploads");
  const id = elementOf(made.text, "UploadId") ?? "";
  for (const line of ["PUT /bucket/key", `PUT /bucket/key?partNumber=1&uploadId=${id}`]) {
    assertAnswer(await say(line, { "transfer-encoding": "chunked" }, "x"), 501, {
      Code: "NotImplemented",
      Message: "A header you provided implies functionality that is not implemented",
      Header: "Transfer-Encoding",
    });
  }
  assertAnswer(await say("DELETE /bucket/key", { "x-amz-if-match-size": "1" }), 501, {
    Code: "NotImplemented",
    Message: "A header you provided implies functionality that is not implemented",
    Header: "x-amz-if-match-size",
  });
});

Deno.test("headers: a bucket whose owner owns all its objects is not made with an ACL", async () => {
  await using door = await openDoor();
  const { say } = door;
  for (
    const headers of [
      { "x-amz-acl": "public-read" },
      { "x-amz-acl": "public-read", "x-amz-object-ownership": "BucketOwnerEnforced" },
      { "x-amz-grant-read": 'uri="http://acs.amazonaws.com/groups/global/AllUsers"' },
    ]
  ) {
    assertAnswer(await say("PUT /bucket-with-acl", headers), 400, {
      Code: "InvalidBucketAclWithObjectOwnership",
      Message: "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting",
    });
  }
  assert.equal((await say("HEAD /bucket-with-acl")).status, 404);
  assert.equal((await say("PUT /bucket-with-acl", { "x-amz-acl": "private" })).status, 200);
});

Deno.test("parameters: a bucket has no versions of its own", async () => {
  await using door = await openDoor();
  const { say } = door;
  await say("PUT /bucket");
  for (
    const line of [
      "GET /bucket?versionId=abc",
      "DELETE /bucket?versionId=null",
      "GET /bucket?versioning&versionId=",
      "PUT /bucket?tagging&versionId=abc",
      "DELETE /bucket?cors&versionId=abc",
    ]
  ) {
    assertAnswer(await say(line), 400, {
      Code: "InvalidArgument",
      Message: "This operation does not accept a version-id.",
      ArgumentName: "versionId",
    });
  }
  assert.equal((await say("HEAD /bucket")).status, 200);
});

Deno.test("parameters: only headers that can be replaced are", async () => {
  await using door = await openDoor();
  const { say } = door;
  await say("PUT /bucket");
  await say("PUT /bucket/key", {}, "x");
  const told = {
    Code: "InvalidArgument",
    Message:
      "response-unheard-of is not in the set of overridable response headers. Please refer to the S3 API documentation for a complete list of overridable response headers.",
    ArgumentName: "response-unheard-of",
    ArgumentValue: "dummy",
  };
  const query = "response-unheard-of=dummy&response-content-type=text/plain";
  assertAnswer(await say(`GET /bucket/key?${query}`), 400, told);
  assert.equal((await say(`HEAD /bucket/key?${query}`)).status, 400);
});

Deno.test("headers: what is copied is named by a bucket and a key that can be read", async () => {
  await using door = await openDoor();
  const { say } = door;
  await say("PUT /bucket");
  const id = elementOf((await say("POST /bucket/to?uploads")).text, "UploadId") ?? "";
  for (const line of ["PUT /bucket/to", `PUT /bucket/to?partNumber=1&uploadId=${id}`]) {
    for (
      const [source, what] of [
        ["", "bucket name"],
        ["/", "bucket name"],
        ["bucket", "object key"],
        ["/bucket/", "object key"],
        ["bucket/%", "encoding"],
        ["bucket/%E9", "encoding"],
      ]
    ) {
      assertAnswer(await say(line, { "x-amz-copy-source": source ?? "" }), 400, {
        Code: "InvalidArgument",
        Message: `Invalid copy source ${what}`,
        ArgumentName: "x-amz-copy-source",
      });
    }
  }
});

Deno.test("headers: an upload is not completed by a copy", async () => {
  await using door = await openDoor();
  const { say } = door;
  await say("PUT /bucket");
  const id = elementOf((await say("POST /bucket/key?uploads")).text, "UploadId") ?? "";
  const source = { "x-amz-copy-source": "bucket/other" };
  assertAnswer(await say(`POST /bucket/key?uploadId=${id}`, source, "x"), 400, {
    Code: "InvalidArgument",
    Message: "You can only specify a copy source header for copy requests.",
    ArgumentName: "x-amz-copy-source",
    ArgumentValue: "bucket/other",
  });
});

Deno.test("parameters: a bucket is made in a region, or nowhere", async () => {
  await using door = await openDoor();
  const { say } = door;
  const made = (region: string) =>
    say(
      "PUT /bucket",
      {},
      `<CreateBucketConfiguration><LocationConstraint>${region}</LocationConstraint></CreateBucketConfiguration>`,
    );
  for (const region of ["", "abc", "ap southeast 2"]) {
    assertAnswer(await made(region), 400, {
      Code: "InvalidLocationConstraint",
      Message: "The specified location-constraint is not valid",
      LocationConstraint: region,
    });
  }
  assertAnswer(await made("eu-central-1"), 400, {
    Code: "IllegalLocationConstraintException",
    Message:
      "The eu-central-1 location constraint is incompatible for the region specific endpoint this request was sent to.",
  });
  assert.equal((await made("ap-southeast-2")).status, 200);
});

Deno.test("parameters: what no bucket was ever called is refused by its name", async () => {
  await using door = await openDoor();
  const { say } = door;
  await say("PUT /bucket");
  const told = { Code: "InvalidBucketName", Message: "The specified bucket is not valid." };
  for (const line of ["GET /a", "GET /ab/key", "PUT /b%20b/key", "DELETE /a", "GET /a?tagging"]) {
    assertAnswer(await say(line), 400, told);
  }
  assert.equal((await say("HEAD /a")).status, 400);
  assertAnswer(await say("PUT /bucket/key", { "x-amz-copy-source": "a/key" }), 400, told);
  // Names that new buckets cannot have, but old ones could.
  for (const line of ["GET /Bucket_Of_Old", "GET /bucket--", "GET /192.168.0.1/key"]) {
    assertAnswer(await say(line), 404, { Code: "NoSuchBucket" });
  }
});
