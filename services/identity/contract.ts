/** What others may know of identity: signing keys, authorisation, and who the caller is. */
import { join } from "node:path";
import { subject } from "../bus/subject.ts";
import type { Paths } from "../config/node_config.ts";

/** The credential scope of a SigV4 signature. */
export interface SigningScope {
  readonly access_key_id: string;
  /** `20261121` */
  readonly date: string;
  readonly region: string;
  readonly service: string;
  /** What comes with temporary credentials. */
  readonly session_token?: string;
}

/** A signing key derived for one scope: the secret itself never leaves identity. */
export interface SigningGrant {
  /** HMAC key, base64, of 32 bytes. */
  readonly key: string;
  readonly account_id: string;
  readonly principal_arn: string;
  readonly user_id: string;
  /** When the grant must be asked for again: milliseconds since 1970. */
  readonly valid_until_ms: number;
}

/**
 * @throws AwsError `InvalidClientTokenId` (403) for an unknown or inactive access key or a session token
 *   that is not its own, `ExpiredToken` (403), `SignatureDoesNotMatch` (403) for a scope that cannot be: a date more than a day away, a region
 *   or service that is no name
 */
export const signingKey = subject<SigningScope, SigningGrant>("identity.signing_key", 5_000);

/**
 * Event: what was granted for this access key (or, without one, anything) may have changed. Who
 * lost its connection to the bus may have missed one, and forgets all grants when it reconnects.
 */
export const identityChanged = "identity.changed";
export interface IdentityChanged {
  readonly access_key_id?: string;
}

/** Whoever signs nothing, who may what a resource's own policy lets everybody. */
export const anonymousPrincipal = "*";

export interface AuthorizeRequest {
  /** An ARN, or `anonymousPrincipal`. */
  readonly principal_arn: string;
  /** IAM's name of the action, for example `ec2:RunInstances`. */
  readonly action: string;
  /** ARN, or `*`. */
  readonly resource: string;
  /**
   * Condition keys of this request, for example `ec2:InstanceType` or `aws:RequestTag/team`.
   * Identity itself adds those of the principal, the time, and (from the call's context)
   * `aws:SourceIp` and `aws:RequestedRegion`; these win over what is given here.
   */
  readonly conditions?: Readonly<Record<string, string | readonly string[]>>;
  /** The resource's own policy, where it has one: weighed with the caller's. */
  readonly resource_policy?: ResourcePolicy;
}

/** What a resource's owner says of who may use it. */
export interface ResourcePolicy extends WrittenPolicy {
  /** The account that the resource belongs to. */
  readonly account_id: string;
}

export interface WrittenPolicy {
  /** JSON. */
  readonly document: string;
  /** ARNs in it, and the id of whoever had each when it was written; without them ARNs are ARNs. */
  readonly trusted?: Readonly<Record<string, string>>;
}

/**
 * What is kept beside the policy of a resource that is written now.
 * @throws AwsError `MalformedPolicyDocument` when it is none, or names who is not there
 */
export const policyTrust = subject<
  { readonly document: string },
  { readonly trusted: Readonly<Record<string, string>> }
>("identity.policy_trust", 5_000);

/** A resource's policy as its owner sees it: the id in place of the ARN of who is no more. */
export const policyShown = subject<WrittenPolicy, { readonly document: string }>(
  "identity.policy_shown",
  5_000,
);

export interface AuthorizeDecision {
  readonly allowed: boolean;
  /** Why not: a statement denies, or none allows. */
  readonly reason?: "explicit_deny" | "implicit_deny";
  /**
   * The caller may do this action on every resource of its own account, under any conditions: until
   * `identityChanged` nobody need ask about another one.
   */
  readonly every_resource?: boolean;
  /** The resource's own policy allows it too. */
  readonly by_resource?: boolean;
}

/** Whether the caller may. Deny is an answer, not an error. */
export const authorize = subject<AuthorizeRequest, AuthorizeDecision>(
  "identity.authorize",
  5_000,
);

