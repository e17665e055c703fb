/** What users, groups, roles and policies show of themselves: policies, tags, boundaries, lists in pages. */
import assert from "node:assert/strict";
import * as Iam from "@aws-sdk/client-iam";
import { allow, cloud, deny, document, failed, trust } from "../kit/iam_cloud.ts";

const readOnly = "arn:aws:iam::aws:policy/AmazonEC2ReadOnlyAccess";
const tags = [{ Key: "team", Value: "blue" }, { Key: "cost", Value: "1" }];

Deno.test("inline and attached policies of users, groups and roles are listed, read, and gone when removed", async () => {
  await using here = await cloud();
  const { iam } = here;
  const own = { PolicyName: "own", PolicyDocument: document(allow("s3:*")) };
  const decoded = (text: string | undefined) => decodeURIComponent(text ?? "");

  const UserName = "ada";
  await iam.send(new Iam.CreateUserCommand({ UserName }));
  await iam.send(new Iam.PutUserPolicyCommand({ UserName, ...own }));
  await iam.send(new Iam.AttachUserPolicyCommand({ UserName, PolicyArn: readOnly }));
  assert.deepEqual((await iam.send(new Iam.ListUserPoliciesCommand({ UserName }))).PolicyNames, [
    "own",
  ]);
  const ofUser = await iam.send(new Iam.ListAttachedUserPoliciesCommand({ UserName }));
  assert.deepEqual(ofUser.AttachedPolicies?.map((one) => one.PolicyArn), [readOnly]);

  const GroupName = "builders";
  await iam.send(new Iam.CreateGroupCommand({ GroupName }));
  await iam.send(new Iam.PutGroupPolicyCommand({ GroupName, ...own }));
  await iam.send(new Iam.AttachGroupPolicyCommand({ GroupName, PolicyArn: readOnly }));
  const group = await iam.send(new Iam.GetGroupPolicyCommand({ GroupName, PolicyName: "own" }));
  assert.equal(decoded(group.PolicyDocument), own.PolicyDocument);
  assert.deepEqual((await iam.send(new Iam.ListGroupPoliciesCommand({ GroupName }))).PolicyNames, [
    "own",
  ]);
  const ofGroup = await iam.send(new Iam.ListAttachedGroupPoliciesCommand({ GroupName }));
  assert.deepEqual(ofGroup.AttachedPolicies?.map((one) => one.PolicyName), [
    "AmazonEC2ReadOnlyAccess",
  ]);
  await iam.send(new Iam.DetachGroupPolicyCommand({ GroupName, PolicyArn: readOnly }));
  await assert.rejects(
    iam.send(new Iam.DetachGroupPolicyCommand({ GroupName, PolicyArn: readOnly })),
    failed("NoSuchEntityException", 404),
  );
  const groups = await iam.send(new Iam.ListGroupsCommand({}));
  assert.deepEqual(groups.Groups?.map((one) => one.GroupName), [GroupName]);

  const RoleName = "app";
  await iam.send(
    new Iam.CreateRoleCommand({
      RoleName,
      AssumeRolePolicyDocument: trust({ Service: "ec2.amazonaws.com" }),
    }),
  );
  await iam.send(new Iam.PutRolePolicyCommand({ RoleName, ...own }));
  await iam.send(new Iam.AttachRolePolicyCommand({ RoleName, PolicyArn: readOnly }));
  const role = await iam.send(new Iam.GetRolePolicyCommand({ RoleName, PolicyName: "own" }));
  assert.equal(decoded(role.PolicyDocument), own.PolicyDocument);
  assert.deepEqual((await iam.send(new Iam.ListRolePoliciesCommand({ RoleName }))).PolicyNames, [
    "own",
  ]);
  const ofRole = await iam.send(new Iam.ListAttachedRolePoliciesCommand({ RoleName }));
  assert.equal(ofRole.AttachedPolicies?.length, 1);
  await assert.rejects(
    iam.send(new Iam.DeleteRoleCommand({ RoleName })),
    failed("DeleteConflictException", 409),
  );
  await iam.send(new Iam.DetachRolePolicyCommand({ RoleName, PolicyArn: readOnly }));
  await iam.send(new Iam.DeleteRolePolicyCommand({ RoleName, PolicyName: "own" }));

  await iam.send(
    new Iam.PutRolePermissionsBoundaryCommand({ RoleName, PermissionsBoundary: readOnly }),
  );
  await iam.send(
    new Iam.UpdateRoleCommand({ RoleName, Description: "runs", MaxSessionDuration: 7200 }),
  );
  const shown = (await iam.send(new Iam.GetRoleCommand({ RoleName }))).Role;
  assert.deepEqual(
    [shown?.PermissionsBoundary?.PermissionsBoundaryArn, shown?.Description],
    [readOnly, "runs"],
  );
  assert.equal(shown?.MaxSessionDuration, 7200);
  await iam.send(new Iam.DeleteRolePermissionsBoundaryCommand({ RoleName }));
  const described = await iam.send(
    new Iam.UpdateRoleDescriptionCommand({ RoleName, Description: "walks" }),
  );
  assert.equal(described.Role?.Description, "walks");
  assert.equal(described.Role?.PermissionsBoundary, undefined);

  const custom = await iam.send(
    new Iam.SimulateCustomPolicyCommand({
      PolicyInputList: [document(allow("s3:*"), deny("s3:DeleteObject"))],
      ActionNames: ["s3:GetObject", "s3:DeleteObject", "ec2:RunInstances"],
    }),
  );
  assert.deepEqual(custom.EvaluationResults?.map((one) => one.EvalDecision), [
    "allowed",
    "explicitDeny",
    "implicitDeny",
  ]);
  const { SummaryMap } = await iam.send(new Iam.GetAccountSummaryCommand({}));
  assert.deepEqual([SummaryMap?.["Users"], SummaryMap?.["Groups"], SummaryMap?.["Roles"]], [
    2,
    1,
    1,
  ]);
});

