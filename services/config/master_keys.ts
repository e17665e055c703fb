/**
 * What services make of a file of master keys, each for its own purpose.
 *
 * From each master key two things are derived by HKDF under names that are the service's alone: a fingerprint, which tells
 * nothing of the key and stands beside all that it sealed, and a key of 32 bytes that seals. What is sealed names the
 * fingerprint, so older keys of the file open what they sealed, and what none of them sealed is an error for the
 * operator and never another text. Sealed bytes are AES-256-GCM under a nonce of their own, and bound to what
 * they belong to: elsewhere they do not open.
 */
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from "node:crypto";
import { type MasterKeyBytes, MasterKeyError } from "./key_file.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** The names under which a service derives; another name is another key. */
export interface KeyPurpose {
  readonly fingerprint: string;
  readonly sealing: string;
}

export const nonceBytes = 12;
export const tagBytes = 16;

export function derive(key: Uint8Array, purpose: string, bytes: number): Bytes {
  return new Uint8Array(hkdfSync("sha256", key, new Uint8Array(0), purpose, bytes));
}

export class MasterKeyRing {
  readonly #known: ReadonlyMap<string, Bytes>;
  /** The fingerprint of the key that seals. */
  readonly id: string;
  /** What seals. */
  readonly current: Bytes;

  constructor(keys: MasterKeyBytes, { fingerprint, sealing }: KeyPurpose) {
    const idOf = (key: Uint8Array) => derive(key, fingerprint, 8).toHex();
    this.id = idOf(keys[0]);
    this.current = derive(keys[0], sealing, 32);
    this.#known = new Map(keys.map((key) => [idOf(key), derive(key, sealing, 32)]));
  }

  knows(id: string): boolean {
    return this.#known.has(id);
  }

  /**
   * What opens that which the key with this fingerprint sealed.
   * @param missing tells the operator what cannot be opened without it
   * @throws MasterKeyError when it is not at hand
   */
  of(id: string, missing: () => string): Bytes {
    const key = this.#known.get(id);
    if (key === undefined) throw new MasterKeyError(missing());
    return key;
  }
}

const encoder = new TextEncoder();

/** @returns nonce, ciphertext and tag. @param boundTo must be said again to open it */
export function sealBytes(key: Uint8Array, plain: Uint8Array, boundTo: string): Bytes {
  const nonce = randomBytes(nonceBytes);
  const cipher = createCipheriv("aes-256-gcm", key, nonce);
  cipher.setAAD(encoder.encode(boundTo));
  const parts = [nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()];
  return new Uint8Array(Buffer.concat(parts));
}

/** @throws Error when it was altered, or is bound to something else */
export function openBytes(key: Uint8Array, sealed: Uint8Array, boundTo: string): Bytes {
  if (sealed.length < nonceBytes + tagBytes) throw new Error("wrong length");
  const decipher = createDecipheriv("aes-256-gcm", key, sealed.subarray(0, nonceBytes));
  decipher.setAAD(encoder.encode(boundTo));
  decipher.setAuthTag(sealed.subarray(-tagBytes));
  const plain = [decipher.update(sealed.subarray(nonceBytes, -tagBytes)), decipher.final()];
  return new Uint8Array(Buffer.concat(plain));
}
