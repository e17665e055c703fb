import assert from "node:assert/strict";
import { startNats } from "../../tests/kit/nats.ts";
import { deriveSigningKey } from "../aws/signatures/sigv4.ts";
import { subject, systemContext } from "../bus/subject.ts";
import { adminCredentials, type IdentityChanged, identityChanged, signingKey } from "./contract.ts";
import { as, identityOn, scopeOf } from "../../tests/kit/identity.ts";

Deno.test("the signing key is AWS's own for its published example", () => {
  const key = deriveSigningKey("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", {
    date: "20120215",
    region: "us-east-1",
    service: "iam",
  });
  assert.equal(key.toHex(), "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d");
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
