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
 * @throws AwsError `InvalidClientTokenId` (403) for an unknown or inactive access key,
 *   `SignatureDoesNotMatch` (403) for a scope that cannot be: a date more than a day away, a region
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

export interface AuthorizeRequest {
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
}

export interface AuthorizeDecision {
  readonly allowed: boolean;
  /** Why not: a statement denies, or none allows. */
  readonly reason?: "explicit_deny" | "implicit_deny";
  /**
   * The caller may do this action on every resource of its own account, under any conditions: until
   * `identityChanged` nobody need ask about another one.
   */
  readonly every_resource?: boolean;
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
    "AttachUserPolicy",
    "CreateAccessKey",
    "CreateUser",
    "DeleteAccessKey",
    "DeleteUser",
    "DeleteUserPolicy",
    "DetachUserPolicy",
    "GetUser",
    "GetUserPolicy",
    "ListAccessKeys",
    "ListAttachedUserPolicies",
    "ListUserPolicies",
    "ListUsers",
    "PutUserPolicy",
    "UpdateAccessKey",
  ],
  sts: ["GetAccessKeyInfo", "GetCallerIdentity"],
} as const;
