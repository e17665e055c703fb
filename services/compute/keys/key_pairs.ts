/**
 * CreateKeyPair, ImportKeyPair, DescribeKeyPairs, DeleteKeyPair.
 *
 * A name is unique in its account because the id follows from it: two equal names at once meet in
 * one key of the table, and one of them is refused. ARNs hold the name, as EC2 has it. Private keys are answered once and kept nowhere.
 */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable } from "../../resources/actions.ts";
import {
  invalidParameter,
  invalidValue,
  missingParameter,
  unsupported,
} from "../../resources/errors.ts";
import { idOf } from "../../resources/ids.ts";
import type { ResourceType } from "../../resources/resource.ts";
import { showTags, tagsFromSpecifications } from "../../resources/tags.ts";
import { Conflict } from "../../state/table.ts";
import { buckets, type KeyPairRecord } from "../contract.ts";
import {
  KeyFormatError,
  makeKey,
  openSshLine,
  parsePublicKey,
  publicFingerprint,
  type PublicKey,
} from "./ssh_keys.ts";
import type { ComputeState } from "../state.ts";

const idPrefix = "key-";
/** EC2's own limit; small enough that all of them fit one answer, since they have no pages. */
const perAccount = 5000;

export const keyPairType: ResourceType<KeyPairRecord> = {
  name: "key-pair",
  idPrefix,
  errors: {
    notFound: "InvalidKeyPair.NotFound",
    malformed: "InvalidParameterValue",
    noun: "keyPair",
    missing: (id) => `The key pair '${id}' does not exist`,
  },
  bucket: buckets.keyPairs,
  id: (key) => key.key_pair_id,
  arnId: (key) => key.key_name,
  states: [],
  attributes: {
    "fingerprint": (key) => key.fingerprint,
    "key-name": (key) => key.key_name,
    "key-pair-id": (key) => key.key_pair_id,
    "key-type": (key) => key.key_type,
  },
  page: { minimum: 5, maximum: perAccount, above: "refuse" },
};

const idOfName = (account: string, name: string) => idOf(idPrefix, account, name);

/** The account's key pair of that name. @throws AwsError `InvalidKeyPair.NotFound` */
export async function keyPairNamed(
  keyPairs: ComputeState["keyPairs"],
  account: string,
  name: string,
): Promise<KeyPairRecord> {
  return await keyPairs.require(account, await idOfName(account, name)).catch((cause) => {
    if (cause instanceof AwsError && cause.code === keyPairType.errors.notFound) {
      throw new AwsError(cause.code, `The key pair '${name}' does not exist`, { cause });
    }
    throw cause;
  });
}

function checkName(name: string): void {
  if (name === "") throw missingParameter("KeyName");
  if (name.length > 255 || !/^[\x20-\x7e]+$/.test(name) || name.trim() !== name) {
    throw invalidValue(
      "Value for parameter KeyName is invalid. A name has up to 255 ASCII characters, without blanks at its ends.",
    );
  }
}

async function keep(
  { keyPairs }: ComputeState,
  account: string,
  name: string,
  key: PublicKey,
  fingerprint: string,
  tags: Readonly<Record<string, string>>,
): Promise<KeyPairRecord> {
  let count = 0;
  for (const _ of keyPairs.all(account)) count++;
  if (count >= perAccount) {
    throw new AwsError("KeyPairLimitExceeded", `An account may have ${perAccount} key pairs.`);
  }
  try {
    return await keyPairs.create({
      key_pair_id: await idOfName(account, name),
      account_id: account,
      key_name: name,
      key_type: key.type,
      fingerprint,
      public_key: openSshLine(key, name),
      create_time: new Date().toISOString(),
      tags,
    });
  } catch (error) {
    if (error instanceof Conflict) throw duplicate(name, error);
    throw error;
  }
}

const duplicate = (name: string, cause?: unknown) =>
  new AwsError("InvalidKeyPair.Duplicate", `The keypair '${name}' already exists.`, { cause });

function parseMaterial(material: string): PublicKey {
  try {
    return parsePublicKey(Uint8Array.fromBase64(material));
  } catch (error) {
    throw new AwsError(
      "InvalidKey.Format",
      `Key is not in valid OpenSSH public key format: ${
        error instanceof KeyFormatError ? error.message : "it is not valid base64"
      }.`,
      { cause: error },
    );
  }
}

