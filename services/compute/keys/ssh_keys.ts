/**
 * SSH keys in the forms that people have them: OpenSSH's own wire and file formats, PEM and DER.
 *
 * A private key is made here, shown once and kept nowhere. What somebody imports is taken apart and
 * put together again, so that only a well-formed key of a known kind, and nothing else that the
 * text may have held, ever reaches a guest.
 */
import { createHash, createPublicKey, generateKeyPair, type KeyObject } from "node:crypto";
import { joined } from "../../aws/bytes.ts";

export type KeyType = "rsa" | "ed25519";

export interface PublicKey {
  readonly type: KeyType;
  /** The key in SSH's wire form. */
  readonly blob: Uint8Array<ArrayBuffer>;
  /** The key as SubjectPublicKeyInfo. */
  readonly der: Uint8Array;
}

export interface MadeKey {
  readonly public: PublicKey;
  /** PEM for RSA, OpenSSH's format for ed25519: what `ssh -i` takes. */
  readonly privatePem: string;
  readonly fingerprint: string;
}

/** What was given is no key, or one of a kind or size that is not taken. */
export class KeyFormatError extends Error {
  override readonly name = "KeyFormatError";
}

const encoder = new TextEncoder();
const rsaBits = [1024, 2048, 3072, 4096];
/** The longest RSA key of the largest size, as text with a long comment, is well below this. */
const longestMaterial = 16_384;

function uint32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}

const sshString = (bytes: Uint8Array | string) => {
  const body = typeof bytes === "string" ? encoder.encode(bytes) : bytes;
  return joined([uint32(body.length), body]);
};

/** A positive integer without leading zeros, with one before a set top bit. */
function sshInteger(bytes: Uint8Array): Uint8Array {
  let start = 0;
  while (start < bytes.length && bytes[start] === 0) start++;
  const body = bytes.subarray(start);
  return sshString((body[0] ?? 0) >= 0x80 ? joined([new Uint8Array(1), body]) : body);
}

class SshReader {
  #at = 0;
  constructor(readonly bytes: Uint8Array) {}

