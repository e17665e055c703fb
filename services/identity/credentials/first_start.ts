/**
 * The first start: an account, its administrator and one access key, whatever dies in between.
 *
 * The account's row is made first, by compare-and-set under an id that follows from the cluster's,
 * and holds all that is random: the ids, and the secret, sealed. The further rows follow from it, so
 * that whoever comes next (this process started again, or another at the same time) makes exactly the
 * same. When all stand the row says `done`, and what an administrator deletes later stays deleted.
 */
import type { Log } from "../../log/log.ts";
import type { GivenAdminKey } from "../contract.ts";
import { Conflict, type Row, type Table } from "../../state/table.ts";
import { administratorAccess } from "../iam/managed_policies.ts";
import { firstAccountId, newAccessKeyId, newSecret, newUserId, now } from "../ids.ts";
import { type MasterKeys } from "./master_key.ts";
import {
  type AccountRecord,
  type FirstStart,
  keySlot,
  nameKey,
  sealOwner,
  type State,
} from "../state.ts";

const adminName = "admin";

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

/** All that is random of an administrator, the secret sealed. */
export function planAdministrator(
  masterKeys: MasterKeys,
  account_id: string,
  given: GivenAdminKey | undefined,
): FirstStart {
  const user_id = newUserId();
  const access_key_id = given?.access_key_id ?? newAccessKeyId();
  const secret = given?.secret_access_key ?? newSecret();
  return {
    user_id,
    access_key_id,
    secret: masterKeys.seal(secret, sealOwner({ access_key_id, account_id, owner: user_id })),
    done: false,
  };
}

/** The rows that follow from a plan; those that are there are left as they are. */
export async function carryOut(
  state: State,
  account_id: string,
  created: string,
  plan: FirstStart,
  at: (step: "user" | "key") => void = () => {},
): Promise<void> {
  if (plan.secret === undefined) return;
  at("user");
  await createIfAbsent(state.users, nameKey(account_id, adminName), {
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
}

/** A plan that was carried out: the secret is in the key's own row now. */
export function carriedOut(plan: FirstStart): FirstStart {
  const { secret: _moved, ...rest } = plan;
  return { ...rest, done: true };
}

async function begin(
  state: State,
  masterKeys: MasterKeys,
  clusterId: string,
  given: GivenAdminKey | undefined,
): Promise<void> {
  const account_id = firstAccountId(clusterId);
  await createIfAbsent(state.accounts, account_id, {
    account_id,
    name: "main",
    status: "active",
    created: now(),
    first_start: planAdministrator(masterKeys, account_id, given),
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
  await carryOut(state, account_id, created, plan, at);
  at("done");
  row = await state.accounts.modify(account_id, (value) => {
    if (value?.first_start === undefined || value.first_start.done) return value as AccountRecord;
    return { ...value, first_start: carriedOut(value.first_start) };
  });
  log.info("first_account_ready", { account_id, access_key_id: plan.access_key_id });
}
