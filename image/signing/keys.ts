/**
 * The keys of releases: an ed25519 pair, the private half with whoever publishes, the public half on
 * every machine that shall take updates.
 *
 * Private keys are PKCS #8 and public ones SPKI, both PEM, so that OpenSSL reads them; a signature is
 * its 64 bare bytes, and a signature file holds one or, while a key is being replaced, several behind
 * each other:
 *
 *     openssl pkeyutl -verify -pubin -inkey release.pub -rawin -in SHA256SUMS -sigfile SHA256SUMS.sig
 *
 * What cannot be read as a key is an error and never "no key": a damaged key file must not turn into
 * less trust needed.
 */
import { join } from "node:path";

const algorithm = { name: "Ed25519" } as const;
const signature_bytes = 64;
/** Old and new key at once, and room; a longer file is not a signature file. */
const signatures_max = 8;

/** A key or a signature that cannot be used; the message is for the operator. */
export class SignatureError extends Error {
  override readonly name = "SignatureError";
}

export interface TrustedKey {
  /** The file's name, for messages. */
  readonly name: string;
  readonly key: CryptoKey;
}

export interface KeyTexts {
  readonly privateKey: string;
  readonly publicKey: string;
}

function pem(label: string, der: ArrayBuffer): string {
  const lines = new Uint8Array(der).toBase64().match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}

function unpem(label: string, text: string, what: string): Uint8Array<ArrayBuffer> {
  const match = new RegExp(
    `^-----BEGIN ${label}-----\\s+([A-Za-z0-9+/=\\s]+?)\\s*-----END ${label}-----`,
    "m",
  ).exec(text);
  try {
    if (match === null) throw new Error(`there is no "BEGIN ${label}"`);
    return Uint8Array.fromBase64((match[1] ?? "").replace(/\s/g, ""));
  } catch (cause) {
    throw new SignatureError(`${what} is no ${label} in PEM.`, { cause });
  }
}

export async function generateKeys(): Promise<KeyTexts> {
  const pair = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  if (!("privateKey" in pair)) throw new SignatureError("This runtime made no Ed25519 key pair.");
  return {
    privateKey: pem("PRIVATE KEY", await crypto.subtle.exportKey("pkcs8", pair.privateKey)),
    publicKey: pem("PUBLIC KEY", await crypto.subtle.exportKey("spki", pair.publicKey)),
  };
}

/** @throws SignatureError */
async function importPrivateKey(text: string, what: string): Promise<CryptoKey> {
  const der = unpem("PRIVATE KEY", text, what);
  try {
    return await crypto.subtle.importKey("pkcs8", der, algorithm, true, ["sign"]);
  } catch (cause) {
    throw new SignatureError(`${what} is no Ed25519 private key.`, { cause });
  }
}

/** @throws SignatureError */
export async function importPublicKey(text: string, what: string): Promise<CryptoKey> {
  const der = unpem("PUBLIC KEY", text, what);
  try {
    return await crypto.subtle.importKey("spki", der, algorithm, true, ["verify"]);
  } catch (cause) {
    throw new SignatureError(`${what} is no Ed25519 public key.`, { cause });
  }
}

/** The public half of a private key's file. @throws SignatureError */
export async function publicKeyOf(privateKey: string, what: string): Promise<string> {
  const jwk = await crypto.subtle.exportKey("jwk", await importPrivateKey(privateKey, what));
  const bare = { kty: "OKP", crv: "Ed25519", x: jwk.x ?? "" };
  const key = await crypto.subtle.importKey("jwk", bare, algorithm, true, ["verify"]);
  return pem("PUBLIC KEY", await crypto.subtle.exportKey("spki", key));
}

/** @throws SignatureError */
export async function sign(
  content: Uint8Array<ArrayBuffer>,
  privateKey: string,
  what: string,
): Promise<Uint8Array<ArrayBuffer>> {
  const key = await importPrivateKey(privateKey, what);
  return new Uint8Array(await crypto.subtle.sign(algorithm, key, content));
}

/** @returns the name of the key that signed, or undefined when none of them did */
export async function signerOf(
  content: Uint8Array<ArrayBuffer>,
  signatures: Uint8Array<ArrayBuffer>,
  trusted: readonly TrustedKey[],
): Promise<string | undefined> {
  const count = signatures.length / signature_bytes;
  if (!Number.isInteger(count) || count < 1 || count > signatures_max) return undefined;
  for (let at = 0; at < signatures.length; at += signature_bytes) {
    const signature = signatures.subarray(at, at + signature_bytes);
    for (const { name, key } of trusted) {
      if (await crypto.subtle.verify(algorithm, key, signature, content)) return name;
    }
  }
  return undefined;
}

/** Where a machine keeps the keys that it trusts: its image's, and those that its operator added. */
export const trustedKeyDirectories: readonly string[] = [
  "/usr/lib/mulga/update-keys",
  "/etc/mulga/update-keys",
];

/** All `*.pub` of the directories; one that is not there holds none. @throws SignatureError */
export async function readTrustedKeys(directories: readonly string[]): Promise<TrustedKey[]> {
  const keys: TrustedKey[] = [];
  for (const directory of directories) {
    const names: string[] = [];
    try {
      for await (const entry of Deno.readDir(directory)) {
        if (entry.name.endsWith(".pub")) names.push(entry.name);
      }
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) continue;
      throw error;
    }
    for (const name of names.sort()) {
      const path = join(directory, name);
      keys.push({ name, key: await importPublicKey(await Deno.readTextFile(path), path) });
    }
  }
  return keys;
}
