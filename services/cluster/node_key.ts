/**
 * The node's own ed25519 key: what it signs announcements with, and later its part of forming a
 * cluster. Made once, kept in this service's directory, never leaves it; whoever has heard this node
 * before notices another key under its name.
 */
import { join } from "node:path";
import type { Paths } from "../config/node_config.ts";
import { writeDurably } from "./durable_file.ts";

const algorithm = "Ed25519";
const keyFile = (paths: Paths) => join(paths.service("cluster"), "node.key");

export interface NodeKey {
  /** The public key: 32 bytes, base64. */
  readonly publicKey: string;
  sign(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array>;
}

interface StoredKey {
  readonly version: 1;
  readonly pkcs8: string;
  readonly public: string;
}

async function makeKey(): Promise<StoredKey> {
  const pair = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  if (!("privateKey" in pair)) throw new Error("ed25519 makes a pair of keys");
  const pkcs8 = new Uint8Array(await crypto.subtle.exportKey("pkcs8", pair.privateKey));
  const raw = new Uint8Array(await crypto.subtle.exportKey("raw", pair.publicKey));
  return { version: 1, pkcs8: pkcs8.toBase64(), public: raw.toBase64() };
}

/** Reads the key, or makes it where there is none. @throws Error when the file is damaged */
export async function openNodeKey(paths: Paths): Promise<NodeKey> {
  const path = keyFile(paths);
  let stored: StoredKey;
  try {
    stored = JSON.parse(await Deno.readTextFile(path));
  } catch (cause) {
    if (!(cause instanceof Deno.errors.NotFound)) {
      throw new Error(`${path} is damaged; remove it, and the node gets a new key.`, { cause });
    }
    stored = await makeKey();
    await writeDurably(path, `${JSON.stringify(stored)}\n`);
  }
  const pkcs8 = Uint8Array.fromBase64(stored.pkcs8);
  const key = await crypto.subtle.importKey("pkcs8", pkcs8, algorithm, false, ["sign"]);
  return {
    publicKey: stored.public,
    sign: async (bytes) => new Uint8Array(await crypto.subtle.sign(algorithm, key, bytes)),
  };
}

/** Whether `signature` is that of `publicKey` (base64) over `bytes`. Never throws. */
export async function verifies(
  publicKey: string,
  signature: Uint8Array<ArrayBuffer>,
  bytes: Uint8Array<ArrayBuffer>,
): Promise<boolean> {
  try {
    const raw = Uint8Array.fromBase64(publicKey);
    const key = await crypto.subtle.importKey("raw", raw, algorithm, false, ["verify"]);
    return await crypto.subtle.verify(algorithm, key, signature, bytes);
  } catch {
    return false;
  }
}
