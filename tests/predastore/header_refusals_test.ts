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
