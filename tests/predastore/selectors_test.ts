/** What in a query chooses an operation: one at a time, with methods of its own, and on a key's path too. */
import assert from "node:assert/strict";
import { assertAnswer, elementOf } from "./answered.ts";
import { type OpenDoor, openDoor } from "./open_door.ts";

async function withDoor(work: (door: OpenDoor) => Promise<void>): Promise<void> {
  await using door = await openDoor();
  await door.say("PUT /bucket");
  await door.say("PUT /bucket/key", {}, "x");
  await work(door);
}

Deno.test("selectors: two at once are a conflict, whatever their order and values", () =>
  withDoor(async ({ say }) => {
    for (
      const [line, names] of [
        ["GET /bucket?versioning&acl", "acl, versioning"],
        ["GET /bucket/key?tagging=1&acl", "acl, tagging"],
        ["GET /bucket?uploads&partNumber=1", "partNumber, uploads"],
        ["PUT /bucket/key?tagging&retention", "retention, tagging"],
        ["POST /bucket?delete&cors", "cors, delete"],
        ["GET /nowhere?acl&cors", "acl, cors"],
      ] as const
    ) {
      assertAnswer(await say(line), 400, {
        Code: "InvalidArgument",
        Message: `Conflicting query string parameters: ${names}`,
        ArgumentName: "ResourceType",
        ArgumentValue: names.split(", ")[0] ?? "",
      });
    }
    // What only goes with one is no second one, and neither is a name in other letters.
    assert.equal((await say("GET /bucket?Versioning&acl&x-id=GetBucketAcl")).status, 200);
    assert.equal((await say("GET /bucket/key?tagging&versionId=null")).status, 200);
  }));

Deno.test("selectors: a method that one has not is refused by its kind, and the others are told", () =>
  withDoor(async ({ say }) => {
    for (
      const [line, ResourceType, allow] of [
        ["POST /bucket?versioning", "VERSIONING", "GET, PUT"],
        ["DELETE /bucket?acl", "ACL", "GET, PUT"],
        ["PUT /bucket?location", "LOCATION", "GET"],
        ["GET /bucket?delete", "MULTI_OBJECT_DELETE", "POST"],
        ["PATCH /bucket?tagging", "TAGGING", "GET, PUT, DELETE"],
        ["POST /bucket/key?tagging", "OBJECT_TAGGING", "GET, PUT, DELETE"],
        ["GET /bucket/key?restore", "RESTORE", "POST"],
        ["PUT /bucket/key?uploads", "UPLOADS", "POST"],
        ["GET /bucket/key?uploadId=a&partNumber=1", "PART", "PUT"],
        ["PATCH /bucket", "BUCKET", "HEAD, DELETE, POST, GET, PUT"],
        ["POST /bucket/key", "OBJECT", "HEAD, DELETE, GET, PUT"],
        ["PUT /", "SERVICE", "GET"],
      ] as const
    ) {
      const answer = await say(line);
      const [Method = ""] = line.split(" ");
      assertAnswer(answer, 405, { Code: "MethodNotAllowed", Method, ResourceType });
      assert.equal(answer.headers.get("allow"), allow, line);
    }
    for (const line of ["HEAD /bucket?versioning", "HEAD /bucket/key?acl", "HEAD /"]) {
      const { status, text } = await say(line);
      assert.equal(status, 405, line);
      assert.equal(text, "");
    }
  }));

Deno.test("selectors: what is of a bucket alone is of it on a key's path too, and touches no object", () =>
  withDoor(async ({ say }) => {
    const enabled = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    assert.equal((await say("PUT /bucket/key?versioning", {}, enabled)).status, 200);
    const asked = await say("GET /bucket/none?versioning");
    assert.equal(elementOf(asked.text, "Status"), "Enabled");
    assert.equal((await say("GET /bucket/key")).text, "x");
    assertAnswer(await say("GET /bucket/key?policy"), 404, { Code: "NoSuchBucketPolicy" });
    assert.match((await say("GET /bucket/key?location")).text, /<LocationConstraint/);
    assertAnswer(await say("GET /bucket/key?logging"), 400, {
      Code: "NoLoggingStatusForKey",
      Message: "There is no such thing as the ?logging sub-resource for a key",
    });
    assertAnswer(await say("GET /bucket/key?versions"), 400, {
      Code: "InvalidRequest",
      Message: "There is no such thing as the ?versions sub-resource for a key",
    });
    assertAnswer(await say("GET /bucket/key?uploads"), 400, {
      Code: "InvalidRequest",
      Message: "Key is not expected for the GET method ?uploads subresource",
    });
  }));

Deno.test("selectors: a part is of a key, and methods that S3 has not are no request", () =>
  withDoor(async ({ say }) => {
    for (
      const line of ["GET /bucket?partNumber=1", "PUT /bucket?partNumber=", "GET /b?partNumber"]
    ) {
      assertAnswer(await say(line), 400, {
        Code: "InvalidRequest",
        Message: "Object must have a valid key name.",
      });
    }
    for (const line of ["LINK /bucket", "PROPFIND /bucket/key", "PROPFIND /"]) {
      assertAnswer(await say(line), 400, {
        Code: "BadRequest",
        Message: "An error occurred when parsing the HTTP request.",
      });
    }
  }));

Deno.test("selectors: a preflight asks for a method that there is, of any bucket", () =>
  withDoor(async ({ say }) => {
    const ask = (target: string, method?: string, origin = "https://a.example") =>
      say(`OPTIONS ${target}`, {
        origin,
        ...(method === undefined ? {} : { "access-control-request-method": method }),
      });
    for (const method of ["get", "FOO", "TRACE"]) {
      for (const target of ["/bucket/key", "/nowhere", "/"]) {
        assertAnswer(await ask(target, method), 400, {
          Code: "BadRequest",
          Message: `Invalid Access-Control-Request-Method: ${method}`,
        });
      }
    }
    for (
      const [method, Method] of [["PUT", "PUT"], ["", "OPTIONS"], [undefined, "OPTIONS"]] as const
    ) {
      assertAnswer(await ask("/nowhere", method), 403, {
        Code: "AccessForbidden",
        Message: "CORSResponse: Bucket not found",
        Method,
        ResourceType: "BUCKET",
      });
      assertAnswer(await ask("/bucket/key", method), 403, {
        Message: "CORSResponse: CORS is not enabled for this bucket.",
        Method,
      });
    }
    assertAnswer(await ask("/bucket", "GET", ""), 400, {
      Message: "Insufficient information. Origin request header needed.",
    });
  }));
