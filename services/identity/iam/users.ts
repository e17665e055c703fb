/** IAM's users. */
import type * as Iam from "@aws-sdk/client-iam";
import { AwsError } from "../../aws/errors.ts";
import { Conflict } from "../../state/table.ts";
import {
  alreadyExists,
  type Call,
  deleteConflict,
  noSuchUser,
  type OnBus,
  pageEnd,
  requiredUser,
  targetUser,
} from "../call.ts";
import { actionsOnBoundary, boundaryOf, shownBoundary } from "./boundaries.ts";
import { newUserId } from "../ids.ts";
import { firstAccount } from "../credentials/first_start.ts";
import { actionsOnPolicies, demandNoPolicies, type HolderKind } from "./holder_policies.ts";
import { policySizes } from "../policy/document.ts";
import {
  beginNamed,
  changeNamed,
  createNamed,
  deleteNamed,
  listNamed,
  newNameAndPath,
  putNamed,
  usualWords,
} from "./named.ts";
import { nameKey, userArn, type UserRecord } from "../state.ts";
import { actionsOnTags, shownTags, tagsOf } from "./tags.ts";

type User = NonNullable<OnBus<Iam.GetUserCommandOutput>["User"]>;

function shown(user: UserRecord): User {
  return {
    Path: user.path,
    UserName: user.name,
    UserId: user.user_id,
    Arn: userArn(user),
    CreateDate: user.created,
    ...shownBoundary(user.boundary),
    ...shownTags(user.tags),
  };
}

/** As lists show it: without what each has a call of its own for. */
export function listedUser(user: UserRecord): User {
  const { Tags: _left, PermissionsBoundary: _too, ...rest } = shown(user);
  return rest;
}

export const userKind: HolderKind<UserRecord> = {
  title: "User",
  plural: "Users",
  word: "user",
  member: "userName",
  nameMember: "UserName",
  longestName: 64,
  perAccount: 5_000,
  inlineSize: policySizes.userInline,
  table: (call) => call.state.users,
  id: (user) => user.user_id,
  arnOf: userArn,
  required: requiredUser,
  ...usualWords("User"),
};

export const userPolicies = actionsOnPolicies(userKind);
export const userBoundary = actionsOnBoundary(userKind);
export const userTags = actionsOnTags(
  userKind,
  (input: OnBus<Iam.ListUserTagsCommandInput>, call, action) =>
    requiredUser(call, action, input.UserName),
);

export function getUser(
  input: OnBus<Iam.GetUserCommandInput>,
  call: Call,
): OnBus<Iam.GetUserCommandOutput> {
  const user = targetUser(call, "iam:GetUser", input.UserName);
  if (user !== undefined) return { User: shown(user) };
  const account = call.state.account(call.caller.account_id);
  // AWS's answer for the root has no name and no path.
  const root = {
    UserId: call.caller.id,
    Arn: call.caller.arn,
    CreateDate: account?.created,
  };
  return { User: root as User };
}

export function listUsers(
  input: OnBus<Iam.ListUsersCommandInput>,
  call: Call,
): OnBus<Iam.ListUsersCommandOutput> {
  const page = listNamed(call, userKind, input);
  return { Users: page.items.map(listedUser), ...pageEnd(page) };
}

export async function createUser(
  input: OnBus<Iam.CreateUserCommandInput>,
  call: Call,
): Promise<OnBus<Iam.CreateUserCommandOutput>> {
  const user: UserRecord = {
    ...beginNamed(call, userKind, input.UserName, input.Path),
    user_id: newUserId(),
    attached: [],
    inline: {},
    tags: tagsOf(input.Tags),
    ...boundaryOf(call, input.PermissionsBoundary),
  };
  await createNamed(call, userKind, user);
  return { User: shown(user) };
}

/**
 * Changes path or name. A new name is a new row: the new one is made first, then the old one goes, and
 * a run that was cut between them leaves both names for one user, which the next run finishes.
 */
export async function updateUser(
  input: OnBus<Iam.UpdateUserCommandInput>,
  call: Call,
): Promise<Record<string, never>> {
  const user = requiredUser(call, "iam:UpdateUser", input.UserName);
  const { name, path } = newNameAndPath(call, userKind, user, input.NewUserName, input.NewPath);
  const { account_id } = user;
  const { users } = call.state;
  const [oldKey, newKey] = [nameKey(account_id, user.name), nameKey(account_id, name)];
  if (oldKey === newKey) {
    await changeNamed(call, userKind, user, (row) => ({ ...row, name, path }));
    return {};
  }
  if (firstAccount(call.state)?.first_start.user_id === user.user_id) {
    throw new AwsError(
      "EntityTemporarilyUnmodifiable",
      `${user.name} is the cloud's first administrator, whose name the operator's tools know.`,
      { status: 409 },
    );
  }
  for (;;) {
    const row = await users.read(oldKey);
    if (row?.value.user_id !== user.user_id) throw noSuchUser(user.name);
    const there = await users.read(newKey);
    if (there === undefined) await putNamed(call, userKind, { ...row.value, name, path }, name);
    else if (there.value.user_id !== user.user_id) {
      throw alreadyExists(userKind.taken(name));
    }
    try {
      await users.delete(oldKey, row.revision);
      return {};
    } catch (error) {
      if (!(error instanceof Conflict)) throw error;
      // It changed meanwhile: the copy under the new name is of an older state.
      await users.delete(newKey);
    }
  }
}

export async function deleteUser(
  input: OnBus<Iam.DeleteUserCommandInput>,
  call: Call,
): Promise<Record<string, never>> {
  const user = requiredUser(call, "iam:DeleteUser", input.UserName);
  const { state } = call;
  if (firstAccount(state)?.first_start.user_id === user.user_id) {
    throw deleteConflict(
      `${user.name} is the cloud's first administrator, which the operator needs.`,
    );
  }
  return await deleteNamed(call, userKind, user, (now) => {
    if (state.keysOf(user.account_id, user.user_id).length > 0) {
      throw deleteConflict("Cannot delete entity, must delete access keys first.");
    }
    demandNoPolicies(now);
    if ((now.groups ?? []).length > 0) {
      throw deleteConflict("Cannot delete entity, must remove users from group first.");
    }
  });
}
