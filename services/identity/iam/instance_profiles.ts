/**
 * Instance profiles, through which an instance has a role. Each has one role at most, named by its id,
 * so that a role made again under an old name is not taken for the old one.
 */
import type * as Iam from "@aws-sdk/client-iam";
import { AwsError } from "../../aws/errors.ts";
import {
  type Call,
  checkName,
  deleteConflict,
  demand,
  noSuchEntity,
  type OnBus,
  overLimit,
  type Page,
  pageEnd,
} from "../call.ts";
import type {
  InstanceCredentials,
  InstanceCredentialsQuestion,
  InstanceProfile,
  InstanceProfileQuestion,
} from "../contract.ts";
import { newProfileId } from "../ids.ts";
import type { MasterKeys } from "../credentials/master_key.ts";
import { instanceProfileArn, type InstanceProfileRecord, nameKey, roleArn } from "../records.ts";
import {
  beginNamed,
  changeNamed,
  createNamed,
  deleteNamed,
  listNamed,
  type NamedKind,
  pageOfNamed,
  requiredNamed,
} from "./named.ts";
import { requiredRole, roleKind, shownRole } from "./roles.ts";
import { createSession } from "../credentials/sessions.ts";
import type { State } from "../state.ts";
import { actionsOnTags, shownTags, tagsOf } from "./tags.ts";
import { trustsService } from "../trust.ts";

/** How long an instance's credentials last; its metadata gives new ones well before. */
const instanceSession_s = 6 * 3_600;

const profileKind: NamedKind<InstanceProfileRecord> = {
  title: "InstanceProfile",
  plural: "InstanceProfiles",
  word: "instance-profile",
  member: "instanceProfileName",
  longestName: 128,
  perAccount: 1_000,
  table: (call) => call.state.profiles,
  id: (profile) => profile.profile_id,
  arnOf: instanceProfileArn,
  noSuch: (name) => noSuchEntity(`Instance Profile ${name} cannot be found.`),
  taken: (name) => `Instance Profile ${name} already exists.`,
};

const requiredProfile = (call: Call, action: string, name: string | undefined) =>
  requiredNamed(call, profileKind, action, name);

export const profileTags = actionsOnTags(
  profileKind,
  (input: OnBus<Iam.ListInstanceProfileTagsCommandInput>, call, action) =>
    requiredProfile(call, action, input.InstanceProfileName),
);

type Profile = NonNullable<OnBus<Iam.GetInstanceProfileCommandOutput>["InstanceProfile"]>;

function shown(state: State, profile: InstanceProfileRecord): Profile {
  const role = profile.role === undefined ? undefined : state.roleById(profile.role)?.value;
  return {
    Path: profile.path,
    InstanceProfileName: profile.name,
    InstanceProfileId: profile.profile_id,
    Arn: instanceProfileArn(profile),
    CreateDate: profile.created,
    Roles: role === undefined ? [] : [shownRole({ state }, role)],
    ...shownTags(profile.tags),
  };
}

export async function createInstanceProfile(
  input: OnBus<Iam.CreateInstanceProfileCommandInput>,
  call: Call,
): Promise<OnBus<Iam.CreateInstanceProfileCommandOutput>> {
  const profile: InstanceProfileRecord = {
    ...beginNamed(call, profileKind, input.InstanceProfileName, input.Path),
    profile_id: newProfileId(),
    tags: tagsOf(input.Tags),
  };
  await createNamed(call, profileKind, profile);
  return { InstanceProfile: shown(call.state, profile) };
}

export function getInstanceProfile(
  input: OnBus<Iam.GetInstanceProfileCommandInput>,
  call: Call,
): OnBus<Iam.GetInstanceProfileCommandOutput> {
  const profile = requiredProfile(call, "iam:GetInstanceProfile", input.InstanceProfileName);
  return { InstanceProfile: shown(call.state, profile) };
}

function listed(
  call: Call,
  page: Page<InstanceProfileRecord>,
): OnBus<Iam.ListInstanceProfilesCommandOutput> {
  return {
    InstanceProfiles: page.items.map((profile) => {
      const { Tags: _left, ...rest } = shown(call.state, profile);
      return rest;
    }),
    ...pageEnd(page),
  };
}

export function listInstanceProfiles(
  input: OnBus<Iam.ListInstanceProfilesCommandInput>,
  call: Call,
): OnBus<Iam.ListInstanceProfilesCommandOutput> {
  return listed(call, listNamed(call, profileKind, input));
}

export function listInstanceProfilesForRole(
  input: OnBus<Iam.ListInstanceProfilesForRoleCommandInput>,
  call: Call,
): OnBus<Iam.ListInstanceProfilesForRoleCommandOutput> {
  const role = requiredRole(call, "iam:ListInstanceProfilesForRole", input.RoleName);
  const ofRole = (profile: InstanceProfileRecord) => profile.role === role.role_id;
  return listed(call, pageOfNamed(call, profileKind, ofRole, input));
}

