/**
 * AES-256-GCM of Intel's libipsec-mb 1.3 (Debian 12), whose code for processors with VAES and AVX-512 takes 0.05 ms
 * a MiB where OpenSSL 3.0 takes 0.19. OpenSSL 3.5 (Debian 13) is as quick by itself, and that release's library
 * has another name: it is not looked for.
 *
 * Wherever the library, its version, the processor or a first run on a published vector is not as expected there
 * is no such engine, and the caller uses OpenSSL's. The library keeps no memory: keys and states are ours.
 */
import { alignedBuffer } from "./direct_io.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const symbols = {
  imb_get_version: { parameters: [], result: "u32" },
  imb_get_feature_flags: { parameters: [], result: "u64" },
  prepare: {
    name: "aes_gcm_pre_256_vaes_avx512",
    parameters: ["buffer", "buffer"],
    result: "void",
  },
  begin: {
    name: "aes_gcm_init_256_vaes_avx512",
    parameters: ["buffer", "buffer", "buffer", "buffer", "u64"],
    result: "void",
  },
  seal: {
    name: "aes_gcm_enc_256_update_vaes_avx512",
    parameters: ["buffer", "buffer", "buffer", "buffer", "u64"],
    result: "void",
  },
  open: {
    name: "aes_gcm_dec_256_update_vaes_avx512",
    parameters: ["buffer", "buffer", "buffer", "buffer", "u64"],
    result: "void",
  },
  tagOfSealed: {
    name: "aes_gcm_enc_256_finalize_vaes_avx512",
    parameters: ["buffer", "buffer", "buffer", "u64"],
    result: "void",
  },
  tagOfOpened: {
    name: "aes_gcm_dec_256_finalize_vaes_avx512",
    parameters: ["buffer", "buffer", "buffer", "u64"],
    result: "void",
  },
} as const;

type Library = Deno.DynamicLibrary<typeof symbols>["symbols"];

/** Bits of `imb_get_feature_flags`: AVX512 F, DQ, BW and VL, VAES, VPCLMULQDQ. */
const neededFeatures = 1n << 7n | 1n << 8n | 1n << 10n | 1n << 11n | 1n << 12n | 1n << 13n;
/** The version whose layouts these are: 1.3.x. */
const knownVersion = 0x0103;

/** `struct gcm_key_data` (1,024 bytes there) and `struct gcm_context_data` (88), each with room to spare. */
const key_bytes = 2048;
const state_bytes = 1024;
const tag_bytes = 16;
const nothing = new Uint8Array(0);

/** One key; one run at a time. */
export class VaesGcm {
  readonly #library: Library;
  readonly #key: Bytes;
  readonly #state: Bytes;
  #sealing = true;

  constructor(library: Library, key: Bytes) {
    const memory = alignedBuffer(key_bytes + state_bytes);
    this.#library = library;
    this.#key = memory.subarray(0, key_bytes);
    this.#state = memory.subarray(key_bytes);
    library.prepare(key, this.#key);
  }

  begin(nonce: Bytes, sealing: boolean): void {
    this.#sealing = sealing;
    this.#library.begin(this.#key, this.#state, nonce, nothing, 0n);
  }

  run(from: Bytes, to: Bytes): void {
    const { seal, open } = this.#library;
    (this.#sealing ? seal : open)(this.#key, this.#state, to, from, BigInt(from.length));
  }

  tag(): Bytes {
    const { tagOfSealed, tagOfOpened } = this.#library;
    const tag = new Uint8Array(tag_bytes);
    (this.#sealing ? tagOfSealed : tagOfOpened)(this.#key, this.#state, tag, BigInt(tag_bytes));
    return tag;
  }
}

function load(): Library | undefined {
  if (Deno.build.arch !== "x86_64") return undefined;
  let library: Library;
  try {
    library = Deno.dlopen("libIPSec_MB.so.1", symbols).symbols;
  } catch {
    return undefined;
  }
  if (library.imb_get_version() >>> 8 !== knownVersion) return undefined;
  if ((library.imb_get_feature_flags() & neededFeatures) !== neededFeatures) return undefined;
  // Test case 14 of the GCM specification.
  const engine = new VaesGcm(library, new Uint8Array(32));
  const sealed = new Uint8Array(16);
  engine.begin(new Uint8Array(12), true);
  engine.run(new Uint8Array(16), sealed);
  const sound = sealed.toHex() === "cea7403d4d606b6e074ec5d3baf39d18" &&
    engine.tag().toHex() === "d0d1c8a799996bf0265b98b5d48ab919";
  return sound ? library : undefined;
}

let loaded: { readonly library: Library | undefined } | undefined;

/** An engine for the key, where this machine has it. */
export function vaesGcm(key: Bytes): VaesGcm | undefined {
  const { library } = loaded ??= { library: load() };
  return library === undefined ? undefined : new VaesGcm(library, key);
}
