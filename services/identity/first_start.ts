/**
 * The first start: an account, its administrator and one access key, whatever dies in between.
 *
 * The account's row is made first, by compare-and-set under an id that follows from the cluster's,
 * and holds all that is random: the ids, and the secret, sealed. The further rows follow from it, so
 * that whoever comes next (this process started again, or another at the same time) makes exactly the
 * same. When all stand the row says `done`, and what an administrator deletes later stays deleted.
 */
import type { Log } from "../log/log.ts";
import type { GivenAdminKey } from "./contract.ts";
import { Conflict, type Row, type Table } from "../state/table.ts";
import { administratorAccess } from "./managed_policies.ts";
import { firstAccountId, newAccessKeyId, newSecret, newUserId, now } from "./ids.ts";
import { type MasterKeys } from "./master_key.ts";
import {
  type AccountRecord,
  type FirstStart,
  keySlot,
  sealOwner,
  type State,
  userKey,
} from "./state.ts";

export const adminName = "admin";

/** Steps in their order; a test dies before each. */
export const firstStartSteps = ["account", "user", "key", "done"] as const;
export type FirstStartStep = (typeof firstStartSteps)[number];

async function createIfAbsent<T>(
  table: Table<T>,
  key: string,
  value: NoInfer<T>,
): Promise<void> {
  if (table.get(key) !== undefined) return;
  try {
    await table.create(key, value);
  } catch (error) {
    if (!(error instanceof Conflict)) throw error;
  }
}

/** The account that the first start made, if it was ever begun. */
export function firstAccount(
  state: State,
): (AccountRecord & { readonly first_start: FirstStart }) | undefined {
  for (const { value } of state.accounts.list()) {
    if (value.first_start !== undefined) return { ...value, first_start: value.first_start };
  }
  return undefined;
}

async function begin(
  state: State,
  masterKeys: MasterKeys,
  clusterId: string,
  given: GivenAdminKey | undefined,
): Promise<void> {
  const account_id = firstAccountId(clusterId);
  const user_id = newUserId();
  const access_key_id = given?.access_key_id ?? newAccessKeyId();
  await createIfAbsent(state.accounts, account_id, {
    account_id,
    name: "main",
    status: "active",
    created: now(),
    first_start: {
      user_id,
      access_key_id,
      secret: masterKeys.seal(
        given?.secret_access_key ?? newSecret(),
        sealOwner({ access_key_id, account_id, owner: user_id }),
      ),
      done: false,
    },
  });
}

/**
 * @param at called before each step
 * @param given the administrator's key, if somebody made it before; ignored once there is an account
 */
export async function firstStart(
  state: State,
  masterKeys: MasterKeys,
  clusterId: string,
  log: Log,
  at: (step: FirstStartStep) => void = () => {},
  given?: GivenAdminKey,
): Promise<void> {
  if (firstAccount(state) === undefined) {
    at("account");
    await begin(state, masterKeys, clusterId, given);
  }
  let row: Row<AccountRecord> | undefined = await state.accounts.read(
    firstAccount(state)?.account_id ?? firstAccountId(clusterId),
  );
  const plan = row?.value.first_start;
  if (row === undefined || plan === undefined) {
    throw new Error("the first account is not there after it was made; start again");
  }
  if (plan.done || plan.secret === undefined) return;
  const { account_id, created } = row.value;
  at("user");
  await createIfAbsent(state.users, userKey(account_id, adminName), {
    account_id,
    user_id: plan.user_id,
    name: adminName,
    path: "/",
    created,
    attached: [administratorAccess],
    inline: {},
    tags: {},
  });
  at("key");
  await createIfAbsent(state.keys, keySlot(account_id, plan.user_id, 0), {
    access_key_id: plan.access_key_id,
    account_id,
    owner: plan.user_id,
    status: "Active",
    created,
    secret: plan.secret,
  });
  at("done");
  row = await state.accounts.modify(account_id, (value) => {
    if (value?.first_start === undefined || value.first_start.done) return value as AccountRecord;
    const { secret: _moved, ...rest } = value.first_start;
    return { ...value, first_start: { ...rest, done: true } };
  });
  log.info("first_account_ready", { account_id, access_key_id: plan.access_key_id });
}
