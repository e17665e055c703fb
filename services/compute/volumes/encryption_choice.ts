/**
 * Whether a new volume or snapshot is encrypted, and what is shown as its key: what the request says, what it
 * is made of, and what the account has set. What is made of something encrypted is encrypted.
 *
 * There is no key service here: each volume has a key of its own under the node's master key, and the one
 * key that can be named is the account's default.
 */
import { AwsError } from "../../aws/errors.ts";
import { invalidCombination, invalidValue } from "../../resources/errors.ts";
import type { Records } from "../../resources/records.ts";
import { defaultKey, keyNames, settingsOf } from "../record_families/account_settings.ts";

export interface EncryptionRequest {
  readonly Encrypted?: boolean | undefined;
  readonly KmsKeyId?: string | undefined;
}

/** As records keep it; nothing of it where there is no encryption. */
export interface Encryption {
  readonly encrypted?: true;
  /** What is shown as its key. */
  readonly kms_key_id?: string;
}

/** What an account has set. */
export interface EncryptionDefaults {
  readonly always: boolean;
  readonly key: string;
  /** Names by which the default key may be asked for. */
  readonly names: readonly string[];
}

export function encryptionDefaults(
  records: Records,
  region: string,
  account: string,
): EncryptionDefaults {
  return {
    always: settingsOf(records, account)["ebs_encryption"] === "true",
    key: defaultKey(region, account),
    names: keyNames(region, account),
  };
}

/** @throws AwsError in EC2's words */
export function chooseEncryption(
  { Encrypted, KmsKeyId }: EncryptionRequest,
  defaults: EncryptionDefaults,
  source: Encryption = {},
): Encryption {
  if (KmsKeyId !== undefined && KmsKeyId !== "") {
    if (Encrypted !== true) {
      throw new AwsError(
        "InvalidParameterDependency",
        "The parameter KmsKeyId requires the parameter Encrypted to be set.",
      );
    }
    if (!defaults.names.includes(KmsKeyId)) {
      throw invalidValue(
        `The key '${KmsKeyId}' does not exist. Leave KmsKeyId out: the key is ${defaults.key}.`,
      );
    }
  }
  if (Encrypted === false && source.encrypted === true) {
    throw invalidCombination("What is made of an encrypted snapshot or volume is encrypted.");
  }
  if (Encrypted !== true && source.encrypted !== true && !defaults.always) return {};
  return { encrypted: true, kms_key_id: source.kms_key_id ?? defaults.key };
}

/** The fields by which EC2 shows it. */
export function showEncryption({ encrypted, kms_key_id }: Encryption) {
  return {
    Encrypted: encrypted === true,
    ...(encrypted === true && kms_key_id !== undefined ? { KmsKeyId: kms_key_id } : {}),
  };
}

/** What one thing hands on to another that is made of it. */
export const sameEncryption = ({ encrypted, kms_key_id }: Encryption): Encryption =>
  encrypted !== true ? {} : { encrypted, ...(kms_key_id === undefined ? {} : { kms_key_id }) };