/** Whoever gives a role to instances must be allowed to pass it on. */
export async function addRoleToInstanceProfile(
  input: OnBus<Iam.AddRoleToInstanceProfileCommandInput>,
  call: Call,
): Promise<Record<string, never>> {
  const action = "iam:AddRoleToInstanceProfile";
  const profile = requiredProfile(call, action, input.InstanceProfileName);
  checkName(input.RoleName, "roleName", 64);
  const role = call.state.role(profile.account_id, input.RoleName)?.value;
  if (role === undefined) throw roleKind.noSuch(input.RoleName);
  demand(call, "iam:PassRole", roleArn(role));
  await changeNamed(call, profileKind, profile, (row) => {
    if (row.role !== undefined) {
      throw overLimit("Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1");
    }
    return { ...row, role: role.role_id };
  });
  return {};
}

export async function removeRoleFromInstanceProfile(
  input: OnBus<Iam.RemoveRoleFromInstanceProfileCommandInput>,
  call: Call,
): Promise<Record<string, never>> {
  const action = "iam:RemoveRoleFromInstanceProfile";
  const profile = requiredProfile(call, action, input.InstanceProfileName);
  checkName(input.RoleName, "roleName", 64);
  const role = call.state.role(profile.account_id, input.RoleName)?.value;
  await changeNamed(call, profileKind, profile, (row) => {
    if (role === undefined || row.role !== role.role_id) {
      throw noSuchEntity(`The role ${input.RoleName} is not in the instance profile.`);
    }
    const { role: _gone, ...rest } = row;
    return rest;
  });
  return {};
}

export async function deleteInstanceProfile(
  input: OnBus<Iam.DeleteInstanceProfileCommandInput>,
  call: Call,
): Promise<Record<string, never>> {
  const action = "iam:DeleteInstanceProfile";
  const profile = requiredProfile(call, action, input.InstanceProfileName);
  return await deleteNamed(call, profileKind, profile, (now) => {
    if (now.role !== undefined) {
      throw deleteConflict("Cannot delete entity, must remove roles from instance profile first.");
    }
  });
}

/** What compute asks before it gives an instance a profile: by ARN or by name, in its own account. */
export function findInstanceProfile(
  state: State,
  question: InstanceProfileQuestion,
): InstanceProfile {
  const { account_id, name, arn } = question;
  const called = name ?? arn?.slice(arn.lastIndexOf("/") + 1) ?? "";
  const profile = state.profiles.get(nameKey(account_id, called))?.value;
  const [member, value] = name === undefined ? ["Arn", arn] : ["Name", name];
  if (profile === undefined || (arn !== undefined && instanceProfileArn(profile) !== arn)) {
    throw new AwsError(
      "InvalidParameterValue",
      `Value (${
        value ?? ""
      }) for parameter iamInstanceProfile.${member?.toLowerCase()} is invalid. Invalid IAM Instance Profile ${
        member === "Arn" ? "ARN" : "name"
      }`,
    );
  }
  const role = profile.role === undefined ? undefined : state.roleById(profile.role)?.value;
  return {
    arn: instanceProfileArn(profile),
    id: profile.profile_id,
    ...(role === undefined ? {} : { role_arn: roleArn(role) }),
  };
}

/** Credentials of the role of an instance's profile, as the contract says. */
export async function instanceCredentialsOf(
  state: State,
  masterKeys: MasterKeys,
  question: InstanceCredentialsQuestion,
): Promise<InstanceCredentials | { readonly unchanged: true } | null> {
  const { account_id, profile_id, instance_id, current } = question;
  const profile = state.profiles.list(`${account_id}.`)
    .find((row) => row.value.profile_id === profile_id)?.value;
  const role = profile?.role === undefined ? undefined : state.roleById(profile.role)?.value;
  if (role === undefined || !trustsService(role, "ec2.amazonaws.com")) return null;
  const has = current === undefined ? undefined : state.sessions.get(current)?.value;
  const fresh_ms = Date.now() + instanceSession_s * 500;
  if (has?.owner === role.role_id && has.name === instance_id && has.expires_ms > fresh_ms) {
    return { unchanged: true };
  }
  const issued = await createSession(state, masterKeys, {
    account_id: role.account_id,
    kind: "role",
    owner: role.role_id,
    name: instance_id,
    duration_s: instanceSession_s,
  }, Infinity);
  return {
    role_name: role.name,
    access_key_id: issued.AccessKeyId ?? "",
    secret_access_key: issued.SecretAccessKey ?? "",
    token: issued.SessionToken ?? "",
    expiration: issued.Expiration ?? "",
  };
}
