/** Policies that the customer manages, with their versions. */
import type * as Iam from "@aws-sdk/client-iam";
import {
  type Call,
  deleteConflict,
  demand,
  invalid,
  noSuchEntity,
  type OnBus,
  overLimit,
  pageEnd,
  pageOf,
  prefixOf,
} from "../call.ts";
import { checkDocument, checkPolicyArn } from "./holder_policies.ts";
import { newPolicyId, now } from "../ids.ts";
import { awsPolicies, customerPolicy } from "./managed_policies.ts";
import { beginNamed, changeNamed, createNamed, deleteNamed, type NamedKind } from "./named.ts";
import { parsePolicy, policySize, policySizes } from "../policy/document.ts";
import { type ManagedPolicyRecord, nameKey, policyArn, type PolicyHolder } from "../records.ts";
import { actionsOnTags, shownTags, tagsOf } from "./tags.ts";

const versionsPerPolicy = 5;

const noSuchPolicy = (arn: string) =>
  noSuchEntity(`Policy ${arn} does not exist or is not attachable.`);

/** The customer's own policy of that ARN, permission asked. */
function requiredPolicy(
  call: Call,
  action: string,
  arn: string | undefined,
): ManagedPolicyRecord {
  checkPolicyArn(arn);
  demand(call, action, arn);
  const policy = customerPolicy(call.state, arn);
  if (policy === undefined || policy.account_id !== call.caller.account_id) {
    throw noSuchPolicy(arn);
  }
  return policy;
}

const policyKind: NamedKind<ManagedPolicyRecord> = {
  title: "Policy",
  plural: "Policies",
  word: "policy",
  member: "policyName",
  longestName: 128,
  perAccount: 1_500,
  table: (call) => call.state.policies,
  id: (policy) => policy.policy_id,
  arnOf: policyArn,
  noSuch: noSuchPolicy,
  taken: (name) => `A policy called ${name} already exists. Duplicate names are not allowed.`,
};

export const policyTags = actionsOnTags(
  policyKind,
  (input: OnBus<Iam.ListPolicyTagsCommandInput>, call, action) =>
    requiredPolicy(call, action, input.PolicyArn),
);

interface Attachments {
  readonly users: readonly PolicyHolder[];
  readonly groups: readonly PolicyHolder[];
  readonly roles: readonly PolicyHolder[];
  /** How many it bounds. */
  readonly boundaries: number;
}

/** Who has the policy attached, in the caller's account. */
function attachmentsOf(call: Call, arn: string): Attachments {
  const prefix = `${call.caller.account_id}.`;
  const has = (row: { readonly value: PolicyHolder }) => row.value.attached.includes(arn);
  const users = call.state.users.list(prefix);
  const roles = call.state.roles.list(prefix);
  return {
    users: users.filter(has).map((row) => row.value),
    groups: call.state.groups.list(prefix).filter(has).map((row) => row.value),
    roles: roles.filter(has).map((row) => row.value),
    boundaries: [...users, ...roles].filter((row) => row.value.boundary === arn).length,
  };
}

const countOf = ({ users, groups, roles }: Attachments) =>
  users.length + groups.length + roles.length;

type Policy = NonNullable<OnBus<Iam.GetPolicyCommandOutput>["Policy"]>;

function shown(call: Call, policy: ManagedPolicyRecord): Policy {
  const arn = policyArn(policy);
  const attachments = attachmentsOf(call, arn);
  return {
    PolicyName: policy.name,
    PolicyId: policy.policy_id,
    Arn: arn,
    Path: policy.path,
    DefaultVersionId: policy.default_version,
    AttachmentCount: countOf(attachments),
    PermissionsBoundaryUsageCount: attachments.boundaries,
    IsAttachable: true,
    ...(policy.description === undefined ? {} : { Description: policy.description }),
    CreateDate: policy.created,
    UpdateDate: policy.updated,
    ...shownTags(policy.tags),
  };
}

/** Of a policy that AWS manages: its id follows from its ARN. */
function shownAws(call: Call, arn: string): Policy {
  const attachments = attachmentsOf(call, arn);
  const name = arn.slice(arn.lastIndexOf("/") + 1);
  return {
    PolicyName: name,
    PolicyId: `ANPA${name.toUpperCase().replaceAll(/[^A-Z2-7]/g, "").slice(0, 17).padEnd(17, "A")}`,
    Arn: arn,
    Path: "/",
    DefaultVersionId: "v1",
    AttachmentCount: countOf(attachments),
    PermissionsBoundaryUsageCount: attachments.boundaries,
    IsAttachable: true,
    CreateDate: awsCreated,
    UpdateDate: awsCreated,
  };
}

const awsCreated = "2015-02-06T18:40:00Z";

function checkPolicyDocument(document: unknown): asserts document is string {
  checkDocument(document, "policyDocument");
  parsePolicy(document);
  if (policySize(document) > policySizes.managed) {
    throw overLimit(`Cannot exceed quota for PolicySize: ${policySizes.managed}`);
  }
}

