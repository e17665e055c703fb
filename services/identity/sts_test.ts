import assert from "node:assert/strict";
import { identityOn } from "../../tests/kit/identity.ts";
import { startNats, testLog } from "../../tests/kit/nats.ts";
import { subject, systemContext } from "../bus/subject.ts";
import { accountCall, adminCredentials, signingKey } from "./contract.ts";
import { createSession } from "./credentials/sessions.ts";
import { State } from "./state.ts";

interface Keys {
  readonly AccessKeyId: string;
  readonly SessionToken?: string;
}
type RootAction =
  | "CreateUser"
  | "DeleteUser"
  | "UpdateUser"
  | "CreateAccessKey"
  | "DeleteAccessKey"
  | "CreateRole"
  | "DeleteRole"
  | "GetRole"
  | "UpdateAssumeRolePolicy"
  | "PutUserPolicy"
  | "PutRolePolicy";
type Answer = Readonly<Record<string, unknown>> & { readonly Credentials: Keys };

/** Identity, and whoever has keys asking it as the gateway does. */
async function cloud() {
  const nats = await startNats();
  const { identity, masterKeys } = await identityOn(nats);
  const asker = await nats.bus("asker");
  const admin = await asker.ask(adminCredentials, null);
  const { account_id } = admin;
  const root = (
    action: RootAction,
    input: Readonly<Record<string, unknown>>,
  ) =>
    asker.ask(
      accountCall,
      { account: account_id, action, input },
      systemContext(600_000),
    ) as Promise<Readonly<Record<string, { readonly [member: string]: string }>>>;
  const keyIds = new Map<string, string>();
  const as = (keys: Keys) => async (action: string, input: object = {}): Promise<Answer> => {
    const grant = await asker.ask(signingKey, {
      access_key_id: keys.AccessKeyId,
      date: new Date().toISOString().slice(0, 10).replaceAll("-", ""),
      region: "eu-west-1",
      service: "sts",
      ...(keys.SessionToken === undefined ? {} : { session_token: keys.SessionToken }),
    });
    return await asker.ask(subject<object, Answer>(action), input, {
      ...systemContext(600_000),
      account_id: grant.account_id,
      principal_arn: grant.principal_arn,
      access_key_id: keys.AccessKeyId,
    });
  };
  const state = await State.open(await nats.bus("reader"), testLog);
  return {
    account_id,
    state: identity.state,
    masterKeys,
    as,
    call: root,
    admin: as({ AccessKeyId: admin.access_key_id }),
    /** What is kept of a session; the reader's copy may be a little behind. */
    session: async ({ AccessKeyId }: Keys) => (await state.sessions.read(AccessKeyId))?.value,
    async root() {
      const { AccessKey } = await root("CreateAccessKey", {});
      return as({ AccessKeyId: String(AccessKey?.["AccessKeyId"]) });
    },
    async user(UserName: string, ...statements: readonly object[]) {
      await root("CreateUser", { UserName });
      if (statements.length > 0) {
        await root("PutUserPolicy", {
          UserName,
          PolicyName: "own",
          PolicyDocument: policy(...statements),
        });
      }
      const { AccessKey } = await root("CreateAccessKey", { UserName });
      keyIds.set(UserName, String(AccessKey?.["AccessKeyId"]));
      return as({ AccessKeyId: String(AccessKey?.["AccessKeyId"]) });
    },
    async removeUser(UserName: string) {
      await root("DeleteAccessKey", { UserName, AccessKeyId: keyIds.get(UserName) });
      await root("DeleteUser", { UserName });
    },
    async role(RoleName: string, Principal: object, Action: string | readonly string[]) {
      const AssumeRolePolicyDocument = policy({ Effect: "Allow", Principal, Action });
      const { Role } = await root("CreateRole", {
        RoleName,
        AssumeRolePolicyDocument,
        MaxSessionDuration: 43_200,
      });
      return String(Role?.["Arn"]);
    },
    async [Symbol.asyncDispose]() {
      await state[Symbol.asyncDispose]();
      await identity[Symbol.asyncDispose]();
      await nats[Symbol.asyncDispose]();
    },
  };
}

const policy = (...Statement: readonly object[]) =>
  JSON.stringify({ Version: "2012-10-17", Statement });
const may = (Action: string | readonly string[]) => ({ Effect: "Allow", Action, Resource: "*" });
const isDenied = { code: "AccessDenied" };

