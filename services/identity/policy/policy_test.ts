import assert from "node:assert/strict";
import { AwsError } from "../../aws/errors.ts";
import { parsePolicy } from "./document.ts";
import { allowsEverywhere, evaluate } from "./evaluate.ts";
import { matches, parsePattern } from "./pattern.ts";
import { seeded } from "../../../tests/kit/random.ts";

type Keys = Record<string, string | string[]>;

function decide(
  statements: unknown,
  action: string,
  resource = "*",
  keys: Keys = {},
  version = "2012-10-17",
) {
  const policy = parsePolicy(JSON.stringify({ Version: version, Statement: statements }));
  const context = new Map(
    Object.entries(keys).map(([key, value]) => [key.toLowerCase(), [value].flat()]),
  );
  return evaluate([policy], { action, resource, context });
}

const allowAll = { Effect: "Allow", Action: "*", Resource: "*" };
const instance = "arn:aws:ec2:eu-west-1:123456789012:instance/i-1";

Deno.test("nothing is allowed that no statement allows, and a deny wins wherever it stands", () => {
  assert.equal(decide([{ ...allowAll, Action: "s3:*" }], "ec2:RunInstances"), "implicit_deny");
  assert.equal(decide([allowAll], "ec2:RunInstances"), "allowed");
  const deny = { Effect: "Deny", Action: "ec2:Run*", Resource: "*" };
  assert.equal(decide([allowAll, deny], "ec2:RunInstances"), "explicit_deny");
  assert.equal(decide([deny, allowAll], "ec2:RunInstances"), "explicit_deny");
  assert.equal(decide([deny, allowAll], "ec2:StopInstances"), "allowed");
});

Deno.test("actions are compared without regard to case, with * and ?", () => {
  const allow = (Action: string | string[]) => [{ Effect: "Allow", Action, Resource: "*" }];
  assert.equal(decide(allow("EC2:describe*"), "ec2:DescribeInstances"), "allowed");
  assert.equal(decide(allow(["s3:*", "ec2:Describe?egions"]), "ec2:DescribeRegions"), "allowed");
  assert.equal(decide(allow("ec2:Describe?"), "ec2:DescribeRegions"), "implicit_deny");
  assert.equal(decide(allow("ec2:*"), "ec2-instance-connect:Send"), "implicit_deny");
});

Deno.test("NotAction and NotResource are everything else", () => {
  const but = [{ Effect: "Allow", NotAction: "iam:*", Resource: "*" }];
  assert.equal(decide(but, "ec2:RunInstances"), "allowed");
  assert.equal(decide(but, "iam:CreateUser"), "implicit_deny");
  const except = [{
    Effect: "Allow",
    Action: "ec2:*",
    NotResource: "arn:aws:ec2:*:*:instance/i-1",
  }];
  assert.equal(decide(except, "ec2:StopInstances", instance), "implicit_deny");
  assert.equal(decide(except, "ec2:StopInstances", instance.replace("i-1", "i-2")), "allowed");
});

Deno.test("a * in an ARN stays in its field, and fields left away match anything", () => {
  const on = (Resource: string, resource = instance) =>
    decide([{ Effect: "Allow", Action: "*", Resource }], "ec2:StopInstances", resource);
  assert.equal(on("arn:aws:ec2:*:*:instance/*"), "allowed");
  assert.equal(on("arn:aws:ec2:*:instance/i-1"), "implicit_deny");
  assert.equal(on("arn:aws:ec2"), "allowed");
  assert.equal(on("arn:aws:s3"), "implicit_deny");
  assert.equal(on("arn:aws:ec2:*:999999999999:instance/*"), "implicit_deny");
  assert.equal(on("arn:aws:s3:::b/*", "arn:aws:s3:::b/with:colons/and more"), "allowed");
  // An action without a resource is not an action on any resource.
  assert.equal(on("arn:aws:ec2:*:*:instance/*", "*"), "implicit_deny");
});

Deno.test("a policy variable stands for the caller's value, itself without wildcards", () => {
  const own = [{
    Effect: "Allow",
    Action: "s3:*",
    Resource: "arn:aws:s3:::home/${aws:username}/*",
  }];
  const at = (name: string, keys: Keys) =>
    decide(own, "s3:GetObject", `arn:aws:s3:::home/${name}/x`, keys);
  assert.equal(at("ada", { "aws:username": "ada" }), "allowed");
  assert.equal(at("bob", { "aws:username": "ada" }), "implicit_deny");
  assert.equal(at("bob", { "aws:username": "*" }), "implicit_deny");
  assert.equal(at("bob", {}), "implicit_deny");
  const otherwise = [{
    Effect: "Allow",
    Action: "s3:*",
    Resource: "arn:aws:s3:::${aws:PrincipalTag/team, 'common'}${*}",
  }];
  assert.equal(decide(otherwise, "s3:GetObject", "arn:aws:s3:::common*"), "allowed");
  assert.equal(decide(otherwise, "s3:GetObject", "arn:aws:s3:::commonX"), "implicit_deny");
});

