/** What AWS counts as a public bucket policy. */
import assert from "node:assert/strict";
import { isPublic } from "./public_policy.ts";

const policy = (statement: object) =>
  JSON.stringify({
    Statement: [{ Effect: "Allow", Principal: "*", Action: "s3:GetObject", ...statement }],
  });

Deno.test("a policy is public unless it names who, or holds everybody to fixed places", () => {
  for (
    const statement of [
      {},
      { Principal: { AWS: "*" } },
      { Principal: { AWS: ["123456789012", "*"] } },
      { Principal: undefined, NotPrincipal: { AWS: "123456789012" } },
      // Conditions that say nothing of who it is.
      { Condition: { Bool: { "aws:SecureTransport": "true" } } },
      { Condition: { StringLike: { "aws:Referer": "https://example.com/*" } } },
      { Condition: { StringNotEquals: { "aws:SourceVpc": "vpc-1" } } },
      { Condition: { StringLike: { "aws:PrincipalArn": "arn:aws:iam::*:role/x" } } },
      { Condition: { StringEquals: { "aws:SourceVpc": ["vpc-1", "vpc-*"] } } },
      { Condition: { IpAddress: { "aws:SourceIp": "0.0.0.0/1" } } },
      { Condition: { IpAddress: { "aws:SourceIp": ["10.0.0.0/8", "::/0"] } } },
      { Condition: { NotIpAddress: { "aws:SourceIp": "10.0.0.0/8" } } },
    ]
  ) assert.equal(isPublic(policy(statement)), true, JSON.stringify(statement));
  for (
    const statement of [
      { Effect: "Deny" },
      { Principal: { AWS: "123456789012" } },
      { Principal: { Service: "ec2.amazonaws.com" } },
      { Condition: { IpAddress: { "aws:SourceIp": ["10.1.0.0/16", "2001:db8::/32"] } } },
      { Condition: { StringEquals: { "aws:PrincipalOrgID": "o-1" } } },
      { Condition: { ArnLike: { "AWS:SourceArn": "arn:aws:s3:::a" } } },
    ]
  ) assert.equal(isPublic(policy(statement)), false, JSON.stringify(statement));
});
