/**
 * The checksums of the S3 API: what a client says of a body, what the body has, and what a multipart
 * object has by its parts.
 */
import { createHash } from "node:crypto";
import { crc32, crc32c } from "../../../ffi/libisal.ts";
import { Digest } from "../../../ffi/libcrypto.ts";
import { XxHash } from "../../../ffi/libxxhash.ts";
import { AwsError } from "../../aws/errors.ts";
import type { BodyDigest } from "../extents/extent_writer.ts";
import type { ChecksumMeta } from "../index/rows.ts";
import { invalidArgument } from "./call.ts";
import { CrcCombiner, type CrcName } from "./crc.ts";
import { crc64nvme } from "./crc64.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** AWS's names of the algorithms, with the length of a value in bytes. */
export const algorithms = {
  CRC32: 4,
  CRC32C: 4,
  CRC64NVME: 8,
  MD5: 16,
  SHA1: 20,
  SHA256: 32,
  SHA512: 64,
  XXHASH128: 16,
  XXHASH3: 8,
  XXHASH64: 8,
} as const;
export type Algorithm = keyof typeof algorithms;

/** Names that came after uploads could be begun without one. */
export const isLater = (name: Algorithm) => /^(MD5|SHA512|XXHASH\d+)$/.test(name);

/** By libcrypto's names. */
const hashes = { MD5: "md5", SHA1: "sha1", SHA256: "sha256", SHA512: "sha512" } as const;
const isHash = (name: Algorithm): name is keyof typeof hashes => Object.hasOwn(hashes, name);

/** By libxxhash's. */
const xxHashes = { XXHASH128: "xxh128", XXHASH3: "xxh3", XXHASH64: "xxh64" } as const;
const isXxHash = (name: Algorithm): name is keyof typeof xxHashes => Object.hasOwn(xxHashes, name);

/** Of which kinds the checksum of an object in parts can be; the usual one first. */
export function typesOf(algorithm: Algorithm): readonly ChecksumMeta["type"][] {
  if (isHash(algorithm) || isXxHash(algorithm)) return ["COMPOSITE"];
  return algorithm === "CRC64NVME" ? ["FULL_OBJECT"] : ["COMPOSITE", "FULL_OBJECT"];
}

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
  if (algorithm === undefined) return undefined;
  if (isAlgorithm(algorithm)) return algorithm;
  throw new AwsError(
    "InvalidRequest",
    `Checksum algorithm provided is unsupported. Please try again with any of the valid types: [${
      Object.keys(algorithms).sort().join(", ")
    }]`,
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
  if (isHash(algorithm)) {
    const digest = new Digest(hashes[algorithm]);
    return {
      algorithm,
      update: (bytes) => digest.update(bytes),
      finish: () => digest.finish(),
      [Symbol.dispose]: () => digest[Symbol.dispose](),
    };
  }
  if (isXxHash(algorithm)) {
    const hash = new XxHash(xxHashes[algorithm]);
    return {
      algorithm,
      update: (bytes) => hash.update(bytes),
      finish: () => Promise.resolve(hash.finish()),
      [Symbol.dispose]: () => hash[Symbol.dispose](),
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

/** Whether `value` can be a checksum by that name. */
export function isWellFormed(name: Algorithm, value: string): boolean {
  try {
    return Uint8Array.fromBase64(value, { lastChunkHandling: "strict" }).length ===
      algorithms[name];
  } catch {
    return false;
  }
}

export const invalidChecksum = (name: string, where = "header") =>
  new AwsError("InvalidRequest", `Value for ${checksumHeader(name)} ${where} is invalid.`);

const severalChecksums = () =>
  new AwsError(
    "InvalidRequest",
    "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
  );

/** Headers of that name which bring no checksum. */
const besides = ["x-amz-checksum-algorithm", "x-amz-checksum-mode", "x-amz-checksum-type"];

/** The one checksum that the headers bring, its form unchecked. @throws AwsError `InvalidRequest`, `InvalidArgument` */
export function headerChecksum(headers: Headers): { name: Algorithm; value: string } | undefined {
  const found: { name: string; value: string }[] = [];
  for (const [header, value] of headers) {
    if (!header.startsWith("x-amz-checksum-") || besides.includes(header)) continue;
    const [, second] = value.split(/, ?/);
    if (second !== undefined) {
      throw invalidArgument("Only one value may be specified.", header, second);
    }
    found.push({ name: header.slice("x-amz-checksum-".length).toUpperCase(), value });
  }
  if (found.length > 1) throw severalChecksums();
  const [only] = found;
  if (only === undefined) return undefined;
  const { name, value } = only;
  if (isAlgorithm(name)) return { name, value };
  throw new AwsError(
    "InvalidRequest",
    "The algorithm type you specified in x-amz-checksum- header is invalid.",
  );
}

/** @throws AwsError `InvalidRequest` for a malformed value, more than one checksum, or one that is none */
export function claimedChecksum(headers: Headers): ClaimedChecksum | undefined {
  const found: ClaimedChecksum[] = [];
  const sent = headerChecksum(headers);
  if (sent !== undefined) {
    if (!isWellFormed(sent.name, sent.value)) throw invalidChecksum(sent.name);
    found.push({ algorithm: sent.name, value: sent.value });
  }
  const trailers = (headers.get("x-amz-trailer") ?? "").toLowerCase().split(",")
    .map((name) => name.trim()).filter((name) => name !== "");
  for (const trailer of trailers) {
    const algorithm = trailer.replace(/^x-amz-checksum-/, "").toUpperCase();
    if (trailer.startsWith("x-amz-checksum-") && isAlgorithm(algorithm)) {
      found.push({ algorithm, value: undefined });
      continue;
    }
    throw new AwsError(
      "InvalidRequest",
      "The value specified in the x-amz-trailer header is not supported",
    );
  }
  if (found.length > 1) throw severalChecksums();
  const [only] = found;
  const named = headers.get("x-amz-sdk-checksum-algorithm")?.toUpperCase();
  if (named === undefined || named === only?.algorithm) return only;
  throw new AwsError(
    "InvalidRequest",
    only === undefined
      ? "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found."
      : "Value for x-amz-sdk-checksum-algorithm header is invalid.",
  );
}

/** The checksum that a trailer brought, or `claimed`'s own. */
export function trailedChecksum(
  claimed: ClaimedChecksum,
  trailers: ReadonlyMap<string, string>,
): string | undefined {
  const { algorithm } = claimed;
  const value = trailers.get(checksumHeader(algorithm));
  if (value === undefined) return claimed.value;
  if (!isWellFormed(algorithm, value)) throw invalidChecksum(algorithm, "trailing header");
  return value;
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
  if (isHash(algorithm)) {
    value = new Uint8Array(createHash(hashes[algorithm]).update(joined).digest());
  } else if (isXxHash(algorithm)) {
    using hash = new XxHash(xxHashes[algorithm]);
    hash.update(joined);
    value = hash.finish();
  } else if (algorithm === "CRC64NVME") value = bigEndian(crc64nvme(joined), 8);
  else value = bigEndian(BigInt((algorithm === "CRC32" ? crc32 : crc32c)(joined)), 4);
  return { algorithm, type, value: `${value.toBase64()}-${parts.length}` };
}
