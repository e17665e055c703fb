/**
 * Watches the health of every service in the table of services, in bounded time, and remembers since
 * when each has been as it is. A service that does not answer is down; NATS is judged by the time of
 * its own round trip.
 */
import { AwsError } from "../aws/errors.ts";
import type { Bus } from "../bus/bus.ts";
import { systemContext } from "../bus/subject.ts";
import { services } from "../manifest.ts";
import { type Health, healthOf } from "../runtime/run_service.ts";

export type Status = "ok" | "degraded" | "down";

export interface ServiceHealth {
  readonly name: string;
  readonly summary: string;
  readonly status: Status;
  readonly detail: string;
  /** When this page first saw it so: milliseconds since 1970. */
  readonly since_ms: number;
  readonly uptime_ms?: number;
  readonly rss_bytes?: number;
  readonly facts: readonly (readonly [name: string, value: string])[];
}

type Seen = Omit<ServiceHealth, "name" | "summary" | "since_ms">;

/** How long one service may take to say that it is well. */
export const patience_ms = 1_500;

const statuses: readonly string[] = ["ok", "degraded"];

/** What a service said, believed only in its form: a broken service must not break the page. */
function readHealth(said: Partial<Health> | null): Seen {
  const facts = Object.entries(said?.facts ?? {}).slice(0, 20)
    .map(([name, value]) => [name, String(value).slice(0, 100)] as const);
  return {
    status: statuses.includes(said?.status ?? "") ? said?.status as Status : "degraded",
    detail: typeof said?.detail === "string" ? said.detail.slice(0, 500) : "",
    ...(typeof said?.uptime_ms === "number" ? { uptime_ms: said.uptime_ms } : {}),
    ...(typeof said?.rss_bytes === "number" ? { rss_bytes: said.rss_bytes } : {}),
    facts,
  };
}

export class HealthWatch {
  readonly #bus: Bus;
  readonly #nodeId: string;
  readonly #now: () => number;
  readonly #last = new Map<string, ServiceHealth>();
  #checking: Promise<readonly ServiceHealth[]> | undefined;

  constructor(bus: Bus, nodeId: string, now: () => number = Date.now) {
    this.#bus = bus;
    this.#nodeId = nodeId;
    this.#now = now;
  }

  /** The health of all, in the order of the table. Who asks while a check runs gets its result. */
  check(): Promise<readonly ServiceHealth[]> {
    this.#checking ??= this.#checkAll().finally(() => this.#checking = undefined);
    return this.#checking;
  }

  async #checkAll(): Promise<readonly ServiceHealth[]> {
    return await Promise.all(services.map(async ({ name, summary }) => {
      const seen = name === "nats" ? await this.#askNats() : await this.#ask(name);
      const before = this.#last.get(name);
      const since_ms = before?.status === seen.status ? before.since_ms : this.#now();
      const health = { name, summary, since_ms, ...seen };
      this.#last.set(name, health);
      return health;
    }));
  }

  async #ask(name: string): Promise<Seen> {
    try {
      const asked = healthOf(name, this.#nodeId);
      return readHealth(await this.#bus.ask(asked, null, systemContext(patience_ms)));
    } catch (error) {
      const unanswered = error instanceof AwsError && error.status === 503;
      return unanswered
        ? { status: "down", detail: "It does not answer.", facts: [] }
        : { status: "degraded", detail: "It cannot tell how it is; see its log.", facts: [] };
    }
  }

  async #askNats(): Promise<Seen> {
    const { promise: late, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(() => reject(new Error("late")), patience_ms);
    try {
      const rtt_ms = await Promise.race([this.#bus.connection.rtt(), late]);
      const version = this.#bus.connection.info?.version ?? "";
      return {
        status: "ok",
        detail: "",
        facts: [["version", version], ["round_trip_ms", rtt_ms.toFixed(1)]],
      };
    } catch {
      return { status: "down", detail: "The bus does not answer.", facts: [] };
    } finally {
      clearTimeout(timer);
    }
  }
}
