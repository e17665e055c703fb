/**
 * AES-256-XTS of libgcrypt (`aes_xts.ts`): about 0.43 µs for 4 KiB on a processor with wide AES, also on Debian 12. A
 * machine without the library, or one that it does not start on, does without.
 *
 * The library must be begun by one thread before others use it (`beginLibgcrypt`): of threads that begin it at the same time
 * some find it half begun.
 */
import { isLow } from "./copy.ts";
import { mapMemory, type Memory, unmap } from "./libc.ts";
import { checkUnit, type UnitCipher } from "./unit_cipher.ts";

const library = "libgcrypt.so.20";

const symbols = {
  gcry_check_version: { parameters: ["pointer"], result: "pointer" },
  gcry_control: { parameters: ["i32", "i32"], result: "u32" },
  gcry_cipher_open: { parameters: ["buffer", "i32", "i32", "u32"], result: "u32" },
  gcry_cipher_setkey: { parameters: ["pointer", "buffer", "usize"], result: "u32" },
  gcry_cipher_close: { parameters: ["pointer"], result: "void" },
  // Addresses below 4 GiB take Deno's fastest path.
  setTweak: { name: "gcry_cipher_setiv", parameters: ["pointer", "u32", "u32"], result: "u32" },
  setTweakAnywhere: {
    name: "gcry_cipher_setiv",
    parameters: ["pointer", "pointer", "usize"],
    result: "u32",
  },
  sealLow: {
    name: "gcry_cipher_encrypt",
    parameters: ["pointer", "u32", "u32", "u32", "u32"],
    result: "u32",
  },
  openLow: {
    name: "gcry_cipher_decrypt",
    parameters: ["pointer", "u32", "u32", "u32", "u32"],
    result: "u32",
  },
  seal: {
    name: "gcry_cipher_encrypt",
    parameters: ["pointer", "buffer", "usize", "buffer", "usize"],
    result: "u32",
  },
  open: {
    name: "gcry_cipher_decrypt",
    parameters: ["pointer", "buffer", "usize", "buffer", "usize"],
    result: "u32",
  },
} as const;

const disableSecureMemory = 37;
const initializationFinished = 38;
const isInitializationFinished = 39;
const aes256 = 9;
const modeXts = 13;
const tweakBytes = 16;
const highest = 0xffff_ffff;
type Bytes = Uint8Array<ArrayBuffer>;
type Symbols = Deno.DynamicLibrary<typeof symbols>["symbols"];

function start(): Symbols | undefined {
  // Its fast path needs memory below 4 GiB.
  if (Deno.build.arch !== "x86_64") return undefined;
  let found: Symbols;
  try {
    found = Deno.dlopen(library, symbols).symbols;
  } catch {
    return undefined;
  }
  // Another thread has begun it.
  if (found.gcry_control(isInitializationFinished, 0) !== 0) return found;
  if (found.gcry_check_version(null) === null) return undefined;
  found.gcry_control(disableSecureMemory, 0);
  return found.gcry_control(initializationFinished, 0) === 0 ? found : undefined;
}

let started: { readonly symbols: Symbols | undefined } | undefined;
const libgcrypt = () => (started ??= { symbols: start() }).symbols;

/** Begins the library for all threads of the process. */
export function beginLibgcrypt(): void {
  libgcrypt();
}

class LibgcryptXts implements UnitCipher {
  readonly #handle: Deno.PointerValue;
  readonly #control: Memory;
  readonly #isControlLow: boolean;
  #tweak: Uint32Array;
  readonly #gcrypt: Symbols;
  #released = false;

  constructor(gcrypt: Symbols, key: Bytes) {
    this.#gcrypt = gcrypt;
    const handle = new BigUint64Array(1);
    const opened = gcrypt.gcry_cipher_open(new Uint8Array(handle.buffer), aes256, modeXts, 0);
    this.#handle = Deno.UnsafePointer.create(handle[0] ?? 0n);
    if (opened !== 0 || gcrypt.gcry_cipher_setkey(this.#handle, key, BigInt(key.length)) !== 0) {
      throw new Error(`${library} cannot start AES-256-XTS`);
    }
    this.#control = mapMemory(4096, { low: true });
    // There is none left when many volumes are mounted.
    this.#isControlLow = isLow(this.#control.address + tweakBytes);
    this.#tweak = new Uint32Array(this.#control.buffer, 0, 4);
  }

  name(first: number, second: number, third: number): void {
    this.#tweak[0] = first;
    this.#tweak[1] = second;
    this.#tweak[2] = third;
  }

  seal(from: Memory, at: number, to: Memory, toAt: number, length: number): void {
    const { sealLow, seal } = this.#gcrypt;
    this.#run(sealLow, seal, from, at, to, toAt, length);
  }

  open(memory: Memory, at: number, length: number): void {
    const { openLow, open } = this.#gcrypt;
    this.#run(openLow, open, memory, at, memory, at, length);
  }

  #run(
    low: Symbols["sealLow"],
    high: Symbols["seal"],
    from: Memory,
    at: number,
    to: Memory,
    toAt: number,
    length: number,
  ): void {
    if (this.#released) throw new Error("the cipher was released");
    checkUnit(from, at, length);
    checkUnit(to, toAt, length);
    const source = from.address + at;
    const target = to.address + toAt;
    const { setTweak, setTweakAnywhere } = this.#gcrypt;
    const control = this.#control;
    let failed = this.#isControlLow
      ? setTweak(this.#handle, control.address, tweakBytes)
      : setTweakAnywhere(this.#handle, control.pointer, BigInt(tweakBytes));
    if (source < highest - length && target < highest - length) {
      failed |= low(this.#handle, target, length, source, length);
    } else {
      const size = BigInt(length);
      failed |= high(
        this.#handle,
        to.bytes.subarray(toAt, toAt + length),
        size,
        from.bytes.subarray(at, at + length),
        size,
      );
    }
    if (failed !== 0) throw new Error(`${library} could not run AES-256-XTS`);
  }

  [Symbol.dispose](): void {
    if (this.#released) return;
    this.#released = true;
    this.#gcrypt.gcry_cipher_close(this.#handle);
    // Whoever names a unit all the same must not write to what was unmapped.
    this.#tweak = new Uint32Array(4);
    unmap(this.#control);
  }
}

export function libgcryptXts(key: Bytes): UnitCipher | undefined {
  const gcrypt = libgcrypt();
  return gcrypt === undefined ? undefined : new LibgcryptXts(gcrypt, key);
}