const show = (key: KeyPairRecord) => ({
  KeyFingerprint: key.fingerprint,
  KeyName: key.key_name,
  KeyPairId: key.key_pair_id,
  Tags: showTags(key.tags),
});

export function keyPairActions(state: ComputeState) {
  const { keyPairs } = state;
  const refuseDuplicate = async (account: string, name: string) => {
    if (keyPairs.get(account, await idOfName(account, name)) !== undefined) throw duplicate(name);
  };
  return {
    CreateKeyPair: {
      resources: (input, call) => [keyPairs.arnOf(call, input.KeyName)],
      check: async (input, call) => {
        checkName(input.KeyName);
        const { KeyType: type = "rsa", KeyFormat: format = "pem" } = input;
        if (type !== "rsa" && type !== "ed25519") {
          throw invalidParameter("KeyType", type, "Expected: rsa or ed25519.");
        }
        if (format !== "pem") {
          throw unsupported("Private keys are made in the format pem. Leave KeyFormat out.");
        }
        tagsFromSpecifications(input.TagSpecifications, ["key-pair"]);
        await refuseDuplicate(call.account_id, input.KeyName);
      },
      run: async (input, call) => {
        const tags = tagsFromSpecifications(input.TagSpecifications, ["key-pair"]);
        const made = await makeKey(input.KeyType ?? "rsa", input.KeyName);
        const record = await keep(
          state,
          call.account_id,
          input.KeyName,
          made.public,
          made.fingerprint,
          tags["key-pair"] ?? {},
        );
        return { ...show(record), KeyMaterial: made.privatePem };
      },
    },

    ImportKeyPair: {
      resources: (input, call) => [keyPairs.arnOf(call, input.KeyName)],
      check: async (input, call) => {
        checkName(input.KeyName);
        tagsFromSpecifications(input.TagSpecifications, ["key-pair"]);
        parseMaterial(input.PublicKeyMaterial);
        await refuseDuplicate(call.account_id, input.KeyName);
      },
      run: async (input, call) => {
        const key = parseMaterial(input.PublicKeyMaterial);
        const tags = tagsFromSpecifications(input.TagSpecifications, ["key-pair"]);
        return show(
          await keep(
            state,
            call.account_id,
            input.KeyName,
            key,
            publicFingerprint(key),
            tags["key-pair"] ?? {},
          ),
        );
      },
    },

    DescribeKeyPairs: {
      run: async (input, call) => {
        const ids = [...(input.KeyPairIds ?? [])];
        for (const name of input.KeyNames ?? []) {
          ids.push((await keyPairNamed(keyPairs, call.account_id, name)).key_pair_id);
        }
        const page = await keyPairs.describe({
          action: "DescribeKeyPairs",
          ids,
          filters: input.Filters,
        }, call);
        return {
          KeyPairs: page.records.map((key) => ({
            ...show(key),
            KeyType: key.key_type,
            CreateTime: key.create_time,
            ...(input.IncludePublicKey === true ? { PublicKey: key.public_key } : {}),
          })),
        };
      },
    },

    DeleteKeyPair: {
      resources: (input, call) => {
        const named = keyPairs.get(call.account_id, input.KeyPairId ?? "")?.key_name;
        return [keyPairs.arnOf(call, input.KeyName ?? named ?? "*")];
      },
      check: (input) => {
        if (input.KeyName === undefined && input.KeyPairId === undefined) {
          throw missingParameter("KeyName");
        }
        if (input.KeyName !== undefined && input.KeyPairId !== undefined) {
          throw new AwsError(
            "InvalidParameterCombination",
            "Give either KeyName or KeyPairId, and not both.",
          );
        }
      },
      run: async (input, call) => {
        // Deleting what is not there succeeds, as in EC2.
        const id = input.KeyPairId ?? await idOfName(call.account_id, input.KeyName ?? "");
        const key = keyPairs.get(call.account_id, id);
        await keyPairs.delete(call.account_id, id);
        return { Return: true, ...(key === undefined ? {} : { KeyPairId: key.key_pair_id }) };
      },
    },
  } satisfies ActionTable;
}
