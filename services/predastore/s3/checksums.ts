/**
 * The checksums of the S3 API: what a client says of a body, what the body has, and what a multipart
 * object has by its parts.
 */
import { createHash } from "node:crypto";
import { crc32, crc32c } from "../../../ffi/libisal.ts";
import { Digest } from "../../../ffi/libcrypto.ts";
import { AwsError } from "../../aws/errors.ts";
import type { BodyDigest } from "../extents/extent_writer.ts";
import type { ChecksumMeta } from "../index/rows.ts";
import { CrcCombiner, type CrcName } from "./crc.ts";
import { crc64nvme } from "./crc64.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** AWS's names of the algorithms, with the length of a value in bytes. */
export const algorithms = {
  CRC32: 4,
  CRC32C: 4,
  CRC64NVME: 8,
  SHA1: 20,
  SHA256: 32,
} as const;
export type Algorithm = keyof typeof algorithms;

/** What S3 computes of a body whose client sends no checksum. */
export const defaultAlgorithm: Algorithm = "CRC64NVME";

export function isAlgorithm(name: string): name is Algorithm {
  return Object.hasOwn(algorithms, name);
}

/**
 * The algorithm that `x-amz-checksum-algorithm` asks for, of an upload in parts or a copy.
 * @throws AwsError `InvalidRequest`
 */
export function askedAlgorithm(headers: Headers): Algorithm | undefined {
  const algorithm = headers.get("x-amz-checksum-algorithm")?.toUpperCase();
  if (algorithm === undefined || isAlgorithm(algorithm)) return algorithm;
  throw new AwsError(
    "InvalidRequest",
    "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]",
  );
}

export const checksumHeader = (algorithm: string) => `x-amz-checksum-${algorithm.toLowerCase()}`;

/** Takes a body as it comes and has its checksum in the end. Dispose of it. */
export interface RunningChecksum extends BodyDigest, Disposable {
  readonly algorithm: Algorithm;
  finish(): Promise<Bytes>;
}

function bigEndian(value: bigint, bytes: number): Bytes {
  const out = new Uint8Array(bytes);
  for (let at = bytes - 1; at >= 0; at--, value >>= 8n) out[at] = Number(value & 0xffn);
  return out;
}

export function startChecksum(algorithm: Algorithm): RunningChecksum {
  if (algorithm === "SHA1" || algorithm === "SHA256") {
    const digest = new Digest(algorithm === "SHA1" ? "sha1" : "sha256");
    return {
      algorithm,
      update: (bytes) => digest.update(bytes),
      finish: () => digest.finish(),
      [Symbol.dispose]: () => digest[Symbol.dispose](),
    };
  }
  let value = 0n;
  const step = {
    CRC32: (bytes: Bytes) => BigInt(crc32(bytes, Number(value))),
    CRC32C: (bytes: Bytes) => BigInt(crc32c(bytes, Number(value))),
    CRC64NVME: (bytes: Bytes) => crc64nvme(bytes, value),
  }[algorithm];
  return {
    algorithm,
    update: (bytes) => {
      value = step(bytes);
    },
    finish: () => Promise.resolve(bigEndian(value, algorithms[algorithm])),
    [Symbol.dispose]: () => {},
  };
}

/** What a request says of its body's checksum. */
export interface ClaimedChecksum {
  readonly algorithm: Algorithm;
  /** Base64; undefined when it comes in the trailer. */
  readonly value: string | undefined;
}

function checkForm(algorithm: Algorithm, value: string): string {
  let bytes: Uint8Array | undefined;
  try {
    bytes = Uint8Array.fromBase64(value);
  } catch {
    bytes = undefined;
  }
  if (bytes?.length !== algorithms[algorithm]) {
    throw new AwsError(
      "InvalidRequest",
      `Value for ${checksumHeader(algorithm)} header is invalid.`,
    );
  }
  return value;
}

/** @throws AwsError `InvalidRequest` for a malformed value, or more than one checksum */
export function claimedChecksum(headers: Headers): ClaimedChecksum | undefined {
  const found: ClaimedChecksum[] = [];
  for (const name of Object.keys(algorithms) as Algorithm[]) {
    const value = headers.get(checksumHeader(name));
    if (value !== null) found.push({ algorithm: name, value: checkForm(name, value) });
  }
  const trailers = (headers.get("x-amz-trailer") ?? "").toLowerCase().split(",")
    .map((name) => name.trim()).filter((name) => name !== "");
  for (const trailer of trailers) {
    const algorithm = trailer.replace(/^x-amz-checksum-/, "").toUpperCase();
    if (!isAlgorithm(algorithm)) {
      throw new AwsError(
        "InvalidRequest",
        "The value specified in the x-amz-trailer header is not supported",
      );
    }
    found.push({ algorithm, value: undefined });
  }
  if (found.length > 1) {
    throw new AwsError(
      "InvalidRequest",
      "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
    );
  }
  const [only] = found;
  const named = headers.get("x-amz-sdk-checksum-algorithm")?.toUpperCase();
  if (named === undefined || named === only?.algorithm) return only;
  throw new AwsError(
    "InvalidRequest",
    only === undefined && isAlgorithm(named)
      ? "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found."
      : "Value for x-amz-sdk-checksum-algorithm header is invalid.",
  );
}

/** The checksum that a trailer brought, or `claimed`'s own. */
export function trailedChecksum(
  claimed: ClaimedChecksum,
  trailers: ReadonlyMap<string, string>,
): string | undefined {
  const value = trailers.get(checksumHeader(claimed.algorithm));
  return value === undefined ? claimed.value : checkForm(claimed.algorithm, value);
}

export function badDigest(algorithm: Algorithm): AwsError {
  return new AwsError(
    "BadDigest",
    `The ${algorithm} you specified did not match the calculated checksum.`,
  );
}

/** A multipart object's checksum from its parts': of all bytes, or of the parts' checksums. */
export function combineChecksums(
  algorithm: Algorithm,
  type: ChecksumMeta["type"],
  parts: readonly { readonly value: string; readonly size: number }[],
): ChecksumMeta {
  if (type === "FULL_OBJECT") {
    const combiner = new CrcCombiner(algorithm.toLowerCase() as CrcName);
    let sum = 0n;
    for (const part of parts) {
      const value = BigInt(`0x${Uint8Array.fromBase64(part.value).toHex()}`);
      sum = combiner.combine(sum, value, part.size);
    }
    return { algorithm, type, value: bigEndian(sum, algorithms[algorithm]).toBase64() };
  }
  const joined = new Uint8Array(
    Buffer.concat(parts.map((part) => Uint8Array.fromBase64(part.value))),
  );
  let value: Bytes;
  if (algorithm === "SHA1" || algorithm === "SHA256") {
    value = new Uint8Array(createHash(algorithm.toLowerCase()).update(joined).digest());
  } else if (algorithm === "CRC64NVME") value = bigEndian(crc64nvme(joined), 8);
  else value = bigEndian(BigInt((algorithm === "CRC32" ? crc32 : crc32c)(joined)), 4);
  return { algorithm, type, value: `${value.toBase64()}-${parts.length}` };
}
