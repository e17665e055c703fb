/**
 * The file in which U-Boot keeps its UEFI variables (`ubootefi.var` at the root of the ESP). U-Boot
 * has no variable services while Linux runs, so what the next start shall be is written into this file.
 *
 * A header of 24 bytes (zeros, magic, length of the whole, CRC-32 of what follows) and the variables,
 * each beginning at a multiple of 8. U-Boot takes all or nothing: a file whose length or checksum is
 * wrong counts as none, and so it does here.
 */
import { crc32 } from "node:zlib";

export interface Variable {
  readonly name: string;
  /** Vendor's GUID, its 16 bytes in hexadecimal as they are stored. */
  readonly vendor: string;
  readonly attributes: number;
  /** Of signed variables; 0 otherwise. */
  readonly time: bigint;
  readonly data: Uint8Array<ArrayBuffer>;
}

/** UEFI's own variables: Boot0000, BootOrder, BootNext … */
export const globalVendor = "61dfe48bca93d211aa0d00e098032b8c";
/** Kept over a restart, seen by boot programs and by the running system. */
export const bootAttributes = 7;

const magic = 0x0161566966456255n;
const headerSize = 24;
const entrySize = 32;
/** U-Boot reads no more. */
const storeSize_max = 0x10000;

const aligned = (length: number) => (length + 7) & ~7;

/** UTF-16 as UEFI stores text, with its end. */
export function utf16(text: string): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array((text.length + 1) * 2);
  const view = new DataView(bytes.buffer);
  for (let at = 0; at < text.length; at++) view.setUint16(at * 2, text.charCodeAt(at), true);
  return bytes;
}

/** The text that begins at `offset`, or undefined when it has no end. */
export function readUtf16(bytes: Uint8Array, offset: number): string | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let text = "";
  for (let at = offset; at + 1 < bytes.length; at += 2) {
    const unit = view.getUint16(at, true);
    if (unit === 0) return text;
    text += String.fromCharCode(unit);
  }
  return undefined;
}

/** @returns undefined when U-Boot would not accept it either */
export function parseStore(bytes: Uint8Array): Variable[] | undefined {
  if (bytes.length < headerSize || bytes.length > storeSize_max) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (
    view.getBigUint64(0, true) !== 0n || view.getBigUint64(8, true) !== magic ||
    view.getUint32(16, true) !== bytes.length ||
    view.getUint32(20, true) !== crc32(bytes.subarray(headerSize))
  ) return undefined;
  const variables: Variable[] = [];
  for (let at = headerSize; at < bytes.length;) {
    if (at + entrySize > bytes.length) return undefined;
    const length = view.getUint32(at, true);
    const name = readUtf16(bytes, at + entrySize);
    if (name === undefined) return undefined;
    const data = at + entrySize + (name.length + 1) * 2;
    if (data + length > bytes.length) return undefined;
    variables.push({
      name,
      vendor: bytes.subarray(at + 16, at + 32).toHex(),
      attributes: view.getUint32(at + 4, true),
      time: view.getBigUint64(at + 8, true),
      data: bytes.slice(data, data + length),
    });
    at = aligned(data + length);
  }
  return variables;
}

/** @throws RangeError when it is more than U-Boot reads */
export function formatStore(variables: readonly Variable[]): Uint8Array<ArrayBuffer> {
  const sizes = variables.map(({ name, data }) =>
    aligned(entrySize + (name.length + 1) * 2 + data.length)
  );
  const length = sizes.reduce((sum, size) => sum + size, headerSize);
  if (length > storeSize_max) {
    throw new RangeError(`${length} bytes of UEFI variables are more than U-Boot reads.`);
  }
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  let at = headerSize;
  for (const [index, { name, vendor, attributes, time, data }] of variables.entries()) {
    view.setUint32(at, data.length, true);
    view.setUint32(at + 4, attributes, true);
    view.setBigUint64(at + 8, time, true);
    bytes.set(Uint8Array.fromHex(vendor), at + 16);
    const text = utf16(name);
    bytes.set(text, at + entrySize);
    bytes.set(data, at + entrySize + text.length);
    at += sizes[index] ?? 0;
  }
  view.setBigUint64(8, magic, true);
  view.setUint32(16, length, true);
  view.setUint32(20, crc32(bytes.subarray(headerSize)), true);
  return bytes;
}
