/**
 * One entry for every API call, in a JetStream stream.
 *
 * Calls never wait for it: entries gather for a few milliseconds, go out together, and stay in memory
 * until the stream has acknowledged them; what is not acknowledged in time is sent again under the same
 * message id, so that it is stored once. The stream remembers ids for two minutes: what was sent longer ago is looked for in
 * the stream before it is sent again. What waits is bounded; what must be dropped is counted,
 * logged and shown in the health check. The stream itself is bounded by size and age, oldest first.
 *
 * Acknowledgements come to one inbox and are matched by number: a request of its own for each entry
 * costs more processor time than signing, decoding and encoding of the call that it records.
 */
import { jetstreamManager } from "@nats-io/jetstream";
import { headers as natsHeaders, type Msg, type Subscription } from "@nats-io/transport-node";
import type { Bus } from "../bus/bus.ts";
import { errorFields, type Log } from "../log/log.ts";
import { storedOf } from "./audit_search.ts";
import type { AuditEntry, AuditTrail } from "./contract.ts";

/** Entries on their way to the stream at once. */
const mostSent = 512;
const gather_ms = 5;
const sweep_ms = 1_000;
const acknowledged_ms = 5_000;
/** How long a loss shows in the health check. */
const remembered_ms = 600_000;
const kept_ns = 90 * 86_400 * 1e9;

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const token = (text: string) => text.replace(/[^A-Za-z0-9_-]/g, "_").slice(0, 80) || "_";

interface Noted {
  readonly entry: AuditEntry;
  /** Grows with every entry: what is sent again goes before what came later. */
  readonly order: number;
  /** When it was sent first, and the last entry of the stream that was known then. */
  readonly first?: FirstSent;
}

interface FirstSent {
  readonly at_ms: number;
  readonly sequence: number;
}

interface Sent extends Noted {
  readonly at_ms: number;
}

export class Audit implements AsyncDisposable {
  readonly #bus: Bus;
  readonly #trail: AuditTrail;
  readonly #log: Log;
  /** In their order. */
  readonly #waiting: Noted[] = [];
  readonly #sent = new Map<string, Sent>();
  readonly #inbox: string;
  readonly #acknowledgements: Subscription;
  readonly #sweeper: ReturnType<typeof setInterval>;
  #number = 0;
  #noted = 0;
  #dropped = 0;
  #streamStands = false;
  /** Of the stream's last entry, as far as the stream and its acknowledgements tell. */
  #sequence = 0;
  /** How long after its first sending an entry is stored once whatever is done. */
  #safe_ms = 0;
  #searching = false;
  #preparing: Promise<void> | undefined;
  #gathering: ReturnType<typeof setTimeout> | undefined;
  #pausedUntil_ms = 0;
  #idle: PromiseWithResolvers<void> | undefined;
  #lastComplaint_ms = -Infinity;
  #lastDrop_ms = -Infinity;

  readonly #capacity: number;