Deno.test("a variable without a value neither widens an Allow nor narrows a Deny", () => {
  const NotResource = "arn:aws:s3:::home/${aws:username}/*";
  const on = (Effect: string) =>
    decide(
      [
        ...(Effect === "Deny" ? [allowAll] : []),
        { Effect, Action: "*", NotResource },
      ],
      "s3:GetObject",
      "arn:aws:s3:::home/ada/x",
    );
  assert.equal(on("Allow"), "implicit_deny");
  assert.equal(on("Deny"), "explicit_deny");
});

Deno.test("every condition operator holds where AWS says and nowhere else", () => {
  const cases: [
    operator: string,
    wanted: unknown,
    actual: string | string[] | undefined,
    boolean,
  ][] = [
    ["StringEquals", "a", "a", true],
    ["StringEquals", ["x", "a"], "a", true],
    ["StringEquals", "a", "A", false],
    ["StringEquals", "a*", "ab", false],
    ["StringEquals", "a", undefined, false],
    ["StringEqualsIfExists", "a", undefined, true],
    ["StringEqualsIfExists", "a", "b", false],
    ["StringNotEquals", ["a", "b"], "b", false],
    ["StringNotEquals", ["a", "b"], "c", true],
    ["StringNotEquals", "a", undefined, true],
    ["StringEqualsIgnoreCase", "Ab", "aB", true],
    ["StringNotEqualsIgnoreCase", "Ab", "aB", false],
    ["StringLike", "t?.*", "t3.micro", true],
    ["StringLike", "t?.*", "m5.large", false],
    ["StringNotLike", "t?.*", "m5.large", true],
    ["NumericEquals", "10", "10.0", true],
    ["NumericNotEquals", 10, "10", false],
    ["NumericLessThan", 10, "9", true],
    ["NumericLessThan", "10", "10", false],
    ["NumericLessThanEquals", "10", "10", true],
    ["NumericGreaterThan", "-1", "0", true],
    ["NumericGreaterThanEquals", "10", "9", false],
    ["NumericLessThan", "10", "nine", false],
    ["DateEquals", "2026-11-21T00:00:00Z", "1795219200", true],
    ["DateNotEquals", "2026-11-21", "2026-11-21T00:00:00Z", false],
    ["DateLessThan", "2026-11-21T10:00:00Z", "2026-11-21T09:59:59Z", true],
    ["DateLessThanEquals", "2026-11-21T10:00:00Z", "2026-11-21T10:00:01Z", false],
    ["DateGreaterThan", "2026-11-21T10:00:00Z", "2026-11-21T10:00:01Z", true],
    ["DateGreaterThanEquals", "2026-11-21T10:00:00Z", "2026-11-21T10:00:00Z", true],
    ["Bool", "true", "TRUE", true],
    ["Bool", true, "false", false],
    ["Bool", "false", "maybe", false],
    ["BinaryEquals", "YQ==", "YQ==", true],
    ["IpAddress", "10.0.0.0/8", "10.255.0.1", true],
    ["IpAddress", ["192.0.2.0/24", "10.0.0.0/8"], "11.0.0.1", false],
    ["IpAddress", "192.0.2.7", "192.0.2.7", true],
    ["IpAddress", "2001:db8::/32", "2001:db8:1::5", true],
    ["IpAddress", "2001:db8::/32", "10.0.0.1", false],
    ["NotIpAddress", "10.0.0.0/8", "10.0.0.1", false],
    ["NotIpAddress", "10.0.0.0/8", "192.0.2.1", true],
    ["ArnEquals", "arn:aws:iam::*:user/a*", "arn:aws:iam::123456789012:user/ada", true],
    ["ArnLike", "arn:aws:iam::*:user/a", "arn:aws:iam::123456789012:user/ada", false],
    ["ArnNotEquals", "arn:aws:iam::*:root", "arn:aws:iam::123456789012:root", false],
    ["ArnNotLike", "arn:aws:iam::*:root", "arn:aws:iam::123456789012:user/a", true],
    ["Null", "true", undefined, true],
    ["Null", "true", "x", false],
    ["Null", "false", "x", true],
    ["ForAllValues:StringEquals", ["a", "b"], ["a", "b"], true],
    ["ForAllValues:StringEquals", ["a", "b"], ["a", "c"], false],
    ["ForAllValues:StringEquals", ["a"], undefined, true],
    ["ForAnyValue:StringEquals", ["a", "b"], ["c", "b"], true],
    ["ForAnyValue:StringEquals", ["a"], ["c"], false],
    ["ForAnyValue:StringEquals", ["a"], undefined, false],
    ["ForAllValues:StringNotEquals", ["a"], ["b", "a"], false],
    ["ForAnyValue:StringNotEquals", ["a"], ["b", "a"], true],
  ];
  for (const [operator, wanted, actual, holds] of cases) {
    const condition = { [operator]: { "ec2:Key": wanted } };
    assert.equal(
      decide(
        [{ ...allowAll, Condition: condition }],
        "ec2:X",
        "*",
        actual === undefined ? {} : { "ec2:key": actual },
      ),
      holds ? "allowed" : "implicit_deny",
      `${operator} ${JSON.stringify(wanted)} against ${JSON.stringify(actual)}`,
    );
  }
});

