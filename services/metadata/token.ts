/**
 * Session tokens of IMDSv2: they name the instance and their end, and carry a MAC of both, so none
 * is remembered and a token of one instance is worth nothing to another.
 */
import { createHmac, timingSafeEqual } from "node:crypto";

export const longestToken_s = 21_600;

export class Tokens {
  readonly #key: Uint8Array;
  readonly #now: () => number;

  /** @param key 32 random bytes, kept over restarts so that tokens outlive them */
  constructor(key: Uint8Array, now: () => number = Date.now) {
    this.#key = key;
    this.#now = now;
  }

  #mac(instanceId: string, end_s: number): Uint8Array {
    return createHmac("sha256", this.#key).update(`${instanceId} ${end_s}`).digest();
  }

  issue(instanceId: string, life_s: number): string {
    const end_s = Math.floor(this.#now() / 1000) + life_s;
    const bytes = new Uint8Array(8 + 32);
    new DataView(bytes.buffer).setBigUint64(0, BigInt(end_s));
    bytes.set(this.#mac(instanceId, end_s), 8);
    return bytes.toBase64({ alphabet: "base64url" });
  }

  /** Seconds that the token still lives; undefined when it is not valid for this instance. */
  check(instanceId: string, token: string): number | undefined {
    let bytes: Uint8Array;
    try {
      bytes = Uint8Array.fromBase64(token, { alphabet: "base64url" });
    } catch {
      return undefined;
    }
    if (bytes.length !== 40) return undefined;
    const end_s = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0));
    const left_s = end_s - Math.floor(this.#now() / 1000);
    if (!timingSafeEqual(bytes.subarray(8), this.#mac(instanceId, end_s))) return undefined;
    return left_s > 0 ? left_s : undefined;
  }
}

/** Reads the key, or makes it at the first start. */
export async function tokenKey(path: string): Promise<Uint8Array> {
  try {
    const key = await Deno.readFile(path);
    if (key.length === 32) return key;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  const key = crypto.getRandomValues(new Uint8Array(32));
  await Deno.writeFile(path, key, { mode: 0o600 });
  return key;
}