export async function createPolicy(
  input: OnBus<Iam.CreatePolicyCommandInput>,
  call: Call,
): Promise<OnBus<Iam.CreatePolicyCommandOutput>> {
  const begun = beginNamed(call, policyKind, input.PolicyName, input.Path);
  const document = input.PolicyDocument;
  checkPolicyDocument(document);
  if ((input.Description ?? "").length > 1_000) {
    throw invalid("The specified value for description is invalid.");
  }
  const { created } = begun;
  const policy: ManagedPolicyRecord = {
    ...begun,
    policy_id: newPolicyId(),
    ...(input.Description === undefined ? {} : { description: input.Description }),
    updated: created,
    versions: [{ id: "v1", document, created }],
    default_version: "v1",
    tags: tagsOf(input.Tags),
  };
  await createNamed(call, policyKind, policy);
  return { Policy: shown(call, policy) };
}

export function getPolicy(
  input: OnBus<Iam.GetPolicyCommandInput>,
  call: Call,
): OnBus<Iam.GetPolicyCommandOutput> {
  const arn = input.PolicyArn;
  checkPolicyArn(arn);
  if (awsPolicies.has(arn)) {
    demand(call, "iam:GetPolicy", arn);
    return { Policy: shownAws(call, arn) };
  }
  return { Policy: shown(call, requiredPolicy(call, "iam:GetPolicy", arn)) };
}

export function listPolicies(
  input: OnBus<Iam.ListPoliciesCommandInput>,
  call: Call,
): OnBus<Iam.ListPoliciesCommandOutput> {
  const { account_id } = call.caller;
  const prefix = prefixOf(input.PathPrefix);
  demand(call, "iam:ListPolicies", `arn:aws:iam::${account_id}:policy${prefix}`);
  const scope = input.Scope ?? "All";
  const usage = input.PolicyUsageFilter;
  const aws = scope === "Local" || prefix !== "/" ? [] : [...awsPolicies.keys()]
    .map((arn) => shownAws(call, arn));
  const own = scope === "AWS" ? [] : call.state.policies.list(`${account_id}.`)
    .filter((row) => row.value.path.startsWith(prefix))
    .map((row) => shown(call, row.value));
  const wanted = [...aws, ...own].filter((policy) => {
    const { AttachmentCount: attached = 0, PermissionsBoundaryUsageCount: bounds = 0 } = policy;
    if (input.OnlyAttached === true && attached === 0) return false;
    if (usage === "PermissionsPolicy" && attached === 0) return false;
    return usage !== "PermissionsBoundary" || bounds > 0;
  }).sort((a, b) => (a.Arn ?? "") < (b.Arn ?? "") ? -1 : 1);
  const page = pageOf(wanted, (policy) => policy.Arn ?? "", input);
  return {
    Policies: page.items.map(({ Tags: _left, Description: _too, ...rest }) => rest),
    ...pageEnd(page),
  };
}

const shownVersion = (policy: ManagedPolicyRecord, id: string, withDocument: boolean) => {
  const version = policy.versions.find((one) => one.id === id);
  if (version === undefined) {
    throw noSuchEntity(`Policy ${policyArn(policy)} version ${id} does not exist.`);
  }
  return {
    VersionId: version.id,
    IsDefaultVersion: version.id === policy.default_version,
    CreateDate: version.created,
    ...(withDocument ? { Document: encodeURIComponent(version.document) } : {}),
  };
};

export async function createPolicyVersion(
  input: OnBus<Iam.CreatePolicyVersionCommandInput>,
  call: Call,
): Promise<OnBus<Iam.CreatePolicyVersionCommandOutput>> {
  const policy = requiredPolicy(call, "iam:CreatePolicyVersion", input.PolicyArn);
  const document = input.PolicyDocument;
  checkPolicyDocument(document);
  const made = now();
  const changed = await changeNamed(call, policyKind, policy, (row) => {
    if (row.versions.length >= versionsPerPolicy) {
      throw overLimit(
        `A managed policy can have up to ${versionsPerPolicy} versions. Before you create a new version, you must delete an existing version.`,
      );
    }
    // Numbers only grow: the newest that is left may not be the newest that was.
    const next = Math.max(
      row.next_version ?? 0,
      1 + Math.max(...row.versions.map((one) => Number(one.id.slice(1)))),
    );
    const id = `v${next}`;
    return {
      ...row,
      updated: made,
      next_version: next + 1,
      versions: [...row.versions, { id, document, created: made }],
      ...(input.SetAsDefault === true ? { default_version: id } : {}),
    };
  });
  return { PolicyVersion: shownVersion(changed, changed.versions.at(-1)?.id ?? "", false) };
}

