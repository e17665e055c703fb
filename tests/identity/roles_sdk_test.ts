/** Groups, roles, customer policies, temporary credentials and tenants, as the official SDK meets them. */
import assert from "node:assert/strict";
import { DescribeRegionsCommand, EC2Client } from "@aws-sdk/client-ec2";
import * as Iam from "@aws-sdk/client-iam";
import * as Sts from "@aws-sdk/client-sts";
import { createAccount, listAccounts } from "../../services/identity/contract.ts";
import { allow, cloud, deny, document, failed, sessionKeys, trust } from "../kit/iam_cloud.ts";

/** Whether identity lets the caller do it: what compute does not answer here is not a refusal. */
async function mayDescribeRegions(ec2: EC2Client): Promise<boolean> {
  try {
    await ec2.send(new DescribeRegionsCommand({}));
    return true;
  } catch (error) {
    if (error instanceof Error && error.name === "UnauthorizedOperation") return false;
    if (error instanceof Error && error.name === "ServiceUnavailable") return true;
    throw error;
  }
}

Deno.test("a user may what its groups say, a denial in a group wins, and the quotas hold", async () => {
  await using here = await cloud();
  const { iam } = here;
  const ada = here.as(await here.keysOf(iam, "ada"));
  assert.equal(await mayDescribeRegions(ada.ec2), false);
  const { Group } = await iam.send(
    new Iam.CreateGroupCommand({ GroupName: "Builders", Path: "/team/" }),
  );
  assert.equal(Group?.Arn, `arn:aws:iam::${here.account}:group/team/Builders`);
  await assert.rejects(
    iam.send(new Iam.CreateGroupCommand({ GroupName: "builders" })),
    failed("EntityAlreadyExistsException", 409),
  );
  await iam.send(
    new Iam.AttachGroupPolicyCommand({
      GroupName: "Builders",
      PolicyArn: "arn:aws:iam::aws:policy/AmazonEC2ReadOnlyAccess",
    }),
  );
  assert.equal(await mayDescribeRegions(ada.ec2), false);
  await iam.send(new Iam.AddUserToGroupCommand({ GroupName: "Builders", UserName: "ada" }));
  assert.equal(await mayDescribeRegions(ada.ec2), true);
  const members = await iam.send(new Iam.GetGroupCommand({ GroupName: "Builders" }));
  assert.deepEqual(members.Users?.map((user) => user.UserName), ["ada"]);
  const groups = await iam.send(new Iam.ListGroupsForUserCommand({ UserName: "ada" }));
  assert.deepEqual(groups.Groups?.map((group) => group.GroupName), ["Builders"]);

  await iam.send(new Iam.CreateGroupCommand({ GroupName: "locked" }));
  await iam.send(
    new Iam.PutGroupPolicyCommand({
      GroupName: "locked",
      PolicyName: "none",
      PolicyDocument: document(deny("ec2:*")),
    }),
  );
  await iam.send(new Iam.AddUserToGroupCommand({ GroupName: "locked", UserName: "ada" }));
  assert.equal(await mayDescribeRegions(ada.ec2), false);
  await assert.rejects(
    iam.send(new Iam.DeleteGroupCommand({ GroupName: "locked" })),
    failed("DeleteConflictException", 409),
  );
  await assert.rejects(
    iam.send(new Iam.DeleteUserCommand({ UserName: "ada" })),
    failed("DeleteConflictException", 409),
  );
  await iam.send(new Iam.RemoveUserFromGroupCommand({ GroupName: "locked", UserName: "ada" }));
  assert.equal(await mayDescribeRegions(ada.ec2), true);
  await iam.send(new Iam.UpdateGroupCommand({ GroupName: "Builders", NewGroupName: "makers" }));
  assert.equal(await mayDescribeRegions(ada.ec2), true);
  await iam.send(new Iam.DeleteGroupPolicyCommand({ GroupName: "locked", PolicyName: "none" }));
  await iam.send(new Iam.DeleteGroupCommand({ GroupName: "locked" }));
  for (let n = 0; n < 9; n++) {
    await iam.send(new Iam.CreateGroupCommand({ GroupName: `g${n}` }));
    await iam.send(new Iam.AddUserToGroupCommand({ GroupName: `g${n}`, UserName: "ada" }));
  }
  await iam.send(new Iam.CreateGroupCommand({ GroupName: "one-more" }));
  await assert.rejects(
    iam.send(new Iam.AddUserToGroupCommand({ GroupName: "one-more", UserName: "ada" })),
    failed("LimitExceededException", 409),
  );
  // A renamed user keeps its keys, groups and rights.
  await iam.send(new Iam.UpdateUserCommand({ UserName: "ada", NewUserName: "lovelace" }));
  assert.equal(await mayDescribeRegions(ada.ec2), true);
  assert.match((await ada.sts.send(new Sts.GetCallerIdentityCommand({}))).Arn ?? "", /lovelace$/);
  await assert.rejects(
    iam.send(new Iam.GetUserCommand({ UserName: "ada" })),
    failed("NoSuchEntityException", 404),
  );
});

