/** What is asked of objects, and what is refused of it: parts, ranges, checksums, attributes, deletions of many. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { assertAnswer, elementOf } from "./answered.ts";
import { type OpenDoor, openDoor } from "./open_door.ts";

async function withObject(work: (door: OpenDoor) => Promise<void>): Promise<void> {
  await using door = await openDoor();
  await door.say("PUT /bucket");
  await door.say("PUT /bucket/key", {}, "0123456789");
  await work(door);
}

Deno.test("questions: a refusal names what it is about, and not the path", () =>
  withObject(async ({ say }) => {
    for (
      const target of ["/nowhere", "/bucket/none", "/bucket/key?versionId=a", "/bucket?policy"]
    ) {
      const { text } = await say(`GET ${target}`);
      assert.match(text, /<Error>/);
      assert.doesNotMatch(text, /<Resource>/, target);
      assert.match(text, /<\/RequestId><HostId>[^<]+<\/HostId><\/Error>$/);
    }
    const beyond = await say("GET /bucket/key", { range: "bytes=10-" });
    assertAnswer(beyond, 416, { Code: "InvalidRange", ActualObjectSize: "10" });
    assert.equal(beyond.headers.get("content-range"), null);
  }));

Deno.test("questions: a part's number counts by its value, and goes with no range", () =>
  withObject(async ({ say }) => {
    for (const number of ["", "0", "00", "-1", "10001", "1.0", "%201", "a"]) {
      assertAnswer(await say(`GET /bucket/key?partNumber=${number}`), 400, {
        Code: "InvalidArgument",
        Message: "Part number must be an integer between 1 and 10000, inclusive",
        ArgumentName: "partNumber",
        ArgumentValue: decodeURIComponent(number),
      });
    }
    assertAnswer(await say("GET /bucket/key?partNumber=02"), 416, {
      Code: "InvalidPartNumber",
      PartNumberRequested: "2",
      ActualPartCount: "1",
    });
    assertAnswer(await say("GET /bucket/key?partNumber=a", { range: "none" }), 400, {
      Message: "Cannot specify both Range header and partNumber query parameter",
    });
    const whole = await say("GET /bucket/key?partNumber=001");
    assert.equal(whole.status, 206);
    assert.equal(whole.headers.get("content-range"), "bytes 0-9/10");
  }));

Deno.test("questions: a checksum is asked for with one word, in any letters", () =>
  withObject(async ({ say }) => {
    for (const mode of ["DISABLED", "", "true"]) {
      assertAnswer(await say("GET /bucket/key", { "x-amz-checksum-mode": mode }), 400, {
        Code: "InvalidRequest",
        Message: "Value for x-amz-checksum-mode header is invalid.",
      });
      assert.equal((await say("HEAD /bucket/key", { "x-amz-checksum-mode": mode })).status, 400);
    }
    const { headers } = await say("GET /bucket/key", { "x-amz-checksum-mode": "enabled" });
    assert.equal(headers.get("x-amz-checksum-type"), "FULL_OBJECT");
    assertAnswer(await say("PUT /bucket/key", { "x-amz-checksum-crc16": "AAA=" }, "x"), 400, {
      Code: "InvalidRequest",
      Message: "The algorithm type you specified in x-amz-checksum- header is invalid.",
    });
  }));

Deno.test("questions: attributes are asked for by their names, and by one at least", () =>
  withObject(async ({ say }) => {
    const ask = (names?: string) =>
      say(
        "GET /bucket/key?attributes",
        names === undefined ? {} : { "x-amz-object-attributes": names },
      );
    for (const none of [undefined, "", ",", ",,"]) {
      assertAnswer(await ask(none), 400, {
        Code: "InvalidRequest",
        Message:
          "The x-amz-object-attributes header specifying the attributes to be retrieved is either missing or empty",
      });
    }
    for (const [names, wrong] of [["ETag,Other", "Other"], [",ETag", ""]] as const) {
      assertAnswer(await ask(names), 400, {
        Code: "InvalidArgument",
        Message: "Invalid attribute name specified.",
        ArgumentName: "x-amz-object-attributes",
        ArgumentValue: wrong,
      });
    }
    const { status, text } = await ask("ObjectSize, ETag,,");
    assert.equal(status, 200, text);
    assert.equal(elementOf(text, "ObjectSize"), "10");
  }));

Deno.test("questions: a list of what to delete is of S3's form, or nothing of it is deleted", () =>
  withObject(async ({ say }) => {
    const ask = (body: string, headers: Record<string, string> = {
      "content-md5": createHash("md5").update(body).digest("base64"),
    }) => say("POST /bucket?delete", headers, body);
    const key = "<Key>key</Key>";
    for (
      const body of [
        "<Delete/>",
        "<Delete><Quiet>true</Quiet></Delete>",
        `<Delete><Object>${key}${key}</Object></Delete>`,
        "<Delete><Object/></Delete>",
        `<Delete><Object>${key}<Size>10</Size></Object></Delete>`,
        `<Delete><Object>${key}<LastModifiedTime>a</LastModifiedTime></Object></Delete>`,
        `<Delete><Object>${key}</Object><Other/></Delete>`,
        `<Delete><Object>${key}</Object><Quiet>true</Quiet><Quiet>true</Quiet></Delete>`,
        `<Delete>${`<Object>${key}</Object>`.repeat(1001)}</Delete>`,
      ]
    ) assertAnswer(await ask(body), 400, { Code: "MalformedXML" });
    assertAnswer(await ask(""), 400, {
      Code: "MissingRequestBodyError",
      Message: "Request Body is empty",
    });
    assertAnswer(
      await ask(`<Delete><Object>${key}</Object><Object><Key/></Object></Delete>`),
      400,
      {
        Code: "UserKeyMustBeSpecified",
        Message: "User key must be specified.",
      },
    );
    const one = `<Delete><Object>${key}</Object></Delete>`;
    assertAnswer(await ask(one, {}), 400, {
      Code: "InvalidRequest",
      Message: "Missing required header for this request: Content-MD5 OR x-amz-checksum-*",
    });
    assertAnswer(await ask(one, { "content-md5": "1B2M2Y8AsgTpgAmY7PhCfg==" }), 400, {
      Code: "BadDigest",
      ExpectedDigest: "1B2M2Y8AsgTpgAmY7PhCfg==",
      CalculatedDigest: createHash("md5").update(one).digest("base64"),
    });
    assert.equal((await say("GET /bucket/key")).status, 200);
    assert.equal((await ask(one)).status, 200);
    assert.equal((await say("GET /bucket/key")).status, 404);
  }));
