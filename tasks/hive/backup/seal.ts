/**
 * The envelope of a backup: everything in it is encrypted with AES-256-GCM under a key of its own,
 * which comes from a passphrase (scrypt) or from the public half of a recovery key (X25519, HKDF), so
 * that a node can make backups that it cannot open itself.
 *
 * The file is a line of JSON that says how to come to the key, then records of at most 1 MiB. Each
 * record is bound to its place, the last one to being the last, and all to the line: a record that is
 * changed, moved, left out or cut off does not open.
 */
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes, scrypt } from "node:crypto";
import { CommandError } from "../../terminal/command.ts";

const record_bytes = 1 << 20;
const tag_bytes = 16;
const magic = "mulga-backup";
const headLine_max = 4_096;
/** 64 MiB of memory and about a third of a second on a board. */
const scryptCost = { N: 1 << 16, r: 8, p: 1, maxmem: 256 << 20 } as const;

export type Lock =
  | { readonly kind: "passphrase"; readonly passphrase: string }
  | { readonly kind: "recipient"; readonly publicKey: string };

export interface Opener {
  readonly passphrase?: () => Promise<string>;
  /** PEM of the private recovery key. */
  readonly privateKey?: () => Promise<string>;
}

type Head =
  & { readonly format: typeof magic; readonly v: 1 }
  & (
    | { readonly kind: "passphrase"; readonly salt: string; readonly cost: number }
    | { readonly kind: "recipient"; readonly ephemeral: string; readonly recipient: string }
  );

type Bytes = Uint8Array<ArrayBuffer>;

function passphraseKey(passphrase: string, salt: Bytes, cost: number): Promise<Bytes> {
  return new Promise((resolve, reject) =>
    scrypt(
      passphrase.normalize("NFKC"),
      salt,
      32,
      { ...scryptCost, N: cost },
      (error, key) => error === null ? resolve(new Uint8Array(key)) : reject(error),
    )
  );
}

const curve = { name: "X25519" } as const;

function pem(label: string, der: ArrayBuffer): string {
  return `-----BEGIN ${label}-----\n${
    (new Uint8Array(der).toBase64().match(/.{1,64}/g) ?? []).join("\n")
  }\n-----END ${label}-----\n`;
}

function unpem(label: string, text: string): Bytes {
  const inner = new RegExp(`-----BEGIN ${label}-----([\\s\\S]+?)-----END ${label}-----`).exec(text);
  try {
    if (inner === null) throw new Error(`no ${label}`);
    return Uint8Array.fromBase64((inner[1] ?? "").replace(/\s/g, ""));
  } catch (cause) {
    throw new CommandError(`This is no recovery key (${label} in PEM).`, 1, { cause });
  }
}

/** A recovery key: backups are made with the public half and opened with the private one. */
export async function generateRecoveryKey(): Promise<{ privateKey: string; publicKey: string }> {
  const pair = await crypto.subtle.generateKey(curve, true, ["deriveBits"]);
  if (!("privateKey" in pair)) throw new CommandError("This runtime makes no X25519 keys.");
  return {
    privateKey: pem("PRIVATE KEY", await crypto.subtle.exportKey("pkcs8", pair.privateKey)),
    publicKey: pem("PUBLIC KEY", await crypto.subtle.exportKey("spki", pair.publicKey)),
  };
}

async function agreedKey(privateKey: CryptoKey, publicKey: CryptoKey, context: string) {
  const shared = await crypto.subtle.deriveBits({ ...curve, public: publicKey }, privateKey, 256);
  return new Uint8Array(hkdfSync("sha256", new Uint8Array(shared), "", `${magic}/${context}`, 32));
}

async function importPublic(der: Bytes): Promise<CryptoKey> {
  try {
    return await crypto.subtle.importKey("spki", der, curve, true, []);
  } catch (cause) {
    throw new CommandError("This is no X25519 recovery key.", 1, { cause });
  }
}

async function lockWith(lock: Lock): Promise<{ head: Head; key: Bytes }> {
  if (lock.kind === "passphrase") {
    const salt = new Uint8Array(randomBytes(16));
    const cost = scryptCost.N;
    return {
      head: { format: magic, v: 1, kind: "passphrase", salt: salt.toBase64(), cost },
      key: await passphraseKey(lock.passphrase, salt, cost),
    };
  }
  const der = unpem("PUBLIC KEY", lock.publicKey);
  const recipient = await importPublic(der);
  const pair = await crypto.subtle.generateKey(curve, true, ["deriveBits"]);
  if (!("privateKey" in pair)) throw new CommandError("This runtime makes no X25519 keys.");
  const spki = await crypto.subtle.exportKey("spki", pair.publicKey);
  const ephemeral = new Uint8Array(spki).toBase64();
  const name = der.toBase64();
  return {
    head: { format: magic, v: 1, kind: "recipient", ephemeral, recipient: name },
    key: await agreedKey(pair.privateKey, recipient, `${ephemeral}|${name}`),
  };
}