Deno.test("a customer's policy holds by its default version, and stays while it is attached", async () => {
  await using here = await cloud();
  const { iam } = here;
  const ada = here.as(await here.keysOf(iam, "ada"));
  const { Policy } = await iam.send(
    new Iam.CreatePolicyCommand({
      PolicyName: "regions",
      Path: "/team/",
      PolicyDocument: document(allow("s3:*")),
      Tags: [{ Key: "team", Value: "blue" }],
    }),
  );
  const PolicyArn = Policy?.Arn ?? "";
  assert.equal(PolicyArn, `arn:aws:iam::${here.account}:policy/team/regions`);
  await iam.send(new Iam.AttachUserPolicyCommand({ UserName: "ada", PolicyArn }));
  assert.equal(await mayDescribeRegions(ada.ec2), false);
  const second = await iam.send(
    new Iam.CreatePolicyVersionCommand({
      PolicyArn,
      PolicyDocument: document(allow("ec2:DescribeRegions")),
    }),
  );
  assert.deepEqual(
    [second.PolicyVersion?.VersionId, second.PolicyVersion?.IsDefaultVersion],
    ["v2", false],
  );
  assert.equal(await mayDescribeRegions(ada.ec2), false);
  await iam.send(new Iam.SetDefaultPolicyVersionCommand({ PolicyArn, VersionId: "v2" }));
  assert.equal(await mayDescribeRegions(ada.ec2), true);
  const read = await iam.send(new Iam.GetPolicyVersionCommand({ PolicyArn, VersionId: "v2" }));
  assert.equal(
    decodeURIComponent(read.PolicyVersion?.Document ?? ""),
    document(allow("ec2:DescribeRegions")),
  );
  await assert.rejects(
    iam.send(new Iam.DeletePolicyVersionCommand({ PolicyArn, VersionId: "v2" })),
    failed("DeleteConflictException", 409),
  );
  await iam.send(new Iam.DeletePolicyVersionCommand({ PolicyArn, VersionId: "v1" }));
  // A number is never used twice, even when it was the newest.
  const third = await iam.send(
    new Iam.CreatePolicyVersionCommand({ PolicyArn, PolicyDocument: document(allow("s3:*")) }),
  );
  assert.equal(third.PolicyVersion?.VersionId, "v3");
  await iam.send(new Iam.DeletePolicyVersionCommand({ PolicyArn, VersionId: "v3" }));
  const fourth = await iam.send(
    new Iam.CreatePolicyVersionCommand({ PolicyArn, PolicyDocument: document(allow("s3:*")) }),
  );
  assert.equal(fourth.PolicyVersion?.VersionId, "v4");
  await iam.send(new Iam.DeletePolicyVersionCommand({ PolicyArn, VersionId: "v4" }));
  const found = await iam.send(new Iam.GetPolicyCommand({ PolicyArn }));
  assert.equal(found.Policy?.AttachmentCount, 1);
  assert.deepEqual(found.Policy?.Tags, [{ Key: "team", Value: "blue" }]);
  const who = await iam.send(new Iam.ListEntitiesForPolicyCommand({ PolicyArn }));
  assert.deepEqual(who.PolicyUsers?.map((user) => user.UserName), ["ada"]);
  await assert.rejects(
    iam.send(new Iam.DeletePolicyCommand({ PolicyArn })),
    failed("DeleteConflictException", 409),
  );
  const local = await iam.send(new Iam.ListPoliciesCommand({ Scope: "Local", OnlyAttached: true }));
  assert.deepEqual(local.Policies?.map((policy) => policy.Arn), [PolicyArn]);
  await iam.send(new Iam.DetachUserPolicyCommand({ UserName: "ada", PolicyArn }));
  await iam.send(new Iam.DeletePolicyCommand({ PolicyArn }));
  await assert.rejects(
    iam.send(new Iam.GetPolicyCommand({ PolicyArn })),
    failed("NoSuchEntityException", 404),
  );
});