  /** @param capacity how many entries may wait; 20,000 unless given */
  constructor(bus: Bus, log: Log, trail: AuditTrail, capacity = 20_000) {
    this.#trail = trail;
    this.#capacity = capacity;
    this.#bus = bus;
    this.#log = log.with({ stream: trail.stream });
    // Below the service's own inbox, which is the only one that it may hear.
    this.#inbox = `_INBOX.gateway.audit-${crypto.randomUUID()}`;
    this.#acknowledgements = bus.connection.subscribe(`${this.#inbox}.*`, {
      callback: (error, message) => {
        if (error === null) this.#acknowledged(message);
      },
    });
    void this.#watchConnection();
    this.#sweeper = setInterval(() => this.#sweep(), sweep_ms);
  }

  /** Entries that had to be dropped since the start. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Whether some were dropped not long ago. */
  get losing(): boolean {
    return performance.now() - this.#lastDrop_ms < remembered_ms;
  }

  /** Entries that are not known to be stored yet. */
  get pending(): number {
    return this.#waiting.length + this.#sent.size;
  }

  /** Makes the stream if it is not there. Failing now is not fatal: it is tried again before sending. */
  prepare(): Promise<void> {
    return this.#preparing ??= this.#prepare().finally(() => this.#preparing = undefined);
  }

  async #prepare(): Promise<void> {
    const { stream, prefix, kept_bytes } = this.#trail;
    try {
      await this.#bus.ready(acknowledged_ms);
      const manager = await jetstreamManager(this.#bus.connection, { timeout: acknowledged_ms });
      const { config, state } = await manager.streams.info(stream).catch(() =>
        manager.streams.add({
          name: stream,
          subjects: [`${prefix}.>`],
          max_bytes: kept_bytes,
          max_age: kept_ns,
          discard: "old",
        })
      );
      // What is sent from now on comes after it, also where an earlier run's entries were the last, or a stream made again counts anew.
      this.#sequence = state.last_seq;
      this.#safe_ms = config.duplicate_window / 1e6 / 2;
      this.#streamStands = true;
    } catch (error) {
      this.#complain(errorFields(error));
    }
  }

  record(entry: AuditEntry): void {
    if (this.#waiting.length >= this.#capacity) {
      this.#dropped++;
      this.#lastDrop_ms = performance.now();
      this.#complain({ error: "too many entries wait" });
      return;
    }
    this.#waiting.push({ entry, order: this.#noted++ });
    this.#schedule();
  }

  /** Lets an entry wait once more, in its place: only what was sent with it is older. */
  #again({ entry, order, first }: Noted): void {
    const at = this.#waiting.findIndex((other) => other.order > order);
    const noted = { entry, order, ...(first === undefined ? {} : { first }) };
    this.#waiting.splice(at < 0 ? this.#waiting.length : at, 0, noted);
  }

  #subjectOf({ service, action }: AuditEntry): string {
    return `${this.#trail.prefix}.${token(service)}.${token(action)}`;
  }

  /** Takes those out of the queue that the stream has, though nobody heard of it; all others are sent as if for the first time. */
  async #sortOut(doubted: readonly Noted[]): Promise<void> {
    const wanted = doubted.map(({ entry, first }) => ({
      id: entry.request_id,
      subject: this.#subjectOf(entry),
      sequence: first?.sequence ?? 0,
    }));
    const found = await storedOf(this.#bus.connection, this.#trail.stream, wanted);
    const fresh = this.#waiting.splice(0).filter((one) =>
      !doubted.includes(one) || !found.has(one.entry.request_id)
    ).map((one) => doubted.includes(one) ? { entry: one.entry, order: one.order } : one);
    this.#waiting.push(...fresh);
    if (this.pending === 0) this.#idle?.resolve();
  }

  #search(doubted: readonly Noted[]): void {
    this.#searching = true;
    this.#sortOut(doubted)
      .catch((error) => {
        this.#pausedUntil_ms = performance.now() + sweep_ms;
        this.#complain(errorFields(error));
      })
      .finally(() => {
        this.#searching = false;
        if (this.#waiting.length > 0) this.#schedule();
      });
  }

  #schedule(): void {
    this.#gathering ??= setTimeout(() => {
      this.#gathering = undefined;
      this.#send();
    }, gather_ms);
  }

  #send(): void {
    if (performance.now() < this.#pausedUntil_ms || this.#bus.connection.isClosed()) return;
    if (!this.#streamStands) {
      void this.prepare().then(() => {
        if (this.#streamStands) this.#schedule();
      });
      return;
    }
    const room = mostSent - this.#sent.size;
    if (this.#searching || room <= 0 || this.#waiting.length === 0) return;
    const at_ms = performance.now();
    const doubted = this.#waiting.slice(0, room).filter(({ first }) =>
      first !== undefined && at_ms - first.at_ms > this.#safe_ms
    );
    if (doubted.length > 0) return this.#search(doubted);
    const sequence = this.#sequence;
    for (const { entry, order, first = { at_ms, sequence } } of this.#waiting.splice(0, room)) {
      const number = String(++this.#number);
      const headers = natsHeaders();
      headers.set("Nats-Msg-Id", entry.request_id);
      this.#sent.set(number, { entry, order, first, at_ms });
      this.#bus.connection.publish(
        this.#subjectOf(entry),
        encoder.encode(JSON.stringify(entry)),
        { headers, reply: `${this.#inbox}.${number}` },
      );
    }
  }

  #acknowledged(message: Msg): void {
    const number = message.subject.slice(this.#inbox.length + 1);
    const sent = this.#sent.get(number);
    if (sent === undefined) return;
    this.#sent.delete(number);
    // Nobody hearing the subject is a status without a body; a stream's refusal is JSON with `error`.
    const text = decoder.decode(message.data);
    if (text === "" || text.includes('"error"')) {
      this.#refused(sent, text);
      return;
    }
    const [, sequence] = /"seq":\s*(\d+)/.exec(text) ?? [];
    this.#sequence = Math.max(this.#sequence, Number(sequence ?? 0));
    if (this.#waiting.length > 0) this.#schedule();
    else if (this.#sent.size === 0) this.#idle?.resolve();
  }

  #refused(sent: Sent, answer: string): void {
    this.#again(sent);
    this.#streamStands = false;
    this.#pausedUntil_ms = performance.now() + sweep_ms;
    this.#complain({ error: answer === "" ? "no stream listens" : answer.slice(0, 300) });
  }

  /** What was on its way when the connection broke has no acknowledgement to wait for. */
  async #watchConnection(): Promise<void> {
    for await (const status of this.#bus.connection.status()) {
      if (status.type !== "reconnect") continue;
      for (const sent of this.#sent.values()) this.#again(sent);
      this.#sent.clear();
      this.#schedule();
    }
  }

  /** Sends again what was not acknowledged, and what waits for a reason that may be over. */
  #sweep(): void {
    const late = performance.now() - acknowledged_ms;
    for (const [number, sent] of this.#sent) {
      if (sent.at_ms > late) break;
      this.#sent.delete(number);
      this.#again(sent);
    }
    if (this.#waiting.length > 0) this.#schedule();
  }

  #complain(fields: Readonly<Record<string, unknown>>): void {
    const now = performance.now();
    if (now - this.#lastComplaint_ms < 5_000) return;
    this.#lastComplaint_ms = now;
    this.#log.error("audit_failed", { pending: this.pending, dropped: this.#dropped, ...fields });
  }

  /** Waits until everything is stored, for `timeout_ms` at most. @returns whether it is */
  async flush(timeout_ms = 5_000): Promise<boolean> {
    if (this.pending === 0) return true;
    this.#idle = Promise.withResolvers();
    const timer = setTimeout(() => this.#idle?.resolve(), timeout_ms);
    await this.#idle.promise;
    clearTimeout(timer);
    return this.pending === 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!await this.flush()) this.#log.error("audit_lost", { pending: this.pending });
    clearInterval(this.#sweeper);
    clearTimeout(this.#gathering);
    this.#acknowledgements.unsubscribe();
  }
}
