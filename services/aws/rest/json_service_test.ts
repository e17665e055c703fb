import assert from "node:assert/strict";
import { AwsError } from "../errors.ts";
import { jsonService } from "./json_service.ts";

const service = jsonService("tagging");
assert.ok(service);

Deno.test("awsJson1.1: an operation is found by its target and by nothing else", () => {
  const target = "ResourceGroupsTaggingAPI_20170126.GetResources";
  assert.equal(service.route("POST", "/", target).name, "GetResources");
  for (
    const [method, path, given] of [
      ["GET", "/", target],
      ["POST", "/x", target],
      ["POST", "/", null],
      ["POST", "/", "GetResources"],
      ["POST", "/", "ResourceGroupsTaggingAPI_20170126.Nothing"],
      ["POST", "/", "ResourceGroupsTaggingAPI_20170126.__proto__"],
    ] as const
  ) {
    assert.throws(
      () => service.route(method, path, given),
      (error) => error instanceof AwsError && error.code === "UnknownOperationException",
    );
  }
});

Deno.test("awsJson1.1: what an operation does not know, or a body that is none, is refused", () => {
  const operation = service.route("POST", "/", "ResourceGroupsTaggingAPI_20170126.TagResources");
  const call = `{"ResourceARNList":["a"],"Tags":{"__proto__":"x"}}`;
  assert.equal(JSON.stringify(service.readCall(operation, call)), call);
  for (
    const [body, code] of [
      [`{`, "SerializationException"],
      [`[]`, "SerializationException"],
      [`{"Nothing":1}`, "ValidationException"],
      [`{"ResourceARNList":"a","Tags":{}}`, "ValidationException"],
      [`{"Tags":{}}`, "ValidationException"],
    ] as const
  ) {
    assert.throws(
      () => service.readCall(operation, body),
      (error) => error instanceof AwsError && error.code === code,
      body,
    );
  }
});
