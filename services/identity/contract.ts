/** What others may know of identity: signing keys, authorisation, and who the caller is. */
import { subject } from "../bus/subject.ts";

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

/** @throws AwsError `InvalidClientTokenId` (403) for an unknown or inactive access key */
export const signingKey = subject<SigningScope, SigningGrant>("identity.signing_key", 5_000);

/** Event: what was granted for this access key (or, without one, anything) may have changed. */
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
}

/** Whether the caller may. Deny is an answer, not an error. */
export const authorize = subject<AuthorizeRequest, { readonly allowed: boolean }>(
  "identity.authorize",
  5_000,
);

export interface AdminCredentials {
  readonly account_id: string;
  readonly access_key_id: string;
  readonly secret_access_key: string;
}

/** The credentials of the account made at first start; only the operator's nkey may ask. */
export const adminCredentials = subject<null, AdminCredentials>(
  "identity.admin_credentials",
  5_000,
);

/** Actions answered on `iam.<Action>` and `sts.<Action>`. */
export const identityActions = {
  iam: ["CreateAccessKey", "DeleteAccessKey", "GetUser", "ListAccessKeys", "UpdateAccessKey"],
  sts: ["GetAccessKeyInfo", "GetCallerIdentity"],
} as const;
