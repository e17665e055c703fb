import assert from "node:assert/strict";
import { startNats, testLog, type TestNats } from "../../tests/kit/nats.ts";
import { deriveSigningKey } from "../aws/signatures/sigv4.ts";
import { type CallContext, subject, systemContext } from "../bus/subject.ts";
import type { Bus } from "../bus/bus.ts";
import {
  adminCredentials,
  authorize,
  givenKeyText,
  type IdentityChanged,
  identityChanged,
  newMasterKey,
  signingKey,
  type SigningScope,
} from "./contract.ts";
import { firstStart, type FirstStartStep, firstStartSteps } from "./credentials/first_start.ts";
import { startIdentity } from "./identity.ts";
import { parseMasterKeys } from "./credentials/master_key.ts";
import { State } from "./state.ts";

const path = "/node/secrets/master.key";
const clusterId = "c-test";
const today = () => new Date().toISOString().slice(0, 10).replaceAll("-", "");

const scopeOf = (access_key_id: string, changed: Partial<SigningScope> = {}): SigningScope => ({
  access_key_id,
  date: today(),
  region: "eu-west-1",
  service: "ec2",
  ...changed,
});

async function identityOn(nats: TestNats, masterKeys = parseMasterKeys(newMasterKey(), path)) {
  const bus = await nats.bus("identity");
  const identity = await startIdentity({
    bus,
    log: testLog,
    masterKeys,
    masterKeyPath: path,
    clusterId,
  });
  await bus.connection.flush();
  return { bus, identity, masterKeys };
}

/** Signs in with an access key as the gateway does, and calls actions in its name. */
async function as(bus: Bus, accessKeyId: string) {
  const grant = await bus.ask(signingKey, scopeOf(accessKeyId));
  const context: CallContext = {
    ...systemContext(600_000),
    account_id: grant.account_id,
    principal_arn: grant.principal_arn,
    access_key_id: accessKeyId,
    region: "eu-west-1",
    source_ip: "192.0.2.1",
  };
  return {
    grant,
    call: (action: string, input: unknown = {}) =>
      // deno-lint-ignore no-explicit-any
      bus.ask(subject<unknown, any>(action), input, {
        ...context,
        deadline_ms: Date.now() + 600_000,
      }),
    may: async (action: string, resource = "*") =>
      (await bus.ask(authorize, { principal_arn: grant.principal_arn, action, resource }, context))
        .allowed,
  };
}

Deno.test("the first start makes one account, one administrator, one key, and the key signs", async () => {
  await using nats = await startNats();
  const { identity } = await identityOn(nats);
  const asker = await nats.bus("asker");
  const admin = await asker.ask(adminCredentials, null);
  assert.match(admin.account_id, /^[1-9]\d{11}$/);
  assert.match(admin.access_key_id, /^AKIA[A-Z2-7]{16}$/);
  assert.match(admin.secret_access_key, /^[A-Za-z0-9+/]{40}$/);
  const grant = await asker.ask(signingKey, scopeOf(admin.access_key_id));
  assert.equal(
    grant.key,
    deriveSigningKey(admin.secret_access_key, scopeOf("")).toBase64(),
  );
  assert.equal(grant.principal_arn, `arn:aws:iam::${admin.account_id}:user/admin`);
  assert.match(grant.user_id, /^AIDA[A-Z2-7]{17}$/);
  assert.ok(grant.valid_until_ms > Date.now());
  const { state } = identity;
  assert.deepEqual([state.accounts.size, state.users.size, state.keys.size], [1, 1, 1]);
});

Deno.test("the signing key is AWS's own for its published example", () => {
  const key = deriveSigningKey("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", {
    date: "20120215",
    region: "us-east-1",
    service: "iam",
  });
  assert.equal(key.toHex(), "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d");
});

