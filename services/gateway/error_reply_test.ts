import assert from "node:assert/strict";
import { AwsError } from "../aws/errors.ts";
import { errorFormOf, errorReply, visible } from "./error_reply.ts";

Deno.test("each caller gets errors in the form that its SDK reads", () => {
  const form = { "content-type": "application/x-www-form-urlencoded; charset=utf-8" };
  for (
    const [service, headers, expected] of [
      ["ec2", {}, "ec2"],
      ["s3", form, "s3"],
      ["iam", {}, "query"],
      ["", {}, "query"],
      ["sns", form, "query"],
      ["kms", { "content-type": "application/x-amz-json-1.1" }, "json"],
      ["ebs", {}, "json"],
      ["ebs", form, "json"],
      ["s3express", {}, "s3"],
      ["route53", {}, "query"],
      ["constructor", {}, "json"],
    ] as const
  ) assert.equal(errorFormOf(service, new Headers(headers)), expected, service);
});

Deno.test("a reason is said where the API's errors have one", async () => {
  const error = new AwsError("ValidationException", "no", { reason: "INVALID_SNAPSHOT_ID" });
  assert.deepEqual(await errorReply("json", "ebs", error, "req-1").json(), {
    __type: "ValidationException",
    message: "no",
    Reason: "INVALID_SNAPSHOT_ID",
  });
});

Deno.test("every form has code, message, status and the request's id, and stays well-formed", async () => {
  const error = new AwsError("Some.Code", 'a <b> & "c"\u0001', { status: 404 });
  const body = async (form: "ec2" | "query" | "json" | "s3") => {
    const reply = errorReply(form, "iam", error, "req-1", "/a<b");
    assert.equal(reply.status, 404);
    const id = reply.headers.get("x-amzn-requestid") ?? reply.headers.get("x-amz-request-id");
    assert.equal(id, "req-1");
    return await reply.text();
  };
  const message = "a &lt;b&gt; &amp; &quot;c&quot;\ufffd";
  assert.equal(
    await body("ec2"),
    `<?xml version="1.0" encoding="UTF-8"?>\n<Response><Errors><Error><Code>Some.Code</Code><Message>${message}</Message></Error></Errors><RequestID>req-1</RequestID></Response>`,
  );
  assert.match(
    await body("query"),
    /^.*\n<ErrorResponse xmlns="https:\/\/iam\.amazonaws\.com\/doc/,
  );
  assert.equal(
    await body("s3"),
    `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>Some.Code</Code><Message>${message}</Message><Resource>/a&lt;b</Resource><RequestId>req-1</RequestId></Error>`,
  );
  assert.deepEqual(JSON.parse(await body("json")), {
    __type: "Some.Code",
    message: 'a <b> & "c"\u0001',
  });
});

Deno.test("what is not meant for the caller says nothing of itself", () => {
  const error = visible(new TypeError("secret path /var/x"));
  assert.equal(error.code, "InternalError");
  assert.equal(error.status, 500);
  assert.doesNotMatch(error.message, /secret/);
});
