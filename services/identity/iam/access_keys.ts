/** IAM's access keys: at most two of each user and of the account's root. */
import type * as Iam from "@aws-sdk/client-iam";
import { AwsError } from "../../aws/errors.ts";
import { Conflict, type Row } from "../../state/table.ts";
import {
  type Call,
  invalid,
  noSuchEntity,
  noSuchUser,
  type OnBus,
  pageOf,
  targetUser,
} from "../call.ts";
import { newAccessKeyId, newSecret, now } from "../ids.ts";
import {
  keyOrder,
  type KeyRecord,
  keySlot,
  keysPerOwner,
  nameKey,
  rootOwner,
  sealOwner,
  type UserRecord,
} from "../state.ts";

const nameOf = (user: UserRecord | undefined, accountId: string) => user?.name ?? accountId;

export async function createAccessKey(
  input: OnBus<Iam.CreateAccessKeyCommandInput>,
  call: Call,
): Promise<OnBus<Iam.CreateAccessKeyCommandOutput>> {
  const user = targetUser(call, "iam:CreateAccessKey", input.UserName);
  const { account_id } = call.caller;
  const owner = user?.user_id ?? rootOwner;
  const access_key_id = newAccessKeyId();
  const secret = newSecret();
  const record: KeyRecord = {
    access_key_id,
    account_id,
    owner,
    status: "Active",
    created: now(),
    secret: call.masterKeys.seal(secret, sealOwner({ access_key_id, account_id, owner })),
  };
  const row = await createInFreeSlot(call, record);
  if (user !== undefined) await withdrawIfUserGone(call, user, row);
  return {
    AccessKey: {
      UserName: nameOf(user, account_id),
      AccessKeyId: access_key_id,
      Status: "Active",
      SecretAccessKey: secret,
      CreateDate: record.created,
    },
  };
}

async function createInFreeSlot({ state }: Call, record: KeyRecord): Promise<Row<KeyRecord>> {
  for (let slot = 0; slot < keysPerOwner; slot++) {
    const key = keySlot(record.account_id, record.owner, slot);
    if (state.keys.get(key) !== undefined) continue;
    try {
      return await state.keys.create(key, record);
    } catch (error) {
      // Somebody else took this slot first.
      if (!(error instanceof Conflict)) throw error;
    }
  }
  throw new AwsError(
    "LimitExceeded",
    `Cannot exceed quota for AccessKeysPerUser: ${keysPerOwner}`,
    { status: 409 },
  );
}

/** A user deleted in the same moment leaves no key behind. */
async function withdrawIfUserGone(
  { state }: Call,
  user: UserRecord,
  row: Row<KeyRecord>,
): Promise<void> {
  const still = await state.users.read(nameKey(user.account_id, user.name));
  if (still?.value.user_id === user.user_id) return;
  await state.keys.delete(row.key, row.revision);
  throw noSuchUser(user.name);
}

export function listAccessKeys(
  input: OnBus<Iam.ListAccessKeysCommandInput>,
  call: Call,
): OnBus<Iam.ListAccessKeysCommandOutput> {
  const user = targetUser(call, "iam:ListAccessKeys", input.UserName);
  const { account_id } = call.caller;
  const rows = call.state.keysOf(account_id, user?.user_id ?? rootOwner);
  const page = pageOf(rows, (row) => keyOrder(row.value), input);
  return {
    AccessKeyMetadata: page.items.map(({ value }) => ({
      UserName: nameOf(user, account_id),
      AccessKeyId: value.access_key_id,
      Status: value.status,
      CreateDate: value.created,
    })),
    IsTruncated: page.IsTruncated,
    ...(page.Marker === undefined ? {} : { Marker: page.Marker }),
  };
}

/** The caller's own key of that id, of the user that is meant. */
function ownedKey(
  call: Call,
  user: UserRecord | undefined,
  accessKeyId: string,
): Row<KeyRecord> {
  const row = call.state.accessKey(accessKeyId);
  const owner = user?.user_id ?? rootOwner;
  if (row?.value.account_id !== call.caller.account_id || row.value.owner !== owner) {
    throw noSuchKey(accessKeyId);
  }
  return row;
}

const noSuchKey = (accessKeyId: string) =>
  noSuchEntity(`The Access Key with id ${accessKeyId} cannot be found.`);

function checkKeyId(accessKeyId: string | undefined): asserts accessKeyId is string {
  if (accessKeyId === undefined || !/^\w{16,128}$/.test(accessKeyId)) {
    throw invalid("The specified value for accessKeyId is invalid.");
  }
}

export async function updateAccessKey(
  input: OnBus<Iam.UpdateAccessKeyCommandInput>,
  call: Call,
): Promise<Record<string, never>> {
  const user = targetUser(call, "iam:UpdateAccessKey", input.UserName);
  const accessKeyId = input.AccessKeyId;
  checkKeyId(accessKeyId);
  const status = input.Status;
  if (status !== "Active" && status !== "Inactive") {
    throw invalid("Status must be Active or Inactive.");
  }
  const { key } = ownedKey(call, user, accessKeyId);
  await call.state.keys.modify(key, (record) => {
    // Another key may have come into the slot since.
    if (record?.access_key_id !== accessKeyId) throw noSuchKey(accessKeyId);
    return record.status === status ? record : { ...record, status };
  });
  return {};
}

export async function deleteAccessKey(
  input: OnBus<Iam.DeleteAccessKeyCommandInput>,
  call: Call,
): Promise<Record<string, never>> {
  const user = targetUser(call, "iam:DeleteAccessKey", input.UserName);
  const accessKeyId = input.AccessKeyId;
  checkKeyId(accessKeyId);
  let row = ownedKey(call, user, accessKeyId);
  for (;;) {
    try {
      await call.state.keys.delete(row.key, row.revision);
      return {};
    } catch (error) {
      if (!(error instanceof Conflict)) throw error;
      const newer = await call.state.keys.read(row.key);
      if (newer?.value.access_key_id !== accessKeyId) throw noSuchKey(accessKeyId);
      row = newer;
    }
  }
}
