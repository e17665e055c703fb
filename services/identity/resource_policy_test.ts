import assert from "node:assert/strict";
import type { CallContext } from "../bus/subject.ts";
import { rootPrincipal } from "./principals.ts";
import type { Principal } from "./principals.ts";
import type { RoleRecord, SessionRecord, UserRecord } from "./records.ts";
import { type OwnDecisions, weighResource } from "./resource_policy.ts";

const account_id = "123456789012";
const iam = `arn:aws:iam::${account_id}`;
const ada: Principal = {
  ...{ kind: "user", account_id, id: "AIDA", arn: `${iam}:user/ada` },
  user: { account_id, user_id: "AIDA", name: "ada", path: "/", tags: {} } as UserRecord,
};
const session: Principal = {
  ...{ kind: "role", account_id, id: "AROA:now" },
  arn: `arn:aws:sts::${account_id}:assumed-role/reader/now`,
  role: { account_id, role_id: "AROA", name: "reader", path: "/", tags: {} } as RoleRecord,
  session: { kind: "role", account_id, owner: "AROA", name: "now" } as SessionRecord,
};
const call = { source_ip: "10.0.0.1", region: "eu-west-1", access_key_id: "" } as CallContext;
const silent: OwnDecisions = { all: "implicit_deny", limits: "allowed" };
const narrowed: OwnDecisions = { all: "implicit_deny", limits: "implicit_deny" };
const allowing: OwnDecisions = { all: "allowed", limits: "allowed" };

function weigh(
  who: Principal,
  own: OwnDecisions,
  AWS: string,
  { Effect = "Allow", owner = account_id } = {},
) {
  const document = JSON.stringify({
    Version: "2012-10-17",
    Statement: { Effect, Principal: { AWS }, Action: "s3:GetObject", Resource: "*" },
  });
  const request = { action: "s3:GetObject", resource: "arn:aws:s3:::bucket/key" };
  return weighResource(who, own, { account_id: owner, document }, request, call).decision;
}

Deno.test("a resource's policy is enough for whom it names, within its own account", () => {
  assert.equal(weigh(ada, silent, `${iam}:user/ada`), "allowed");
  assert.equal(weigh(session, silent, `${iam}:role/reader`), "allowed");
  assert.equal(weigh(session, silent, session.arn), "allowed");
  assert.equal(weigh(ada, silent, "*"), "allowed");
  assert.equal(weigh(ada, silent, `${iam}:user/bob`), "implicit_deny");
  assert.equal(weigh(ada, silent, `${iam}:user/ada`, { owner: "210987654321" }), "implicit_deny");
  assert.equal(weigh(ada, allowing, `${iam}:user/ada`, { owner: "210987654321" }), "allowed");
});

Deno.test("a resource's policy that trusts the account leaves it to the account's policies", () => {
  for (const named of [account_id, `${iam}:root`]) {
    assert.equal(weigh(ada, silent, named), "implicit_deny", named);
    assert.equal(weigh(session, silent, named), "implicit_deny", named);
    assert.equal(weigh(ada, allowing, named), "allowed", named);
    assert.equal(weigh(rootPrincipal(account_id), allowing, named), "allowed", named);
  }
});

Deno.test("NotPrincipal leaves out of a denial whom it names with the account, and nobody else of the account", () => {
  const own: Principal = rootPrincipal(account_id);
  const bob: Principal = { ...ada, arn: `${iam}:user/bob` } as Principal;
  const denied = (who: Principal, ...AWS: readonly string[]) => {
    const document = JSON.stringify({
      Version: "2012-10-17",
      Statement: { Effect: "Deny", NotPrincipal: { AWS }, Action: "s3:*", Resource: "*" },
    });
    const request = { action: "s3:GetObject", resource: "arn:aws:s3:::bucket/key" };
    return weighResource(who, allowing, { account_id, document }, request, call).decision ===
      "explicit_deny";
  };
  const account = `${iam}:root`;
  const named = [account, ada.arn];
  assert.deepEqual([ada, own, bob, session].map((who) => denied(who, ...named)), [
    false,
    false,
    true,
    true,
  ]);
  assert.equal(denied(ada, ada.arn), true, "without its account");
  assert.deepEqual([ada, own].map((who) => denied(who, account)), [true, false]);
  assert.equal(denied(session, account_id, `${iam}:role/reader`), false);
  assert.equal(denied(session, account_id, session.arn), true, "without its role");
  assert.deepEqual([ada, own, session].map((who) => denied(who, "*")), [false, false, false]);
});