async function unlock(head: Head, opener: Opener): Promise<Bytes> {
  if (head.kind === "passphrase") {
    if (opener.passphrase === undefined) {
      throw new CommandError("This backup opens with a passphrase: --passphrase-file FILE.", 2);
    }
    return await passphraseKey(
      await opener.passphrase(),
      Uint8Array.fromBase64(head.salt),
      head.cost,
    );
  }
  if (opener.privateKey === undefined) {
    throw new CommandError("This backup opens with a recovery key: --recovery-key FILE.", 2);
  }
  const der = unpem("PRIVATE KEY", await opener.privateKey());
  let own: CryptoKey;
  try {
    own = await crypto.subtle.importKey("pkcs8", der, curve, false, ["deriveBits"]);
  } catch (cause) {
    throw new CommandError("This is no X25519 recovery key.", 1, { cause });
  }
  const ephemeral = await importPublic(Uint8Array.fromBase64(head.ephemeral));
  return await agreedKey(own, ephemeral, `${head.ephemeral}|${head.recipient}`);
}

function nonceOf(index: number, last: boolean): Bytes {
  const nonce = new Uint8Array(12);
  const view = new DataView(nonce.buffer);
  view.setUint32(4, index);
  view.setUint8(11, last ? 1 : 0);
  return nonce;
}

function framed(sealed: Uint8Array): Bytes {
  const out = new Uint8Array(4 + sealed.length);
  new DataView(out.buffer).setUint32(0, sealed.length);
  out.set(sealed, 4);
  return out;
}

/** The envelope's bytes around `content`. */
export async function* seal(
  content: AsyncIterable<Uint8Array>,
  lock: Lock,
): AsyncGenerator<Bytes> {
  const { head, key } = await lockWith(lock);
  const line = new TextEncoder().encode(`${JSON.stringify(head)}\n`);
  yield line;
  let index = 0;
  const record = (bytes: Uint8Array, last: boolean) => {
    const cipher = createCipheriv("aes-256-gcm", key, nonceOf(index++, last));
    cipher.setAAD(line);
    return framed(Buffer.concat([cipher.update(bytes), cipher.final(), cipher.getAuthTag()]));
  };
  let pending: Uint8Array = new Uint8Array(0);
  for await (const chunk of content) {
    pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
    // One record stays behind, since only the last one may say that it is.
    while (pending.length > record_bytes) {
      yield record(pending.subarray(0, record_bytes), false);
      pending = pending.subarray(record_bytes);
    }
  }
  yield record(pending, true);
}

const damaged = () =>
  new CommandError(
    "The backup does not open: the passphrase or key is not the one it was made with, or the file is " +
      "damaged. Nothing was changed.",
  );

function parseHead(line: string): Head {
  try {
    const head = JSON.parse(line) as Head;
    if (head.format !== magic) throw new Error("another format");
    if (head.v !== 1) {
      throw new CommandError(
        `This backup has format ${head.v}, which this release cannot read. Use the release that made it.`,
      );
    }
    const strings = head.kind === "passphrase"
      ? [head.salt]
      : head.kind === "recipient"
      ? [head.ephemeral, head.recipient]
      : [undefined];
    if (strings.some((one) => typeof one !== "string")) throw new Error("not complete");
    const cost = head.kind === "passphrase" ? head.cost : 2;
    if (!Number.isInteger(cost) || cost < 2 || cost > 1 << 18 || (cost & (cost - 1)) !== 0) {
      throw new Error("no cost");
    }
    return head;
  } catch (cause) {
    if (cause instanceof CommandError) throw cause;
    throw new CommandError("This file is no backup of MulgaOS.", 1, { cause });
  }
}

/** What was sealed. @throws CommandError when it does not open */
export async function* unseal(
  sealed: AsyncIterable<Uint8Array>,
  opener: Opener,
): AsyncGenerator<Bytes> {
  let pending = Buffer.alloc(0);
  let state: { line: Buffer; key: Bytes } | undefined;
  let index = 0;
  let ended = false;
  for await (const chunk of sealed) {
    pending = Buffer.concat([pending, chunk]);
    if (state === undefined) {
      const end = pending.indexOf(0x0a);
      if (end < 0 && pending.length <= headLine_max) continue;
      const head = parseHead(pending.subarray(0, Math.max(0, end)).toString());
      state = { line: pending.subarray(0, end + 1), key: await unlock(head, opener) };
      pending = pending.subarray(end + 1);
    }
    while (pending.length >= 4) {
      const length = pending.readUInt32BE(0);
      if (ended || length < tag_bytes || length > record_bytes + tag_bytes) throw damaged();
      if (pending.length < 4 + length) break;
      const opened = openRecord(pending.subarray(4, 4 + length), state, index++);
      pending = pending.subarray(4 + length);
      ended = opened.last;
      yield opened.bytes;
    }
  }
  if (state === undefined) throw new CommandError("This file is no backup of MulgaOS.");
  if (!ended || pending.length > 0) throw damaged();
}

function openRecord(
  sealed: Buffer,
  { line, key }: { line: Buffer; key: Bytes },
  index: number,
): { bytes: Bytes; last: boolean } {
  for (const last of [false, true]) {
    try {
      const decipher = createDecipheriv("aes-256-gcm", key, nonceOf(index, last));
      decipher.setAAD(line);
      decipher.setAuthTag(sealed.subarray(-tag_bytes));
      const bytes = Buffer.concat([
        decipher.update(sealed.subarray(0, -tag_bytes)),
        decipher.final(),
      ]);
      return { bytes: new Uint8Array(bytes), last };
    } catch {
      // Not this kind, or not ours at all.
    }
  }
  throw damaged();
}