Deno.test("tags and a source identity go with a role only where sts:TagSession and sts:SetSourceIdentity are allowed", async () => {
  await using here = await cloud();
  const { account_id, role, user } = here;
  const AWS = `arn:aws:iam::${account_id}:user/ada`;
  const ada = await user("ada");
  const plain = await role("plain", { AWS }, "sts:AssumeRole");
  const open = await role("open", { AWS }, [
    "sts:AssumeRole",
    "sts:TagSession",
    "sts:SetSourceIdentity",
  ]);
  const tags = { Tags: [{ Key: "team", Value: "blue" }] };
  const source = { SourceIdentity: "ada" };
  const take = (RoleArn: string, more: object = {}) =>
    ada("sts.AssumeRole", { RoleArn, RoleSessionName: "me", ...more });
  await take(plain);
  await assert.rejects(take(plain, tags), /sts:TagSession/);
  await assert.rejects(take(plain, source), /sts:SetSourceIdentity/);
  await assert.rejects(take(plain, source), isDenied);
  const { Credentials, SourceIdentity } = await take(open, { ...tags, ...source });
  assert.equal(SourceIdentity, "ada");
  assert.deepEqual((await here.session(Credentials))?.tags, { team: "blue" });

  // Trusted through its account, the caller needs both by its own policies.
  const bob = await user("bob", may("sts:AssumeRole"));
  const eve = await user("eve", may(["sts:AssumeRole", "sts:TagSession"]));
  const shared = await role("shared", { AWS: account_id }, ["sts:AssumeRole", "sts:TagSession"]);
  const ask = { RoleArn: shared, RoleSessionName: "me" };
  await bob("sts.AssumeRole", ask);
  await assert.rejects(bob("sts.AssumeRole", { ...ask, ...tags }), isDenied);
  await eve("sts.AssumeRole", { ...ask, ...tags });
});

Deno.test("a source identity and transitive tags stay along a chain of roles, and no link changes them", async () => {
  await using here = await cloud();
  const { account_id, role, user } = here;
  const all = ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"];
  const ada = await user("ada");
  const first = await role("first", { AWS: `arn:aws:iam::${account_id}:user/ada` }, all);
  const AWS = `arn:aws:iam::${account_id}:role/first`;
  const second = await role("second", { AWS }, all);
  const untagged = await role("untagged", { AWS }, ["sts:AssumeRole", "sts:SetSourceIdentity"]);
  const unknown = await role("unknown", { AWS }, ["sts:AssumeRole", "sts:TagSession"]);
  const taken = await ada("sts.AssumeRole", {
    RoleArn: first,
    RoleSessionName: "one",
    SourceIdentity: "ada",
    Tags: [{ Key: "Team", Value: "blue" }, { Key: "Stage", Value: "test" }],
    TransitiveTagKeys: ["team"],
  });
  const link = here.as(taken.Credentials);
  const next = (RoleArn: string, more: object = {}) =>
    link("sts.AssumeRole", { RoleArn, RoleSessionName: "two", ...more });
  const end = await next(second, { Tags: [{ Key: "Stage", Value: "live" }] });
  assert.equal(end.SourceIdentity, "ada");
  const kept = await here.session(end.Credentials);
  assert.deepEqual(kept?.tags, { Team: "blue", Stage: "live" });
  assert.equal(kept?.source_identity, "ada");
  assert.equal((await next(second, { SourceIdentity: "ada" })).SourceIdentity, "ada");
  await assert.rejects(next(second, { SourceIdentity: "eve" }), isDenied);
  await assert.rejects(next(second, { Tags: [{ Key: "TEAM", Value: "red" }] }), {
    code: "ValidationError",
  });
  // What is inherited needs the trust of the next role as what is given does.
  await assert.rejects(next(untagged), isDenied);
  await assert.rejects(next(unknown), isDenied);
});

Deno.test("a chained session lasts an hour at most, and a role's own limit is told as such", async () => {
  await using here = await cloud();
  const { account_id, role, user } = here;
  const ada = await user("ada");
  const first = await role("first", { AWS: `arn:aws:iam::${account_id}:user/ada` }, [
    "sts:AssumeRole",
  ]);
  const second = await role("second", { AWS: first }, "sts:AssumeRole");
  const long = { RoleSessionName: "me", DurationSeconds: 43_200 };
  const link = here.as((await ada("sts.AssumeRole", { RoleArn: first, ...long })).Credentials);
  await assert.rejects(link("sts.AssumeRole", { RoleArn: second, ...long }), {
    code: "ValidationError",
    message:
      "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining",
  });
  await link("sts.AssumeRole", { RoleArn: second, RoleSessionName: "me", DurationSeconds: 3_600 });
  await assert.rejects(
    ada("sts.AssumeRole", { RoleArn: first, RoleSessionName: "me", DurationSeconds: 43_201 }),
    {
      code: "ValidationError",
      message: "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
    },
  );
});

