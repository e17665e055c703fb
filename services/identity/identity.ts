/**
 * The identity service on a bus: opens its state, makes sure that there is an account, and answers.
 *
 * Nothing is written before the master key is known to be the right one, and nothing is answered
 * before the first account stands.
 */
import type { Bus } from "../bus/bus.ts";
import { type Subject, subject } from "../bus/subject.ts";
import type { Log } from "../log/log.ts";
import { accountNamed, accountsOf, demandNoUserSession, makeAccount } from "./accounts.ts";
import { adoptAliases } from "./aliases.ts";
import { iamActions, stsActions } from "./actions.ts";
import { callOf, noSuchEntity } from "./call.ts";
import {
  accountCall,
  type AdminCredentials,
  adminCredentials,
  authorize,
  createAccount,
  identityActions,
  instanceCredentials,
  instanceProfile,
  listAccounts,
  policyShown,
  policyTrust,
  signingKey,
} from "./contract.ts";
import { firstAccount, firstStart } from "./credentials/first_start.ts";
import { forgetGivenKey, readGivenKey } from "./credentials/given_key.ts";
import { findInstanceProfile, instanceCredentialsOf } from "./iam/instance_profiles.ts";
import { type MasterKeys } from "./credentials/master_key.ts";
import { rootPrincipal } from "./principals.ts";
import { authorizeRequest } from "./decisions.ts";
import { checkMasterKeys, sealAnew, secretOf } from "./credentials/secrets.ts";
import { grantSigningKey } from "./credentials/signing.ts";
import { State } from "./state.ts";
import { shownPolicy, trustedIds } from "./trusted_ids.ts";

export interface IdentityOptions {
  readonly bus: Bus;
  readonly log: Log;
  readonly masterKeys: MasterKeys;
  /** Where the master key came from, for what the operator is told. */
  readonly masterKeyPath: string;
  readonly clusterId: string;
  /** Where the administrator's key may lie at the first start, when somebody else made it. */
  readonly givenKeyPath?: string;
}

export interface Identity extends AsyncDisposable {
  readonly state: State;
  /** Access keys whose secret does not open. */
  readonly unreadableSecrets: number;
}

function credentialsOfAdmin(state: State, masterKeys: MasterKeys): AdminCredentials {
  const account = firstAccount(state);
  const keys = account === undefined
    ? []
    : state.keysOf(account.account_id, account.first_start.user_id);
  const key = keys.find((row) => row.value.status === "Active")?.value;
  if (account === undefined || key === undefined) {
    throw noSuchEntity("The administrator has no active access key.");
  }
  return {
    account_id: account.account_id,
    access_key_id: key.access_key_id,
    secret_access_key: secretOf(key, masterKeys),
  };
}

/** @throws MasterKeyError when another master key sealed what is there */
export async function startIdentity(options: IdentityOptions): Promise<Identity> {
  const { bus, log, masterKeys } = options;
  const state = await State.open(bus, log);
  checkMasterKeys(state, masterKeys, options.masterKeyPath);
  const { givenKeyPath } = options;
  const given = givenKeyPath === undefined ? undefined : await readGivenKey(givenKeyPath);
  await firstStart(state, masterKeys, options.clusterId, log, undefined, given);
  if (givenKeyPath !== undefined) await forgetGivenKey(givenKeyPath);
  await adoptAliases(state, log);
  const unreadableSecrets = await sealAnew(state, masterKeys, log);

  bus.answer(signingKey, (scope) => grantSigningKey(state, masterKeys, scope));
  bus.answer(authorize, (request, context) => authorizeRequest(state, request, context));
  bus.answer(policyTrust, ({ document }) => trustedIds(state, document, "resource"));
  bus.answer(policyShown, (policy) => ({ document: shownPolicy(state, policy) }));
  bus.answer(adminCredentials, () => credentialsOfAdmin(state, masterKeys));
  bus.answer(
    createAccount,
    (wanted) => makeAccount(state, masterKeys, options.clusterId, wanted),
  );
  bus.answer(listAccounts, () => accountsOf(state));
  bus.answer(accountCall, ({ account, action, input }, context) => {
    const { account_id } = accountNamed(state, account);
    const handle = (iamActions as Record<string, (typeof iamActions)["GetUser"]>)[action];
    if (handle === undefined) throw noSuchEntity(`There is no action ${action}.`);
    const caller = rootPrincipal(account_id);
    return handle(input as never, { state, masterKeys, caller, context });
  });
  bus.answer(instanceProfile, (question) => findInstanceProfile(state, question));
  bus.answer(
    instanceCredentials,
    (question) => instanceCredentialsOf(state, masterKeys, question),
  );
  const handlers = { iam: iamActions, sts: stsActions };
  for (const service of ["iam", "sts"] as const) {
    for (const action of identityActions[service]) {
      const handle = (handlers[service] as Record<string, (typeof iamActions)["GetUser"]>)[action];
      if (handle === undefined) continue;
      const on: Subject<never, unknown> = subject(`${service}.${action}`);
      bus.answer(on, (input, context) => {
        const call = callOf(state, masterKeys, context);
        demandNoUserSession(call, service, action);
        return handle(input ?? ({} as never), call);
      });
    }
  }
  return {
    state,
    unreadableSecrets,
    [Symbol.asyncDispose]: () => state[Symbol.asyncDispose](),
  };
}
