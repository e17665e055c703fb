/**
 * What identity keeps, in tables of the state store; `records.ts` has the rows.
 *
 * `iam_accounts` has a row per account, keyed by its id; the one made at the first start also tells
 * how far that came (see first_start.ts).
 * `iam_aliases` is keyed by the alias (see aliases.ts).
 * Users, groups, roles, instance profiles and policies are keyed by account and name in lower case,
 * so that the store itself refuses two whose names differ only in case. `iam_keys` is keyed by
 * account, owner and slot; there are two slots, so that AWS's quota of two keys a user holds by itself
 * however many create at once. `iam_sessions` is keyed by the access key.
 *
 * Lookups by id go through indexes that follow the tables. Other identity processes' writes arrive by
 * watch, some milliseconds later, as IAM is eventually consistent.
 */
import type { Bus } from "../bus/bus.ts";
import type { Log } from "../log/log.ts";
import { type Row, Table } from "../state/table.ts";
import { type IdentityChanged, identityChanged } from "./contract.ts";
import {
  type AccountRecord,
  type AliasRecord,
  type GroupRecord,
  type InstanceProfileRecord,
  keyOrder,
  type KeyRecord,
  keySlot,
  keysPerOwner,
  type ManagedPolicyRecord,
  nameKey,
  type RoleRecord,
  type SessionRecord,
  type UserRecord,
} from "./records.ts";

export * from "./records.ts";

/** Rows by an id that is not their key; it follows the table. */
class Index<T> {
  readonly #rowOfId = new Map<string, string>();
  readonly #idOfRow = new Map<string, string>();

