/** IAM's roles: what somebody may become for a while, and who may. */
import { AwsError } from "../../aws/errors.ts";
import type * as Iam from "@aws-sdk/client-iam";
import { actionsOnBoundary, boundaryOf, shownBoundary } from "./boundaries.ts";
import { type Call, deleteConflict, invalid, type OnBus, overLimit, pageEnd } from "../call.ts";
import {
  actionsOnPolicies,
  checkDocument,
  demandNoPolicies,
  type HolderKind,
} from "./holder_policies.ts";
import { newRoleId } from "../ids.ts";
import {
  beginNamed,
  changeNamed,
  createNamed,
  deleteNamed,
  listNamed,
  requiredNamed,
  usualWords,
} from "./named.ts";
import { parsePolicy, policySize, policySizes } from "../policy/document.ts";
import { roleArn, type RoleRecord } from "../records.ts";
import { shownPolicy, trustedIds } from "../trusted_ids.ts";
import { actionsOnTags, shownTags, tagsOf } from "./tags.ts";

type Role = NonNullable<OnBus<Iam.GetRoleCommandOutput>["Role"]>;

export const roleKind: HolderKind<RoleRecord> = {
  title: "Role",
  plural: "Roles",
  word: "role",
  member: "roleName",
  nameMember: "RoleName",
  longestName: 64,
  perAccount: 1_000,
  inlineSize: policySizes.roleInline,
  table: (call) => call.state.roles,
  id: (role) => role.role_id,
  arnOf: roleArn,
  required: (call, action, name) => requiredNamed(call, roleKind, action, name),
  ...usualWords("Role"),
};
export const requiredRole = roleKind.required;

export const rolePolicies = actionsOnPolicies(roleKind);
export const roleBoundary = actionsOnBoundary(roleKind);
export const roleTags = actionsOnTags(
  roleKind,
  (input: OnBus<Iam.ListRoleTagsCommandInput>, call, action) =>
    requiredRole(call, action, input.RoleName),
);

export function shownRole({ state }: Pick<Call, "state">, role: RoleRecord): Role {
  return {
    Path: role.path,
    RoleName: role.name,
    RoleId: role.role_id,
    Arn: roleArn(role),
    CreateDate: role.created,
    AssumeRolePolicyDocument: encodeURIComponent(
      shownPolicy(state, { document: role.trust, trusted: role.trusted }),
    ),
    ...(role.description === undefined ? {} : { Description: role.description }),
    MaxSessionDuration: role.max_session_s,
    ...shownBoundary(role.boundary),
    ...shownTags(role.tags),
  };
}

/** As lists show it: without what each has a call of its own for. */
function listedRole(call: Call, role: RoleRecord): Role {
  const { Tags: _left, PermissionsBoundary: _too, ...rest } = shownRole(call, role);
  return rest;
}

const malformed = (message: string) => new AwsError("MalformedPolicyDocument", message);
const isOfSts = (part: object) => "text" in part && String(part.text).startsWith("sts:");

function checkTrust(document: unknown): asserts document is string {
  checkDocument(document, "assumeRolePolicyDocument");
  // Those of an earlier release may have what is refused here: they are read as they were meant.
  for (const { principals, actions } of parsePolicy(document, "trust").statements) {
    if (principals?.negated === true) {
      throw malformed("Has prohibited field NotPrincipal.");
    }
    if (!actions.every(({ parts: [first] }) => first !== undefined && isOfSts(first))) {
      throw malformed("AssumeRole policy may only specify STS AssumeRole actions.");
    }
  }
  if (policySize(document) > policySizes.trust) {
    throw overLimit(`Cannot exceed quota for ACLSizePerRole: ${policySizes.trust}`);
  }
}

function checkDescription(text: string | undefined): void {
  if (text !== undefined && (text.length > 1_000 || /[^\t\n\r\x20-\x7e\u00a1-\u00ff]/.test(text))) {
    throw invalid("The specified value for description is invalid.");
  }
}