Deno.test("a first start that dies before any step is finished by the next, as if it had not", async () => {
  await using nats = await startNats();
  const bus = await nats.bus();
  const masterKeys = parseMasterKeys(newMasterKey(), path);
  for (const deadly of firstStartSteps) {
    const id = `cluster-that-dies-before-${deadly}`;
    // One server serves all rounds: each starts with empty tables.
    {
      await using emptied = await State.open(bus, testLog);
      for (const table of [emptied.keys, emptied.users, emptied.accounts]) {
        for (const row of table.list()) await table.delete(row.key);
      }
    }
    {
      await using state = await State.open(bus, testLog);
      const die = (step: FirstStartStep) => {
        if (step === deadly) throw new Error("killed");
      };
      await assert.rejects(firstStart(state, masterKeys, id, testLog, die), { message: "killed" });
    }
    await using state = await State.open(bus, testLog);
    const planned = state.accounts.list()[0]?.value.first_start?.access_key_id;
    await firstStart(state, masterKeys, id, testLog);
    assert.deepEqual([state.accounts.size, state.users.size, state.keys.size], [1, 1, 1], deadly);
    const account = state.accounts.list()[0]!.value;
    assert.equal(account.first_start?.done, true);
    assert.equal(account.first_start?.secret, undefined, "the secret is kept in one place only");
    const key = state.keys.list()[0]!.value;
    if (planned !== undefined) assert.equal(key.access_key_id, planned);
    assert.equal(state.userById(key.owner)?.value.name, "admin");
  }
});

Deno.test("first starts at the same time make one account and one key", async () => {
  await using nats = await startNats();
  const masterKeys = parseMasterKeys(newMasterKey(), path);
  const states = await Promise.all([1, 2, 3, 4].map(async () => {
    const state = await State.open(await nats.bus(), testLog);
    return state;
  }));
  await Promise.all(states.map((state) => firstStart(state, masterKeys, clusterId, testLog)));
  await using state = await State.open(await nats.bus(), testLog);
  assert.deepEqual([state.accounts.size, state.users.size, state.keys.size], [1, 1, 1]);
  for (const opened of states) await opened[Symbol.asyncDispose]();
});

Deno.test("what an administrator deleted stays deleted at the next start", async () => {
  await using nats = await startNats();
  const { bus, masterKeys } = await identityOn(nats);
  const admin = await bus.ask(adminCredentials, null);
  const { call } = await as(bus, admin.access_key_id);
  const second = (await call("iam.CreateAccessKey")).AccessKey;
  await call("iam.DeleteAccessKey", { AccessKeyId: admin.access_key_id });
  await bus.drain();
  const again = await identityOn(nats, masterKeys);
  assert.equal(again.identity.state.keys.size, 1);
  assert.equal((await again.bus.ask(adminCredentials, null)).access_key_id, second.AccessKeyId);
});

Deno.test("a wrong master key is a clear error, and nothing is written over", async () => {
  await using nats = await startNats();
  const { bus, identity } = await identityOn(nats);
  const before = JSON.stringify(identity.state.keys.list());
  await bus.drain();
  await assert.rejects(identityOn(nats), (error: Error) => {
    assert.equal(error.name, "MasterKeyError");
    assert.match(error.message, /\/node\/secrets\/master\.key is not the one that sealed/);
    assert.match(error.message, /nothing was changed/);
    return true;
  });
  await using state = await State.open(await nats.bus(), testLog);
  assert.equal(JSON.stringify(state.keys.list()), before);
});

Deno.test("after a rotation of the master key every secret is sealed by the new one, and still signs", async () => {
  await using nats = await startNats();
  const older = newMasterKey();
  const first = await identityOn(nats, parseMasterKeys(older, path));
  const admin = await first.bus.ask(adminCredentials, null);
  await first.bus.drain();
  const newer = newMasterKey();
  const rotated = await identityOn(nats, parseMasterKeys(newer + older, path));
  assert.deepEqual(await rotated.bus.ask(adminCredentials, null), admin);
  await rotated.bus.drain();
  const afterwards = await identityOn(nats, parseMasterKeys(newer, path));
  assert.deepEqual(await afterwards.bus.ask(adminCredentials, null), admin);
});

