/**
 * CRCs that S3 knows and ISA-L may not: CRC-64/NVME in JavaScript where the library is too old for it,
 * and the CRC of two runs of bytes from the CRCs of each, by which a multipart object's checksum is
 * made from its parts'.
 */
import { crc64nvme as fastCrc64 } from "../../../ffi/libisal.ts";

/** The reflected polynomials. */
export const polynomials = {
  crc32: { bits: 32, polynomial: 0xedb88320n },
  crc32c: { bits: 32, polynomial: 0x82f63b78n },
  crc64nvme: { bits: 64, polynomial: 0x9a6c9329ac4bc9b5n },
} as const;
export type CrcName = keyof typeof polynomials;

let tables: { readonly low: Uint32Array; readonly high: Uint32Array } | undefined;

/** Eight tables of 256 entries, low and high halves apart. */
function slicingTables() {
  if (tables !== undefined) return tables;
  const { polynomial } = polynomials.crc64nvme;
  const low = new Uint32Array(8 * 256);
  const high = new Uint32Array(8 * 256);
  for (let byte = 0; byte < 256; byte++) {
    let value = BigInt(byte);
    for (let bit = 0; bit < 8; bit++) value = value & 1n ? value >> 1n ^ polynomial : value >> 1n;
    low[byte] = Number(value & 0xffff_ffffn);
    high[byte] = Number(value >> 32n);
  }
  for (let at = 256; at < 8 * 256; at++) {
    const lowBefore = low[at - 256] ?? 0;
    const highBefore = high[at - 256] ?? 0;
    const byte = lowBefore & 0xff;
    low[at] = (lowBefore >>> 8 | highBefore << 24) ^ (low[byte] ?? 0);
    high[at] = highBefore >>> 8 ^ (high[byte] ?? 0);
  }
  return tables = { low, high };
}

function slowCrc64(bytes: Uint8Array, seed: bigint): bigint {
  const { low, high } = slicingTables();
  const L = (table: number, byte: number) => low[table * 256 + byte] as number;
  const H = (table: number, byte: number) => high[table * 256 + byte] as number;
  let a = Number(~seed & 0xffff_ffffn);
  let b = Number(~seed >> 32n & 0xffff_ffffn);
  let at = 0;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (; at + 8 <= bytes.length; at += 8) {
    a ^= view.getUint32(at, true);
    b ^= view.getUint32(at + 4, true);
    const newLow = L(7, a & 0xff) ^ L(6, a >>> 8 & 0xff) ^ L(5, a >>> 16 & 0xff) ^ L(4, a >>> 24) ^
      L(3, b & 0xff) ^ L(2, b >>> 8 & 0xff) ^ L(1, b >>> 16 & 0xff) ^ L(0, b >>> 24);
    b = H(7, a & 0xff) ^ H(6, a >>> 8 & 0xff) ^ H(5, a >>> 16 & 0xff) ^ H(4, a >>> 24) ^
      H(3, b & 0xff) ^ H(2, b >>> 8 & 0xff) ^ H(1, b >>> 16 & 0xff) ^ H(0, b >>> 24);
    a = newLow;
  }
  for (; at < bytes.length; at++) {
    const byte = (a ^ (bytes[at] as number)) & 0xff;
    a = (a >>> 8 | b << 24) ^ L(0, byte);
    b = b >>> 8 ^ H(0, byte);
  }
  return ~(BigInt(b >>> 0) << 32n | BigInt(a >>> 0)) & 0xffff_ffff_ffff_ffffn;
}

/** CRC-64/NVME of `bytes`, going on from `seed`. */
export function crc64nvme(bytes: Uint8Array<ArrayBuffer>, seed = 0n): bigint {
  return fastCrc64(bytes, seed) ?? slowCrc64(bytes, seed);
}

type Matrix = bigint[];

function times(matrix: Matrix, vector: bigint): bigint {
  let sum = 0n;
  for (let at = 0; vector !== 0n; at++, vector >>= 1n) {
    if (vector & 1n) sum ^= matrix[at] ?? 0n;
  }
  return sum;
}

const identity = (bits: number): Matrix =>
  Array.from({ length: bits }, (_, at) => 1n << BigInt(at));
const square = (matrix: Matrix): Matrix => matrix.map((column) => times(matrix, column));

/** Makes CRCs of runs out of the CRCs of their pieces; keeps the step for each length it has met. */
export class CrcCombiner {
  readonly #name: CrcName;
  readonly #steps = new Map<number, Matrix>();

  constructor(name: CrcName) {
    this.#name = name;
  }

  /** The CRC of two runs after each other, the second `length` bytes long. */
  combine(first: bigint, second: bigint, length: number): bigint {
    if (length === 0) return first;
    return times(this.#step(length), first) ^ second;
  }

  #step(length: number): Matrix {
    let step = this.#steps.get(length);
    if (step !== undefined) return step;
    const { bits, polynomial } = polynomials[this.#name];
    // One zero bit, then two, four, eight: one zero byte.
    let power: Matrix = [polynomial];
    for (let at = 1; at < bits; at++) power.push(1n << BigInt(at - 1));
    power = square(square(square(power)));
    for (let left = length; left > 0;) {
      if (left % 2 === 1) {
        const before = step as Matrix | undefined;
        const now = power;
        step = (before ?? identity(bits)).map((column: bigint) => times(now, column));
      }
      left = Math.floor(left / 2);
      if (left > 0) power = square(power);
    }
    this.#steps.set(length, step as Matrix);
    return step as Matrix;
  }
}