Deno.test("a policy that keeps whom it means beside it means nobody else of that name", () => {
  const said = (who: Principal, Effect: string, principals: object, trusted: object) => {
    const document = JSON.stringify({
      Version: "2012-10-17",
      Statement: { Effect, ...principals, Action: "s3:*", Resource: "*" },
    });
    const request = { action: "s3:GetObject", resource: "arn:aws:s3:::bucket/key" };
    const policy = { account_id, document, trusted: trusted as Record<string, string> };
    return weighResource(who, silent, policy, request, call).decision;
  };
  for (
    const [who, arn, id] of [
      [ada, ada.arn, "AIDA"],
      [session, `${iam}:role/reader`, "AROA"],
      [session, session.arn, "AROA:now"],
    ] as const
  ) {
    const Principal = { AWS: arn };
    assert.equal(said(who, "Allow", { Principal }, { [arn]: id }), "allowed", arn);
    assert.equal(said(who, "Allow", { Principal }, { [arn]: "another" }), "implicit_deny", arn);
    if (id === "AROA:now") continue;
    const NotPrincipal = { AWS: [account_id, arn] };
    assert.equal(said(who, "Deny", { NotPrincipal }, { [arn]: id }), "implicit_deny", arn);
    assert.equal(said(who, "Deny", { NotPrincipal }, { [arn]: "another" }), "explicit_deny", arn);
  }
});

Deno.test("keys that every request has on AWS are in every request here", () => {
  const decision = (who: Principal, Effect: string, Condition: object) => {
    const document = JSON.stringify({
      Version: "2012-10-17",
      Statement: {
        Effect,
        Principal: { AWS: who.arn },
        Action: "s3:GetObject",
        Resource: "*",
        Condition,
      },
    });
    const request = { action: "s3:GetObject", resource: "arn:aws:s3:::bucket/key" };
    return weighResource(who, silent, { account_id, document }, request, call).decision;
  };
  for (const who of [ada, session]) {
    // As AWS's own example keeps out whoever comes from elsewhere.
    const elsewhere = {
      NotIpAddress: { "aws:SourceIp": "192.0.2.0/24" },
      Bool: { "aws:ViaAWSService": "false" },
    };
    assert.equal(decision(who, "Deny", elsewhere), "explicit_deny");
    for (
      const [key, value] of [
        ["aws:SecureTransport", "true"],
        ["aws:PrincipalIsAWSService", "false"],
      ] as const
    ) {
      assert.equal(decision(who, "Allow", { Bool: { [key]: value } }), "allowed", key);
      assert.equal(decision(who, "Deny", { Bool: { [key]: value } }), "explicit_deny", key);
    }
  }
});

Deno.test("a session is not widened past its own policy by whoever names its role or anybody", () => {
  assert.equal(weigh(session, narrowed, `${iam}:role/reader`), "implicit_deny");
  assert.equal(weigh(session, narrowed, "*"), "implicit_deny");
  assert.equal(weigh(ada, narrowed, "*"), "implicit_deny");
  // Named by its very own ARN it was meant: AWS gives it the right directly.
  assert.equal(weigh(session, narrowed, session.arn), "allowed");
  assert.equal(weigh(ada, narrowed, `${iam}:user/ada`), "allowed");
});

Deno.test("a denial of any side wins over what any other allows", () => {
  const denied: OwnDecisions = { all: "explicit_deny", limits: "explicit_deny" };
  assert.equal(weigh(ada, denied, `${iam}:user/ada`), "explicit_deny");
  assert.equal(weigh(ada, allowing, "*", { Effect: "Deny" }), "explicit_deny");
  assert.equal(weigh(session, allowing, `${iam}:role/reader`, { Effect: "Deny" }), "explicit_deny");
});
