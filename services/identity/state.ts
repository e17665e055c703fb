/**
 * What identity keeps: accounts, users and access keys, in three tables of the state store.
 *
 * `iam_accounts` has a row per account, keyed by its id; the one made at the first start also tells
 * how far that came (see first_start.ts).
 * `iam_users` is keyed by account and name in lower case, so that the store itself refuses two users
 * whose names differ only in case. `iam_keys` is keyed by account, owner and slot; there are two
 * slots, so that AWS's quota of two keys a user holds by itself however many create at once.
 *
 * Lookups by access key and user id go through indexes that follow the tables. Other identity
 * processes' writes arrive by watch, some milliseconds later, as IAM is eventually consistent.
 */
import type { Bus } from "../bus/bus.ts";
import type { Log } from "../log/log.ts";
import { type Row, Table } from "../state/table.ts";
import { type IdentityChanged, identityChanged } from "./contract.ts";
import type { Sealed } from "./master_key.ts";

export interface AccountRecord {
  readonly account_id: string;
  readonly name: string;
  readonly status: "active" | "suspended";
  /** ISO 8601, as all dates here. */
  readonly created: string;
  /** Only of the account that the first start made. */
  readonly first_start?: FirstStart;
}

/** Progress of the first start; see first_start.ts. */
export interface FirstStart {
  readonly user_id: string;
  readonly access_key_id: string;
  /** Until the key's own row holds it. */
  readonly secret?: Sealed;
  readonly done: boolean;
}

export interface UserRecord {
  readonly account_id: string;
  /** `AIDA…`; a user made again under an old name has another. */
  readonly user_id: string;
  /** As it was given; unique in the account without regard to case. */
  readonly name: string;
  /** `/` or `/…/` */
  readonly path: string;
  readonly created: string;
  /** ARNs of managed policies. */
  readonly attached: readonly string[];
  /** Policy name to document, as it was given. */
  readonly inline: Readonly<Record<string, string>>;
  readonly tags: Readonly<Record<string, string>>;
}

export interface KeyRecord {
  readonly access_key_id: string;
  readonly account_id: string;
  /** The user's id, or `root` for the account's own keys. */
  readonly owner: string;
  readonly status: "Active" | "Inactive";
  readonly created: string;
  readonly secret: Sealed;
}

export const rootOwner = "root";
export const keysPerOwner = 2;

/** What a sealed secret is bound to: whose key it is cannot be changed without its secret's loss. */
export function sealOwner(key: Pick<KeyRecord, "access_key_id" | "account_id" | "owner">): string {
  return `${key.access_key_id}|${key.account_id}|${key.owner}`;
}

export const keySlot = (accountId: string, owner: string, slot: number) =>
  `${accountId}.${owner}.${slot}`;

/** The key of a user's row: a character that a key may not have becomes `=` and two hex digits. */
export function userKey(accountId: string, name: string): string {
  const safe = name.toLowerCase().replace(
    /[^a-z0-9_-]/g,
    (character) => `=${character.charCodeAt(0).toString(16).padStart(2, "0")}`,
  );
  return `${accountId}.${safe}`;
}

/** By what keys are sorted and paged. */
export const keyOrder = (key: KeyRecord) => `${key.created}|${key.access_key_id}`;

export const rootArn = (accountId: string) => `arn:aws:iam::${accountId}:root`;
export const userArn = (user: Pick<UserRecord, "account_id" | "path" | "name">) =>
  `arn:aws:iam::${user.account_id}:user${user.path}${user.name}`;

export class State implements AsyncDisposable {
  readonly #keyRows = new Map<string, string>();
  readonly #userRows = new Map<string, string>();

  private constructor(
    readonly accounts: Table<AccountRecord>,
    readonly users: Table<UserRecord>,
    readonly keys: Table<KeyRecord>,
    bus: Bus,
  ) {
    // Followed before the first answer, said by whoever sees it: a writer that dies right after its
    // write has still told everybody, and an answer never overtakes the event that it caused.
    const say = (change: IdentityChanged) => bus.say(identityChanged, change);
    accounts.watch(() => say({}));
    const idOfKeyRow = new Map<string, string>();
    const followKey = (key: string, row: Row<KeyRecord> | undefined) => {
      const before = idOfKeyRow.get(key);
      if (before !== undefined) this.#keyRows.delete(before);
      if (row === undefined) idOfKeyRow.delete(key);
      else {
        idOfKeyRow.set(key, row.value.access_key_id);
        this.#keyRows.set(row.value.access_key_id, key);
      }
      return before ?? row?.value.access_key_id;
    };
    const idOfUserRow = new Map<string, string>();
    const followUser = (key: string, row: Row<UserRecord> | undefined) => {
      const before = idOfUserRow.get(key);
      if (before !== undefined) this.#userRows.delete(before);
      if (row === undefined) idOfUserRow.delete(key);
      else {
        idOfUserRow.set(key, row.value.user_id);
        this.#userRows.set(row.value.user_id, key);
      }
    };
    keys.watch(({ key, row }) => {
      const access_key_id = followKey(key, row);
      if (access_key_id !== undefined) say({ access_key_id });
    });
    users.watch(({ key, row }) => {
      followUser(key, row);
      say({});
    });
    for (const row of keys.list()) followKey(row.key, row);
    for (const row of users.list()) followUser(row.key, row);
    // What changed while nobody was there to say so.
    say({});
  }

  static async open(bus: Bus, log: Log): Promise<State> {
    const [accounts, users, keys] = await Promise.all([
      Table.open<AccountRecord>(bus, "iam_accounts", log),
      Table.open<UserRecord>(bus, "iam_users", log),
      Table.open<KeyRecord>(bus, "iam_keys", log),
    ]);
    return new State(accounts, users, keys, bus);
  }

  account(accountId: string): AccountRecord | undefined {
    return this.accounts.get(accountId)?.value;
  }

  accessKey(accessKeyId: string): Row<KeyRecord> | undefined {
    const key = this.#keyRows.get(accessKeyId);
    return key === undefined ? undefined : this.keys.get(key);
  }

  user(accountId: string, name: string): Row<UserRecord> | undefined {
    return this.users.get(userKey(accountId, name));
  }

  userById(userId: string): Row<UserRecord> | undefined {
    const key = this.#userRows.get(userId);
    return key === undefined ? undefined : this.users.get(key);
  }

  /** The keys of a user id or of `root`, oldest first, those of one second by their id. */
  keysOf(accountId: string, owner: string): Row<KeyRecord>[] {
    const rows: Row<KeyRecord>[] = [];
    for (let slot = 0; slot < keysPerOwner; slot++) {
      const row = this.keys.get(keySlot(accountId, owner, slot));
      if (row !== undefined) rows.push(row);
    }
    return rows.sort((a, b) => keyOrder(a.value) < keyOrder(b.value) ? -1 : 1);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.accounts, this.users, this.keys].map((t) => t[Symbol.asyncDispose]()));
  }
}