export function getPolicyVersion(
  input: OnBus<Iam.GetPolicyVersionCommandInput>,
  call: Call,
): OnBus<Iam.GetPolicyVersionCommandOutput> {
  const arn = input.PolicyArn;
  checkPolicyArn(arn);
  const known = awsPolicies.get(arn);
  if (known !== undefined) {
    demand(call, "iam:GetPolicyVersion", arn);
    if (input.VersionId !== "v1") throw noSuchEntity(`Policy ${arn} version does not exist.`);
    return {
      PolicyVersion: {
        VersionId: "v1",
        IsDefaultVersion: true,
        CreateDate: awsCreated,
        Document: encodeURIComponent(known.document),
      },
    };
  }
  const policy = requiredPolicy(call, "iam:GetPolicyVersion", arn);
  return { PolicyVersion: shownVersion(policy, input.VersionId ?? "", true) };
}

export function listPolicyVersions(
  input: OnBus<Iam.ListPolicyVersionsCommandInput>,
  call: Call,
): OnBus<Iam.ListPolicyVersionsCommandOutput> {
  const arn = input.PolicyArn;
  checkPolicyArn(arn);
  if (awsPolicies.has(arn)) {
    demand(call, "iam:ListPolicyVersions", arn);
    const version = { VersionId: "v1", IsDefaultVersion: true, CreateDate: awsCreated };
    return { Versions: [version], IsTruncated: false };
  }
  const policy = requiredPolicy(call, "iam:ListPolicyVersions", arn);
  const page = pageOf(
    [...policy.versions].reverse(),
    (one) => String(99_999 - Number(one.id.slice(1))).padStart(5, "0"),
    input,
  );
  return {
    Versions: page.items.map((one) => shownVersion(policy, one.id, false)),
    ...pageEnd(page),
  };
}

export async function setDefaultPolicyVersion(
  input: OnBus<Iam.SetDefaultPolicyVersionCommandInput>,
  call: Call,
): Promise<Record<string, never>> {
  const policy = requiredPolicy(call, "iam:SetDefaultPolicyVersion", input.PolicyArn);
  await changeNamed(call, policyKind, policy, (row) => {
    const { VersionId: id } = shownVersion(row, input.VersionId ?? "", false);
    return { ...row, default_version: id, updated: now() };
  });
  return {};
}

export async function deletePolicyVersion(
  input: OnBus<Iam.DeletePolicyVersionCommandInput>,
  call: Call,
): Promise<Record<string, never>> {
  const policy = requiredPolicy(call, "iam:DeletePolicyVersion", input.PolicyArn);
  await changeNamed(call, policyKind, policy, (row) => {
    const { VersionId: id, IsDefaultVersion: current } = shownVersion(
      row,
      input.VersionId ?? "",
      false,
    );
    if (current) throw deleteConflict("Cannot delete the default version of a policy.");
    return { ...row, updated: now(), versions: row.versions.filter((one) => one.id !== id) };
  });
  return {};
}

export async function deletePolicy(
  input: OnBus<Iam.DeletePolicyCommandInput>,
  call: Call,
): Promise<Record<string, never>> {
  const policy = requiredPolicy(call, "iam:DeletePolicy", input.PolicyArn);
  return await deleteNamed(call, policyKind, policy, (now) => {
    const attachments = attachmentsOf(call, policyArn(policy));
    if (countOf(attachments) + attachments.boundaries > 0) {
      throw deleteConflict("Cannot delete a policy attached to entities.");
    }
    if (now.versions.length > 1) {
      throw deleteConflict("This policy has more than one version. Delete the others first.");
    }
  });
}

export function listEntitiesForPolicy(
  input: OnBus<Iam.ListEntitiesForPolicyCommandInput>,
  call: Call,
): OnBus<Iam.ListEntitiesForPolicyCommandOutput> {
  const arn = input.PolicyArn;
  checkPolicyArn(arn);
  demand(call, "iam:ListEntitiesForPolicy", arn);
  if (!awsPolicies.has(arn) && customerPolicy(call.state, arn) === undefined) {
    throw noSuchPolicy(arn);
  }
  const { users, groups, roles } = attachmentsOf(call, arn);
  const prefix = prefixOf(input.PathPrefix);
  type Entity = readonly ["User" | "Group" | "Role", PolicyHolder];
  const all: Entity[] = [
    ...groups.map((one): Entity => ["Group", one]),
    ...roles.map((one): Entity => ["Role", one]),
    ...users.map((one): Entity => ["User", one]),
  ];
  const wanted = all.filter(([kind, one]) =>
    one.path.startsWith(prefix) &&
    (input.EntityFilter === undefined || input.EntityFilter === kind)
  );
  const order = ([kind, one]: Entity) => `${kind}/${nameKey("", one.name)}`;
  const page = pageOf(wanted.sort((a, b) => order(a) < order(b) ? -1 : 1), order, input);
  const of = (kind: Entity[0]) => page.items.filter(([one]) => one === kind).map(([, one]) => one);
  return {
    PolicyGroups: of("Group").map((one) => ({ GroupName: one.name })),
    PolicyRoles: of("Role").map((one) => ({ RoleName: one.name })),
    PolicyUsers: of("User").map((one) => ({ UserName: one.name })),
    ...pageEnd(page),
  };
}
