/**
 * Digests of OpenSSL's libcrypto, computed off the calling thread: MD5 and its kin hash 0.7 to 2 GB/s
 * on one core, which would hold up a whole service if done where requests are served.
 *
 * A digest's updates must be awaited one after the other; a buffer given to `update` must not change
 * before its promise settles, and is kept reachable until then.
 */
import { libcryptoName as library, openLibcrypto } from "./libcrypto_library.ts";

const symbols = {
  EVP_get_digestbyname: { parameters: ["buffer"], result: "pointer" },
  EVP_MD_CTX_new: { parameters: [], result: "pointer" },
  EVP_MD_CTX_free: { parameters: ["pointer"], result: "void" },
  EVP_DigestInit_ex: { parameters: ["pointer", "pointer", "pointer"], result: "i32" },
  update: {
    name: "EVP_DigestUpdate",
    parameters: ["pointer", "buffer", "usize"],
    result: "i32",
    nonblocking: true,
  },
  updateNow: {
    name: "EVP_DigestUpdate",
    parameters: ["pointer", "buffer", "usize"],
    result: "i32",
  },
  EVP_DigestFinal_ex: { parameters: ["pointer", "buffer", "buffer"], result: "i32" },
} as const;

let opened: Deno.DynamicLibrary<typeof symbols> | undefined;
const crypto = () => (opened ??= openLibcrypto(symbols)).symbols;

export type DigestName = "md5" | "sha1" | "sha256" | "sha512";

/** Below this a trip to another thread costs more than the hash. */
const inlineBytes = 16 * 1024;

/**
 * So much is hashed in one trip where it lies together: between two trips the other thread waits until this one comes
 * to it, and a digest can be what all else waits for.
 */
const longestTrip_bytes = 1 << 20;

/** Bytes that wait for the other thread. */
interface Run {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly read: () => void;
}

function joined(runs: readonly Run[]): Uint8Array<ArrayBuffer> {
  const first = (runs[0] as Run).bytes;
  const length = runs.reduce((sum, { bytes }) => sum + bytes.length, 0);
  return new Uint8Array(first.buffer, first.byteOffset, length);
}

const algorithms = new Map<DigestName, Deno.PointerValue>();

function algorithm(name: DigestName): Deno.PointerValue {
  let found = algorithms.get(name);
  if (found === undefined) {
    found = crypto().EVP_get_digestbyname(new TextEncoder().encode(name + "\0"));
    if (found === null) throw new Error(`${library} has no ${name}`);
    algorithms.set(name, found);
  }
  return found;
}

/** One running digest. Dispose of it, also after `finish`. */
export class Digest implements Disposable {
  #context: Deno.PointerValue;
  #tail: Promise<void> = Promise.resolve();
  /** Whether another thread works on it, or is about to. */
  #busy = false;
  readonly #waiting: Run[] = [];
  #failed = false;
  #released = false;

  constructor(name: DigestName) {
    this.#context = crypto().EVP_MD_CTX_new();
    if (
      this.#context === null ||
      crypto().EVP_DigestInit_ex(this.#context, algorithm(name), null) !== 1
    ) throw new Error(`${library} cannot start ${name}`);
  }

  /** Adds `bytes`; returns when they have been read. Calls may overlap; they are taken in order. */
  update(bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    if (this.#released) throw new Error("the digest has been released");
    if (!this.#busy && bytes.length <= inlineBytes) {
      if (crypto().updateNow(this.#context, bytes, BigInt(bytes.length)) !== 1) this.#failed = true;
      return Promise.resolve();
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.push({ bytes, read: resolve });
    if (!this.#busy) {
      this.#busy = true;
      this.#tail = this.#work();
    }
    return promise;
  }

  async #work(): Promise<void> {
    while (this.#waiting.length > 0) {
      const runs = this.#nextTrip();
      const bytes = joined(runs);
      if (!this.#released) {
        const done = await crypto().update(this.#context, bytes, BigInt(bytes.length));
        if (done !== 1) this.#failed = true;
      }
      for (const { read } of runs) read();
    }
    this.#busy = false;
    if (this.#released) this.#free();
  }

  /** What waits, as far as it lies one behind the other and is not too much for one trip. */
  #nextTrip(): Run[] {
    const [first, ...others] = this.#waiting;
    if (first === undefined) return [];
    const runs = [first];
    let { length } = first.bytes;
    for (const other of others) {
      const { buffer, byteOffset, length: more } = other.bytes;
      const follows = buffer === first.bytes.buffer &&
        byteOffset === first.bytes.byteOffset + length;
      if (!follows || length + more > longestTrip_bytes) break;
      runs.push(other);
      length += more;
    }
    this.#waiting.splice(0, runs.length);
    return runs;
  }

  /** The digest of everything added; no update may follow. */
  async finish(): Promise<Uint8Array<ArrayBuffer>> {
    await this.#tail;
    const output = new Uint8Array(64);
    const length = new Uint32Array(1);
    if (
      this.#failed || this.#released || this.#busy ||
      crypto().EVP_DigestFinal_ex(this.#context, output, new Uint8Array(length.buffer)) !== 1
    ) throw new Error(`${library} could not finish a digest`);
    return output.slice(0, length[0]);
  }

  #free(): void {
    if (this.#context !== null) crypto().EVP_MD_CTX_free(this.#context);
    this.#context = null;
  }

  [Symbol.dispose](): void {
    this.#released = true;
    // A hash that is still running on another thread frees the context when it is done.
    if (!this.#busy) this.#free();
  }
}