export interface AdminCredentials {
  readonly account_id: string;
  readonly access_key_id: string;
  readonly secret_access_key: string;
}

/**
 * The oldest active credentials of the administrator made at first start; only the operator's nkey
 * may ask.
 * @throws AwsError `NoSuchEntity` (404) when the administrator has no active key left
 */
export const adminCredentials = subject<null, AdminCredentials>(
  "identity.admin_credentials",
  5_000,
);

/** An access key that was made before this node was: by a seed, or by whoever claimed the box. */
export interface GivenAdminKey {
  readonly access_key_id: string;
  readonly secret_access_key: string;
}

export const givenKeyVersion = 1;

/** Where identity looks for it at its first start (mode 0600, identity's own); it goes when it is taken over. */
export const givenKeyFile = (paths: Paths) => join(paths.service("identity"), "admin-key.json");
export const givenKeyText = (key: GivenAdminKey) =>
  `${JSON.stringify({ version: givenKeyVersion, ...key })}\n`;

/** Whether it has the form of an access key that any AWS client can use. */
export const isAccessKey = ({ access_key_id, secret_access_key }: GivenAdminKey): boolean =>
  /^[A-Z0-9]{16,64}$/.test(access_key_id) && /^[A-Za-z0-9/+=]{40,128}$/.test(secret_access_key);

/** A tenant's account with its administrator. */
export interface NewAccount {
  /** Unique in the cloud: lower-case letters, digits and dashes. */
  readonly name: string;
  /** An access key that the tenant already uses elsewhere, to be taken over. */
  readonly import_key?: GivenAdminKey;
}

/**
 * Makes an account with an administrator and its access key; only the operator's nkey may ask. Asked
 * again with the same name it gives what it made.
 * @throws AwsError `EntityAlreadyExists` (409) when the access key is another's, `ValidationError`
 */
export const createAccount = subject<NewAccount, AdminCredentials>(
  "identity.create_account",
  10_000,
);

export interface AccountSummary {
  readonly account_id: string;
  readonly name: string;
  readonly status: "active" | "suspended";
  readonly created: string;
  readonly users: number;
}

/** All accounts; only the operator's nkey may ask. */
export const listAccounts = subject<null, readonly AccountSummary[]>(
  "identity.list_accounts",
  5_000,
);

/** An IAM action in an account, as the account's root. */
export interface AccountCall {
  /** The account's name or its id. */
  readonly account: string;
  readonly action: (typeof identityActions)["iam"][number];
  readonly input: Readonly<Record<string, unknown>>;
}

/**
 * How the operator helps a tenant that lost its keys; only the operator's nkey may ask.
 * @throws AwsError `NoSuchEntity` (404) for an unknown account, and what the action throws
 */
export const accountCall = subject<AccountCall, unknown>("identity.account_call", 10_000);

/** An instance profile by its name or its ARN, in an account. */
export interface InstanceProfileQuestion {
  readonly account_id: string;
  readonly name?: string;
  readonly arn?: string;
}
export interface InstanceProfile {
  readonly arn: string;
  readonly id: string;
  /** The role that it gives, if it has one: whoever launches with it must be allowed to pass that on. */
  readonly role_arn?: string;
}
/** @throws AwsError `InvalidParameterValue` when there is none */
export const instanceProfile = subject<InstanceProfileQuestion, InstanceProfile>(
  "identity.instance_profile",
  5_000,
);

export interface InstanceCredentials {
  readonly role_name: string;
  readonly access_key_id: string;
  readonly secret_access_key: string;
  readonly token: string;
  /** ISO 8601. */
  readonly expiration: string;
}

export interface InstanceCredentialsQuestion {
  readonly account_id: string;
  readonly profile_id: string;
  readonly instance_id: string;
  /** The access key that the instance has now. */
  readonly current?: string;
}

