/**
 * CRC-64/NVME of long runs by ISA-L's Reed-Solomon kernels, ten times as fast as by tables, for versions of the
 * library that do not have this CRC.
 *
 * The kernels look every half byte up in tables of ours, so they compute any map of bytes to bytes that
 * is linear over GF(2), which every step of a CRC is. A block is taken as `rows` rows of `columns` bytes.
 * Whatever stands above each other in a column is moved to the block's last row (a byte's share of the sum,
 * advanced by the rows below it), which makes 8 bytes of each column, and these lie in 8 planes. The CRC of the
 * planes, each one byte further on than the next, is the block's. The kernels add them up as well, so that little
 * more than one row's length is left to sum.
 *
 * Other kernels might read other tables (those of GFNI do): `checked` holds the result against that of the tables.
 */
import { codingTables, PlacedCode } from "../../../ffi/libisal.ts";
import { CrcCombiner } from "./crc.ts";

type Bytes = Uint8Array<ArrayBuffer>;
type Sum = (bytes: Bytes, seed: bigint) => bigint;

const rows = 128;
/** Not a power of two: rows at such a distance would displace each other in the processor's cache. */
const columns = 2016;
const planes = 8;
/** The tables of so many stay in the processor's nearest cache: with all eight at once a block takes half as long again. */
const planesAtOnce = 4;
/** Around each plane there are zeros, where the others reach beyond it. */
const around = 8;
const planeDistance = columns + 2 * around;
const all = 0xffff_ffff_ffff_ffffn;

/** A table of the kernels: what each lower half of a byte adds, then each upper half. */
function fillTables(tables: Bytes, row: number, bits: readonly bigint[]): void {
  for (let half = 0; half < 16; half++) {
    let [lower, upper] = [0n, 0n];
    for (let bit = 0; bit < 4; bit++) {
      if ((half >> bit & 1) === 0) continue;
      lower ^= bits[bit] ?? 0n;
      upper ^= bits[bit + 4] ?? 0n;
    }
    for (let plane = 0; plane < planes; plane++) {
      const at = (plane * rows + row) * 32;
      tables[at + half] = Number(lower >> BigInt(8 * plane) & 0xffn);
      tables[at + 16 + half] = Number(upper >> BigInt(8 * plane) & 0xffn);
    }
  }
}

export class Crc64Folding {
  static readonly block_bytes = rows * columns;

  readonly #sum: Sum;
  readonly #combiner = new CrcCombiner("crc64nvme");
  readonly #tables = new Uint8Array(32 * rows * planes);
  readonly #planes = new Uint8Array(planes * planeDistance);
  readonly #toPlanes: readonly PlacedCode[];
  readonly #toOne: PlacedCode;
  /** All planes, each one byte further on than the next. */
  readonly #together = new Uint8Array(columns + planes - 1);

  private constructor(sum: Sum) {
    this.#sum = sum;
    // The top byte is where a byte's share stands before it has been advanced by the eight bytes of a state.
    let bits = Array.from({ length: 8 }, (_, bit) => 1n << BigInt(56 + bit));
    for (let row = rows - 1; row >= 0; row--) {
      fillTables(this.#tables, row, bits);
      bits = bits.map((share) => this.#advanced(share, columns));
    }
    this.#toPlanes = Array.from({ length: planes / planesAtOnce }, (_, group) => {
      const first = group * planesAtOnce;
      const tables = this.#tables.subarray(32 * rows * first, 32 * rows * (first + planesAtOnce));
      const outputs = Array.from({ length: planesAtOnce }, (_, at) => {
        const start = (first + at) * planeDistance + around;
        return this.#planes.subarray(start, start + columns);
      });
      return new PlacedCode({ k: rows, rows: planesAtOnce, tables }, columns, outputs);
    });
    const adding = codingTables(new Uint8Array(planes).fill(1), planes, 1);
    this.#toOne = new PlacedCode(adding, this.#together.length, [this.#together]);
  }

  /** @param sum the same CRC by other means; undefined is returned where this one does not agree with it */
  static checked(sum: Sum): Crc64Folding | undefined {
    const made = new Crc64Folding(sum);
    const sample = new Uint8Array(2 * Crc64Folding.block_bytes + 5);
    let value = 1;
    for (let at = 0; at < sample.length; at++) {
      value = value * 75 % 65537;
      sample[at] = value;
    }
    return made.sum(sample, 5n) === sum(sample, 5n) ? made : undefined;
  }

  sum(bytes: Bytes, seed: bigint): bigint {
    const { block_bytes } = Crc64Folding;
    let sum = seed;
    let at = 0;
    for (; at + block_bytes <= bytes.length; at += block_bytes) {
      const start = this.#advanced(sum ^ all, block_bytes);
      sum = start ^ this.#block(bytes.subarray(at, at + block_bytes)) ^ all;
    }
    return this.#sum(bytes.subarray(at), sum);
  }

  /** The register `register` after `length` bytes of zero. */
  #advanced(register: bigint, length: number): bigint {
    return this.#combiner.combine(register, 0n, length);
  }

  /** The register after a block, that was zero before it. */
  #block(block: Bytes): bigint {
    for (const some of this.#toPlanes) some.encode(block, columns);
    this.#toOne.encode(this.#planes.subarray(around), planeDistance - 1);
    return this.#sum(this.#together, all) ^ all;
  }
}
