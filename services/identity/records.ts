/**
 * What identity keeps of each kind of thing, as it lies in the state store. Fields that came with a
 * later release are optional, so that rows of an earlier one read as what they meant then.
 */
import type { Sealed } from "./credentials/master_key.ts";

export interface AccountRecord {
  readonly account_id: string;
  readonly name: string;
  readonly status: "active" | "suspended";
  /** ISO 8601, as all dates here. */
  readonly created: string;
  /** Of an earlier release: `iam_aliases` has it now (see aliases.ts). */
  readonly alias?: string;
  /** Only of the account that the first start made. */
  readonly first_start?: FirstStart;
  /** Of an account that the operator made: its administrator, as far as its making came. */
  readonly administrator?: FirstStart;
}

/** Whose alias it is that the row is keyed by. */
export interface AliasRecord {
  readonly account_id: string;
}

/** Progress of the first start; see first_start.ts. */
export interface FirstStart {
  readonly user_id: string;
  readonly access_key_id: string;
  /** Until the key's own row holds it. */
  readonly secret?: Sealed;
  readonly done: boolean;
}

/** What has a name and a path of its own in an account. */
export interface Named {
  readonly account_id: string;
  /** As it was given; unique in the account without regard to case. */
  readonly name: string;
  /** `/` or `/…/` */
  readonly path: string;
  readonly created: string;
}

/** What policies are attached to and put into. */
export interface PolicyHolder extends Named {
  /** ARNs of managed policies. */
  readonly attached: readonly string[];
  /** Policy name to document, as it was given. */
  readonly inline: Readonly<Record<string, string>>;
}

export interface UserRecord extends PolicyHolder {
  /** `AIDA…`; a user made again under an old name has another. */
  readonly user_id: string;
  readonly tags: Readonly<Record<string, string>>;
  /** Ids of its groups. */
  readonly groups?: readonly string[];
  /** ARN of the policy that bounds what it may. */
  readonly boundary?: string;
}

export interface GroupRecord extends PolicyHolder {
  /** `AGPA…` */
  readonly group_id: string;
}

export interface RoleRecord extends PolicyHolder {
  /** `AROA…` */
  readonly role_id: string;
  /** The policy that says who may take the role, as it was given. */
  readonly trust: string;
  /** ARNs in it, and the id of whoever had each when it was written; see trusted_ids.ts. */
  readonly trusted?: Readonly<Record<string, string>>;
  readonly description?: string;
  readonly max_session_s: number;
  readonly tags: Readonly<Record<string, string>>;
  readonly boundary?: string;
}

export interface InstanceProfileRecord extends Named {
  /** `AIPA…` */
  readonly profile_id: string;
  /** The role's id; AWS allows one. */
  readonly role?: string;
  readonly tags: Readonly<Record<string, string>>;
}

export interface PolicyVersion {
  /** `v1`, `v2`, … never used twice. */
  readonly id: string;
  readonly document: string;
  readonly created: string;
}

/** A policy that the customer manages. */
export interface ManagedPolicyRecord extends Named {
  /** `ANPA…` */
  readonly policy_id: string;
  readonly description?: string;
  readonly updated: string;
  /** Oldest first, five at most. */
  readonly versions: readonly PolicyVersion[];
  readonly default_version: string;
  /** The number of the next version; absent until there was a second one. */
  readonly next_version?: number;
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

/** Temporary credentials: they end by themselves, and earlier with what they speak for. */
export interface SessionRecord {
  /** `ASIA…` */
  readonly access_key_id: string;
  readonly account_id: string;
  readonly kind: "role" | "user" | "federated";
  /** The role's or user's id, or `root`. */
  readonly owner: string;
  /** Name of the session or of the federated user; empty for a user's own session. */
  readonly name: string;
  /** Policies that narrow what the owner may: documents, and ARNs of managed ones. */
  readonly policies: readonly string[];
  readonly policy_arns: readonly string[];
  readonly tags: Readonly<Record<string, string>>;
  /** Those of its tags, in lower case, that go on to the roles which it takes. */
  readonly transitive?: readonly string[];
  readonly source_identity?: string;
  readonly created: string;
  readonly expires_ms: number;
  readonly secret: Sealed;
  /** SHA-256 of the session token, hex: the token itself is nowhere kept. */
  readonly token_sha256: string;
}

export const rootOwner = "root";
export const keysPerOwner = 2;

/** What a sealed secret is bound to: whose key it is cannot be changed without its secret's loss. */
export function sealOwner(key: Pick<KeyRecord, "access_key_id" | "account_id" | "owner">): string {
  return `${key.access_key_id}|${key.account_id}|${key.owner}`;
}

export const keySlot = (accountId: string, owner: string, slot: number) =>
  `${accountId}.${owner}.${slot}`;

/** The key of a named row: a character that a key may not have becomes `=` and two hex digits. */
export function nameKey(accountId: string, name: string): string {
  const safe = name.toLowerCase().replace(
    /[^a-z0-9_-]/g,
    (character) => `=${character.charCodeAt(0).toString(16).padStart(2, "0")}`,
  );
  return `${accountId}.${safe}`;
}

/** By what keys are sorted and paged. */
export const keyOrder = (key: KeyRecord) => `${key.created}|${key.access_key_id}`;

const arnOf = (kind: string) => (one: Pick<Named, "account_id" | "path" | "name">) =>
  `arn:aws:iam::${one.account_id}:${kind}${one.path}${one.name}`;

export const rootArn = (accountId: string) => `arn:aws:iam::${accountId}:root`;
export const userArn = arnOf("user");
export const groupArn = arnOf("group");
export const roleArn = arnOf("role");
export const instanceProfileArn = arnOf("instance-profile");
export const policyArn = arnOf("policy");
export const assumedRoleArn = (role: Pick<Named, "account_id" | "name">, session: string) =>
  `arn:aws:sts::${role.account_id}:assumed-role/${role.name}/${session}`;
export const federatedUserArn = (accountId: string, name: string) =>
  `arn:aws:sts::${accountId}:federated-user/${name}`;