/**
 * Temporary credentials for an instance, of the role of its profile; null where the profile is gone,
 * has no role, or the role does not trust `ec2.amazonaws.com`; `unchanged` while the current ones are
 * of that role and have more than half of their life before them. Only the metadata service may ask.
 */
export const instanceCredentials = subject<
  InstanceCredentialsQuestion,
  InstanceCredentials | { readonly unchanged: true } | null
>("identity.instance_credentials", 5_000);

/**
 * The text of a new master key file (`paths.masterKey`, mode 0600): one key a line, each 32 random
 * bytes in base64. The first line seals; the lines after it are older keys that still open. Whoever
 * sets the node up writes it, once: identity itself only ever reads it, since a key made by mistake
 * would orphan every secret.
 */
export function newMasterKey(): string {
  return `${crypto.getRandomValues(new Uint8Array(32)).toBase64()}\n`;
}

/** Actions answered on `iam.<Action>` and `sts.<Action>`. */
export const identityActions = {
  iam: [
    "AddRoleToInstanceProfile",
    "AddUserToGroup",
    "AttachGroupPolicy",
    "AttachRolePolicy",
    "AttachUserPolicy",
    "CreateAccessKey",
    "CreateAccountAlias",
    "CreateGroup",
    "CreateInstanceProfile",
    "CreatePolicy",
    "CreatePolicyVersion",
    "CreateRole",
    "CreateUser",
    "DeleteAccessKey",
    "DeleteAccountAlias",
    "DeleteGroup",
    "DeleteGroupPolicy",
    "DeleteInstanceProfile",
    "DeletePolicy",
    "DeletePolicyVersion",
    "DeleteRole",
    "DeleteRolePermissionsBoundary",
    "DeleteRolePolicy",
    "DeleteUser",
    "DeleteUserPermissionsBoundary",
    "DeleteUserPolicy",
    "DetachGroupPolicy",
    "DetachRolePolicy",
    "DetachUserPolicy",
    "GetAccountSummary",
    "GetGroup",
    "GetGroupPolicy",
    "GetInstanceProfile",
    "GetPolicy",
    "GetPolicyVersion",
    "GetRole",
    "GetRolePolicy",
    "GetUser",
    "GetUserPolicy",
    "ListAccessKeys",
    "ListAccountAliases",
    "ListAttachedGroupPolicies",
    "ListAttachedRolePolicies",
    "ListAttachedUserPolicies",
    "ListEntitiesForPolicy",
    "ListGroupPolicies",
    "ListGroups",
    "ListGroupsForUser",
    "ListInstanceProfileTags",
    "ListInstanceProfiles",
    "ListInstanceProfilesForRole",
    "ListPolicies",
    "ListPolicyTags",
    "ListPolicyVersions",
    "ListRolePolicies",
    "ListRoleTags",
    "ListRoles",
    "ListUserPolicies",
    "ListUserTags",
    "ListUsers",
    "PutGroupPolicy",
    "PutRolePermissionsBoundary",
    "PutRolePolicy",
    "PutUserPermissionsBoundary",
    "PutUserPolicy",
    "RemoveRoleFromInstanceProfile",
    "RemoveUserFromGroup",
    "SetDefaultPolicyVersion",
    "SimulateCustomPolicy",
    "SimulatePrincipalPolicy",
    "TagInstanceProfile",
    "TagPolicy",
    "TagRole",
    "TagUser",
    "UntagInstanceProfile",
    "UntagPolicy",
    "UntagRole",
    "UntagUser",
    "UpdateAccessKey",
    "UpdateAssumeRolePolicy",
    "UpdateGroup",
    "UpdateRole",
    "UpdateRoleDescription",
    "UpdateUser",
  ],
  sts: [
    "AssumeRole",
    "GetAccessKeyInfo",
    "GetCallerIdentity",
    "GetFederationToken",
    "GetSessionToken",
  ],
} as const;