Deno.test("what an account's root asks for lasts an hour, however much longer it asks for", async () => {
  await using here = await cloud();
  const root = await here.root();
  for (const [action, input] of [["GetSessionToken", {}], ["GetFederationToken", { Name: "me" }]]) {
    const before_ms = Date.now();
    const { Credentials } = await root(`sts.${action}`, {
      ...input as object,
      DurationSeconds: 129_600,
    });
    const lasts_ms = ((await here.session(Credentials))?.expires_ms ?? Infinity) - before_ms;
    assert.ok(lasts_ms <= Date.now() - before_ms + 3_600_000, String(action));
  }
});

Deno.test("an account that makes sessions without end is told to wait, and no other", async () => {
  await using here = await cloud();
  const { state, masterKeys } = here;
  const make = (account_id: string, most?: number) =>
    createSession(
      state,
      masterKeys,
      { account_id, kind: "user", owner: "root", name: "", duration_s: 900 },
      most,
    );
  const [mine, theirs] = ["100000000001", "100000000002"];
  const made = [await make(mine, 3), await make(mine, 3), await make(mine, 3)];
  await assert.rejects(make(mine, 3), { code: "Throttling", status: 400 });
  await make(theirs, 3);
  // What an instance needs for its role is no caller's wish.
  await make(mine, Infinity);
  await state.sessions.delete(String(made[0]?.AccessKeyId));
  await state.sessions.delete(String(made[1]?.AccessKeyId));
  await make(mine, 3);
});

Deno.test("a federated user may of STS only ask who it is", async () => {
  await using here = await cloud();
  const { admin, role, account_id } = here;
  const { Credentials } = await admin("sts.GetFederationToken", {
    Name: "guest",
    Policy: policy(may("*")),
  });
  const guest = here.as(Credentials);
  assert.match(String((await guest("sts.GetCallerIdentity"))["Arn"]), /federated-user\/guest$/);
  const RoleArn = await role("any", { AWS: account_id }, "sts:AssumeRole");
  await assert.rejects(guest("sts.AssumeRole", { RoleArn, RoleSessionName: "me" }), isDenied);
  await assert.rejects(guest("sts.GetAccessKeyInfo", Credentials), isDenied);
});

Deno.test("a session's policy of more than 2,048 characters is refused as AWS refuses it", async () => {
  await using here = await cloud();
  const Policy = policy(may("s3:*")) + " ".repeat(2_048);
  await assert.rejects(here.admin("sts.GetFederationToken", { Name: "guest", Policy }), {
    code: "ValidationError",
    message: /2048/,
  });
});

Deno.test("an answer says how much of a session's space its policies and tags take, and who asks for more is told so", async () => {
  await using here = await cloud();
  const { account_id, role, user } = here;
  const ada = await user("ada", may(["sts:GetFederationToken", "sts:TagSession"]));
  const RoleArn = await role("open", { AWS: `arn:aws:iam::${account_id}:user/ada` }, [
    "sts:AssumeRole",
    "sts:TagSession",
  ]);
  const take = (more: object = {}) =>
    ada("sts.AssumeRole", { RoleArn, RoleSessionName: "me", ...more });
  const federate = (more: object) => ada("sts.GetFederationToken", { Name: "bob", ...more });
  const example = JSON.stringify({
    Version: "2012-10-17",
    Statement: [{ Sid: "Stmt1", Effect: "Allow", Action: "s3:*", Resource: "*" }],
  });
  assert.equal((await take())["PackedPolicySize"], undefined);
  assert.equal((await take({ Policy: example }))["PackedPolicySize"], 6);
  assert.equal((await federate({ Policy: example }))["PackedPolicySize"], 6);
  const tag = { Key: "team", Value: "blue" };
  const both = Number((await take({ Policy: example, Tags: [tag] }))["PackedPolicySize"]);
  assert.ok(both > 6 && both < 20, `${both}`);

  const incompressible = () => crypto.randomUUID() + crypto.randomUUID() + crypto.randomUUID();
  const Tags = Array.from({ length: 50 }, (_, n) => ({ Key: `key${n}`, Value: incompressible() }));
  const tooLarge = { code: "PackedPolicyTooLarge", status: 400 };
  await assert.rejects(take({ Tags }), tooLarge);
  await assert.rejects(take({ Tags }), /^AwsError: Packed size of session tags consumes \d{3}%/);
  await assert.rejects(federate({ Policy: example, Tags }), tooLarge);
  await assert.rejects(federate({ Policy: example, Tags }), /Packed policy consumes \d{3}%/);
});

