/**
 * Intel ISA-L: Reed-Solomon over GF(2^8) and CRCs at memory speed. Works with 2.30 (Debian 12) and
 * 2.31 (Debian 13); what only the newer one has (CRC-64/NVME) is asked for and may be absent.
 *
 * Buffers are passed for the length of one blocking call and are never kept by the library. The
 * library checks nothing: every length is checked here, since a wrong one writes past a buffer.
 */

const names = ["libisal.so.2"] as const;

const symbols = {
  ec_init_tables: { parameters: ["i32", "i32", "buffer", "buffer"], result: "void" },
  ec_encode_data: {
    parameters: ["i32", "i32", "i32", "buffer", "buffer", "buffer"],
    result: "void",
  },
  gf_gen_cauchy1_matrix: { parameters: ["buffer", "i32", "i32"], result: "void" },
  gf_invert_matrix: { parameters: ["buffer", "buffer", "i32"], result: "i32" },
  crc32_iscsi: { parameters: ["buffer", "i32", "u32"], result: "u32" },
  crc32_gzip_refl: { parameters: ["u32", "buffer", "u64"], result: "u32" },
  crc64_rocksoft_refl: { parameters: ["u64", "buffer", "u64"], result: "u64", optional: true },
} as const;

/** ISA-L is not installed, or not one that we know. */
export class IsalMissing extends Error {
  override readonly name = "IsalMissing";
}

function open(): Deno.DynamicLibrary<typeof symbols> {
  let last: unknown;
  for (const name of names) {
    try {
      return Deno.dlopen(name, symbols);
    } catch (cause) {
      last = cause;
    }
  }
  throw new IsalMissing(
    `${names.join(", ")} cannot be loaded. Install the package libisal2 (\`deno task setup\`).`,
    { cause: last },
  );
}

let library: Deno.DynamicLibrary<typeof symbols> | undefined;
const isal = () => (library ??= open()).symbols;

const maximumLength = 0x7fff_ffff;

/** CRC-32C (Castagnoli) of `bytes`, going on from `seed`. */
export function crc32c(bytes: Uint8Array<ArrayBuffer>, seed = 0): number {
  if (bytes.length > maximumLength) throw new RangeError("crc32c takes 2 GiB at most in one call");
  if (bytes.length === 0) return seed;
  return (isal().crc32_iscsi(bytes, bytes.length, ~seed >>> 0) ^ 0xffff_ffff) >>> 0;
}

/** CRC-32 (the one of gzip and zip) of `bytes`, going on from `seed`. */
export function crc32(bytes: Uint8Array<ArrayBuffer>, seed = 0): number {
  if (bytes.length === 0) return seed;
  return isal().crc32_gzip_refl(seed, bytes, BigInt(bytes.length));
}

/** CRC-64/NVME of `bytes`, going on from `seed`; undefined where this ISA-L does not have it. */
export function crc64nvme(bytes: Uint8Array<ArrayBuffer>, seed = 0n): bigint | undefined {
  const call = isal().crc64_rocksoft_refl;
  if (call === null || call === undefined) return undefined;
  return bytes.length === 0 ? seed : call(seed, bytes, BigInt(bytes.length));
}

/** A `rows` × `k` Cauchy matrix whose first `k` rows are the identity: any k rows invert. */
export function cauchyMatrix(rows: number, k: number): Uint8Array<ArrayBuffer> {
  if (!(k >= 1 && rows >= k && rows <= 127)) throw new RangeError(`no code of ${k} in ${rows}`);
  const matrix = new Uint8Array(rows * k);
  isal().gf_gen_cauchy1_matrix(matrix, rows, k);
  return matrix;
}

/** The inverse of a `size` × `size` matrix. @throws RangeError when it has none */
export function invertMatrix(
  matrix: Uint8Array<ArrayBuffer>,
  size: number,
): Uint8Array<ArrayBuffer> {
  if (matrix.length !== size * size) throw new RangeError("the matrix is not square");
  // The library works in place on its input.
  const input = matrix.slice();
  const output = new Uint8Array(size * size);
  if (isal().gf_invert_matrix(input, output, size) !== 0) {
    throw new RangeError("the matrix cannot be inverted");
  }
  return output;
}