Deno.test("allowed everywhere is only what no statement limits or denies anywhere", () => {
  const everywhere = (...Statement: unknown[]) =>
    allowsEverywhere([parsePolicy(JSON.stringify({ Version: "2012-10-17", Statement }))], {
      action: "ec2:RunInstances",
      resource: "*",
      context: new Map(),
    });
  const Condition = { StringEquals: { "aws:RequestedRegion": "eu-west-1" } };
  assert.equal(everywhere(allowAll), true);
  assert.equal(everywhere({ ...allowAll, Resource: ["arn:aws:ec2:*:*:*", "*"] }), true);
  assert.equal(everywhere({ ...allowAll, Action: "s3:*" }), false);
  assert.equal(everywhere({ ...allowAll, Resource: "arn:aws:ec2:*:*:*" }), false);
  assert.equal(everywhere({ ...allowAll, Condition }), false);
  assert.equal(everywhere({ Effect: "Allow", Action: "*", NotResource: "arn:aws:s3:::b" }), false);
  const deny = { Effect: "Deny", Action: "ec2:*", Resource: "arn:aws:ec2:*:*:instance/i-1" };
  assert.equal(everywhere(allowAll, deny), false);
  assert.equal(everywhere(allowAll, { ...deny, Condition }), false);
  assert.equal(everywhere(allowAll, { ...deny, Action: "s3:*" }), true);
});

Deno.test("all operators and all keys of a condition must hold", () => {
  const Condition = {
    StringEquals: {
      "aws:RequestedRegion": "eu-west-1",
      "ec2:InstanceType": ["t3.micro", "t3.small"],
    },
    Bool: { "aws:SecureTransport": "true" },
  };
  const keys = {
    "aws:RequestedRegion": "eu-west-1",
    "ec2:InstanceType": "t3.small",
    "aws:SecureTransport": "true",
  };
  const with_ = (changed: Keys) =>
    decide([{ ...allowAll, Condition }], "ec2:RunInstances", "*", { ...keys, ...changed });
  assert.equal(with_({}), "allowed");
  assert.equal(with_({ "ec2:InstanceType": "m5.large" }), "implicit_deny");
  assert.equal(with_({ "aws:SecureTransport": "false" }), "implicit_deny");
});

Deno.test("a malformed document is refused when written, with AWS's code", () => {
  const good = { Version: "2012-10-17", Statement: [allowAll] };
  const bad: [string, unknown][] = [
    ["not JSON", "{"],
    ["an array", []],
    ["no statement", { Version: "2012-10-17" }],
    ["an empty statement list", { ...good, Statement: [] }],
    ["another version", { ...good, Version: "2020-01-01" }],
    ["an unknown element", { ...good, Statements: [] }],
    ["an unknown statement element", { ...good, Statement: [{ ...allowAll, Actions: "*" }] }],
    ["no effect", { ...good, Statement: [{ Action: "*", Resource: "*" }] }],
    ["effect in lower case", { ...good, Statement: [{ ...allowAll, Effect: "allow" }] }],
    ["no action", { ...good, Statement: [{ Effect: "Allow", Resource: "*" }] }],
    ["both actions", { ...good, Statement: [{ ...allowAll, NotAction: "s3:*" }] }],
    ["an action without service", {
      ...good,
      Statement: [{ ...allowAll, Action: "RunInstances" }],
    }],
    ["an action that is a number", { ...good, Statement: [{ ...allowAll, Action: 5 }] }],
    ["an empty action list", { ...good, Statement: [{ ...allowAll, Action: [] }] }],
    ["no resource", { ...good, Statement: [{ Effect: "Allow", Action: "*" }] }],
    ["a resource that is no ARN", { ...good, Statement: [{ ...allowAll, Resource: "bucket" }] }],
    ["an open variable", {
      ...good,
      Statement: [{ ...allowAll, Resource: "arn:aws:s3:::${aws:x" }],
    }],
    ["a principal", { ...good, Statement: [{ ...allowAll, Principal: "*" }] }],
    ["two equal sids", {
      ...good,
      Statement: [{ ...allowAll, Sid: "a" }, { ...allowAll, Sid: "a" }],
    }],
    ["an unknown operator", {
      ...good,
      Statement: [{ ...allowAll, Condition: { Equals: { "a:b": "c" } } }],
    }],
    ["an operator named toString", {
      ...good,
      Statement: [{ ...allowAll, Condition: { toString: { "a:b": "c" } } }],
    }],
    ["Null with IfExists", {
      ...good,
      Statement: [{ ...allowAll, Condition: { NullIfExists: { "a:b": "true" } } }],
    }],
    ["a number that is none", {
      ...good,
      Statement: [{ ...allowAll, Condition: { NumericEquals: { "a:b": "x" } } }],
    }],
    ["a date that is none", {
      ...good,
      Statement: [{ ...allowAll, Condition: { DateLessThan: { "a:b": "soon" } } }],
    }],
    ["an address that is none", {
      ...good,
      Statement: [{ ...allowAll, Condition: { IpAddress: { "a:b": "10.0.0.0/33" } } }],
    }],
    ["a value that is an object", {
      ...good,
      Statement: [{ ...allowAll, Condition: { StringEquals: { "a:b": {} } } }],
    }],
    ["no value", {
      ...good,
      Statement: [{ ...allowAll, Condition: { StringEquals: { "a:b": [] } } }],
    }],
  ];
  for (const [what, document] of bad) {
    assert.throws(
      () => parsePolicy(typeof document === "string" ? document : JSON.stringify(document)),
      (error) => error instanceof AwsError && error.code === "MalformedPolicyDocument",
      what,
    );
  }
  parsePolicy(JSON.stringify(good));
});

