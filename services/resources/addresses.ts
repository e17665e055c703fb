/** Arithmetic of IPv4 and IPv6 blocks; an address is a bigint, so that both are one. */
import { invalidValue } from "./errors.ts";

export interface Block {
  readonly version: 4 | 6;
  readonly base: bigint;
  readonly bits: number;
}

const widthOf = { 4: 32, 6: 128 } as const;

function parseIpv4(text: string): bigint | undefined {
  const parts = text.split(".");
  if (parts.length !== 4) return undefined;
  let value = 0n;
  for (const part of parts) {
    if (!/^(?:0|[1-9]\d{0,2})$/.test(part) || Number(part) > 255) return undefined;
    value = value << 8n | BigInt(part);
  }
  return value;
}

function parseIpv6(text: string): bigint | undefined {
  if (!/^[0-9a-fA-F:]{2,39}$/.test(text) || /:::/.test(text)) return undefined;
  const halves = text.split("::");
  if (halves.length > 2) return undefined;
  const [head = [], tail = []] = halves.map((half) => half === "" ? [] : half.split(":"));
  const missing = 8 - head.length - tail.length;
  if (halves.length === 1 ? missing !== 0 : missing < 1) return undefined;
  let value = 0n;
  for (const group of [...head, ...Array<string>(missing).fill("0"), ...tail]) {
    if (!/^[0-9a-fA-F]{1,4}$/.test(group)) return undefined;
    value = value << 16n | BigInt(`0x${group}`);
  }
  return value;
}

export function parseAddress(text: string): { version: 4 | 6; value: bigint } | undefined {
  const four = parseIpv4(text);
  if (four !== undefined) return { version: 4, value: four };
  const six = parseIpv6(text);
  return six === undefined ? undefined : { version: 6, value: six };
}

/** A block as written; bits of the host part are dropped, as EC2 does. */
export function parseBlock(text: string): Block | undefined {
  const [address = "", bits, more] = text.split("/");
  const parsed = parseAddress(address);
  if (parsed === undefined || bits === undefined || more !== undefined) return undefined;
  const width = widthOf[parsed.version];
  if (!/^(?:0|[1-9]\d{0,2})$/.test(bits) || Number(bits) > width) return undefined;
  const host = BigInt(width - Number(bits));
  return { version: parsed.version, base: parsed.value >> host << host, bits: Number(bits) };
}

/** @throws AwsError `InvalidParameterValue` */
export function requireBlock(text: string, version: 4 | 6, parameter: string): Block {
  const block = parseBlock(text);
  if (block?.version !== version) {
    throw invalidValue(
      `Value (${text}) for parameter ${parameter} is invalid. This is not a valid CIDR block.`,
    );
  }
  return block;
}

export const sizeOf = (block: Block) => 1n << BigInt(widthOf[block.version] - block.bits);
const lastOf = (block: Block) => block.base + sizeOf(block) - 1n;

export const overlaps = (a: Block, b: Block) =>
  a.version === b.version && a.base <= lastOf(b) && b.base <= lastOf(a);

export const contains = (outer: Block, inner: Block) =>
  outer.version === inner.version && outer.base <= inner.base && lastOf(inner) <= lastOf(outer);

export const holds = (block: Block, address: { version: 4 | 6; value: bigint }) =>
  block.version === address.version && block.base <= address.value &&
  address.value <= lastOf(block);

export function showAddress(version: 4 | 6, value: bigint): string {
  if (version === 4) {
    return [24n, 16n, 8n, 0n].map((shift) => String(value >> shift & 255n)).join(".");
  }
  const groups = Array.from(
    { length: 8 },
    (_, at) => (value >> BigInt(112 - 16 * at) & 0xffffn).toString(16),
  ).join(":");
  // The longest run of zero groups is left out, once.
  const runs = groups.match(/(?:^|:)0(?::0)+(?=:|$)/g) ?? [];
  const longest = runs.sort((a, b) => b.length - a.length)[0];
  return longest === undefined
    ? groups
    : groups.replace(longest, groups.endsWith(longest) || groups.startsWith(longest) ? "::" : ":")
      .replace(/:{3,}/, "::").replace(/^:([^:])/, "::$1");
}

export const showBlock = (block: Block) =>
  `${showAddress(block.version, block.base)}/${block.bits}`;