Deno.test("a permissions boundary limits a user, and gives nothing by itself", async () => {
  await using here = await cloud();
  const { iam } = here;
  const ada = here.as(await here.keysOf(iam, "ada"));
  const boundary = "arn:aws:iam::aws:policy/AmazonS3FullAccess";
  await iam.send(
    new Iam.AttachUserPolicyCommand({
      UserName: "ada",
      PolicyArn: "arn:aws:iam::aws:policy/AdministratorAccess",
    }),
  );
  assert.equal(await mayDescribeRegions(ada.ec2), true);
  await iam.send(
    new Iam.PutUserPermissionsBoundaryCommand({ UserName: "ada", PermissionsBoundary: boundary }),
  );
  assert.equal(await mayDescribeRegions(ada.ec2), false);
  const { User } = await iam.send(new Iam.GetUserCommand({ UserName: "ada" }));
  assert.equal(User?.PermissionsBoundary?.PermissionsBoundaryArn, boundary);
  const simulated = await iam.send(
    new Iam.SimulatePrincipalPolicyCommand({
      PolicySourceArn: User?.Arn ?? "",
      ActionNames: ["s3:GetObject", "ec2:DescribeRegions"],
    }),
  );
  assert.deepEqual(
    simulated.EvaluationResults?.map((one) => [one.EvalActionName, one.EvalDecision]),
    [["s3:GetObject", "allowed"], ["ec2:DescribeRegions", "implicitDeny"]],
  );
  await iam.send(new Iam.DeleteUserPermissionsBoundaryCommand({ UserName: "ada" }));
  assert.equal(await mayDescribeRegions(ada.ec2), true);
});

