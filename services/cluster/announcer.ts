/**
 * Says who this node is and hears who else is there.
 *
 * A node speaks every few seconds, and at once when it hears somebody new, so that two nodes know each
 * other within a second of the later one's start. Whatever cannot be read is dropped and counted by
 * its reason; nothing that is heard changes this node.
 */
import { errorFields, type Log } from "../log/log.ts";
import { Allowance } from "./allowance.ts";
import {
  type Announcement,
  decodeAnnouncement,
  encodeAnnouncement,
  longestAnnouncement_bytes,
  type Refusal,
} from "./announcement.ts";
import { Multicast } from "./multicast.ts";
import type { NodeKey } from "./node_key.ts";
import { type Peer, Peers } from "./peers.ts";

export const interval_ms = 5_000;
/** An answer to somebody new waits this long at most, so that many do not answer at once. */
const answerWithin_ms = 200;

export type Dropped = Refusal | "too_many" | "other_key" | "replayed" | "table_full";

/** Milliseconds since 1970 as they were at the start, and never back: a box without a clock sets it later. */
const steady_ms = () => performance.timeOrigin + performance.now();

export interface AnnouncerOptions {
  readonly group: string;
  readonly port: number;
  readonly key: NodeKey;
  readonly log: Log;
  /** Milliseconds from one unasked announcement to the next; `interval_ms` unless told. */
  readonly interval_ms?: number;
  /** The IPv4 addresses to speak from, asked before every announcement. */
  addresses(): readonly string[];
  /** What to say from an address. */
  describe(address: string): Omit<Announcement, "format" | "key" | "ts">;
}

export class Announcer implements Disposable {
  readonly peers = new Peers();
  readonly #options: AnnouncerOptions;
  readonly #multicast: Multicast;
  readonly #allowance = new Allowance({
    burst: 40,
    perSecond: 8,
    allBurst: 400,
    allPerSecond: 200,
  });
  readonly #dropped = new Map<Dropped, number>();
  /** Names whose change of key was told already, so that a pretender does not fill the log. */
  readonly #told = new Set<string>();
  #sent = 0;
  #heard = 0;
  #timer: ReturnType<typeof setInterval>;
  #answering: ReturnType<typeof setTimeout> | undefined;

  /** @throws Deno.errors.AddrInUse */
  constructor(options: AnnouncerOptions) {
    this.#options = options;
    this.#multicast = new Multicast({
      group: options.group,
      port: options.port,
      log: options.log,
      longest_bytes: longestAnnouncement_bytes,
      hear: (datagram, from) => void this.#hear(datagram, from),
    });
    const jitter_ms = Math.random() * 500;
    this.#timer = setInterval(
      () => void this.announce(),
      (options.interval_ms ?? interval_ms) + jitter_ms,
    );
  }

  /** The addresses that it speaks from. */
  get speaksFrom(): readonly string[] {
    return this.#multicast.addresses;
  }

  get sent(): number {
    return this.#sent;
  }

  get heard(): number {
    return this.#heard;
  }

  /** How many datagrams were dropped, by reason. */
  get dropped(): Readonly<Partial<Record<Dropped, number>>> {
    return Object.fromEntries(this.#dropped);
  }

  get droppedTotal(): number {
    return [...this.#dropped.values()].reduce((sum, count) => sum + count, 0);
  }

  /** Speaks now, on every network. */
  async announce(): Promise<void> {
    const { key, log, addresses, describe } = this.#options;
    try {
      for (const gone of this.peers.forgetSilent(steady_ms())) {
        log.info("peer_silent", { node_id: gone.node_id, addr: gone.addr });
      }
      await this.#multicast.use(addresses());
      const ts = Math.floor(Date.now() / 1_000);
      for (const address of this.#multicast.addresses) {
        const datagram = await encodeAnnouncement({ ...describe(address), ts }, key);
        if (await this.#multicast.send(address, datagram)) this.#sent++;
      }
    } catch (error) {
      log.warn("announcement_failed", errorFields(error));
    }
  }

  async #hear(datagram: Uint8Array, from: string): Promise<void> {
    const { key, log } = this.#options;
    if (!this.#allowance.take(from, performance.now())) return this.#drop("too_many");
    const heard = await decodeAnnouncement(datagram);
    if ("refused" in heard) return this.#drop(heard.refused);
    const { announcement } = heard;
    // Our own words come back on every network.
    if (announcement.key === key.publicKey) return;
    const verdict = this.peers.hear(announcement, steady_ms());
    switch (verdict.kind) {
      case "new":
        this.#heard++;
        log.info("peer_heard", { ...told(verdict.peer), from });
        this.#answer();
        break;
      case "changed":
        this.#heard++;
        log.info("peer_changed", { ...told(verdict.peer), from });
        break;
      case "known":
        this.#heard++;
        break;
      case "other_key":
        this.#drop("other_key");
        if (!this.#told.has(verdict.node_id) && this.#told.size < 256) {
          this.#told.add(verdict.node_id);
          log.warn("peer_identity_changed", { node_id: verdict.node_id, from });
        }
        break;
      case "replayed":
        this.#drop("replayed");
        break;
      case "full":
        this.#drop("table_full");
        break;
    }
  }

  #drop(why: Dropped): void {
    this.#dropped.set(why, (this.#dropped.get(why) ?? 0) + 1);
  }

  /** Lets somebody new know us, without the wait for our next turn. */
  #answer(): void {
    this.#answering ??= setTimeout(() => {
      this.#answering = undefined;
      void this.announce();
    }, Math.random() * answerWithin_ms);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    clearTimeout(this.#answering);
    this.#multicast[Symbol.dispose]();
  }
}

const told = ({ node_id, addr, host, version, state, cluster_id }: Peer) => ({
  node_id,
  addr,
  host,
  version,
  state,
  cluster_id,
});
