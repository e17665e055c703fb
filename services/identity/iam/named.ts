/**
 * What has a name in an account (users, groups, roles, instance profiles, policies) is made, found,
 * listed and deleted in one way: permission first, then AWS's own words, and every change a
 * compare-and-set of one row, so that what was removed and made again under its name is never taken
 * for the old one.
 */
import type { AwsError } from "../../aws/errors.ts";
import { Conflict, type Table } from "../../state/table.ts";
import {
  alreadyExists,
  type Call,
  checkName,
  checkPath,
  demand,
  invalid,
  noSuchEntity,
  overLimit,
  type Page,
  pageOf,
  prefixOf,
} from "../call.ts";
import { now } from "../ids.ts";
import { type Named, nameKey } from "../records.ts";

export interface NamedKind<T extends Named> {
  /** As in `CreateRole`, `ListRoles` and the quota `RolesPerAccount`. */
  readonly title: string;
  readonly plural: string;
  /** As ARNs have it: `role`. */
  readonly word: string;
  /** For example `roleName`. */
  readonly member: string;
  /** The longest name that one may be given; what is asked for by name may be 128 long. */
  readonly longestName: number;
  readonly perAccount: number;
  table(call: Call): Table<T>;
  id(one: T): string;
  arnOf(one: Pick<Named, "account_id" | "path" | "name">): string;
  noSuch(name: string): AwsError;
  /** What is said of a name that is taken. */
  taken(name: string): string;
}

/** AWS's usual words for a kind. */
export function usualWords(title: string): Pick<NamedKind<Named>, "noSuch" | "taken"> {
  return {
    noSuch: (name) => noSuchEntity(`The ${title.toLowerCase()} with name ${name} cannot be found.`),
    taken: (name) => `${title} with name ${name} already exists.`,
  };
}

/**
 * The named thing of the caller's account. Permission is asked for before it is told whether it exists.
 * @throws AwsError `ValidationError`, `AccessDenied`, `NoSuchEntity`
 */
export function requiredNamed<T extends Named>(
  call: Call,
  kind: NamedKind<T>,
  action: string,
  name: string | undefined,
): T {
  if (name === undefined) throw invalid(`The parameter ${kind.member} is missing.`);
  checkName(name, kind.member, 128);
  const { account_id } = call.caller;
  const found = kind.table(call).get(nameKey(account_id, name))?.value;
  demand(call, action, kind.arnOf(found ?? { account_id, path: "/", name }));
  if (found === undefined) throw kind.noSuch(name);
  return found;
}

/**
 * What every new one begins with: its name and path checked, then permission asked for, before
 * anything else of the request is looked at.
 * @throws AwsError `ValidationError`, `AccessDenied`
 */
export function beginNamed<T extends Named>(
  call: Call,
  kind: NamedKind<T>,
  name: string | undefined,
  path = "/",
): Named {
  const { account_id } = call.caller;
  checkName(name, kind.member, kind.longestName);
  checkPath(path);
  demand(call, `iam:Create${kind.title}`, kind.arnOf({ account_id, path, name }));
  return { account_id, name, path, created: now() };
}

/**
 * The name and path that one is to have from now on. Permission is asked for on the new ones too.
 * @throws AwsError `ValidationError`, `AccessDenied`
 */
export function newNameAndPath<T extends Named>(
  call: Call,
  kind: NamedKind<T>,
  one: T,
  name = one.name,
  path = one.path,
): Pick<Named, "name" | "path"> {
  const { account_id } = one;
  checkName(name, `new${kind.title}Name`, kind.longestName);
  checkPath(path);
  demand(call, `iam:Update${kind.title}`, kind.arnOf({ account_id, path, name }));
  return { name, path };
}

/** @throws AwsError `LimitExceeded`, `EntityAlreadyExists` */
export async function createNamed<T extends Named>(
  call: Call,
  kind: NamedKind<T>,
  record: T,
): Promise<void> {
  const { account_id, name } = record;
  if (kind.table(call).list(`${account_id}.`).length >= kind.perAccount) {
    throw overLimit(`Cannot exceed quota for ${kind.plural}PerAccount: ${kind.perAccount}`);
  }
  await putNamed(call, kind, record, name);
}

/** The row under a name that must be free. @throws AwsError `EntityAlreadyExists` */
export async function putNamed<T extends Named>(
  call: Call,
  kind: NamedKind<T>,
  record: T,
  name: string,
): Promise<void> {
  try {
    await kind.table(call).create(nameKey(record.account_id, name), record as NoInfer<T>);
  } catch (error) {
    if (!(error instanceof Conflict)) throw error;
    throw alreadyExists(kind.taken(name), error);
  }
}

/** One page of the account's, those of a path. */
export function listNamed<T extends Named>(
  call: Call,
  kind: NamedKind<T>,
  input: {
    readonly PathPrefix?: string | undefined;
    readonly Marker?: string | undefined;
    readonly MaxItems?: number | undefined;
  },
): Page<T> {
  const { account_id } = call.caller;
  const prefix = prefixOf(input.PathPrefix);
  demand(call, `iam:List${kind.plural}`, `arn:aws:iam::${account_id}:${kind.word}${prefix}`);
  return pageOfNamed(call, kind, (one) => one.path.startsWith(prefix), input);
}

/** One page of those that are wanted, in the order of their names. */
export function pageOfNamed<T extends Named>(
  call: Call,
  kind: NamedKind<T>,
  wanted: (one: T) => boolean,
  input: { readonly Marker?: string | undefined; readonly MaxItems?: number | undefined },
): Page<T> {
  const rows = kind.table(call).list(`${call.caller.account_id}.`)
    .filter((row) => wanted(row.value));
  const page = pageOf(rows, (row) => row.key, input);
  return { ...page, items: page.items.map((row) => row.value) };
}

/** Changes the row, or throws `NoSuchEntity` when it is no longer that one's. */
export async function changeNamed<T extends Named>(
  call: Call,
  kind: NamedKind<T>,
  one: T,
  change: (now: T) => T,
): Promise<T> {
  const row = await kind.table(call).modify(nameKey(one.account_id, one.name), (now) => {
    if (now === undefined || kind.id(now) !== kind.id(one)) throw kind.noSuch(one.name);
    return change(now);
  });
  return row.value;
}

/** Deletes the row as soon as `demandFree` lets it go. */
export async function deleteNamed<T extends Named>(
  call: Call,
  kind: NamedKind<T>,
  one: T,
  demandFree: (now: T) => void,
): Promise<Record<string, never>> {
  const table = kind.table(call);
  const key = nameKey(one.account_id, one.name);
  for (;;) {
    const row = await table.read(key);
    if (row === undefined || kind.id(row.value) !== kind.id(one)) throw kind.noSuch(one.name);
    demandFree(row.value);
    try {
      await table.delete(key, row.revision);
      return {};
    } catch (error) {
      if (!(error instanceof Conflict)) throw error;
    }
  }
}
