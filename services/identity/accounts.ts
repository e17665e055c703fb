/**
 * Accounts: made by the operator, one a tenant, and what an account says of itself.
 *
 * An account is made as the first one is: its row first, under an id that follows from its name, with
 * all that is random in it, so that a run that was cut is finished by the next one with the same name.
 */
import type * as Iam from "@aws-sdk/client-iam";
import { AwsError } from "../aws/errors.ts";
import { Conflict } from "../state/table.ts";
import { alreadyExists, type Call, demand, invalid, noSuchEntity, type OnBus } from "./call.ts";
import {
  type AccountSummary,
  type AdminCredentials,
  isAccessKey,
  type NewAccount,
} from "./contract.ts";
import { carriedOut, carryOut, planAdministrator } from "./credentials/first_start.ts";
import { accountIdOf, now } from "./ids.ts";
import type { MasterKeys } from "./credentials/master_key.ts";
import type { AccountRecord } from "./records.ts";
import { secretOf } from "./credentials/secrets.ts";
import type { State } from "./state.ts";

const nameForm = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

function checkNew(state: State, wanted: NewAccount, accountId: string): void {
  if (typeof wanted?.name !== "string" || !nameForm.test(wanted.name)) {
    throw invalid("An account's name has lower-case letters, digits and dashes, 63 at most.");
  }
  const key = wanted.import_key;
  if (key === undefined) return;
  if (!isAccessKey(key) || key.access_key_id.startsWith("ASIA")) {
    throw invalid("An access key to import must be a long-lived one as AWS forms them.");
  }
  const owner = state.accessKey(key.access_key_id)?.value;
  if (owner !== undefined && owner.account_id !== accountId) {
    throw alreadyExists(`The access key ${key.access_key_id} belongs to another account.`);
  }
}

/** @throws AwsError as the contract says */
export async function makeAccount(
  state: State,
  masterKeys: MasterKeys,
  clusterId: string,
  wanted: NewAccount,
): Promise<AdminCredentials> {
  const name = String(wanted?.name);
  const account_id = accountIdOf(clusterId, name);
  checkNew(state, wanted, account_id);
  if (
    state.accounts.list().some(({ value }) =>
      value.name === name && value.account_id !== account_id
    )
  ) throw alreadyExists(`There is an account "${name}" already.`);
  const record: AccountRecord = {
    account_id,
    name,
    status: "active",
    created: now(),
    administrator: planAdministrator(masterKeys, account_id, wanted.import_key),
  };
  try {
    await state.accounts.create(account_id, record);
  } catch (error) {
    // Somebody, perhaps a run before this one, has begun it: theirs is finished.
    if (!(error instanceof Conflict)) throw error;
  }
  const row = await state.accounts.read(account_id);
  const plan = row?.value.administrator;
  if (row === undefined || plan === undefined) {
    throw new Error(`account ${account_id} is not there after it was made`);
  }
  await carryOut(state, account_id, row.value.created, plan);
  await state.accounts.modify(account_id, (value) => {
    if (value?.administrator === undefined || value.administrator.done) {
      return value as AccountRecord;
    }
    return { ...value, administrator: carriedOut(value.administrator) };
  });
  const made = state.keysOf(account_id, plan.user_id)
    .find(({ value }) => value.access_key_id === plan.access_key_id)?.value;
  if (made === undefined) {
    throw noSuchEntity(`The first access key of account "${name}" was deleted since it was made.`);
  }
  return {
    account_id,
    access_key_id: made.access_key_id,
    secret_access_key: secretOf(made, masterKeys),
  };
}

/** The account of that name or id. @throws AwsError `NoSuchEntity` */
export function accountNamed(state: State, name: string): AccountRecord {
  const found = state.account(name) ??
    state.accounts.list().find(({ value }) => value.name === name)?.value;
  if (found === undefined) throw noSuchEntity(`There is no account "${name}".`);
  return found;
}

export function accountsOf(state: State): readonly AccountSummary[] {
  return state.accounts.list().map(({ value }) => ({
    account_id: value.account_id,
    name: value.name,
    status: value.status,
    created: value.created,
    users: state.users.list(`${value.account_id}.`).length,
  }));
}

export function getAccountSummary(
  _input: OnBus<Iam.GetAccountSummaryCommandInput>,
  call: Call,
): OnBus<Iam.GetAccountSummaryCommandOutput> {
  demand(call, "iam:GetAccountSummary", "*");
  const { state } = call;
  const { account_id } = call.caller;
  const prefix = `${account_id}.`;
  const policies = state.policies.list(prefix);
  return {
    SummaryMap: {
      Users: state.users.list(prefix).length,
      UsersQuota: 5_000,
      Groups: state.groups.list(prefix).length,
      GroupsQuota: 300,
      Roles: state.roles.list(prefix).length,
      RolesQuota: 1_000,
      InstanceProfiles: state.profiles.list(prefix).length,
      InstanceProfilesQuota: 1_000,
      Policies: policies.length,
      PoliciesQuota: 1_500,
      PolicyVersionsInUse: policies.reduce((sum, { value }) => sum + value.versions.length, 0),
      AccessKeysPerUserQuota: 2,
      GroupsPerUserQuota: 10,
      AttachedPoliciesPerUserQuota: 10,
      AttachedPoliciesPerGroupQuota: 10,
      AttachedPoliciesPerRoleQuota: 10,
      VersionsPerPolicyQuota: 5,
      AccountAccessKeysPresent: state.keysOf(account_id, "root").length > 0 ? 1 : 0,
      AccountMFAEnabled: 0,
      MFADevices: 0,
      MFADevicesInUse: 0,
    },
  };
}

/**
 * With session credentials of a user or a federated user IAM answers nothing, and STS only who that is and, to a
 * user's own, AssumeRole, as on AWS.
 * @throws AwsError `AccessDenied`
 */
export function demandNoUserSession(call: Call, service: string, action: string): void {
  const { session } = call.caller;
  if (session === undefined || session.kind === "role") return;
  if (service === "sts" && action === "GetCallerIdentity") return;
  if (session.kind === "user" && service === "sts" && action === "AssumeRole") return;
  throw new AwsError(
    "AccessDenied",
    `Cannot call ${service}:${action} with session credentials that have no multi-factor authentication.`,
    { status: 403 },
  );
}
