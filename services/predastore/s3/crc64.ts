/**
 * CRC-64/NVME, which S3 computes of every body whose client sends no checksum. ISA-L has it since 2.31;
 * beside an older one long runs are folded by its Reed-Solomon kernels (`crc64_folding.ts`), and the rest
 * is summed here, eight bytes a step.
 */
import { crc64nvme as isalCrc64 } from "../../../ffi/libisal.ts";
import { polynomials } from "./crc.ts";
import { Crc64Folding } from "./crc64_folding.ts";

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

/** Undefined before it was first needed, false where this processor's kernels do not do what they are told. */
let folding: Crc64Folding | false | undefined;

function foldedCrc64(bytes: Uint8Array<ArrayBuffer>, seed: bigint): bigint {
  if (bytes.length < Crc64Folding.block_bytes) return slowCrc64(bytes, seed);
  folding ??= Crc64Folding.checked(slowCrc64) ?? false;
  return folding === false ? slowCrc64(bytes, seed) : folding.sum(bytes, seed);
}

/** CRC-64/NVME of `bytes`, going on from `seed`. */
export function crc64nvme(bytes: Uint8Array<ArrayBuffer>, seed = 0n): bigint {
  return isalCrc64(bytes, seed) ?? foldedCrc64(bytes, seed);
}
