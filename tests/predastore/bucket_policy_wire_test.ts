/** Bucket policies as they are refused at AWS: in which words, and what is let through. */
import assert from "node:assert/strict";
import { elementOf } from "./answered.ts";
import { openDoor } from "./open_door.ts";

const bucket = "arn:aws:s3:::bucket";
const objects = `${bucket}/*`;
const base = {
  Effect: "Allow",
  Principal: { AWS: "arn:aws:iam::210987654321:root" },
  Action: "s3:GetObject",
  Resource: objects,
};
const policy = (statement: object) =>
  JSON.stringify({ Version: "2012-10-17", Statement: [{ ...base, ...statement }] });

Deno.test("bucket policies on the wire: what is wrong with one, and what is not", async () => {
  await using door = await openDoor();
  await door.say("PUT /bucket");
  const put = (text: string) => door.say("PUT /bucket?policy", {}, text);
  const refuses = async (text: string, message: string) => {
    const answer = await put(text);
    assert.equal(elementOf(answer.text, "Code"), "MalformedPolicy", text);
    assert.equal(elementOf(answer.text, "Message"), message, text);
    assert.equal(answer.status, 400);
  };
  const notJson = "Policies must be valid JSON and the first byte must be '{'";
  for (const text of ["", "x", "[]", " {}"]) await refuses(text, notJson);
  for (const text of ["{", "{}{", "{'a': 1}"]) {
    await refuses(text, "This policy contains invalid Json");
  }

  const [action, resource] = ["Policy has invalid action", "Policy has invalid resource"];
  const actions = [
    "s3:ListObjects",
    "s3:HeadObject",
    "s3:Got*",
    "s3:",
    "ec2:RunInstances",
    "GetObject",
    1,
  ];
  for (const Action of [[], ...actions, ["s3:GetObject", "s3:Nothing"]]) {
    await refuses(policy({ Action }), action);
  }
  const others = ["arn:aws:s3:::other/*", "arn:aws:s3:::o*", "*", "arn:aws:s3:::", 1];
  for (const Resource of [[], ...others, [objects, "arn:aws:s3:::bucke/*"]]) {
    await refuses(policy({ Resource }), resource);
  }
  for (const Principal of [{ AWS: [] }, {}, { AWS: "x" }, "x"]) {
    await refuses(policy({ Principal }), "Invalid principal in policy");
  }

  const apart = "Action does not apply to any resource(s) in statement";
  for (
    const [Action, Resource] of [
      ["s3:ListBucket", objects],
      ["s3:GetObject", bucket],
      [["s3:GetObject", "s3:ListBucket"], objects],
      ["s3:PutBucket*", objects],
      ["s3:ListAllMyBuckets", [bucket, objects]],
    ] as const
  ) await refuses(policy({ Action, Resource }), apart);

  for (
    const name of [
      "stringEquals",
      "StringMatches",
      "NullIfExists",
      "ForSome:StringEquals",
      "ForAnyValues:StringEquals",
      "ForAllValue:StringEquals",
      "BoolNot",
      "ForAllValues:Null",
    ]
  ) {
    await refuses(
      policy({ Condition: { [name]: { "aws:PrincipalArn": "x" } } }),
      `Invalid Condition type : ${name}`,
    );
  }
  for (const key of ["s3:nothing", "prefix", "s3:ExistingObjectTag/", "s3:ExistingObjectTag"]) {
    await refuses(
      policy({ Condition: { StringEquals: { [key]: "x" } } }),
      "Policy has an invalid condition key",
    );
  }
  for (const value of ["x", "10.0.0.0/33", "10.0.0", ["10.0.0.1", "::/129"], "10.0.0.0/8/8"]) {
    for (const name of ["IpAddress", "NotIpAddress"]) {
      await refuses(
        policy({ Condition: { [name]: { "aws:SourceIp": value } } }),
        "Invalid IP address in Conditions",
      );
    }
  }

  for (
    const statement of [
      { Resource: [bucket, objects], Action: ["s3:GetObject", "s3:ListBucket"] },
      { Resource: "arn:aws:s3:::*", Action: ["s3:GetObject", "s3:ListBucket"] },
      { Resource: "arn:aws:s3:::buck*", Action: "s3:*" },
      { Resource: "arn:aws:s3:::buck?t/a/${aws:username}/*" },
      { Action: "*" },
      { Action: "s3:Get*" },
      { Action: "S3:getobject" },
      { Action: ["s3:GetObjectAttributes", "s3:RestoreObject"] },
      { Action: "s3:GetBucketCORS", Resource: bucket },
      { Condition: { "ForAllValues:StringLikeIfExists": { "s3:RequestObjectTagKeys": ["a"] } } },
      { Condition: { StringEquals: { "s3:ExistingObjectTag/a": "b" } } },
      { Condition: { Null: { "aws:SourceIp": "true" } } },
      { Condition: { IpAddress: { "aws:SourceIp": ["10.0.0.0/8", "2001:db8::/32", "::1"] } } },
      { Condition: { DateLessThanEquals: { "aws:CurrentTime": "2030-01-01T00:00:00Z" } } },
      {
        Condition: { NumericLessThan: { "s3:max-keys": "5" } },
        Action: "s3:ListBucket",
        Resource: bucket,
      },
      { Condition: { StringEquals: { "kms:ViaService": "x" } } },
    ]
  ) {
    const answer = await put(policy(statement));
    assert.equal(answer.status, 204, `${JSON.stringify(statement)} ${answer.text}`);
  }
  // Stars cost no more than they should.
  await refuses(policy({ Action: `s3:${"*a".repeat(9_000)}` }), action);
  await refuses(policy({ Resource: `arn:aws:s3:::${"*b".repeat(9_000)}` }), resource);
  const not = { ...base, Action: undefined, Resource: undefined };
  for (
    const one of [{ NotAction: "s3:GetObject", Resource: objects }, {
      Action: "s3:GetObject",
      NotResource: `${bucket}/a`,
    }]
  ) {
    const text = JSON.stringify({ Statement: { ...not, ...one, Effect: "Deny" } });
    assert.equal((await put(text)).status, 204, text);
  }
});