  /** `changed` hears, after the index has followed, whose row it was. */
  constructor(
    readonly table: Table<T>,
    readonly idOf: (value: T) => string,
    changed: (id: string | undefined) => void,
  ) {
    table.watch(({ key, row }) => changed(this.#follow(key, row)));
    for (const row of table.list()) this.#follow(row.key, row);
  }

  #follow(key: string, row: Row<T> | undefined): string | undefined {
    const before = this.#idOfRow.get(key);
    // A thing that gets another name has two rows for a moment: the newer one stands.
    if (before !== undefined && this.#rowOfId.get(before) === key) this.#rowOfId.delete(before);
    if (row === undefined) {
      this.#idOfRow.delete(key);
      return before;
    }
    const id = this.idOf(row.value);
    this.#idOfRow.set(key, id);
    this.#rowOfId.set(id, key);
    return before ?? id;
  }

  get(id: string): Row<T> | undefined {
    const key = this.#rowOfId.get(id);
    return key === undefined ? undefined : this.table.get(key);
  }
}

export interface Tables {
  readonly accounts: Table<AccountRecord>;
  readonly aliases: Table<AliasRecord>;
  readonly users: Table<UserRecord>;
  readonly groups: Table<GroupRecord>;
  readonly roles: Table<RoleRecord>;
  readonly profiles: Table<InstanceProfileRecord>;
  readonly policies: Table<ManagedPolicyRecord>;
  readonly keys: Table<KeyRecord>;
  readonly sessions: Table<SessionRecord>;
}

export class State implements Tables, AsyncDisposable {
  readonly accounts: Table<AccountRecord>;
  readonly aliases: Table<AliasRecord>;
  readonly users: Table<UserRecord>;
  readonly groups: Table<GroupRecord>;
  readonly roles: Table<RoleRecord>;
  readonly profiles: Table<InstanceProfileRecord>;
  readonly policies: Table<ManagedPolicyRecord>;
  readonly keys: Table<KeyRecord>;
  readonly sessions: Table<SessionRecord>;
  readonly #keysById: Index<KeyRecord>;
  readonly #usersById: Index<UserRecord>;
  readonly #groupsById: Index<GroupRecord>;
  readonly #rolesById: Index<RoleRecord>;
  /** Account of each session, and how many each account has. */
  readonly #sessionAccounts = new Map<string, string>();
  readonly #sessionCounts = new Map<string, number>();

  private constructor(tables: Tables, bus: Bus) {
    this.accounts = tables.accounts;
    this.aliases = tables.aliases;
    this.users = tables.users;
    this.groups = tables.groups;
    this.roles = tables.roles;
    this.profiles = tables.profiles;
    this.policies = tables.policies;
    this.keys = tables.keys;
    this.sessions = tables.sessions;
    // Followed before the first answer, said by whoever sees it: a writer that dies right after its
    // write has still told everybody, and an answer never overtakes the event that it caused.
    const say = (change: IdentityChanged) => bus.say(identityChanged, change);
    const anything = () => say({});
    const ofKey = (access_key_id: string | undefined) => {
      if (access_key_id !== undefined) say({ access_key_id });
    };
    this.accounts.watch(anything);
    this.#usersById = new Index(this.users, (user) => user.user_id, anything);
    this.#groupsById = new Index(this.groups, (group) => group.group_id, anything);
    this.#rolesById = new Index(this.roles, (role) => role.role_id, anything);
    this.policies.watch(anything);
    this.#keysById = new Index(this.keys, (key) => key.access_key_id, ofKey);
    // A new session is nobody's knowledge yet: only its end must be told.
    for (const { key, value } of this.sessions.rows()) this.#countSession(key, value);
    this.sessions.watch(({ key, row }) => {
      this.#countSession(key, row?.value);
      if (row === undefined) say({ access_key_id: key });
    });
    // What changed while nobody was there to say so.
    say({});
  }

  static async open(bus: Bus, log: Log): Promise<State> {
    const open = <T>(bucket: string) => Table.open<T>(bus, bucket, log);
    const [accounts, aliases, users, groups, roles, profiles, policies, keys, sessions] =
      await Promise.all([
        open<AccountRecord>("iam_accounts"),
        open<AliasRecord>("iam_aliases"),
        open<UserRecord>("iam_users"),
        open<GroupRecord>("iam_groups"),
        open<RoleRecord>("iam_roles"),
        open<InstanceProfileRecord>("iam_profiles"),
        open<ManagedPolicyRecord>("iam_policies"),
        open<KeyRecord>("iam_keys"),
        open<SessionRecord>("iam_sessions"),
      ]);
    return new State(
      { accounts, aliases, users, groups, roles, profiles, policies, keys, sessions },
      bus,
    );
  }

  #countSession(key: string, session: SessionRecord | undefined): void {
    const account = session?.account_id ?? this.#sessionAccounts.get(key);
    if (account === undefined || (session !== undefined) === this.#sessionAccounts.has(key)) return;
    const count = (this.#sessionCounts.get(account) ?? 0) + (session === undefined ? -1 : 1);
    if (count === 0) this.#sessionCounts.delete(account);
    else this.#sessionCounts.set(account, count);
    if (session === undefined) this.#sessionAccounts.delete(key);
    else this.#sessionAccounts.set(key, account);
  }

  /** How many sessions the account has, those that have ended and still stand too. */
  sessionsOf(accountId: string): number {
    return this.#sessionCounts.get(accountId) ?? 0;
  }

  account(accountId: string): AccountRecord | undefined {
    return this.accounts.get(accountId)?.value;
  }

  accessKey(accessKeyId: string): Row<KeyRecord> | undefined {
    return this.#keysById.get(accessKeyId);
  }

  user(accountId: string, name: string): Row<UserRecord> | undefined {
    return this.users.get(nameKey(accountId, name));
  }

  userById(userId: string): Row<UserRecord> | undefined {
    return this.#usersById.get(userId);
  }

  groupById(groupId: string): Row<GroupRecord> | undefined {
    return this.#groupsById.get(groupId);
  }

  role(accountId: string, name: string): Row<RoleRecord> | undefined {
    return this.roles.get(nameKey(accountId, name));
  }

  roleById(roleId: string): Row<RoleRecord> | undefined {
    return this.#rolesById.get(roleId);
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
    const tables = [
      this.accounts,
      this.aliases,
      this.users,
      this.groups,
      this.roles,
      this.profiles,
      this.policies,
      this.keys,
      this.sessions,
    ];
    await Promise.all(tables.map((table) => table[Symbol.asyncDispose]()));
  }
}
