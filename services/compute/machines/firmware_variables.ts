/**
 * The UEFI variables of a guest, read out of the file that its firmware keeps them in, and written in the
 * form of GetInstanceUefiData.
 *
 * The file is a flash image: a firmware volume whose data is EDK II's authenticated variable store, a log
 * of variables of which the live ones count. AWS's form is `AMZNUEFI`, a CRC-32C, a version and zlib
 * data; AWS compresses with a dictionary of its own, which a reader uses only where the data says so.
 */
import { joined } from "../../aws/bytes.ts";
import { deflateSync } from "node:zlib";
import { AwsError } from "../../aws/errors.ts";

export interface FirmwareVariable {
  readonly name: string;
  /** 16 bytes as they are in memory. */
  readonly vendor: Uint8Array;
  readonly attributes: number;
  /** EFI_TIME, for those that are written with a signature. */
  readonly timestamp: Uint8Array;
  readonly data: Uint8Array;
}

/** The store's header is this GUID in memory order. */
const authenticatedVariables = Uint8Array.fromHex("782cf3aa7b949a43a1802e144ec37792");
const volumeSignature = "_FVH";
const volumeSignatureAt = 40;
const volumeHeaderLengthAt = 48;
const storeHeader_bytes = 28;
const storeFormatted = 0x5a;
const storeHealthy = 0xfe;
const variableStart = 0x55aa;
const variableHeader_bytes = 60;
const added = 0x3f;
/** Being replaced: counts while the one that replaces it is not there whole. */
const inDeletedTransition = 0x3e;
const nonVolatile = 1;
const timeBased = 0x20;
const magic = "AMZNUEFI";
const noDigest = new Uint8Array(32);

function damaged(why: string): AwsError {
  return new AwsError(
    "InternalError",
    `The instance's UEFI variables cannot be read: ${why}. Stop and start the instance.`,
    { status: 500 },
  );
}

/** @throws AwsError when it is no variable store */
export function readVariables(flash: Uint8Array): readonly FirmwareVariable[] {
  const view = new DataView(flash.buffer, flash.byteOffset, flash.byteLength);
  const latin = new TextDecoder("latin1");
  const signature = latin.decode(flash.subarray(volumeSignatureAt, volumeSignatureAt + 4));
  if (flash.length < 128 || signature !== volumeSignature) {
    throw damaged("there is no firmware volume");
  }
  const store = view.getUint16(volumeHeaderLengthAt, true);
  if (store + storeHeader_bytes > flash.length) throw damaged("the volume's header is cut short");
  const guid = flash.subarray(store, store + 16);
  if (
    guid.toHex() !== authenticatedVariables.toHex() ||
    view.getUint8(store + 20) !== storeFormatted || view.getUint8(store + 21) !== storeHealthy
  ) throw damaged("there is no authenticated variable store");
  const end = Math.min(store + view.getUint32(store + 16, true), flash.length);
  const live = new Map<string, FirmwareVariable>();
  const leaving = new Map<string, FirmwareVariable>();
  for (let at = store + storeHeader_bytes; at + variableHeader_bytes <= end;) {
    if (view.getUint16(at, true) !== variableStart) break;
    const state = view.getUint8(at + 2);
    const nameLength = view.getUint32(at + 36, true);
    const dataLength = view.getUint32(at + 40, true);
    const nameAt = at + variableHeader_bytes;
    const next = nameAt + nameLength + dataLength;
    if (next > end) throw damaged("a variable reaches beyond the store");
    const name = new TextDecoder("utf-16le").decode(
      flash.subarray(nameAt, nameAt + Math.max(0, nameLength - 2)),
    );
    const vendor = flash.slice(at + 44, at + 60);
    const variable = {
      name,
      vendor,
      attributes: view.getUint32(at + 4, true),
      timestamp: flash.slice(at + 16, at + 32),
      data: flash.slice(nameAt + nameLength, next),
    };
    const key = `${vendor.toHex()} ${name}`;
    if (state === added) live.set(key, variable);
    else if (state === inDeletedTransition) leaving.set(key, variable);
    at = (next + 3) & ~3;
  }
  return [...new Map([...leaving, ...live]).values()]
    .filter((variable) => (variable.attributes & nonVolatile) !== 0);
}

const crcTable = Uint32Array.from({ length: 256 }, (_, value) => {
  for (let bit = 0; bit < 8; bit++) {
    value = (value & 1) === 1 ? 0x82f63b78 ^ (value >>> 1) : value >>> 1;
  }
  return value;
});

function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (crcTable[(crc ^ byte) & 255] ?? 0) ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

function number(value: number, length: 4 | 8): Uint8Array {
  const bytes = new Uint8Array(length);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}

const sized = (bytes: Uint8Array) => [number(bytes.length, 8), bytes];

/** Base64, as GetInstanceUefiData answers it. */
export function awsUefiData(variables: readonly FirmwareVariable[]): string {
  const encoder = new TextEncoder();
  const plain = joined([
    number(variables.length, 8),
    ...variables.flatMap(({ name, data, vendor, attributes, timestamp }) => [
      ...sized(encoder.encode(name)),
      ...sized(data),
      vendor,
      number(attributes, 4),
      ...((attributes & timeBased) === 0 ? [] : [timestamp, ...sized(noDigest)]),
    ]),
  ]);
  const version0 = number(0, 4);
  const body = joined([version0, new Uint8Array(deflateSync(plain, { level: 9 }))]);
  return joined([encoder.encode(magic), number(crc32c(body), 4), body]).toBase64();
}