/** Coefficients (`rows` × `k`) made ready for `encode`. */
export interface CodingTables {
  readonly k: number;
  readonly rows: number;
  readonly tables: Uint8Array<ArrayBuffer>;
}

export function codingTables(
  coefficients: Uint8Array<ArrayBuffer>,
  k: number,
  rows: number,
): CodingTables {
  if (coefficients.length !== rows * k) throw new RangeError("coefficients of another shape");
  const tables = new Uint8Array(32 * k * rows);
  if (rows > 0) isal().ec_init_tables(k, rows, coefficients, tables);
  return { k, rows, tables };
}

function addresses(buffers: readonly Uint8Array<ArrayBuffer>[], length: number): BigUint64Array {
  const table = new BigUint64Array(buffers.length);
  for (const [at, buffer] of buffers.entries()) {
    if (buffer.length < length) throw new RangeError("a shard's buffer is too short");
    table[at] = Deno.UnsafePointer.value(Deno.UnsafePointer.of(buffer)) as bigint;
  }
  return table;
}

/** Computes each of `outputs` (one per row) from all `inputs`, `length` bytes of each. */
export function encode(
  coding: CodingTables,
  inputs: readonly Uint8Array<ArrayBuffer>[],
  outputs: readonly Uint8Array<ArrayBuffer>[],
  length: number,
): void {
  if (inputs.length !== coding.k || outputs.length !== coding.rows) {
    throw new RangeError(`this code takes ${coding.k} inputs and makes ${coding.rows} outputs`);
  }
  if (!(length >= 0 && length <= maximumLength)) throw new RangeError("a shard of this length");
  if (coding.rows === 0 || length === 0) return;
  const from = addresses(inputs, length);
  const to = addresses(outputs, length);
  isal().ec_encode_data(
    length,
    coding.k,
    coding.rows,
    coding.tables,
    new Uint8Array(from.buffer as ArrayBuffer),
    new Uint8Array(to.buffer as ArrayBuffer),
  );
}

/**
 * A code whose outputs stay where they are and whose inputs stand at even distances in one piece of memory: to find the
 * address of each anew costs more than the coding of what is short.
 */
export class PlacedCode {
  readonly #coding: CodingTables;
  readonly #length: number;
  readonly #outputs: readonly Uint8Array<ArrayBuffer>[];
  readonly #to: Uint8Array<ArrayBuffer>;
  readonly #from: Uint8Array<ArrayBuffer>;
  /** The addresses in `#from` by halves, the lower one first: a bigint for each would be made and thrown away. */
  readonly #halves: Uint32Array<ArrayBuffer>;

  /** @param length of each input and output */
  constructor(
    coding: CodingTables,
    length: number,
    outputs: readonly Uint8Array<ArrayBuffer>[],
  ) {
    if (outputs.length !== coding.rows) throw new RangeError(`${coding.rows} outputs are made`);
    if (!(length > 0 && length <= maximumLength)) throw new RangeError("inputs of this length");
    this.#coding = coding;
    this.#length = length;
    this.#outputs = outputs;
    this.#to = new Uint8Array(addresses(outputs, length).buffer as ArrayBuffer);
    this.#from = new Uint8Array(8 * coding.k);
    this.#halves = new Uint32Array(this.#from.buffer);
  }

  get outputs(): readonly Uint8Array<ArrayBuffer>[] {
    return this.#outputs;
  }

  /** Fills the outputs from inputs of which each begins `stride` bytes after the one before. */
  encode(memory: Uint8Array<ArrayBuffer>, stride: number): void {
    const { k, rows, tables } = this.#coding;
    if (memory.length < (k - 1) * stride + this.#length) throw new RangeError("too little memory");
    let address = Number(Deno.UnsafePointer.value(Deno.UnsafePointer.of(memory)));
    for (let input = 0; input < k; input++, address += stride) {
      this.#halves[2 * input] = address % 2 ** 32;
      this.#halves[2 * input + 1] = address / 2 ** 32;
    }
    isal().ec_encode_data(this.#length, k, rows, tables, this.#from, this.#to);
  }
}