  string(): Uint8Array {
    const { bytes } = this;
    if (this.#at + 4 > bytes.length) throw new KeyFormatError("the key is cut short");
    const length = new DataView(bytes.buffer, bytes.byteOffset + this.#at).getUint32(0);
    const start = this.#at + 4;
    if (start + length > bytes.length) throw new KeyFormatError("the key is cut short");
    this.#at = start + length;
    return bytes.subarray(start, this.#at);
  }

  end(): void {
    if (this.#at !== this.bytes.length) throw new KeyFormatError("there is more than a key");
  }
}

const fromBase64Url = (text: string | undefined) =>
  Uint8Array.fromBase64(text ?? "", { alphabet: "base64url" });
const toBase64Url = (bytes: Uint8Array) =>
  bytes.toBase64({ alphabet: "base64url", omitPadding: true });

function publicKeyOf(key: KeyObject): PublicKey {
  const der = new Uint8Array(key.export({ type: "spki", format: "der" }));
  const jwk = key.export({ format: "jwk" });
  if (jwk.kty === "RSA") {
    const modulus = fromBase64Url(jwk.n);
    const bits = modulus.length * 8 - Math.clz32(modulus[0] ?? 0) + 24;
    const exponent = fromBase64Url(jwk.e);
    if (!rsaBits.includes(bits)) {
      throw new KeyFormatError(`an RSA key has ${rsaBits.join(", ")} bits, and not ${bits}`);
    }
    if (((modulus.at(-1) ?? 0) & 1) === 0 || ((exponent.at(-1) ?? 0) & 1) === 0) {
      throw new KeyFormatError("this is no RSA key");
    }
    const blob = joined([sshString("ssh-rsa"), sshInteger(exponent), sshInteger(modulus)]);
    return { type: "rsa", der, blob };
  }
  if (jwk.kty === "OKP" && jwk.crv === "Ed25519") {
    const point = fromBase64Url(jwk.x);
    return { type: "ed25519", der, blob: joined([sshString("ssh-ed25519"), sshString(point)]) };
  }
  throw new KeyFormatError("only RSA and ED25519 keys are taken");
}

function fromBlob(blob: Uint8Array): PublicKey {
  const reader = new SshReader(blob);
  const type = new TextDecoder().decode(reader.string());
  if (type === "ssh-rsa") {
    const e = toBase64Url(stripZeros(reader.string()));
    const n = toBase64Url(stripZeros(reader.string()));
    reader.end();
    return publicKeyOf(createPublicKey({ key: { kty: "RSA", e, n }, format: "jwk" }));
  }
  if (type === "ssh-ed25519") {
    const point = reader.string();
    reader.end();
    if (point.length !== 32) throw new KeyFormatError("an ED25519 key has 32 bytes");
    const jwk = { kty: "OKP", crv: "Ed25519", x: toBase64Url(point) };
    return publicKeyOf(createPublicKey({ key: jwk, format: "jwk" }));
  }
  throw new KeyFormatError("only ssh-rsa and ssh-ed25519 keys are taken");
}

function stripZeros(bytes: Uint8Array): Uint8Array {
  let start = 0;
  while (start < bytes.length && bytes[start] === 0) start++;
  return bytes.subarray(start);
}

function base64(text: string): Uint8Array<ArrayBuffer> {
  try {
    return Uint8Array.fromBase64(text);
  } catch (cause) {
    throw new KeyFormatError("the key is not valid base64", { cause });
  }
}

function parse(bytes: Uint8Array<ArrayBuffer>): PublicKey {
  const spki = (der: Uint8Array<ArrayBuffer>) =>
    publicKeyOf(createPublicKey({ key: der as unknown as Buffer, format: "der", type: "spki" }));
  // A DER sequence; no text form begins with the digit 0 that this byte would be.
  if (bytes[0] === 0x30) return spki(bytes);
  const text = new TextDecoder().decode(bytes).trim();
  const openSsh = /^(ssh-rsa|ssh-ed25519)[ \t]+([A-Za-z0-9+/=]+)(?:[ \t][^\r\n]*)?$/.exec(text);
  if (openSsh !== null) {
    const blob = base64(openSsh[2] ?? "");
    const key = fromBlob(blob);
    if (`ssh-${key.type}` !== openSsh[1]) throw new KeyFormatError("the key is not what it says");
    return key;
  }
  if (/^-----BEGIN (?:RSA )?PUBLIC KEY-----/.test(text)) return publicKeyOf(createPublicKey(text));
  const rfc4716 =
    /^---- BEGIN SSH2 PUBLIC KEY ----\r?\n([\s\S]*?)\r?\n---- END SSH2 PUBLIC KEY ----$/
      .exec(text);
  if (rfc4716 !== null) {
    const body = (rfc4716[1] ?? "").replace(/^[^\n:]+:(?:.*\\\r?\n)*.*\r?\n/gm, "");
    return fromBlob(base64(body.replaceAll(/\s/g, "")));
  }
  if (/^[A-Za-z0-9+/=\s]+$/.test(text)) return spki(base64(text.replaceAll(/\s/g, "")));
  throw new KeyFormatError("the key is in no known format");
}

/**
 * Takes a public key in OpenSSH's format, as PEM, DER (raw or base64) or RFC 4716 text.
 * @throws KeyFormatError
 */
export function parsePublicKey(bytes: Uint8Array<ArrayBuffer>): PublicKey {
  if (bytes.length === 0 || bytes.length > longestMaterial) {
    throw new KeyFormatError("the key is empty or too long");
  }
  try {
    return parse(bytes);
  } catch (cause) {
    if (cause instanceof KeyFormatError) throw cause;
    throw new KeyFormatError("the key is malformed", { cause });
  }
}

/** One line for `authorized_keys`. */
export function openSshLine(key: PublicKey, comment: string): string {
  return `ssh-${key.type} ${key.blob.toBase64()} ${comment}`;
}

const colons = (hash: "sha1" | "md5", bytes: Uint8Array) =>
  createHash(hash).update(bytes).digest("hex").replace(/..(?=.)/g, "$&:");

/** Of an imported key, as AWS computes it: MD5 of the DER for RSA, SHA-256 of the SSH form else. */
export function publicFingerprint(key: PublicKey): string {
  return key.type === "rsa"
    ? colons("md5", key.der)
    : createHash("sha256").update(key.blob).digest("base64");
}

/** OpenSSH's own private key file, without a passphrase. */
function openSshPrivate(key: PublicKey, seed: Uint8Array, comment: string): string {
  const point = key.blob.subarray(-32);
  const check = uint32(crypto.getRandomValues(new Uint32Array(1))[0] ?? 0);
  const secret = joined([
    check,
    check,
    sshString("ssh-ed25519"),
    sshString(point),
    sshString(joined([seed, point])),
    sshString(comment),
  ]);
  const padding = Uint8Array.from({ length: (8 - secret.length % 8) % 8 }, (_, at) => at + 1);
  const file = joined([
    encoder.encode("openssh-key-v1\0"),
    sshString("none"),
    sshString("none"),
    sshString(""),
    uint32(1),
    sshString(key.blob),
    sshString(joined([secret, padding])),
  ]);
  const lines = file.toBase64().replace(/.{70}(?=.)/g, "$&\n");
  return `-----BEGIN OPENSSH PRIVATE KEY-----\n${lines}\n-----END OPENSSH PRIVATE KEY-----\n`;
}

const generate = (type: KeyType) =>
  new Promise<{ publicKey: KeyObject; privateKey: KeyObject }>((resolve, reject) => {
    const done = (error: Error | null, publicKey: KeyObject, privateKey: KeyObject) =>
      error === null ? resolve({ publicKey, privateKey }) : reject(error);
    if (type === "rsa") generateKeyPair("rsa", { modulusLength: 2048 }, done);
    else generateKeyPair("ed25519", {}, done);
  });

/** Makes a new key of 2048 bits RSA, or ed25519. */
export async function makeKey(type: KeyType, comment: string): Promise<MadeKey> {
  const { publicKey, privateKey } = await generate(type);
  const made = publicKeyOf(publicKey);
  if (type === "rsa") {
    const pkcs8 = new Uint8Array(privateKey.export({ type: "pkcs8", format: "der" }));
    return {
      public: made,
      privatePem: privateKey.export({ type: "pkcs1", format: "pem" }).toString(),
      fingerprint: colons("sha1", pkcs8),
    };
  }
  const seed = fromBase64Url(privateKey.export({ format: "jwk" }).d);
  return {
    public: made,
    privatePem: openSshPrivate(made, seed, comment),
    fingerprint: publicFingerprint(made),
  };
}
