/**
 * IAM's groups. Who is in one stands in the user's row, so that a user's groups change by one
 * compare-and-set and its quota holds; a group's members are those whose rows name it.
 */
import type * as Iam from "@aws-sdk/client-iam";
import { Conflict } from "../../state/table.ts";
import {
  alreadyExists,
  type Call,
  checkName,
  deleteConflict,
  noSuchEntity,
  type OnBus,
  overLimit,
  pageEnd,
  pageOf,
  requiredUser,
} from "../call.ts";
import { actionsOnPolicies, demandNoPolicies, type HolderKind } from "./holder_policies.ts";
import { newGroupId } from "../ids.ts";
import {
  beginNamed,
  changeNamed,
  createNamed,
  deleteNamed,
  listNamed,
  newNameAndPath,
  requiredNamed,
  usualWords,
} from "./named.ts";
import { policySizes } from "../policy/document.ts";
import { groupArn, type GroupRecord, nameKey, type UserRecord } from "../records.ts";
import { listedUser, userKind } from "./users.ts";

const groupsPerUser = 10;

const groupKind: HolderKind<GroupRecord> = {
  title: "Group",
  plural: "Groups",
  word: "group",
  member: "groupName",
  nameMember: "GroupName",
  longestName: 128,
  perAccount: 300,
  inlineSize: policySizes.groupInline,
  table: (call) => call.state.groups,
  id: (group) => group.group_id,
  arnOf: groupArn,
  required: (call, action, name) => requiredNamed(call, groupKind, action, name),
  ...usualWords("Group"),
};
const requiredGroup = groupKind.required;

export const groupPolicies = actionsOnPolicies(groupKind);

const shown = (group: GroupRecord) => ({
  Path: group.path,
  GroupName: group.name,
  GroupId: group.group_id,
  Arn: groupArn(group),
  CreateDate: group.created,
});

function membersOf(call: Call, group: GroupRecord): UserRecord[] {
  return call.state.users.list(`${group.account_id}.`)
    .map((row) => row.value)
    .filter((user) => user.groups?.includes(group.group_id) === true);
}

export async function createGroup(
  input: OnBus<Iam.CreateGroupCommandInput>,
  call: Call,
): Promise<OnBus<Iam.CreateGroupCommandOutput>> {
  const group: GroupRecord = {
    ...beginNamed(call, groupKind, input.GroupName, input.Path),
    group_id: newGroupId(),
    attached: [],
    inline: {},
  };
  await createNamed(call, groupKind, group);
  return { Group: shown(group) };
}

export function getGroup(
  input: OnBus<Iam.GetGroupCommandInput>,
  call: Call,
): OnBus<Iam.GetGroupCommandOutput> {
  const group = requiredGroup(call, "iam:GetGroup", input.GroupName);
  const page = pageOf(membersOf(call, group), (user) => nameKey("", user.name), input);
  return { Group: shown(group), Users: page.items.map(listedUser), ...pageEnd(page) };
}

export function listGroups(
  input: OnBus<Iam.ListGroupsCommandInput>,
  call: Call,
): OnBus<Iam.ListGroupsCommandOutput> {
  const page = listNamed(call, groupKind, input);
  return { Groups: page.items.map(shown), ...pageEnd(page) };
}

export function listGroupsForUser(
  input: OnBus<Iam.ListGroupsForUserCommandInput>,
  call: Call,
): OnBus<Iam.ListGroupsForUserCommandOutput> {
  const user = requiredUser(call, "iam:ListGroupsForUser", input.UserName);
  const groups = (user.groups ?? []).flatMap((id) => call.state.groupById(id)?.value ?? [])
    .sort((a, b) => a.name < b.name ? -1 : 1);
  const page = pageOf(groups, (group) => group.name, input);
  return { Groups: page.items.map(shown), ...pageEnd(page) };
}

async function changeUser(
  call: Call,
  user: UserRecord,
  change: (groups: readonly string[]) => readonly string[],
): Promise<Record<string, never>> {
  await changeNamed(call, userKind, user, (row) => ({
    ...row,
    groups: change(row.groups ?? []),
  }));
  return {};
}

/** Permission is asked on the group, as on AWS. */
function bothOf(
  input: { readonly GroupName?: string | undefined; readonly UserName?: string | undefined },
  call: Call,
  action: string,
): { readonly group: GroupRecord; readonly user: UserRecord } {
  const group = requiredGroup(call, action, input.GroupName);
  checkName(input.UserName, "userName", 128);
  const user = call.state.user(group.account_id, input.UserName)?.value;
  if (user === undefined) throw userKind.noSuch(input.UserName);
  return { group, user };
}

export async function addUserToGroup(
  input: OnBus<Iam.AddUserToGroupCommandInput>,
  call: Call,
): Promise<Record<string, never>> {
  const { group, user } = bothOf(input, call, "iam:AddUserToGroup");
  await changeUser(call, user, (groups) => {
    if (groups.includes(group.group_id)) return groups;
    if (groups.length >= groupsPerUser) {
      throw overLimit(`Cannot exceed quota for GroupsPerUser: ${groupsPerUser}`);
    }
    return [...groups, group.group_id];
  });
  // A group deleted in the same moment keeps no member: an unknown group would deny everything.
  const still = await call.state.groups.read(nameKey(group.account_id, group.name));
  if (still?.value.group_id === group.group_id) return {};
  await changeUser(call, user, (groups) => groups.filter((id) => id !== group.group_id));
  throw groupKind.noSuch(group.name);
}

export async function removeUserFromGroup(
  input: OnBus<Iam.RemoveUserFromGroupCommandInput>,
  call: Call,
): Promise<Record<string, never>> {
  const { group, user } = bothOf(input, call, "iam:RemoveUserFromGroup");
  return await changeUser(call, user, (groups) => {
    if (!groups.includes(group.group_id)) {
      throw noSuchEntity(`User ${user.name} is not in group ${group.name}.`);
    }
    return groups.filter((id) => id !== group.group_id);
  });
}

/** Members are known by the group's id, so a new name or path is the group's own affair. */
export async function updateGroup(
  input: OnBus<Iam.UpdateGroupCommandInput>,
  call: Call,
): Promise<Record<string, never>> {
  const group = requiredGroup(call, "iam:UpdateGroup", input.GroupName);
  const { name, path } = newNameAndPath(call, groupKind, group, input.NewGroupName, input.NewPath);
  const { account_id } = group;
  const [oldKey, newKey] = [nameKey(account_id, group.name), nameKey(account_id, name)];
  const { groups } = call.state;
  if (oldKey === newKey) {
    await changeNamed(call, groupKind, group, (row) => ({ ...row, name, path }));
    return {};
  }
  const row = await groups.read(oldKey);
  if (row?.value.group_id !== group.group_id) throw groupKind.noSuch(group.name);
  try {
    await groups.create(newKey, { ...row.value, name, path });
  } catch (error) {
    if (!(error instanceof Conflict)) throw error;
    const there = await groups.read(newKey);
    if (there?.value.group_id !== group.group_id) {
      throw alreadyExists(groupKind.taken(name), error);
    }
  }
  await groups.delete(oldKey);
  return {};
}

export async function deleteGroup(
  input: OnBus<Iam.DeleteGroupCommandInput>,
  call: Call,
): Promise<Record<string, never>> {
  const group = requiredGroup(call, "iam:DeleteGroup", input.GroupName);
  return await deleteNamed(call, groupKind, group, (now) => {
    if (membersOf(call, group).length > 0) {
      throw deleteConflict("Cannot delete entity, must remove users from group first.");
    }
    demandNoPolicies(now);
  });
}
