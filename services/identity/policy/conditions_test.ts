/** Every operator in every form, over keys that are missing, empty, single and several. */
import assert from "node:assert/strict";
import { parsePolicy } from "./document.ts";
import { evaluate } from "./evaluate.ts";

type Values = readonly string[] | undefined;

function holds(condition: unknown, values: Values, version: string | undefined = "2012-10-17") {
  const policy = parsePolicy(JSON.stringify({
    ...(version === "" ? {} : { Version: version }),
    Statement: { Effect: "Allow", Action: "*", Resource: "*", Condition: condition },
  }));
  const context = new Map([
    ["aws:username", ["ada"]],
    ...(values === undefined ? [] : [["aws:tagkeys", values] as const]),
  ]);
  return evaluate([policy], { action: "ec2:X", resource: "*", context }) === "allowed";
}

/** Of each operator a value of the policy, one of a request that equals it, and one that does not. */
const operators: readonly (readonly [string, unknown, string, string])[] = [
  ["StringEquals", "a", "a", "b"],
  ["StringEqualsIgnoreCase", "a", "A", "b"],
  ["StringLike", "a*", "ab", "ba"],
  ["NumericEquals", "10", "10.0", "11"],
  ["NumericLessThan", "10", "9", "10"],
  ["DateGreaterThan", "2026-01-01", "2026-01-02", "2025-12-31"],
  ["Bool", "true", "true", "false"],
  ["BinaryEquals", "YQ==", "YQ==", "Yg=="],
  ["IpAddress", "10.0.0.0/8", "10.1.1.1", "11.1.1.1"],
  ["ArnLike", "arn:aws:s3:::a*", "arn:aws:s3:::ab", "arn:aws:s3:::b"],
  ["ArnEquals", "arn:aws:s3:::a", "arn:aws:s3:::a", "arn:aws:s3:::b"],
];
const negatedOperators: typeof operators = [
  ["StringNotEquals", "a", "a", "b"],
  ["StringNotEqualsIgnoreCase", "a", "A", "b"],
  ["StringNotLike", "a*", "ab", "ba"],
  ["NumericNotEquals", "10", "10", "11"],
  ["DateNotEquals", "2026-01-01", "2026-01-01", "2026-01-02"],
  ["NotIpAddress", "10.0.0.0/8", "10.1.1.1", "11.1.1.1"],
  ["ArnNotLike", "arn:aws:s3:::a*", "arn:aws:s3:::ab", "arn:aws:s3:::b"],
  ["ArnNotEquals", "arn:aws:s3:::a", "arn:aws:s3:::a", "arn:aws:s3:::b"],
];

/** Whether it holds for a key that is missing, that equals, that differs, and that has both values. */
type Row = readonly [missing: boolean, equal: boolean, different: boolean, both: boolean];
const forms: readonly (readonly [prefix: string, suffix: string, plain: Row, negated: Row])[] = [
  ["", "", [false, true, false, true], [true, false, true, false]],
  ["", "IfExists", [true, true, false, true], [true, false, true, false]],
  ["ForAllValues:", "", [true, true, false, false], [true, false, true, false]],
  ["ForAllValues:", "IfExists", [true, true, false, false], [true, false, true, false]],
  // IfExists is asked of each value, and of no value there is none for which it could hold.
  ["ForAnyValue:", "", [false, true, false, true], [false, false, true, true]],
  ["ForAnyValue:", "IfExists", [false, true, false, true], [false, false, true, true]],
];

Deno.test("every operator holds in every form for missing, equal, different and several values as on AWS", () => {
  for (const [prefix, suffix, plain, negated] of forms) {
    for (const [rows, expected] of [[operators, plain], [negatedOperators, negated]] as const) {
      for (const [operator, wanted, equal, different] of rows) {
        const name = `${prefix}${operator}${suffix}`;
        const [missing, ...others] = expected;
        const cases: readonly (readonly [Values, boolean])[] = [
          [undefined, missing],
          [[], missing],
          [[equal], others[0]],
          [[different], others[1]],
          [[different, equal], others[2]],
        ];
        for (const [values, wish] of cases) {
          const told = `${name} over ${JSON.stringify(values)}`;
          assert.equal(holds({ [name]: { "aws:TagKeys": wanted } }, values), wish, told);
        }
      }
    }
  }
});

Deno.test("Null asks whether the key has a value at all", () => {
  for (
    const [wanted, values, wish] of [
      ["true", undefined, true],
      ["true", [], true],
      ["true", ["x"], false],
      [true, undefined, true],
      ["false", undefined, false],
      ["false", [], false],
      ["false", ["x", "y"], true],
      [["true", "false"], ["x"], true],
    ] as const
  ) {
    const told = `${JSON.stringify(wanted)} over ${JSON.stringify(values)}`;
    assert.equal(holds({ Null: { "aws:TagKeys": wanted } }, values), wish, told);
  }
});

Deno.test("without Version, or of 2008, a policy variable is the text that it looks like", () => {
  const condition = { StringEquals: { "aws:TagKeys": "${aws:username}" } };
  for (const version of ["", "2008-10-17"]) {
    assert.equal(holds(condition, ["ada"], version), false, version);
    assert.equal(holds(condition, ["${aws:username}"], version), true, version);
  }
  assert.equal(holds(condition, ["ada"]), true);
  assert.equal(holds(condition, ["${aws:username}"]), false);
});

Deno.test("Not… elements leave out what any one of their values names, for Allow and Deny", () => {
  const all = { Effect: "Allow", Action: "*", Resource: "*" };
  const decide = (statement: object, action: string, resource: string) =>
    evaluate([parsePolicy(JSON.stringify({ Version: "2012-10-17", Statement: [statement] }))], {
      action,
      resource,
      context: new Map(),
    });
  const bucket = "arn:aws:s3:::one/key";
  for (
    const [change, action, resource, wish] of [
      [{ NotAction: ["iam:*", "s3:Get*"] }, "s3:GetObject", bucket, "implicit_deny"],
      [{ NotAction: ["iam:*", "s3:Get*"] }, "s3:PutObject", bucket, "allowed"],
      [{ NotAction: "*" }, "s3:PutObject", bucket, "implicit_deny"],
      [{ Effect: "Deny", NotAction: ["iam:*"] }, "s3:PutObject", bucket, "explicit_deny"],
      [{ Effect: "Deny", NotAction: ["iam:*"] }, "iam:GetUser", "*", "implicit_deny"],
      [
        { NotResource: ["arn:aws:s3:::two/*", "arn:aws:s3:::one/*"] },
        "s3:Get",
        bucket,
        "implicit_deny",
      ],
      [{ NotResource: ["arn:aws:s3:::two/*"] }, "s3:Get", bucket, "allowed"],
      [{ Effect: "Deny", NotResource: "arn:aws:s3:::two/*" }, "s3:Get", bucket, "explicit_deny"],
      [{ Effect: "Deny", NotResource: "arn:aws:s3:::one/*" }, "s3:Get", bucket, "implicit_deny"],
      [
        { NotAction: "iam:*", NotResource: "arn:aws:s3:::one/*" },
        "s3:Get",
        bucket,
        "implicit_deny",
      ],
    ] as const
  ) {
    const statement: Record<string, unknown> = { ...all, ...change };
    if ("NotAction" in change) delete statement["Action"];
    if ("NotResource" in change) delete statement["Resource"];
    assert.equal(decide(statement, action, resource), wish, JSON.stringify(change));
  }
});