Deno.test("a role is taken by whom it trusts, for a while, within its session's policy", async () => {
  await using here = await cloud();
  const { iam, account } = here;
  const adaKeys = await here.keysOf(iam, "ada");
  const ada = here.as(adaKeys);
  const { Role } = await iam.send(
    new Iam.CreateRoleCommand({
      RoleName: "reader",
      Path: "/team/",
      AssumeRolePolicyDocument: trust(
        { AWS: `arn:aws:iam::${account}:user/ada` },
        { StringEquals: { "sts:ExternalId": "ours" } },
      ),
      Description: "reads",
      MaxSessionDuration: 7200,
    }),
  );
  const RoleArn = Role?.Arn ?? "";
  assert.equal(RoleArn, `arn:aws:iam::${account}:role/team/reader`);
  await iam.send(
    new Iam.PutRolePolicyCommand({
      RoleName: "reader",
      PolicyName: "ec2",
      PolicyDocument: document(allow("ec2:*")),
    }),
  );
  const ask = { RoleArn, RoleSessionName: "now" };
  await assert.rejects(
    ada.sts.send(new Sts.AssumeRoleCommand(ask)),
    failed("AccessDenied", 403),
  );
  const taken = await ada.sts.send(new Sts.AssumeRoleCommand({ ...ask, ExternalId: "ours" }));
  assert.equal(
    taken.AssumedRoleUser?.Arn,
    `arn:aws:sts::${account}:assumed-role/reader/now`,
  );
  const lasts_ms = (taken.Credentials?.Expiration?.getTime() ?? 0) - Date.now();
  assert.ok(lasts_ms > 3_500_000 && lasts_ms <= 3_600_000, `${lasts_ms}`);
  const keys = sessionKeys(taken.Credentials);
  const reader = here.as(keys);
  const identity = await reader.sts.send(new Sts.GetCallerIdentityCommand({}));
  assert.equal(identity.Arn, taken.AssumedRoleUser?.Arn);
  assert.equal(identity.UserId, `${Role?.RoleId}:now`);
  assert.equal(await mayDescribeRegions(reader.ec2), true);

  // Without its token, with another's, or with a wrong one, the key is none.
  const others = await ada.sts.send(new Sts.GetSessionTokenCommand({}));
  const token = others.Credentials?.SessionToken ?? "";
  const own = keys.sessionToken ?? "";
  const altered = own.slice(0, -1) + (own.endsWith("A") ? "B" : "A");
  for (const sessionToken of [undefined, token, altered]) {
    const { accessKeyId, secretAccessKey } = keys;
    const wrong = sessionToken === undefined
      ? { accessKeyId, secretAccessKey }
      : { accessKeyId, secretAccessKey, sessionToken };
    await assert.rejects(
      here.as(wrong).sts.send(new Sts.GetCallerIdentityCommand({})),
      failed("InvalidClientTokenId", 403),
    );
  }
  await assert.rejects(
    here.as({ ...adaKeys, sessionToken: token }).sts.send(new Sts.GetCallerIdentityCommand({})),
    failed("InvalidClientTokenId", 403),
  );

  const narrow = await ada.sts.send(
    new Sts.AssumeRoleCommand({
      ...ask,
      ExternalId: "ours",
      Policy: document(allow("ec2:DescribeInstances")),
    }),
  );
  assert.equal(await mayDescribeRegions(here.as(sessionKeys(narrow.Credentials)).ec2), false);
  assert.equal(await mayDescribeRegions(reader.ec2), true);
  await assert.rejects(
    ada.sts.send(
      new Sts.AssumeRoleCommand({ ...ask, ExternalId: "ours", DurationSeconds: 7_201 }),
    ),
    failed("ValidationError", 400),
  );

  // A change of the role reaches the sessions that are out, and its end ends them.
  await iam.send(
    new Iam.PutRolePolicyCommand({
      RoleName: "reader",
      PolicyName: "ec2",
      PolicyDocument: document(deny("ec2:DescribeRegions")),
    }),
  );
  assert.equal(await mayDescribeRegions(reader.ec2), false);
  await iam.send(new Iam.DeleteRolePolicyCommand({ RoleName: "reader", PolicyName: "ec2" }));
  await iam.send(new Iam.DeleteRoleCommand({ RoleName: "reader" }));
  await assert.rejects(
    reader.sts.send(new Sts.GetCallerIdentityCommand({})),
    failed("InvalidClientTokenId", 403),
  );
});

Deno.test("a trust policy names whom it trusts, and only actions of STS", async () => {
  await using here = await cloud();
  const create = (statement: object) =>
    here.iam.send(
      new Iam.CreateRoleCommand({
        RoleName: "odd",
        AssumeRolePolicyDocument: document({ Effect: "Allow", ...statement }),
      }),
    );
  const AWS = here.account;
  for (
    const refused of [
      { NotPrincipal: { AWS }, Action: "sts:AssumeRole" },
      { Principal: { AWS }, Action: "s3:GetObject" },
      { Principal: { AWS }, Action: ["sts:AssumeRole", "*"] },
      { Principal: { AWS: `arn:aws:iam::${AWS}:user/nobody` }, Action: "sts:AssumeRole" },
      { Principal: { AWS: `arn:aws:iam::${AWS}:role/nobody` }, Action: "sts:AssumeRole" },
      {
        Principal: { AWS: [AWS, `arn:aws:iam::${AWS}:user/path/admin`] },
        Action: "sts:AssumeRole",
      },
      { Principal: { AWS: "999999999999" }, Action: "sts:AssumeRole" },
      { Principal: { AWS: `arn:aws:iam::${AWS}:user/a>*.b!` }, Action: "sts:AssumeRole" },
    ]
  ) {
    await assert.rejects(create(refused), failed("MalformedPolicyDocumentException", 400));
  }
  await create({ Principal: { AWS }, Action: ["sts:AssumeRole", "sts:TagSession"] });
  await here.iam.send(
    new Iam.UpdateAssumeRolePolicyCommand({
      RoleName: "odd",
      PolicyDocument: trust({ AWS: `arn:aws:iam::${AWS}:user/admin` }),
    }),
  );
});

