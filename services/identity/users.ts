/** IAM's users. */
import type * as Iam from "@aws-sdk/client-iam";
import { AwsError } from "../aws/errors.ts";
import { Conflict } from "../state/table.ts";
import {
  type Call,
  checkName,
  demand,
  invalid,
  noSuchUser,
  type OnBus,
  pageOf,
  requiredUser,
  targetUser,
} from "./call.ts";
import { newUserId, now } from "./ids.ts";
import { firstAccount } from "./first_start.ts";
import { userArn, userKey, type UserRecord } from "./state.ts";

const usersPerAccount = 5_000;

type User = NonNullable<OnBus<Iam.GetUserCommandOutput>["User"]>;

function shown(user: UserRecord): User {
  const tags = Object.entries(user.tags).map(([Key, Value]) => ({ Key, Value }));
  return {
    Path: user.path,
    UserName: user.name,
    UserId: user.user_id,
    Arn: userArn(user),
    CreateDate: user.created,
    ...(tags.length === 0 ? {} : { Tags: tags }),
  };
}

function checkPath(path: string): void {
  if (path.length > 512 || !/^\/([\x21-\x7e]+\/)?$/.test(path) || path.includes("//")) {
    throw invalid("The specified value for path is invalid: it must begin and end with /.");
  }
}

function tagsOf(given: Iam.Tag[] | undefined): Record<string, string> {
  const tags = given ?? [];
  if (tags.length > 50) {
    throw new AwsError("LimitExceeded", "Cannot exceed quota for TagsPerUser: 50", { status: 409 });
  }
  const seen = new Set<string>();
  for (const { Key = "", Value = "" } of tags) {
    if (Key.length < 1 || Key.length > 128 || Key.toLowerCase().startsWith("aws:")) {
      throw invalid(`"${Key}" is no tag key.`);
    }
    if (Value.length > 256) throw invalid(`The value of tag "${Key}" is too long.`);
    if (seen.has(Key.toLowerCase())) throw invalid(`The tag key "${Key}" is given twice.`);
    seen.add(Key.toLowerCase());
  }
  // Made from entries, so that a key such as __proto__ is a key like any other.
  return Object.fromEntries(tags.map(({ Key = "", Value = "" }) => [Key, Value]));
}

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
  const { account_id } = call.caller;
  const prefix = input.PathPrefix ?? "/";
  demand(call, "iam:ListUsers", `arn:aws:iam::${account_id}:user${prefix}`);
  const rows = call.state.users.list(`${account_id}.`)
    .filter((row) => row.value.path.startsWith(prefix));
  const page = pageOf(rows, (row) => row.key, input);
  return {
    Users: page.items.map((row) => {
      const { Tags: _left, ...user } = shown(row.value);
      return user;
    }),
    IsTruncated: page.IsTruncated,
    ...(page.Marker === undefined ? {} : { Marker: page.Marker }),
  };
}

export async function createUser(
  input: OnBus<Iam.CreateUserCommandInput>,
  call: Call,
): Promise<OnBus<Iam.CreateUserCommandOutput>> {
  const { account_id } = call.caller;
  const name = input.UserName;
  checkName(name, "userName", 64);
  const path = input.Path ?? "/";
  checkPath(path);
  demand(call, "iam:CreateUser", userArn({ account_id, path, name }));
  if (input.PermissionsBoundary !== undefined) {
    throw new AwsError("InvalidInput", "Permissions boundaries are not supported.");
  }
  const user: UserRecord = {
    account_id,
    user_id: newUserId(),
    name,
    path,
    created: now(),
    attached: [],
    inline: {},
    tags: tagsOf(input.Tags),
  };
  if (call.state.users.list(`${account_id}.`).length >= usersPerAccount) {
    throw new AwsError(
      "LimitExceeded",
      `Cannot exceed quota for UsersPerAccount: ${usersPerAccount}`,
      {
        status: 409,
      },
    );
  }
  try {
    await call.state.users.create(userKey(account_id, name), user);
  } catch (error) {
    if (!(error instanceof Conflict)) throw error;
    throw new AwsError("EntityAlreadyExists", `User with name ${name} already exists.`, {
      status: 409,
      cause: error,
    });
  }
  return { User: shown(user) };
}

const conflict = (message: string) => new AwsError("DeleteConflict", message, { status: 409 });

export async function deleteUser(
  input: OnBus<Iam.DeleteUserCommandInput>,
  call: Call,
): Promise<Record<string, never>> {
  const user = requiredUser(call, "iam:DeleteUser", input.UserName);
  const { state } = call;
  if (firstAccount(state)?.first_start.user_id === user.user_id) {
    throw conflict(`${user.name} is the cloud's first administrator, which the operator needs.`);
  }
  const key = userKey(user.account_id, user.name);
  for (;;) {
    const row = await state.users.read(key);
    if (row?.value.user_id !== user.user_id) throw noSuchUser(user.name);
    if (state.keysOf(user.account_id, user.user_id).length > 0) {
      throw conflict("Cannot delete entity, must delete access keys first.");
    }
    if (row.value.attached.length > 0) {
      throw conflict("Cannot delete entity, must detach all policies first.");
    }
    if (Object.keys(row.value.inline).length > 0) {
      throw conflict("Cannot delete entity, must delete policies first.");
    }
    try {
      await state.users.delete(key, row.revision);
      return {};
    } catch (error) {
      if (!(error instanceof Conflict)) throw error;
    }
  }
}