Deno.test("a role trusts the user and the role that its policy meant when it was written, and nobody later of their name", async () => {
  await using here = await cloud();
  const { account_id, role, user, call } = here;
  const iam = `arn:aws:iam::${account_id}`;
  const ada = await user("ada");
  const RoleArn = await role("trusting", { AWS: `${iam}:user/ada` }, "sts:AssumeRole");
  const ask = { RoleArn, RoleSessionName: "me" };
  const trusted = async (RoleName = "trusting") => {
    const { Role } = await call("GetRole", { RoleName });
    const text = decodeURIComponent(String(Role?.["AssumeRolePolicyDocument"]));
    return JSON.parse(text).Statement[0].Principal.AWS;
  };
  await ada("sts.AssumeRole", ask);
  assert.equal(await trusted(), `${iam}:user/ada`);
  const { UserId } = await ada("sts.GetCallerIdentity");

  // One that is renamed is the same one.
  await call("UpdateUser", { UserName: "ada", NewUserName: "eve" });
  await ada("sts.AssumeRole", ask);
  assert.equal(await trusted(), `${iam}:user/eve`);
  await call("UpdateUser", { UserName: "eve", NewUserName: "ada" });

  await here.removeUser("ada");
  const second = await user("ada");
  await assert.rejects(second("sts.AssumeRole", ask), isDenied);
  assert.equal(await trusted(), UserId);
  // Whoever writes the policy again means the one that is there now.
  const PolicyDocument = policy({
    Effect: "Allow",
    Principal: { AWS: [`${iam}:user/ada`, account_id] },
    Action: "sts:AssumeRole",
  });
  await call("UpdateAssumeRolePolicy", { RoleName: "trusting", PolicyDocument });
  await second("sts.AssumeRole", ask);
  assert.deepEqual(await trusted(), [`${iam}:user/ada`, account_id]);

  // The same of a role that takes another.
  const link = () => role("link", { AWS: `${iam}:user/ada` }, "sts:AssumeRole");
  const linkArn = await link();
  const end = await role("end", { AWS: linkArn }, "sts:AssumeRole");
  const chain = async () => {
    const { Credentials } = await second("sts.AssumeRole", { ...ask, RoleArn: linkArn });
    return await here.as(Credentials)("sts.AssumeRole", { ...ask, RoleArn: end });
  };
  await chain();
  await call("DeleteRole", { RoleName: "link" });
  await link();
  await assert.rejects(chain(), isDenied);
  assert.match(await trusted("end"), /^AROA[A-Z2-7]{17}$/);
});

Deno.test("a principal that can be nobody's ARN is refused as one that is not there, however it is written", async () => {
  await using here = await cloud();
  const { account_id, role } = here;
  // The last ones, as part of a key, would be more than the state store takes.
  for (
    const who of ["user/ada/", "role/ada/", "user/*", "user/a..b", `user/${"@".repeat(1_700)}`]
  ) {
    await assert.rejects(
      role("odd", { AWS: `arn:aws:iam::${account_id}:${who}` }, "sts:AssumeRole"),
      { code: "MalformedPolicyDocument" },
      who.slice(0, 20),
    );
  }
  await role("odd", { AWS: account_id }, "sts:AssumeRole");
});

Deno.test("a trust policy means who is there now, also where this node has not heard of it yet", async () => {
  await using here = await cloud();
  const { account_id, role, user, state } = here;
  await user("ada");
  const old = state.user(account_id, "ada");
  await here.removeUser("ada");
  const ada = await user("ada");
  const { users } = state;
  const get = users.get.bind(users);
  // As on a node whose copy has not come so far yet.
  users.get = (key) => key === old?.key ? old : get(key);
  const RoleArn = await role(
    "trusting",
    { AWS: `arn:aws:iam::${account_id}:user/ada` },
    "sts:AssumeRole",
  ).finally(() => users.get = get);
  await ada("sts.AssumeRole", { RoleArn, RoleSessionName: "me" });
});

Deno.test("a role whose policy an earlier release wrote, without ids, is taken by who has the ARN", async () => {
  await using here = await cloud();
  const { account_id, call, role, state, user } = here;
  const ada = await user("ada");
  const trusted = `arn:aws:iam::${account_id}:user/ada`;
  const RoleArn = await role("trusting", { AWS: trusted }, "sts:AssumeRole");
  const key = state.role(account_id, "trusting")?.key ?? "";
  await state.roles.modify(key, (now) => {
    assert.ok(now);
    const { trusted: _, ...old } = now;
    return old;
  });
  await ada("sts.AssumeRole", { RoleArn, RoleSessionName: "me" });
  const { Role } = await call("GetRole", { RoleName: "trusting" });
  const shown = JSON.parse(decodeURIComponent(String(Role?.["AssumeRolePolicyDocument"])));
  assert.equal(shown.Statement[0].Principal.AWS, trusted);
});
