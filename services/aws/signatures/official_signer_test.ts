import assert from "node:assert/strict";
import { verify, type VerifyOptions } from "./sigv4.ts";
import {
  type Case,
  codeOf,
  lookupWith,
  now,
  oracleInput,
  received,
  sha256,
  signer,
} from "../../../tests/kit/official_signer.ts";

const segments = [
  "plain",
  "with space",
  "a+b",
  "a%b",
  "%41",
  "ü",
  "日本語",
  "emoji-😀",
  "q?mark",
  "hash#",
  "semi;colon",
  "a=b&c=d",
  "quote'\"",
  "(paren)!*",
  "back\\slash",
  "tilde~",
  "at@colon:",
  "{brace}",
  "comma,dollar$",
];
const cases: Case[] = [
  ...["s3", "ebs"].flatMap((service) =>
    segments.map((segment): Case => ({
      name: `${service} path with ${segment}`,
      service,
      path: `/bucket/${segment.split("/").map(encodeURIComponent).join("/")}/end`,
    }))
  ),
  ...["s3", "ec2"].flatMap((service) =>
    segments.map((segment): Case => ({
      name: `${service} query with ${segment}`,
      service,
      path: "/",
      query: { prefix: segment, [segment]: "", Multi: ["b", "a", segment] },
    }))
  ),
  ...["s3", "iam"].flatMap((service): Case[] => [
    {
      name: `${service} inner white space`,
      service,
      path: "/",
      headers: { "x-amz-meta-a": "  a   b \t c " },
    },
    { name: `${service} empty header`, service, path: "/", headers: { "x-amz-meta-a": "" } },
    {
      name: `${service} several values`,
      service,
      path: "/",
      headers: { "x-amz-meta-a": "one, two,three" },
    },
    {
      name: `${service} POST body`,
      service,
      path: "/",
      method: "POST",
      body: "Action=A&Version=1",
    },
    { name: `${service} token`, service, path: "/", headers: { "x-amz-security-token": "abc/+=" } },
    { name: `${service} trailing slash`, service, path: "/a/b/" },
  ]),
  { name: "s3 keeps dot segments and doubled slashes", service: "s3", path: "/bucket/../a/./b//c" },
  { name: "ebs normalises dot segments", service: "ebs", path: "/a/../b/./c" },
];

Deno.test("what the official signer signs is accepted, and not with anything changed", async (t) => {
  assert.ok(cases.length >= 85, `${cases.length} cases`);
  for (const of of cases) {
    await t.step(of.name, async () => {
      const signed = await signer(of.service).sign(oracleInput(of), { signingDate: now });
      const request = received(of, signed);
      const options: VerifyOptions = { now, body_sha256: sha256(of.body ?? "") };
      const verified = await verify(request, lookupWith("secret"), options);
      assert.equal(verified.scope.service, of.service);
      for (
        const changed of [
          { ...request, method: "DELETE" },
          { ...request, authority: "localhost:9998" },
          { ...request, target: request.target.replace(/\?|$/, "x$&") },
          { ...request, target: request.target + (of.query ? "&extra=1" : "?extra=1") },
        ]
      ) {
        assert.equal(
          await codeOf(verify(changed, lookupWith("secret"), options)),
          "SignatureDoesNotMatch 403",
        );
      }
      assert.notEqual(await codeOf(verify(request, lookupWith("other"), options)), "accepted");
    });
  }
});

const unsignedPayload = { "x-amz-content-sha256": "UNSIGNED-PAYLOAD" };

Deno.test("what the official presigner signs is accepted until it expires", async (t) => {
  for (const of of cases.filter((each) => each.body === undefined)) {
    await t.step(of.name, async () => {
      const input = oracleInput(of);
      // As the S3 presigner of the SDK does.
      if (of.service === "s3") Object.assign(input.headers, unsignedPayload);
      const signed = await signer(of.service).presign(input, {
        signingDate: now,
        expiresIn: 600,
      });
      const request = received(of, signed);
      const options = { now, body_sha256: sha256("") };
      const optionsFor = of.service === "s3" ? { now } : options;
      const verified = await verify(request, lookupWith("secret"), optionsFor);
      assert.equal(verified.presigned, true);
      const late = { ...optionsFor, now: new Date(now.getTime() + 601_000) };
      assert.equal(
        await codeOf(verify(request, lookupWith("secret"), late)),
        of.service === "s3" ? "AccessDenied 403" : "RequestExpired 400",
      );
    });
  }
});