Deno.test("an altered secret is refused and reported; other keys go on", async () => {
  await using nats = await startNats();
  const { bus, identity, masterKeys } = await identityOn(nats);
  const admin = await bus.ask(adminCredentials, null);
  const { call } = await as(bus, admin.access_key_id);
  const other = (await call("iam.CreateAccessKey")).AccessKey.AccessKeyId;
  const row = identity.state.accessKey(other)!;
  const { secret } = identity.state.accessKey(admin.access_key_id)!.value;
  await identity.state.keys.update(row.key, { ...row.value, secret }, row.revision);
  await assert.rejects(bus.ask(signingKey, scopeOf(other)), { code: "InternalError", status: 500 });
  await bus.ask(signingKey, scopeOf(admin.access_key_id));
  await bus.drain();
  assert.equal((await identityOn(nats, masterKeys)).identity.unreadableSecrets, 1);
});

Deno.test("a key that is unknown, inactive or deleted, or a scope that cannot be, gets no signing key", async () => {
  await using nats = await startNats();
  const { bus } = await identityOn(nats);
  const admin = await bus.ask(adminCredentials, null);
  const { call } = await as(bus, admin.access_key_id);
  const key = (await call("iam.CreateAccessKey")).AccessKey.AccessKeyId;
  const refused = { code: "InvalidClientTokenId", status: 403 };
  await assert.rejects(bus.ask(signingKey, scopeOf("AKIAAAAAAAAAAAAAAAAA")), refused);
  await assert.rejects(bus.ask(signingKey, scopeOf("__proto__")), refused);
  await call("iam.UpdateAccessKey", { AccessKeyId: key, Status: "Inactive" });
  await assert.rejects(bus.ask(signingKey, scopeOf(key)), refused);
  await call("iam.UpdateAccessKey", { AccessKeyId: key, Status: "Active" });
  await bus.ask(signingKey, scopeOf(key));
  await call("iam.DeleteAccessKey", { AccessKeyId: key });
  await assert.rejects(bus.ask(signingKey, scopeOf(key)), refused);
  const dayAway = (days: number) =>
    new Date(Date.now() + days * 86_400_000).toISOString().slice(0, 10).replaceAll("-", "");
  await bus.ask(signingKey, scopeOf(admin.access_key_id, { date: dayAway(1) }));
  await bus.ask(signingKey, scopeOf(admin.access_key_id, { date: dayAway(-1) }));
  for (
    const bad of [
      { date: dayAway(2) },
      { date: dayAway(-2) },
      { date: "2026112" },
      { date: "20261321" },
      { region: "" },
      { region: "eu west" },
      { service: "EC2\n" },
      { service: "x".repeat(64) },
      { service: 5 as unknown as string },
    ]
  ) {
    await assert.rejects(
      bus.ask(signingKey, scopeOf(admin.access_key_id, bad)),
      { code: "SignatureDoesNotMatch", status: 403 },
      JSON.stringify(bad),
    );
  }
});

Deno.test("every change is said on the bus no later than it is answered", async () => {
  await using nats = await startNats();
  const { bus } = await identityOn(nats);
  const listener = await nats.bus("gateway");
  const heard: IdentityChanged[] = [];
  listener.listen<IdentityChanged>(identityChanged, (change) => void heard.push(change));
  await listener.connection.flush();
  const admin = await bus.ask(adminCredentials, null);
  const { call } = await as(listener, admin.access_key_id);
  const key = (await call("iam.CreateAccessKey")).AccessKey.AccessKeyId;
  assert.deepEqual(heard.splice(0), [{ access_key_id: key }]);
  await call("iam.UpdateAccessKey", { AccessKeyId: key, Status: "Inactive" });
  assert.deepEqual(heard.splice(0), [{ access_key_id: key }]);
  await call("iam.DeleteAccessKey", { AccessKeyId: key });
  assert.deepEqual(heard.splice(0), [{ access_key_id: key }]);
  await call("iam.CreateUser", { UserName: "ada" });
  assert.deepEqual(heard.splice(0), [{}]);
});

