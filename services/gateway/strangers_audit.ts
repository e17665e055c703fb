/** Writes what is kept of strangers' calls to their stream: some at once, the rest when their minute is over. */
import type { Bus } from "../bus/bus.ts";
import type { Log } from "../log/log.ts";
import { Audit } from "./audit.ts";
import { type AuditEntry, strangersTrail } from "./contract.ts";
import { Strangers } from "./strangers.ts";

const look_ms = 1_000;

export class StrangersAudit implements AsyncDisposable {
  readonly #log: Log;
  readonly #strangers = new Strangers();
  readonly #looker: ReturnType<typeof setInterval>;
  readonly audit: Audit;

  constructor(bus: Bus, log: Log) {
    this.#log = log;
    this.audit = new Audit(bus, log, strangersTrail);
    this.#looker = setInterval(() => this.#write(performance.now()), look_ms);
  }

  /** Whether it is kept by itself. */
  record(entry: AuditEntry): boolean {
    const kept = this.#strangers.note(entry, performance.now());
    if (kept) this.audit.record(entry);
    return kept;
  }

  #write(now_ms: number): void {
    for (const entry of this.#strangers.ended(now_ms)) {
      const { source_ip, status, error_code: code, count = 1 } = entry;
      this.#log.info("strangers", { source_ip, status, code, count });
      this.audit.record(entry);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#looker);
    this.#write(Infinity);
    await this.audit[Symbol.asyncDispose]();
  }
}
