/**
 * One entry for every API call, in the JetStream stream AUDIT.
 *
 * Calls never wait for it: entries queue here, are published with acknowledgement and a message id
 * (so that a repeat is stored once), and are tried again when the bus was away. The queue is bounded;
 * what it must drop is counted, logged and shown in the health check. The stream itself is bounded by
 * size and age, oldest first.
 */
import { jetstream, type JetStreamClient, jetstreamManager } from "@nats-io/jetstream";
import type { Bus } from "../bus/bus.ts";
import { errorFields, type Log } from "../log/log.ts";
import { type AuditEntry, auditStream } from "./contract.ts";

const mostQueued = 20_000;
const mostInFlight = 64;
const retry_ms = 1_000;
const acknowledged_ms = 5_000;
const kept_bytes = 256 * 1024 * 1024;
const kept_ns = 90 * 86_400 * 1e9;

const encoder = new TextEncoder();
const token = (text: string) => text.replace(/[^A-Za-z0-9_-]/g, "_").slice(0, 80) || "_";

export class Audit implements AsyncDisposable {
  readonly #bus: Bus;
  readonly #log: Log;
  readonly #client: JetStreamClient;
  readonly #queue: AuditEntry[] = [];
  #inFlight = 0;
  #dropped = 0;
  #streamStands = false;
  #waiting: ReturnType<typeof setTimeout> | undefined;
  #closed = false;
  #preparing: Promise<void> | undefined;
  #idle: PromiseWithResolvers<void> | undefined;
  #lastComplaint_ms = -Infinity;

  constructor(bus: Bus, log: Log) {
    this.#bus = bus;
    this.#log = log;
    this.#client = jetstream(bus.connection, { timeout: acknowledged_ms });
  }

  /** Entries that had to be dropped since the start. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Entries that are not known to be stored yet. */
  get pending(): number {
    return this.#queue.length + this.#inFlight;
  }

  /** Makes the stream if it is not there. Failing now is not fatal: it is tried again before publishing. */
  prepare(): Promise<void> {
    return this.#preparing ??= this.#prepare().finally(() => this.#preparing = undefined);
  }

  async #prepare(): Promise<void> {
    try {
      const manager = await jetstreamManager(this.#bus.connection, { timeout: acknowledged_ms });
      try {
        await manager.streams.info(auditStream);
      } catch {
        await manager.streams.add({
          name: auditStream,
          subjects: ["audit.>"],
          max_bytes: kept_bytes,
          max_age: kept_ns,
          discard: "old",
        });
      }
      this.#streamStands = true;
    } catch (error) {
      this.#complain(error);
    }
  }

  record(entry: AuditEntry): void {
    if (this.#queue.length >= mostQueued) {
      this.#dropped++;
      this.#complain(new Error("the audit queue is full"));
      return;
    }
    this.#queue.push(entry);
    this.#pump();
  }

  #complain(error: unknown): void {
    const now = performance.now();
    if (now - this.#lastComplaint_ms < 5_000) return;
    this.#lastComplaint_ms = now;
    this.#log.error("audit_failed", {
      pending: this.pending,
      dropped: this.#dropped,
      ...errorFields(error),
    });
  }

  #pump(): void {
    if (this.#waiting !== undefined || this.#closed) return;
    while (this.#inFlight < mostInFlight) {
      const entry = this.#queue.shift();
      if (entry === undefined) break;
      this.#inFlight++;
      void this.#publish(entry);
    }
    if (this.pending === 0) this.#idle?.resolve();
  }

  async #publish(entry: AuditEntry): Promise<void> {
    try {
      if (!this.#streamStands) await this.prepare();
      await this.#client.publish(
        `audit.${token(entry.service)}.${token(entry.action)}`,
        encoder.encode(JSON.stringify(entry)),
        { msgID: entry.request_id, timeout: acknowledged_ms },
      );
      this.#inFlight--;
    } catch (error) {
      this.#inFlight--;
      this.#queue.unshift(entry);
      this.#complain(error);
      this.#waiting ??= setTimeout(() => {
        this.#waiting = undefined;
        this.#pump();
      }, retry_ms);
    }
    this.#pump();
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
    if (!await this.flush()) {
      this.#log.error("audit_lost", { pending: this.pending });
    }
    this.#closed = true;
    clearTimeout(this.#waiting);
  }
}
