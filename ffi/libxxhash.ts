/**
 * xxHash: checksums of more than 10 GB/s on one core, so they are computed where the bytes are. Works with 0.8.1
 * (Debian 12) and 0.8.3 (Debian 13).
 *
 * Buffers are passed for the length of one blocking call and are never kept by the library.
 */

const name = "libxxhash.so.0";

const symbols = {
  XXH64_createState: { parameters: [], result: "pointer" },
  XXH64_freeState: { parameters: ["pointer"], result: "i32" },
  XXH64_reset: { parameters: ["pointer", "u64"], result: "i32" },
  XXH64_update: { parameters: ["pointer", "buffer", "usize"], result: "i32" },
  XXH64_digest: { parameters: ["pointer"], result: "u64" },
  XXH3_createState: { parameters: [], result: "pointer" },
  XXH3_freeState: { parameters: ["pointer"], result: "i32" },
  XXH3_64bits_reset: { parameters: ["pointer"], result: "i32" },
  XXH3_64bits_update: { parameters: ["pointer", "buffer", "usize"], result: "i32" },
  XXH3_64bits_digest: { parameters: ["pointer"], result: "u64" },
  XXH3_128bits_reset: { parameters: ["pointer"], result: "i32" },
  XXH3_128bits_update: { parameters: ["pointer", "buffer", "usize"], result: "i32" },
  /** The lower half first, each in the machine's order. */
  XXH3_128bits_digest: { parameters: ["pointer"], result: { struct: ["u64", "u64"] } },
} as const;

/** xxHash is not installed. */
export class XxHashMissing extends Error {
  override readonly name = "XxHashMissing";
}

function open(): Deno.DynamicLibrary<typeof symbols> {
  try {
    return Deno.dlopen(name, symbols);
  } catch (cause) {
    throw new XxHashMissing(
      `${name} cannot be loaded. Install the package libxxhash0 (\`deno task setup\`).`,
      { cause },
    );
  }
}

let library: Deno.DynamicLibrary<typeof symbols> | undefined;
const xxhash = () => (library ??= open()).symbols;

type State = Deno.PointerValue;
type Bytes = Uint8Array<ArrayBuffer>;

/** What one kind does with its state; it begins with a seed of 0, which is the library's own for XXH3. */
interface Kind {
  readonly create: () => State;
  readonly free: (state: State) => void;
  readonly reset: (state: State) => number;
  readonly update: (state: State, bytes: Bytes) => number;
  readonly digest: (state: State) => Bytes;
}

function bigEndian(...halves: readonly bigint[]): Bytes {
  const out = new Uint8Array(halves.length * 8);
  const view = new DataView(out.buffer);
  for (const [at, half] of halves.entries()) view.setBigUint64(at * 8, half);
  return out;
}

const third = {
  create: () => xxhash().XXH3_createState(),
  free: (state: State) => void xxhash().XXH3_freeState(state),
};

const kinds = {
  xxh64: {
    create: () => xxhash().XXH64_createState(),
    free: (state) => void xxhash().XXH64_freeState(state),
    reset: (state) => xxhash().XXH64_reset(state, 0n),
    update: (state, bytes) => xxhash().XXH64_update(state, bytes, BigInt(bytes.length)),
    digest: (state) => bigEndian(xxhash().XXH64_digest(state)),
  },
  xxh3: {
    ...third,
    reset: (state) => xxhash().XXH3_64bits_reset(state),
    update: (state, bytes) => xxhash().XXH3_64bits_update(state, bytes, BigInt(bytes.length)),
    digest: (state) => bigEndian(xxhash().XXH3_64bits_digest(state)),
  },
  xxh128: {
    ...third,
    reset: (state) => xxhash().XXH3_128bits_reset(state),
    update: (state, bytes) => xxhash().XXH3_128bits_update(state, bytes, BigInt(bytes.length)),
    digest: (state) => {
      const [low = 0n, high = 0n] = new BigUint64Array(
        new Uint8Array(xxhash().XXH3_128bits_digest(state)).buffer,
      );
      return bigEndian(high, low);
    },
  },
} as const satisfies Readonly<Record<string, Kind>>;

export type XxHashName = keyof typeof kinds;

/** One running checksum. Dispose of it, also after `finish`. */
export class XxHash implements Disposable {
  readonly #kind: Kind;
  #state: State;

  constructor(which: XxHashName) {
    this.#kind = kinds[which];
    this.#state = this.#kind.create();
    if (this.#state === null || this.#kind.reset(this.#state) !== 0) {
      this[Symbol.dispose]();
      throw new Error(`${name} has no memory for ${which}`);
    }
  }

  update(bytes: Bytes): void {
    if (bytes.length === 0) return;
    if (this.#state === null) throw new Error("this checksum has been disposed of");
    if (this.#kind.update(this.#state, bytes) !== 0) throw new Error(`${name} took no bytes`);
  }

  /** In the canonical form, which is big-endian. */
  finish(): Bytes {
    if (this.#state === null) throw new Error("this checksum has been disposed of");
    return this.#kind.digest(this.#state);
  }

  [Symbol.dispose](): void {
    if (this.#state !== null) this.#kind.free(this.#state);
    this.#state = null;
  }
}
