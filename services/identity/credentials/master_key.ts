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
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from "node:crypto";
import {
  type MasterKeyBytes,
  MasterKeyError,
  parseKeyFile,
  readKeyFile,
} from "../../config/key_file.ts";

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

const tagBytes = 16;

function derive(master: Uint8Array, purpose: string, bytes: number): Uint8Array {
  return new Uint8Array(hkdfSync("sha256", master, new Uint8Array(0), purpose, bytes));
}

interface MasterKey {
  readonly id: string;
  readonly sealing: Uint8Array;
}

export class MasterKeys {
  readonly #current: MasterKey;
  readonly #known: ReadonlyMap<string, MasterKey>;

  constructor(keys: MasterKeyBytes) {
    const made = keys.map((key) => ({
      id: derive(key, "mulga/master-key/id", 8).toHex(),
      sealing: derive(key, "mulga/identity/access-key-secrets/v1", 32),
    }));
    this.#current = made[0] as MasterKey;
    this.#known = new Map(made.map((key) => [key.id, key]));
  }

  /** The fingerprint of the key that seals. */
  get currentId(): string {
    return this.#current.id;
  }

  knows(id: string): boolean {
    return this.#known.has(id);
  }

  /** @param owner what the secret belongs to; the same text must be given to open it */
  seal(secret: string, owner: string): Sealed {
    const iv = randomBytes(12);
    const cipher = createCipheriv("aes-256-gcm", this.#current.sealing, iv);
    cipher.setAAD(new TextEncoder().encode(`v1|${owner}`));
    const data = Buffer.concat([
      cipher.update(secret, "utf8"),
      cipher.final(),
      cipher.getAuthTag(),
    ]);
    return {
      v: 1,
      master: this.#current.id,
      iv: iv.toString("base64"),
      data: data.toString("base64"),
    };
  }

  /** @throws MasterKeyError when another key sealed it. @throws SecretTampered */
  open(sealed: Sealed, owner: string): string {
    const key = this.#known.get(sealed.master);
    if (key === undefined) {
      throw new MasterKeyError(`No master key with fingerprint ${sealed.master} is at hand.`);
    }
    try {
      if (sealed.v !== 1) throw new Error(`version ${sealed.v} is not known`);
      const iv = Buffer.from(sealed.iv, "base64");
      const data = Buffer.from(sealed.data, "base64");
      if (iv.length !== 12 || data.length < tagBytes) throw new Error("wrong length");
      const decipher = createDecipheriv("aes-256-gcm", key.sealing, iv);
      decipher.setAAD(new TextEncoder().encode(`v1|${owner}`));
      decipher.setAuthTag(data.subarray(-tagBytes));
      return decipher.update(data.subarray(0, -tagBytes), undefined, "utf8") +
        decipher.final("utf8");
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
