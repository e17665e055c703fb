/** CORS rules: what S3 does not take of them. */
import assert from "node:assert/strict";
import { assertAnswer } from "./answered.ts";
import { openDoor } from "./open_door.ts";

Deno.test("CORS: rules that S3 does not take are refused by what is wrong with them", async () => {
  await using door = await openDoor();
  const { say } = door;
  await say("PUT /bucket");
  const rule = (more: string) =>
    `<CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>a</AllowedOrigin>${more}</CORSRule>`;
  const put = (rules: string) =>
    say("PUT /bucket?cors", {}, `<CORSConfiguration>${rules}</CORSConfiguration>`);
  for (
    const [rules, Message] of [
      [
        rule("<AllowedOrigin>*a*</AllowedOrigin>"),
        'AllowedOrigin "*a*" can not have more than one wildcard.',
      ],
      [
        rule("<AllowedHeader>x-*-*</AllowedHeader>"),
        'AllowedHeader "x-*-*" can not have more than one wildcard.',
      ],
      [
        rule("<ExposeHeader>ETag</ExposeHeader><ExposeHeader>x-amz-*</ExposeHeader>"),
        'ExposeHeader "x-amz-*" contains wildcard. We currently do not support wildcard for ExposeHeader.',
      ],
      [
        rule("<AllowedMethod>PATCH</AllowedMethod>"),
        "Found unsupported HTTP method in CORS config. Unsupported method is PATCH",
      ],
      [
        rule("").repeat(101),
        "The number of CORS rules should not exceed allowed limit of 100 rules.",
      ],
    ] as const
  ) {
    assertAnswer(await put(rules), 400, { Code: "InvalidRequest", Message });
  }
  assert.equal((await say("GET /bucket?cors")).status, 404);
  assert.equal((await put(rule("").repeat(100))).status, 200);
});

Deno.test("CORS: who names headers with a request has them weighed, as before it", async () => {
  await using door = await openDoor();
  const { say } = door;
  await say("PUT /bucket");
  await say("PUT /bucket/key", {}, "x");
  await say(
    "PUT /bucket?cors",
    {},
    "<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>https://a.example</AllowedOrigin><AllowedHeader>x-amz-expected-bucket-owner</AllowedHeader></CORSRule></CORSConfiguration>",
  );
  const origin = "https://a.example";
  const shared = async (headers: Record<string, string>) =>
    (await say("GET /bucket/key", { origin, ...headers })).headers.get(
      "access-control-allow-origin",
    );
  const name = "access-control-request-headers";
  assert.equal(await shared({}), origin);
  assert.equal(await shared({ "x-amz-request-payer": "requester" }), origin);
  assert.equal(await shared({ [name]: "X-Amz-Expected-Bucket-Owner" }), origin);
  assert.equal(await shared({ [name]: "x-amz-request-payer" }), null);
});

Deno.test("CORS: the method of a request has to be a rule's, or the one that it names in place of its own", async () => {
  await using door = await openDoor();
  const { say } = door;
  await say("PUT /bucket");
  await say("PUT /bucket/key", {}, "x");
  await say(
    "PUT /bucket?cors",
    {},
    "<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>https://a.example</AllowedOrigin></CORSRule></CORSConfiguration>",
  );
  const origin = "https://a.example";
  const shared = async (line: string, headers: Record<string, string> = {}) => {
    const answer = await say(
      line,
      { origin, ...headers },
      line.startsWith("PUT") ? "x" : undefined,
    );
    assert.equal(answer.status, 200);
    return answer.headers.get("access-control-allow-origin");
  };
  assert.equal(await shared("GET /bucket/key"), origin);
  assert.equal(await shared("HEAD /bucket/key"), null);
  assert.equal(await shared("PUT /bucket/key"), null);
  const name = "access-control-request-method";
  assert.equal(await shared("GET /bucket/key", { [name]: "GET" }), origin);
  assert.equal(await shared("GET /bucket/key", { [name]: "PUT" }), null);
});
