/** Addresses as a seed writes them: IPv4 and IPv6, alone or with the length of their network. */
import { isIP } from "node:net";

export const isAddress = (text: string): boolean => isIP(text) !== 0 && !text.includes("%");

export interface Network {
  readonly address: string;
  readonly length: number;
}

/** `192.168.1.10/24`; undefined when it is none, or no host could have it. */
export function networkOf(text: string): Network | undefined {
  const match = /^([0-9A-Fa-f.:]+)\/(\d{1,3})$/.exec(text);
  const [address, length] = [match?.[1] ?? "", Number(match?.[2])];
  const version = isIP(address);
  if (version === 0 || length < 1 || length > (version === 4 ? 32 : 128)) return undefined;
  return { address, length };
}

/** Whether an address lies in the network of another. */
export function contains({ address, length }: Network, other: string): boolean {
  if (isIP(address) !== isIP(other)) return false;
  const unused = BigInt((isIP(address) === 4 ? 32 : 128) - length);
  return numberOf(address) >> unused === numberOf(other) >> unused;
}

function numberOf(address: string): bigint {
  if (isIP(address) === 4) {
    return address.split(".").reduce((sum, part) => sum * 256n + BigInt(part), 0n);
  }
  // The URL parser writes every form of an IPv6 address in hexadecimal groups.
  const host = new URL(`http://[${address}]`).hostname.slice(1, -1);
  const [head = "", tail] = host.split("::");
  const groups = (text: string | undefined) =>
    text === undefined || text === "" ? [] : text.split(":");
  const [before, after] = [groups(head), groups(tail)];
  const zeros = Array<string>(8 - before.length - after.length).fill("0");
  return [...before, ...(tail === undefined ? [] : zeros), ...after]
    .reduce((sum, group) => sum * 65_536n + BigInt(`0x${group}`), 0n);
}