Deno.test("a pattern agrees with a plain recursive matcher, and hostile ones end", () =>
  seeded((source) => {
    const next = (n: number) => source.below(n);
    const text = (alphabet: string, length: number) =>
      Array.from({ length: next(length + 1) }, () => alphabet[next(alphabet.length)]).join("");
    const plain = (p: string, t: string): boolean =>
      p === ""
        ? t === ""
        : p[0] === "*"
        ? plain(p.slice(1), t) || (t !== "" && plain(p, t.slice(1)))
        : t !== "" && (p[0] === "?" || p[0] === t[0]) && plain(p.slice(1), t.slice(1));
    let matched = 0;
    for (let round = 0; round < 5_000; round++) {
      const [pattern, subject] = [text("ab*?", 6), text("ab", 8)];
      const expected = plain(pattern, subject);
      matched += Number(expected);
      assert.equal(
        matches(parsePattern(pattern, false), subject, new Map()),
        expected,
        `${pattern} against ${subject}`,
      );
    }
    assert.ok(matched > 100 && matched < 4_900, "both outcomes were seen");
    // A matcher that tries every way would not end.
    assert.equal(
      matches(parsePattern("*a".repeat(500) + "b", false), "a".repeat(2_000), new Map()),
      false,
    );
  }));

Deno.test("keys of other identity providers and of tags with a space, and services with a dot in their name, are taken", () => {
  for (
    const key of [
      "cognito-identity.amazonaws.com:sub",
      "token.actions.githubusercontent.com:aud",
      "oidc.eks.eu-west-1.amazonaws.com/id/0123456789ABCDEF:sub",
      "aws:ResourceTag/Cost Centre",
    ]
  ) {
    const policy = parsePolicy(JSON.stringify({
      Version: "2012-10-17",
      Statement: {
        Effect: "Allow",
        Action: ["ec2:DescribeRegions", "some.service:Do*"],
        Resource: "*",
        Condition: { StringEquals: { [key]: "me" } },
      },
    }));
    const request = { action: "ec2:DescribeRegions", resource: "*" };
    assert.equal(evaluate([policy], { ...request, context: new Map() }), "implicit_deny");
    const context = new Map([[key.toLowerCase(), ["me"]]]);
    assert.equal(evaluate([policy], { ...request, context }), "allowed");
  }
});

Deno.test("any words name statements of a bucket's policy, also two, and letters and digits those of others", () => {
  for (
    const Sid of ["Allow get requests from www.example.com.", "Access-to-specific-VPC-only", ""]
  ) {
    const Principal = "*";
    const document = (more: object) =>
      JSON.stringify({
        Version: "2012-10-17",
        Statement: [{ ...allowAll, ...more, Sid }, { ...allowAll, ...more, Sid }],
      });
    assert.equal(parsePolicy(document({ Principal }), "resource").statements.length, 2);
    const trust = { Principal, Action: "sts:AssumeRole", Resource: undefined };
    for (const [kind, more] of [["identity", {}], ["trust", trust]] as const) {
      if (Sid === "") parsePolicy(document(more), kind);
      else {
        assert.throws(() => parsePolicy(document(more), kind), { code: "MalformedPolicyDocument" });
      }
    }
  }
});
