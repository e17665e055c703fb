/**
 * AES-256-GCM of OpenSSL's libcrypto: 3 GB/s of a core or more where `node:crypto` does a quarter of one. Runs
 * that would keep the calling thread for long are worked on by another; how long they may be depends on the
 * processor, whose speed is measured once.
 *
 * Where libipsec-mb does the same several times faster (`libipsec_mb.ts`) that is used, on the calling thread.
 *
 * A cipher has one key and is used for one run at a time. A nonce must never seal twice under one key;
 * that is the caller's matter. Buffers must not change until the promise settles.
 */
import { libcryptoName as library, openLibcrypto } from "./libcrypto_library.ts";
import { type VaesGcm, vaesGcm } from "./libipsec_mb.ts";

const symbols = {
  EVP_aes_256_gcm: { parameters: [], result: "pointer" },
  EVP_CIPHER_CTX_new: { parameters: [], result: "pointer" },
  EVP_CIPHER_CTX_free: { parameters: ["pointer"], result: "void" },
  EVP_CipherInit_ex: {
    parameters: ["pointer", "pointer", "pointer", "buffer", "buffer", "i32"],
    result: "i32",
  },
  EVP_CIPHER_CTX_ctrl: { parameters: ["pointer", "i32", "i32", "buffer"], result: "i32" },
  update: {
    name: "EVP_CipherUpdate",
    parameters: ["pointer", "buffer", "buffer", "buffer", "i32"],
    result: "i32",
    nonblocking: true,
  },
  updateNow: {
    name: "EVP_CipherUpdate",
    parameters: ["pointer", "buffer", "buffer", "buffer", "i32"],
    result: "i32",
  },
  EVP_CipherFinal_ex: { parameters: ["pointer", "buffer", "buffer"], result: "i32" },
} as const;

let opened: Deno.DynamicLibrary<typeof symbols> | undefined;
const libcrypto = () => (opened ??= openLibcrypto(symbols)).symbols;

type Bytes = Uint8Array<ArrayBuffer>;

export const gcmTagBytes = 16;
export const gcmNonceBytes = 12;
/** Below this a trip to another thread costs more than the work, however slow the processor. */
const leastInline_bytes = 32 * 1024;
/** So long may the calling thread be kept by one run; a trip costs it 0.04 ms, and the bytes come back in another core's cache. */
const longestInline_ms = 0.25;
const mostInline_bytes = 1 << 20;
/** What the processor's speed is measured with, once. */
const sample_bytes = 64 * 1024;

let measuredInline_bytes: number | undefined;

/** Up to how many bytes a run stays on the calling thread. */
function inlineBytes(): number {
  if (measuredInline_bytes !== undefined) return measuredInline_bytes;
  using cipher = new AesGcm(new Uint8Array(32));
  const plain = new Uint8Array(sample_bytes);
  const sealed = new Uint8Array(sample_bytes + gcmTagBytes);
  let best_ms = Infinity;
  for (let run = 0; run < 4; run++) {
    const started = performance.now();
    cipher.sealNow(new Uint8Array(gcmNonceBytes), plain, sealed);
    best_ms = Math.min(best_ms, performance.now() - started);
  }
  const fits = sample_bytes * longestInline_ms / best_ms;
  return measuredInline_bytes = Math.min(mostInline_bytes, Math.max(leastInline_bytes, fits));
}
const control = { getTag: 0x10, setTag: 0x11 } as const;

/** What was opened is not what was sealed under that key and nonce. */
export class NotAuthentic extends Error {
  override readonly name = "NotAuthentic";
}

/** Takes what is sealed, in order. */
export interface SealedSink {
  /** Memory for what comes next: for at least one byte of it and at most `wanted`. */
  room(wanted: number): Promise<Bytes>;
  /** So many bytes of it are filled. */
  filled(count: number): Promise<void>;
}

export class AesGcm implements Disposable {
  readonly #key: Bytes;
  readonly #vaes: VaesGcm | undefined;
  #context: Deno.PointerValue = null;
  #busy = false;
  #released = false;

