/**
 * The nodes that were heard, for as long as they are heard. Bounded: whoever can send datagrams can
 * invent nodes, so the table takes a fixed number, forgets who falls silent, and never lets a new name
 * push out one that still speaks.
 *
 * Whoever can hear datagrams can send them again. So only what is newer by its sender's clock shows that the sender is
 * there, and what was newest is remembered with the key. A clock may be set back: after a silence older words are
 * taken, once an hour, so that a recording passes for its node no longer than it is itself, and seldom.
 *
 * A node's key is remembered longer than the node: another key under a known name is not taken (the
 * first one heard stays) and is told as an event, since somebody was set up anew or pretends to be it.
 */
import type { Announcement } from "./announcement.ts";

export const silence_ms = 30_000;
const mostPeers = 256;
/** How long a key stands for a name after it was last heard. */
const keyMemory_ms = 24 * 3_600_000;
const mostKeys = 1_024;
const setBack_ms = 3_600_000;

export interface Peer extends Omit<Announcement, "format" | "ts"> {
  /** When it was first and last heard here: milliseconds since 1970. */
  readonly first_heard_ms: number;
  readonly last_heard_ms: number;
}

export type Verdict =
  | { readonly kind: "new"; readonly peer: Peer }
  | { readonly kind: "changed"; readonly peer: Peer }
  | { readonly kind: "known"; readonly peer: Peer }
  | { readonly kind: "other_key"; readonly node_id: string; readonly key: string }
  | { readonly kind: "replayed" }
  | { readonly kind: "full" };

interface Pin {
  readonly key: string;
  /** Of the newest announcement that was taken. */
  readonly ts: number;
  readonly last_heard_ms: number;
  /** When an older one was last taken. */
  readonly back_ms: number;
}

interface Entry {
  peer: Peer;
  ts: number;
}

export class Peers {
  readonly #entries = new Map<string, Entry>();
  readonly #keys = new Map<string, Pin>();

  /** @param now milliseconds, never going back */
  hear(announcement: Announcement, now: number): Verdict {
    const { node_id, key, ts } = announcement;
    this.forgetSilent(now);
    const pinned = this.#keys.get(node_id);
    if (pinned !== undefined && pinned.key !== key) return { kind: "other_key", node_id, key };
    const known = this.#entries.get(node_id);
    const isOlder = ts < (known?.ts ?? pinned?.ts ?? 0);
    // The same datagram comes over each network that two nodes share; an older one is a recording.
    if (known !== undefined && isOlder) return { kind: "replayed" };
    if (known !== undefined && ts === known.ts) return { kind: "known", peer: known.peer };
    if (known === undefined && pinned !== undefined) {
      const wasBack = now - pinned.back_ms < setBack_ms;
      if (ts === pinned.ts || (isOlder && wasBack)) return { kind: "replayed" };
    }
    if (known === undefined && this.#entries.size >= mostPeers) return { kind: "full" };
    const { format: _format, ts: _ts, ...told } = announcement;
    const peer: Peer = {
      ...told,
      first_heard_ms: known?.peer.first_heard_ms ?? now,
      last_heard_ms: now,
    };
    this.#entries.set(node_id, { peer, ts });
    const back_ms = isOlder ? now : pinned?.back_ms ?? -Infinity;
    this.#remember(node_id, { key, ts, last_heard_ms: now, back_ms });
    if (known === undefined) return { kind: "new", peer };
    const changed = known.peer.state !== peer.state || known.peer.version !== peer.version ||
      known.peer.cluster_id !== peer.cluster_id;
    return { kind: changed ? "changed" : "known", peer };
  }

  #remember(node_id: string, pin: Pin): void {
    this.#keys.delete(node_id);
    this.#keys.set(node_id, pin);
    // Insertion order is the order of hearing: the longest silent goes first.
    const [oldest] = this.#keys.keys();
    if (this.#keys.size > mostKeys && oldest !== undefined) this.#keys.delete(oldest);
  }

  /** @returns those that fell silent */
  forgetSilent(now: number): readonly Peer[] {
    const gone: Peer[] = [];
    for (const [node_id, { peer }] of this.#entries) {
      if (now - peer.last_heard_ms <= silence_ms) continue;
      this.#entries.delete(node_id);
      gone.push(peer);
    }
    for (const [node_id, { last_heard_ms }] of this.#keys) {
      if (now - last_heard_ms > keyMemory_ms) this.#keys.delete(node_id);
    }
    return gone;
  }

  /** All, by name. */
  list(): readonly Peer[] {
    return [...this.#entries.values()].map(({ peer }) => peer)
      .sort((a, b) => a.node_id < b.node_id ? -1 : 1);
  }

  get size(): number {
    return this.#entries.size;
  }
}