Deno.test("a user has two access keys at most, however many are asked for at once", async () => {
  await using nats = await startNats();
  const { bus, identity } = await identityOn(nats);
  const admin = await bus.ask(adminCredentials, null);
  const { call } = await as(bus, admin.access_key_id);
  await call("iam.CreateUser", { UserName: "ada" });
  const made = await Promise.allSettled(
    Array.from({ length: 10 }, () => call("iam.CreateAccessKey", { UserName: "ada" })),
  );
  assert.equal(made.filter((one) => one.status === "fulfilled").length, 2);
  for (const one of made) {
    if (one.status === "rejected") {
      assert.deepEqual([one.reason.code, one.reason.status], ["LimitExceeded", 409]);
    }
  }
  const listed = await call("iam.ListAccessKeys", { UserName: "ada" });
  assert.equal(listed.AccessKeyMetadata.length, 2);
  assert.equal(listed.IsTruncated, false);
  assert.equal(JSON.stringify(listed).includes("Secret"), false);
  const page = await call("iam.ListAccessKeys", { UserName: "ada", MaxItems: 1 });
  assert.equal(page.IsTruncated, true);
  const rest = await call("iam.ListAccessKeys", { UserName: "ada", Marker: page.Marker });
  assert.deepEqual(
    [...page.AccessKeyMetadata, ...rest.AccessKeyMetadata].map((k) => k.AccessKeyId).sort(),
    listed.AccessKeyMetadata.map((k: { AccessKeyId: string }) => k.AccessKeyId).sort(),
  );
  assert.equal(identity.state.keys.size, 3);
});