  /**
   * @param key 32 bytes
   * @param quickest false for OpenSSL's own, also where another is quicker
   */
  constructor(key: Bytes, quickest = true) {
    if (key.length !== 32) throw new RangeError("an AES-256 key has 32 bytes");
    this.#key = key;
    this.#vaes = quickest ? vaesGcm(key) : undefined;
    if (this.#vaes !== undefined) return;
    this.#context = libcrypto().EVP_CIPHER_CTX_new();
    if (this.#context === null) throw new Error(`${library} has no memory left`);
  }

  /** Whether a run of so many bytes is worked on by the calling thread. */
  atOnce(bytes: number): boolean {
    return this.#vaes !== undefined || bytes <= inlineBytes();
  }

  /** Its context is nobody else's, and there. Work that waited in between asks again. */
  #mustBeFree(): void {
    if (this.#released) throw new Error("the cipher was released");
    if (this.#busy) throw new Error("the cipher is in use");
  }

  #begin(nonce: Bytes, sealing: boolean): void {
    this.#mustBeFree();
    if (nonce.length !== gcmNonceBytes) throw new RangeError("a nonce has 12 bytes");
    if (this.#vaes !== undefined) return this.#vaes.begin(nonce, sealing);
    const { EVP_CipherInit_ex, EVP_aes_256_gcm } = libcrypto();
    if (
      EVP_CipherInit_ex(
        this.#context,
        EVP_aes_256_gcm(),
        null,
        this.#key,
        nonce,
        sealing ? 1 : 0,
      ) !==
        1
    ) throw new Error(`${library} cannot start AES-256-GCM`);
  }

  async #run(from: Bytes, to: Bytes): Promise<void> {
    this.#mustBeFree();
    if (to.length < from.length) throw new RangeError("wrong length");
    if (this.#vaes !== undefined) return this.#runNow(from, to);
    const length = new Uint8Array(4);
    let done = 1;
    if (from.length > inlineBytes()) {
      this.#busy = true;
      try {
        done = await libcrypto().update(this.#context, to, length, from, from.length);
      } finally {
        this.#busy = false;
        if (this.#released) this.#free();
      }
      if (this.#released) throw new Error("the cipher was released");
    } else if (from.length > 0) {
      done = libcrypto().updateNow(this.#context, to, length, from, from.length);
    }
    if (done !== 1) throw new Error(`${library} could not run AES-256-GCM`);
  }

  /** Seals `plain` into `sealed`, which is longer by the tag. */
  async seal(nonce: Bytes, plain: Bytes, sealed: Bytes): Promise<void> {
    if (sealed.length !== plain.length + gcmTagBytes) throw new RangeError("wrong length");
    this.#begin(nonce, true);
    await this.#run(plain, sealed);
    this.#finishSeal(sealed.subarray(plain.length));
  }

  /** As `seal`, into memory that `sink` gives part by part. */
  async sealInto(nonce: Bytes, plain: Bytes, sink: SealedSink): Promise<void> {
    this.#begin(nonce, true);
    for (let at = 0; at < plain.length;) {
      const room = await sink.room(plain.length - at);
      await this.#run(plain.subarray(at, at + room.length), room);
      at += room.length;
      await sink.filled(room.length);
    }
    const tag = new Uint8Array(gcmTagBytes);
    this.#finishSeal(tag);
    // It may be cut in two as well.
    for (let at = 0; at < tag.length;) {
      const room = await sink.room(tag.length - at);
      room.set(tag.subarray(at, at + room.length));
      at += room.length;
      await sink.filled(room.length);
    }
  }

  #finishSeal(tag: Bytes): void {
    this.#mustBeFree();
    if (this.#vaes !== undefined) return tag.set(this.#vaes.tag());
    const { EVP_CipherFinal_ex, EVP_CIPHER_CTX_ctrl } = libcrypto();
    if (
      EVP_CipherFinal_ex(this.#context, new Uint8Array(16), new Uint8Array(4)) !== 1 ||
      EVP_CIPHER_CTX_ctrl(this.#context, control.getTag, gcmTagBytes, tag) !== 1
    ) throw new Error(`${library} could not finish AES-256-GCM`);
  }

  /** As `seal`, at once: for short runs. */
  sealNow(nonce: Bytes, plain: Bytes, sealed: Bytes): void {
    if (sealed.length !== plain.length + gcmTagBytes) throw new RangeError("wrong length");
    this.#begin(nonce, true);
    this.#runNow(plain, sealed);
    this.#finishSeal(sealed.subarray(plain.length));
  }

  /** As `open`, at once: for short runs. @throws NotAuthentic */
  openNow(nonce: Bytes, sealed: Bytes, plain: Bytes): void {
    if (sealed.length !== plain.length + gcmTagBytes) throw new RangeError("wrong length");
    this.#begin(nonce, false);
    this.#runNow(sealed.subarray(0, plain.length), plain);
    this.#finishOpen(sealed.slice(plain.length), plain);
  }

  #runNow(from: Bytes, to: Bytes): void {
    if (from.length === 0) return;
    if (this.#vaes !== undefined) return this.#vaes.run(from, to);
    if (libcrypto().updateNow(this.#context, to, new Uint8Array(4), from, from.length) !== 1) {
      throw new Error(`${library} could not run AES-256-GCM`);
    }
  }

  /** Opens `sealed` into `plain`, which is shorter by the tag. @throws NotAuthentic */
  async open(nonce: Bytes, sealed: Bytes, plain: Bytes): Promise<void> {
    if (sealed.length !== plain.length + gcmTagBytes) throw new RangeError("wrong length");
    this.#begin(nonce, false);
    await this.#run(sealed.subarray(0, plain.length), plain);
    this.#finishOpen(sealed.slice(plain.length), plain);
  }

  /** As `open`, of what stands in several places one after the other. @throws NotAuthentic */
  async openParts(nonce: Bytes, parts: readonly Bytes[], plain: Bytes): Promise<void> {
    const sealed = parts.reduce((sum, part) => sum + part.length, 0);
    if (sealed !== plain.length + gcmTagBytes) throw new RangeError("wrong length");
    this.#begin(nonce, false);
    const tag = new Uint8Array(gcmTagBytes);
    let at = 0;
    for (const part of parts) {
      const text = Math.max(0, Math.min(part.length, plain.length - at));
      await this.#run(part.subarray(0, text), plain.subarray(at, at + text));
      // The tag may be cut in two as well.
      if (text < part.length) tag.set(part.subarray(text), at + text - plain.length);
      at += part.length;
    }
    this.#finishOpen(tag, plain);
  }

  /** As `openParts`, each part into itself; gives what stands in them now. @throws NotAuthentic */
  async openInPlace(nonce: Bytes, parts: readonly Bytes[]): Promise<Bytes[]> {
    const length = parts.reduce((sum, part) => sum + part.length, -gcmTagBytes);
    if (length < 0) throw new RangeError("wrong length");
    this.#begin(nonce, false);
    const tag = new Uint8Array(gcmTagBytes);
    const plain: Bytes[] = [];
    let at = 0;
    for (const part of parts) {
      const text = Math.max(0, Math.min(part.length, length - at));
      const run = part.subarray(0, text);
      await this.#run(run, run);
      if (text > 0) plain.push(run);
      // The tag may be cut in two as well.
      if (text < part.length) tag.set(part.subarray(text), at + text - length);
      at += part.length;
    }
    this.#finishOpen(tag, ...plain);
    return plain;
  }

  #finishOpen(tag: Bytes, ...plain: readonly Bytes[]): void {
    if (!this.#authentic(tag)) {
      for (const part of plain) part.fill(0);
      throw new NotAuthentic("what is stored was altered, or sealed by another key");
    }
  }

  #authentic(tag: Bytes): boolean {
    this.#mustBeFree();
    if (this.#vaes !== undefined) {
      let difference = 0;
      // To the end, wherever they differ first: how long it takes tells nothing.
      for (const [at, byte] of this.#vaes.tag().entries()) difference |= byte ^ (tag[at] ?? 256);
      return difference === 0;
    }
    const { EVP_CipherFinal_ex, EVP_CIPHER_CTX_ctrl } = libcrypto();
    return EVP_CIPHER_CTX_ctrl(this.#context, control.setTag, gcmTagBytes, tag) === 1 &&
      EVP_CipherFinal_ex(this.#context, new Uint8Array(16), new Uint8Array(4)) === 1;
  }

  #free(): void {
    if (this.#context !== null) libcrypto().EVP_CIPHER_CTX_free(this.#context);
    this.#context = null;
  }

  [Symbol.dispose](): void {
    this.#released = true;
    // Work on another thread frees the context when it is done.
    if (!this.#busy) this.#free();
  }
}
