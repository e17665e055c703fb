/**
 * Secrets at rest: sealed by AES-256-GCM under a key derived from the node's master key.
 *
 * A sealed secret names the master key that sealed it and is bound to its owner (the additional
 * authenticated data), so that it can be neither altered nor moved to another row. The master key
 * file holds the current key in its first line and older ones after it: a rotation prepends a line,
 * and identity seals everything anew at its next start.
 *
 * A key file that is missing, malformed or not the one that sealed is an error for the operator;
 * nothing is ever written in its place.
 */
import { type MasterKeyBytes, parseKeyFile, readKeyFile } from "../../config/key_file.ts";
import { MasterKeyRing, nonceBytes, openBytes, sealBytes } from "../../config/master_keys.ts";

const purpose = {
  fingerprint: "mulga/master-key/id",
  sealing: "mulga/identity/access-key-secrets/v1",
} as const;

export interface Sealed {
  readonly v: 1;
  /** Which master key: a fingerprint that tells nothing of the key. */
  readonly master: string;
  /** Base64, 12 bytes, never used twice. */
  readonly iv: string;
  /** Base64: ciphertext and 16 bytes of tag. */
  readonly data: string;
}

/** A sealed secret does not open: it, or the row that it belongs to, was altered. */
export class SecretTampered extends Error {
  override readonly name = "SecretTampered";
}

const boundTo = (owner: string) => `v1|${owner}`;

export class MasterKeys {
  readonly #ring: MasterKeyRing;

  constructor(keys: MasterKeyBytes) {
    this.#ring = new MasterKeyRing(keys, purpose);
  }

  /** The fingerprint of the key that seals. */
  get currentId(): string {
    return this.#ring.id;
  }

  knows(id: string): boolean {
    return this.#ring.knows(id);
  }

  /** @param owner what the secret belongs to; the same text must be given to open it */
  seal(secret: string, owner: string): Sealed {
    const { current, id } = this.#ring;
    const sealed = sealBytes(current, new TextEncoder().encode(secret), boundTo(owner));
    return {
      v: 1,
      master: id,
      iv: sealed.subarray(0, nonceBytes).toBase64(),
      data: sealed.subarray(nonceBytes).toBase64(),
    };
  }

  /** @throws MasterKeyError when another key sealed it. @throws SecretTampered */
  open(sealed: Sealed, owner: string): string {
    const key = this.#ring.of(
      sealed.master,
      () => `No master key with fingerprint ${sealed.master} is at hand.`,
    );
    try {
      if (sealed.v !== 1) throw new Error(`version ${sealed.v} is not known`);
      const iv = Buffer.from(sealed.iv, "base64");
      if (iv.length !== nonceBytes) throw new Error("wrong length");
      const bytes = Buffer.concat([iv, Buffer.from(sealed.data, "base64")]);
      return new TextDecoder().decode(openBytes(key, bytes, boundTo(owner)));
    } catch (cause) {
      throw new SecretTampered("A sealed secret does not open: it was altered.", { cause });
    }
  }
}

/** @throws MasterKeyError */
export function parseMasterKeys(text: string, path: string): MasterKeys {
  return new MasterKeys(parseKeyFile(text, path));
}

/** @throws MasterKeyError */
export async function readMasterKeys(path: string): Promise<MasterKeys> {
  return new MasterKeys(await readKeyFile(path));
}