Deno.test("IAM and STS answer in AWS's form, and refuse with its codes", async () => {
  await using nats = await startNats();
  const { bus } = await identityOn(nats);
  const admin = await bus.ask(adminCredentials, null);
  const { call, grant } = await as(bus, admin.access_key_id);
  assert.deepEqual(await call("sts.GetCallerIdentity"), {
    UserId: grant.user_id,
    Account: admin.account_id,
    Arn: `arn:aws:iam::${admin.account_id}:user/admin`,
  });
  assert.deepEqual(await call("sts.GetAccessKeyInfo", { AccessKeyId: admin.access_key_id }), {
    Account: admin.account_id,
  });
  const { User } = await call("iam.GetUser");
  assert.deepEqual({ ...User, CreateDate: "" }, {
    Path: "/",
    UserName: "admin",
    UserId: grant.user_id,
    Arn: grant.principal_arn,
    CreateDate: "",
  });
  assert.match(User.CreateDate, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
  const refusals: [action: string, input: unknown, code: string, status: number][] = [
    ["iam.GetUser", { UserName: "nobody" }, "NoSuchEntity", 404],
    ["iam.GetUser", { UserName: "no/body" }, "ValidationError", 400],
    ["iam.CreateAccessKey", { UserName: "nobody" }, "NoSuchEntity", 404],
    ["iam.ListAccessKeys", { MaxItems: 0 }, "ValidationError", 400],
    ["iam.ListAccessKeys", { Marker: "!" }, "ValidationError", 400],
    ["iam.DeleteAccessKey", { AccessKeyId: "AKIAAAAAAAAAAAAAAAAA" }, "NoSuchEntity", 404],
    ["iam.DeleteAccessKey", {}, "ValidationError", 400],
    [
      "iam.UpdateAccessKey",
      { AccessKeyId: admin.access_key_id, Status: "On" },
      "ValidationError",
      400,
    ],
    [
      "iam.UpdateAccessKey",
      { AccessKeyId: "AKIAAAAAAAAAAAAAAAAA", Status: "Active" },
      "NoSuchEntity",
      404,
    ],
    ["iam.CreateUser", { UserName: "ADMIN" }, "EntityAlreadyExists", 409],
    ["iam.CreateUser", { UserName: "x".repeat(65) }, "ValidationError", 400],
    ["iam.CreateUser", { UserName: "x", Path: "no-slash" }, "ValidationError", 400],
    ["iam.DeleteUser", { UserName: "admin" }, "DeleteConflict", 409],
    ["iam.DeleteUser", {}, "ValidationError", 400],
    [
      "iam.AttachUserPolicy",
      { UserName: "admin", PolicyArn: "arn:aws:iam::aws:policy/None" },
      "NoSuchEntity",
      404,
    ],
    [
      "iam.AttachUserPolicy",
      { UserName: "admin", PolicyArn: "Administrator" },
      "ValidationError",
      400,
    ],
    [
      "iam.PutUserPolicy",
      { UserName: "admin", PolicyName: "p", PolicyDocument: "{}" },
      "MalformedPolicyDocument",
      400,
    ],
    ["iam.GetUserPolicy", { UserName: "admin", PolicyName: "toString" }, "NoSuchEntity", 404],
    ["sts.GetAccessKeyInfo", { AccessKeyId: "AKIAAAAAAAAAAAAAAAAA" }, "InvalidClientTokenId", 403],
  ];
  for (const [action, input, code, status] of refusals) {
    await assert.rejects(
      call(action, input),
      { code, status },
      `${action} ${JSON.stringify(input)}`,
    );
  }
  await assert.rejects(bus.ask(subject("iam.GetUser"), {}), { code: "AccessDenied", status: 403 });
});

Deno.test("a user may nothing at first, then what its policies say, and nothing when it is gone", async () => {
  await using nats = await startNats();
  const { bus } = await identityOn(nats);
  const admin = await bus.ask(adminCredentials, null);
  const boss = await as(bus, admin.access_key_id);
  const instance = `arn:aws:ec2:eu-west-1:${admin.account_id}:instance/i-1`;
  assert.equal(await boss.may("ec2:TerminateInstances", instance), true);
  const foreign = instance.replace(admin.account_id, "999999999999");
  assert.equal(await boss.may("ec2:TerminateInstances", foreign), false);

  await boss.call("iam.CreateUser", { UserName: "ada+x@example.com", Path: "/team/" });
  const made = await boss.call("iam.CreateAccessKey", { UserName: "ada+x@example.com" });
  const ada = await as(bus, made.AccessKey.AccessKeyId);
  assert.equal(
    ada.grant.principal_arn,
    `arn:aws:iam::${admin.account_id}:user/team/ada+x@example.com`,
  );
  assert.equal(await ada.may("ec2:DescribeInstances"), false);
  await assert.rejects(ada.call("iam.ListAccessKeys"), { code: "AccessDenied", status: 403 });
  await assert.rejects(ada.call("iam.GetUser", { UserName: "nobody" }), { code: "AccessDenied" });
  await ada.call("sts.GetCallerIdentity");

  const policy = (PolicyName: string, ...statements: unknown[]) =>
    boss.call("iam.PutUserPolicy", {
      UserName: "ada+x@example.com",
      PolicyName,
      PolicyDocument: JSON.stringify({ Version: "2012-10-17", Statement: statements }),
    });
  await policy("read", { Effect: "Allow", Action: "ec2:Describe*", Resource: "*" });
  await policy("own-keys", {
    Effect: "Allow",
    Action: "iam:*AccessKey*",
    Resource: "arn:aws:iam::*:user/*${aws:username}",
  });
  assert.equal(await ada.may("ec2:DescribeInstances"), true);
  assert.equal(await ada.may("ec2:TerminateInstances", instance), false);
  assert.equal((await ada.call("iam.ListAccessKeys")).AccessKeyMetadata.length, 1);
  await assert.rejects(ada.call("iam.CreateAccessKey", { UserName: "admin" }), {
    code: "AccessDenied",
  });

  await boss.call("iam.AttachUserPolicy", {
    UserName: "ada+x@example.com",
    PolicyArn: "arn:aws:iam::aws:policy/AdministratorAccess",
  });
  assert.equal(await ada.may("ec2:TerminateInstances", instance), true);
  await policy("from-elsewhere", {
    Effect: "Deny",
    Action: "*",
    Resource: "*",
    Condition: { IpAddress: { "aws:SourceIp": "192.0.2.0/24" } },
  });
  assert.equal(await ada.may("ec2:TerminateInstances", instance), false);
  await boss.call("iam.DeleteUserPolicy", {
    UserName: "ada+x@example.com",
    PolicyName: "from-elsewhere",
  });
  assert.equal(await ada.may("ec2:TerminateInstances", instance), true);

  const gone = { UserName: "ada+x@example.com" };
  await assert.rejects(boss.call("iam.DeleteUser", gone), { code: "DeleteConflict" });
  await boss.call("iam.DeleteAccessKey", { ...gone, AccessKeyId: made.AccessKey.AccessKeyId });
  await assert.rejects(boss.call("iam.DeleteUser", gone), { code: "DeleteConflict" });
  const attached = await boss.call("iam.ListAttachedUserPolicies", gone);
  for (const { PolicyArn } of attached.AttachedPolicies) {
    await boss.call("iam.DetachUserPolicy", { ...gone, PolicyArn });
  }
  for (const PolicyName of (await boss.call("iam.ListUserPolicies", gone)).PolicyNames) {
    await boss.call("iam.DeleteUserPolicy", { ...gone, PolicyName });
  }
  await boss.call("iam.DeleteUser", gone);
  assert.equal(await ada.may("ec2:DescribeInstances"), false);
  await assert.rejects(ada.call("sts.GetCallerIdentity"), { code: "AccessDenied" });
});

Deno.test("inline policies together keep to AWS's size", async () => {
  await using nats = await startNats();
  const { bus } = await identityOn(nats);
  const { call } = await as(bus, (await bus.ask(adminCredentials, null)).access_key_id);
  const put = (PolicyName: string, actions: number) =>
    call("iam.PutUserPolicy", {
      UserName: "admin",
      PolicyName,
      PolicyDocument: JSON.stringify({
        Statement: {
          Effect: "Allow",
          Action: Array.from({ length: actions }, (_, n) => `ec2:Action${n}`),
          Resource: "*",
        },
      }),
    });
  await put("one", 60);
  await put("one", 60);
  await assert.rejects(put("two", 90), { code: "LimitExceeded", status: 409 });
  assert.deepEqual((await call("iam.ListUserPolicies", { UserName: "admin" })).PolicyNames, [
    "one",
  ]);
});

Deno.test("after nats-server was killed and came back, keys still sign and changes go on", async () => {
  await using nats = await startNats();
  const { bus, identity } = await identityOn(nats);
  const admin = await bus.ask(adminCredentials, null);
  await nats.kill();
  await assert.rejects(
    bus.ask(signingKey, scopeOf(admin.access_key_id), systemContext(200)),
    { code: "ServiceUnavailable", status: 503 },
  );
  await nats.start();
  const limit = performance.now() + 60_000;
  const again = async () => {
    for (;;) {
      try {
        return await as(bus, admin.access_key_id);
      } catch (error) {
        if (performance.now() > limit) throw error;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }
  };
  const { AccessKey } = await (await again()).call("iam.CreateAccessKey");
  await bus.ask(signingKey, scopeOf(AccessKey.AccessKeyId));
  assert.equal(identity.state.keys.size, 2);
});

Deno.test("a key that was made before the node is its administrator's, once, and its file goes", async () => {
  await using nats = await startNats();
  const file = `${nats.directory}/admin-key.json`;
  const key = {
    access_key_id: "AKIAGIVENGIVENGIVEN2",
    secret_access_key: "0123456789/0123456789+0123456789/0123456",
  };
  const masterKeys = parseMasterKeys(newMasterKey(), path);
  const start = async () => {
    const bus = await nats.bus("identity");
    const identity = await startIdentity({
      bus,
      log: testLog,
      masterKeys,
      masterKeyPath: path,
      clusterId,
      givenKeyPath: file,
    });
    await bus.connection.flush();
    const { account_id: _, ...said } = await bus.ask(adminCredentials, null);
    await identity[Symbol.asyncDispose]();
    await bus.drain();
    return said;
  };
  Deno.writeTextFileSync(file, "{}");
  await assert.rejects(start(), { name: "GivenKeyError" });
  Deno.writeTextFileSync(file, givenKeyText(key));
  assert.deepEqual(await start(), key);
  assert.throws(() => Deno.statSync(file), Deno.errors.NotFound);
  // A second file comes too late: the account stands.
  Deno.writeTextFileSync(file, givenKeyText({ ...key, access_key_id: "AKIALATELATELATELATE" }));
  assert.deepEqual(await start(), key);
  assert.throws(() => Deno.statSync(file), Deno.errors.NotFound);
});