Deno.test("a role that trusts the account asks for the caller's own permission too", async () => {
  await using here = await cloud();
  const { iam, account } = here;
  const ada = here.as(await here.keysOf(iam, "ada"));
  const { Role } = await iam.send(
    new Iam.CreateRoleCommand({
      RoleName: "any-of-us",
      AssumeRolePolicyDocument: trust({ AWS: account }),
    }),
  );
  const ask = new Sts.AssumeRoleCommand({ RoleArn: Role?.Arn ?? "", RoleSessionName: "me" });
  await assert.rejects(ada.sts.send(ask), failed("AccessDenied", 403));
  await iam.send(
    new Iam.PutUserPolicyCommand({
      UserName: "ada",
      PolicyName: "assume",
      PolicyDocument: document(allow("sts:AssumeRole", Role?.Arn ?? "")),
    }),
  );
  await ada.sts.send(ask);
  await assert.rejects(
    ada.sts.send(
      new Sts.AssumeRoleCommand({
        RoleArn: `arn:aws:iam::${account}:role/nobody`,
        RoleSessionName: "me",
      }),
    ),
    failed("AccessDenied", 403),
  );
});

Deno.test("a user's own session may what the user may, but nothing of IAM", async () => {
  await using here = await cloud();
  const { iam, sts } = here;
  const own = await sts.send(new Sts.GetSessionTokenCommand({ DurationSeconds: 900 }));
  const session = here.as(sessionKeys(own.Credentials));
  assert.equal(await mayDescribeRegions(session.ec2), true);
  await assert.rejects(
    session.iam.send(new Iam.ListUsersCommand({})),
    failed("AccessDenied", 403),
  );
  await assert.rejects(
    session.sts.send(new Sts.GetSessionTokenCommand({})),
    failed("AccessDenied", 403),
  );
  // A federated user is narrowed by its policy, and without one may nothing.
  const federated = async (Policy?: string) =>
    here.as(sessionKeys(
      (await sts.send(
        new Sts.GetFederationTokenCommand({
          Name: "guest",
          ...(Policy === undefined ? {} : { Policy }),
        }),
      )).Credentials,
    ));
  assert.equal(await mayDescribeRegions((await federated()).ec2), false);
  const guest = await federated(document(allow("ec2:Describe*")));
  assert.equal(await mayDescribeRegions(guest.ec2), true);
  assert.match(
    (await guest.sts.send(new Sts.GetCallerIdentityCommand({}))).Arn ?? "",
    /federated-user\/guest$/,
  );
  await iam.send(new Iam.ListUsersCommand({}));
});

