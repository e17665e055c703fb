/**
 * Account aliases: names that one account of the cloud has, and no other.
 *
 * A row of `iam_aliases` is keyed by the alias itself, so that the store refuses two accounts that take one
 * at once. An account's alias is the newest row that is its own: one that takes another alias makes its row
 * first and deletes the older ones after, each at the revision that was seen. Whatever is cut off in between
 * leaves only rows that are nobody's alias any more; those are free for whoever wants them, and deleted by
 * the next change.
 */
import type * as Iam from "@aws-sdk/client-iam";
import type { Log } from "../log/log.ts";
import { Conflict, type Row } from "../state/table.ts";
import { alreadyExists, type Call, demand, invalid, noSuchEntity, type OnBus } from "./call.ts";
import type { AliasRecord } from "./records.ts";
import type { State } from "./state.ts";

const aliasForm = /^[a-z0-9](?!\d{11}$)(?:[a-z0-9]|-(?!-)){1,61}[a-z0-9]$/;

/** All rows of an account, newest first: the first of them is its alias. */
const rowsOf = (state: State, account_id: string): Row<AliasRecord>[] =>
  state.aliases.list().filter(({ value }) => value.account_id === account_id)
    .sort((a, b) => b.revision - a.revision);

const aliasOf = (state: State, account_id: string): string | undefined =>
  rowsOf(state, account_id)[0]?.key;

/** Deletes rows, oldest first, so that none of them becomes the newest. What somebody else changed stays. */
async function forget(state: State, rows: readonly Row<AliasRecord>[]): Promise<void> {
  for (const { key, revision } of rows.toReversed()) {
    try {
      await state.aliases.delete(key, revision);
    } catch (error) {
      if (!(error instanceof Conflict)) throw error;
    }
  }
}

/** The row under `alias` made the account's own, and its newest. @throws AwsError `EntityAlreadyExists` */
async function take(state: State, account_id: string, alias: string): Promise<Row<AliasRecord>> {
  for (;;) {
    // From the server, and so that the local copy knows all that was written before.
    const row = await state.aliases.read(alias);
    try {
      if (row === undefined) return await state.aliases.create(alias, { account_id });
      await state.aliases.waitFor(row.revision);
      if (aliasOf(state, row.value.account_id) !== alias) {
        return await state.aliases.update(alias, { account_id }, row.revision);
      }
      if (row.value.account_id === account_id) return row;
    } catch (error) {
      if (!(error instanceof Conflict)) throw error;
      continue;
    }
    throw alreadyExists(`The account alias ${alias} already exists.`);
  }
}

export async function createAccountAlias(
  input: OnBus<Iam.CreateAccountAliasCommandInput>,
  call: Call,
): Promise<Record<string, never>> {
  demand(call, "iam:CreateAccountAlias", "*");
  const alias = input.AccountAlias ?? "";
  if (!aliasForm.test(alias)) throw invalid("The specified value for accountAlias is invalid.");
  const { state, caller: { account_id } } = call;
  const { revision } = await take(state, account_id, alias);
  await forget(state, rowsOf(state, account_id).filter((row) => row.revision < revision));
  return {};
}

export async function deleteAccountAlias(
  input: OnBus<Iam.DeleteAccountAliasCommandInput>,
  call: Call,
): Promise<Record<string, never>> {
  demand(call, "iam:DeleteAccountAlias", "*");
  const { state, caller: { account_id } } = call;
  const rows = rowsOf(state, account_id);
  if (rows[0] === undefined || rows[0].key !== input.AccountAlias) {
    throw noSuchEntity(`The account alias ${input.AccountAlias} cannot be found.`);
  }
  await forget(state, rows);
  return {};
}

export function listAccountAliases(
  _input: OnBus<Iam.ListAccountAliasesCommandInput>,
  call: Call,
): OnBus<Iam.ListAccountAliasesCommandOutput> {
  demand(call, "iam:ListAccountAliases", "*");
  const alias = aliasOf(call.state, call.caller.account_id);
  return { AccountAliases: alias === undefined ? [] : [alias], IsTruncated: false };
}

/**
 * Takes over the aliases that an earlier release kept in the accounts' own rows: where two have the same, it
 * stays with the account that is older. Repeatable: the field goes only when the row stands.
 */
export async function adoptAliases(state: State, log: Log): Promise<void> {
  const rows = state.accounts.list().filter(({ value }) => value.alias !== undefined)
    .sort((a, b) => a.value.created < b.value.created ? -1 : 1);
  for (const { value: { account_id, alias } } of rows) {
    if (alias === undefined) continue;
    try {
      await state.aliases.create(alias, { account_id });
    } catch (error) {
      if (!(error instanceof Conflict)) throw error;
      const owner = (await state.aliases.read(alias))?.value.account_id;
      if (owner !== account_id) log.warn("account_alias_lost", { account_id, alias, owner });
    }
    await state.accounts.modify(account_id, (account) => {
      if (account === undefined) throw new Error(`account ${account_id} is gone`);
      if (account.alias === undefined) return account;
      const { alias: _moved, ...rest } = account;
      return rest;
    });
  }
}
