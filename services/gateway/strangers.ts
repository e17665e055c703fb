/**
 * What the audit keeps of callers for whom no account answers: unsigned requests, and those whose
 * signature did not verify.
 *
 * Anybody can send them without end, so they have a stream of their own, where they push out nothing of
 * what accounts did, and few entries. A network's first refusals of a minute are kept one by one, so that a
 * failed sign-in shows with all that is known of it; all further ones, and what was answered (reads of
 * public objects), become one entry a minute for each network and outcome, with how many there were. Memory
 * and entries are bounded: past that, networks are counted together as `*`.
 */
import type { AuditEntry } from "./contract.ts";

export const minute_ms = 60_000;
/** Refusals of one network, and of all together, that are kept one by one in a minute. */
export const keptOfNetwork = 10;
export const keptOfAll = 200;
/** Networks and outcomes that are counted apart in a minute. */
export const mostCounts = 500;

export const everybody = "*";

/** Who has one IPv6 address has its /64 too. */
export function networkOf(ip: string): string {
  if (!ip.includes(":")) return ip;
  const [head = "", tail] = ip.toLowerCase().replace(/%.*$/, "").split("::");
  const groups = (text: string) => text === "" ? [] : text.split(":");
  const [left, right] = [groups(head), groups(tail ?? "")];
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - left.length - right.length);
  const all = [...left, ...Array<string>(zeros).fill("0"), ...right];
  return `${all.slice(0, 4).map((group) => group.replace(/^0+(?=.)/, "")).join(":")}::/64`;
}

interface Counted {
  readonly first: AuditEntry;
  readonly network: string;
  count: number;
  until: string;
}

export class Strangers {
  #minuteEnds_ms = -Infinity;
  #kept = 0;
  readonly #keptOf = new Map<string, number>();
  readonly #counts = new Map<string, Counted>();
  #over: AuditEntry[] = [];

  /** Whether the entry is to be kept by itself; if not, it is counted. */
  note(entry: AuditEntry, now_ms: number): boolean {
    this.#turn(now_ms);
    const network = networkOf(entry.source_ip);
    const kept = this.#keptOf.get(network) ?? 0;
    if (entry.error_code !== undefined && kept < keptOfNetwork && this.#kept < keptOfAll) {
      this.#keptOf.set(network, kept + 1);
      this.#kept++;
      return true;
    }
    this.#count(entry, network);
    return false;
  }

  #count(entry: AuditEntry, network: string): void {
    // Names that the sender may choose are none of the key's.
    const outcome = entry.error_code ?? `${entry.service} ${entry.action}`;
    const key = (of: string) => `${of} ${outcome}`;
    const isFull = this.#counts.size >= mostCounts && !this.#counts.has(key(network));
    const of = isFull ? everybody : network;
    const counted = this.#counts.get(key(of));
    if (counted === undefined) {
      this.#counts.set(key(of), { first: entry, network: of, count: 1, until: entry.ts });
    } else {
      counted.count++;
      counted.until = entry.ts;
    }
  }

  /** The entries of what was only counted, of all minutes that are over and were not asked for yet. */
  ended(now_ms: number): AuditEntry[] {
    this.#turn(now_ms);
    const over = this.#over;
    this.#over = [];
    return over;
  }

  #turn(now_ms: number): void {
    if (now_ms < this.#minuteEnds_ms) return;
    for (const { first, network, count, until } of this.#counts.values()) {
      this.#over.push(count === 1 ? first : { ...first, source_ip: network, count, until });
    }
    this.#counts.clear();
    this.#keptOf.clear();
    this.#kept = 0;
    this.#minuteEnds_ms = now_ms + minute_ms;
  }
}