Deno.test("everything that has tags shows, replaces and loses them; lists come in pages that fit together", async () => {
  await using here = await cloud();
  const { iam } = here;
  const UserName = "ada";
  await iam.send(new Iam.CreateUserCommand({ UserName }));
  await iam.send(new Iam.TagUserCommand({ UserName, Tags: tags }));
  assert.equal((await iam.send(new Iam.ListUserTagsCommand({ UserName }))).Tags?.length, 2);
  await iam.send(new Iam.UntagUserCommand({ UserName, TagKeys: ["COST"] }));
  assert.deepEqual((await iam.send(new Iam.ListUserTagsCommand({ UserName }))).Tags, [tags[0]]);

  for (const RoleName of ["r1", "r2", "r3"]) {
    await iam.send(
      new Iam.CreateRoleCommand({
        RoleName,
        AssumeRolePolicyDocument: trust({ AWS: here.account }),
        Tags: tags,
      }),
    );
    await iam.send(new Iam.CreateInstanceProfileCommand({ InstanceProfileName: RoleName }));
  }
  await iam.send(new Iam.UntagRoleCommand({ RoleName: "r1", TagKeys: ["team"] }));
  const roles: string[] = [];
  let Marker: string | undefined;
  do {
    const page: Iam.ListRolesCommandOutput = await iam.send(
      new Iam.ListRolesCommand({ MaxItems: 2, ...(Marker === undefined ? {} : { Marker }) }),
    );
    roles.push(...(page.Roles ?? []).map((one) => one.RoleName ?? ""));
    Marker = page.Marker;
  } while (Marker !== undefined);
  assert.deepEqual(roles, ["r1", "r2", "r3"]);
  const profiles = await iam.send(new Iam.ListInstanceProfilesCommand({}));
  assert.equal(profiles.InstanceProfiles?.length, 3);
  const InstanceProfileName = "r1";
  await iam.send(new Iam.TagInstanceProfileCommand({ InstanceProfileName, Tags: tags }));
  await iam.send(
    new Iam.UntagInstanceProfileCommand({ InstanceProfileName, TagKeys: ["team"] }),
  );
  assert.deepEqual(
    (await iam.send(new Iam.ListInstanceProfileTagsCommand({ InstanceProfileName }))).Tags,
    [tags[1]],
  );

  const { Policy } = await iam.send(
    new Iam.CreatePolicyCommand({ PolicyName: "p", PolicyDocument: document(allow("s3:*")) }),
  );
  const PolicyArn = Policy?.Arn ?? "";
  await iam.send(new Iam.TagPolicyCommand({ PolicyArn, Tags: tags }));
  await iam.send(new Iam.UntagPolicyCommand({ PolicyArn, TagKeys: ["cost"] }));
  assert.deepEqual((await iam.send(new Iam.ListPolicyTagsCommand({ PolicyArn }))).Tags, [tags[0]]);
  await iam.send(
    new Iam.CreatePolicyVersionCommand({ PolicyArn, PolicyDocument: document(allow("ec2:*")) }),
  );
  const versions = await iam.send(new Iam.ListPolicyVersionsCommand({ PolicyArn }));
  assert.deepEqual(
    versions.Versions?.map((one) => [one.VersionId, one.IsDefaultVersion]),
    [["v2", false], ["v1", true]],
  );
  await iam.send(new Iam.CreateAccountAliasCommand({ AccountAlias: "blue-cloud" }));
  await iam.send(new Iam.DeleteAccountAliasCommand({ AccountAlias: "blue-cloud" }));
  assert.deepEqual((await iam.send(new Iam.ListAccountAliasesCommand({}))).AccountAliases, []);
});