Deno.test("an instance profile holds one role, which must not go while it does", async () => {
  await using here = await cloud();
  const { iam } = here;
  const ec2 = trust({ Service: "ec2.amazonaws.com" });
  await iam.send(new Iam.CreateRoleCommand({ RoleName: "app", AssumeRolePolicyDocument: ec2 }));
  await iam.send(new Iam.CreateRoleCommand({ RoleName: "other", AssumeRolePolicyDocument: ec2 }));
  const InstanceProfileName = "app";
  await iam.send(new Iam.CreateInstanceProfileCommand({ InstanceProfileName }));
  await iam.send(
    new Iam.AddRoleToInstanceProfileCommand({ InstanceProfileName, RoleName: "app" }),
  );
  await assert.rejects(
    iam.send(new Iam.AddRoleToInstanceProfileCommand({ InstanceProfileName, RoleName: "other" })),
    failed("LimitExceededException", 409),
  );
  const profile = await iam.send(new Iam.GetInstanceProfileCommand({ InstanceProfileName }));
  assert.deepEqual(profile.InstanceProfile?.Roles?.map((role) => role.RoleName), ["app"]);
  const used = await iam.send(new Iam.ListInstanceProfilesForRoleCommand({ RoleName: "app" }));
  assert.equal(used.InstanceProfiles?.length, 1);
  await assert.rejects(
    iam.send(new Iam.DeleteRoleCommand({ RoleName: "app" })),
    failed("DeleteConflictException", 409),
  );
  await iam.send(
    new Iam.RemoveRoleFromInstanceProfileCommand({ InstanceProfileName, RoleName: "app" }),
  );
  await iam.send(new Iam.DeleteInstanceProfileCommand({ InstanceProfileName }));
  await iam.send(new Iam.DeleteRoleCommand({ RoleName: "app" }));
  await iam.send(
    new Iam.TagRoleCommand({ RoleName: "other", Tags: [{ Key: "A", Value: "1" }] }),
  );
  await iam.send(
    new Iam.TagRoleCommand({ RoleName: "other", Tags: [{ Key: "a", Value: "2" }] }),
  );
  const tags = await iam.send(new Iam.ListRoleTagsCommand({ RoleName: "other" }));
  assert.deepEqual(tags.Tags, [{ Key: "a", Value: "2" }]);
});

Deno.test("a tenant's account is its own: nothing of another is seen, roles cross only by trust", async () => {
  await using here = await cloud();
  const imported = { access_key_id: "AKIAIMPORTED00000001", secret_access_key: "s".repeat(40) };
  const made = await here.operator.ask(createAccount, { name: "acme", import_key: imported });
  assert.notEqual(made.account_id, here.account);
  assert.equal(made.access_key_id, imported.access_key_id);
  assert.deepEqual(await here.operator.ask(createAccount, { name: "acme" }), made);
  assert.deepEqual(
    (await here.operator.ask(listAccounts, null)).map((one) => one.name).sort(),
    ["acme", "main"],
  );
  await assert.rejects(
    here.operator.ask(createAccount, { name: "rival", import_key: imported }),
    failed("AwsError"),
  );
  const tenant = here.as({
    accessKeyId: made.access_key_id,
    secretAccessKey: made.secret_access_key,
  });
  await here.keysOf(here.iam, "ada");
  const users = await tenant.iam.send(new Iam.ListUsersCommand({}));
  assert.deepEqual(users.Users?.map((user) => user.UserName), ["admin"]);
  await assert.rejects(
    tenant.iam.send(new Iam.GetUserCommand({ UserName: "ada" })),
    failed("NoSuchEntityException", 404),
  );
  const { Role } = await here.iam.send(
    new Iam.CreateRoleCommand({
      RoleName: "guests",
      AssumeRolePolicyDocument: trust({ AWS: `arn:aws:iam::${made.account_id}:root` }),
    }),
  );
  const RoleArn = Role?.Arn ?? "";
  const crossed = await tenant.sts.send(
    new Sts.AssumeRoleCommand({ RoleArn, RoleSessionName: "visit" }),
  );
  const visitor = here.as(sessionKeys(crossed.Credentials));
  const seen = await visitor.sts.send(new Sts.GetCallerIdentityCommand({}));
  assert.equal(seen.Account, here.account);
  await here.iam.send(
    new Iam.UpdateAssumeRolePolicyCommand({
      RoleName: "guests",
      PolicyDocument: trust({ AWS: here.account }),
    }),
  );
  await assert.rejects(
    tenant.sts.send(new Sts.AssumeRoleCommand({ RoleArn, RoleSessionName: "visit" })),
    failed("AccessDenied", 403),
  );
  await tenant.iam.send(new Iam.CreateAccountAliasCommand({ AccountAlias: "acme-cloud" }));
  assert.deepEqual(
    (await tenant.iam.send(new Iam.ListAccountAliasesCommand({}))).AccountAliases,
    ["acme-cloud"],
  );
  await assert.rejects(
    here.iam.send(new Iam.CreateAccountAliasCommand({ AccountAlias: "acme-cloud" })),
    failed("EntityAlreadyExistsException", 409),
  );
});