function checkDuration(seconds: number | undefined): void {
  if (seconds === undefined) return;
  if (!Number.isInteger(seconds) || seconds < 3_600 || seconds > 43_200) {
    throw invalid("MaxSessionDuration must be from 3600 to 43200 seconds.");
  }
}

export async function createRole(
  input: OnBus<Iam.CreateRoleCommandInput>,
  call: Call,
): Promise<OnBus<Iam.CreateRoleCommandOutput>> {
  const begun = beginNamed(call, roleKind, input.RoleName, input.Path);
  const trust = input.AssumeRolePolicyDocument;
  checkTrust(trust);
  checkDescription(input.Description);
  checkDuration(input.MaxSessionDuration);
  const role: RoleRecord = {
    ...begun,
    role_id: newRoleId(),
    trust,
    ...await trustedIds(call.state, trust),
    ...(input.Description === undefined ? {} : { description: input.Description }),
    max_session_s: input.MaxSessionDuration ?? 3_600,
    attached: [],
    inline: {},
    tags: tagsOf(input.Tags),
    ...boundaryOf(call, input.PermissionsBoundary),
  };
  await createNamed(call, roleKind, role);
  return { Role: shownRole(call, role) };
}

export function getRole(
  input: OnBus<Iam.GetRoleCommandInput>,
  call: Call,
): OnBus<Iam.GetRoleCommandOutput> {
  return { Role: shownRole(call, requiredRole(call, "iam:GetRole", input.RoleName)) };
}

export function listRoles(
  input: OnBus<Iam.ListRolesCommandInput>,
  call: Call,
): OnBus<Iam.ListRolesCommandOutput> {
  const page = listNamed(call, roleKind, input);
  return { Roles: page.items.map((role) => listedRole(call, role)), ...pageEnd(page) };
}

export async function updateRole(
  input: OnBus<Iam.UpdateRoleCommandInput>,
  call: Call,
): Promise<Record<string, never>> {
  const role = requiredRole(call, "iam:UpdateRole", input.RoleName);
  const { Description: description, MaxSessionDuration: max_session_s } = input;
  checkDescription(description);
  checkDuration(max_session_s);
  await changeNamed(call, roleKind, role, (row) => ({
    ...row,
    ...(description === undefined ? {} : { description }),
    ...(max_session_s === undefined ? {} : { max_session_s }),
  }));
  return {};
}

export async function updateRoleDescription(
  input: OnBus<Iam.UpdateRoleDescriptionCommandInput>,
  call: Call,
): Promise<OnBus<Iam.UpdateRoleDescriptionCommandOutput>> {
  const role = requiredRole(call, "iam:UpdateRoleDescription", input.RoleName);
  const description = input.Description ?? "";
  checkDescription(description);
  await changeNamed(call, roleKind, role, (row) => ({ ...row, description }));
  return { Role: shownRole(call, { ...role, description }) };
}

export async function updateAssumeRolePolicy(
  input: OnBus<Iam.UpdateAssumeRolePolicyCommandInput>,
  call: Call,
): Promise<Record<string, never>> {
  const role = requiredRole(call, "iam:UpdateAssumeRolePolicy", input.RoleName);
  const trust = input.PolicyDocument;
  checkTrust(trust);
  const written = { trust, ...await trustedIds(call.state, trust) };
  await changeNamed(call, roleKind, role, (row) => ({ ...row, ...written }));
  return {};
}

export async function deleteRole(
  input: OnBus<Iam.DeleteRoleCommandInput>,
  call: Call,
): Promise<Record<string, never>> {
  const role = requiredRole(call, "iam:DeleteRole", input.RoleName);
  return await deleteNamed(call, roleKind, role, (now) => {
    const used = call.state.profiles.list(`${role.account_id}.`)
      .some((profile) => profile.value.role === role.role_id);
    if (used) {
      throw deleteConflict("Cannot delete entity, must remove roles from instance profile first.");
    }
    demandNoPolicies(now);
  });
}
