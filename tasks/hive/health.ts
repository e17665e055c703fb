/**
 * The health gate: waits until every service of the table answers for its health, every volume that
 * should be served is, and the API answers over HTTPS; or says what is not, one line each.
 *
 * It asks again when a service says that it is ready, and else once a second: not everything that
 * mends announces itself. A service that answers but has less than it should (a storage directory
 * that is away) is no reason to turn a boot back; volumes that are not served are.
 */
import type { Bus } from "../../services/bus/bus.ts";
import { systemContext } from "../../services/bus/subject.ts";
import type { ServiceSpec } from "../../services/manifest.ts";
import { type Health, healthOf } from "../../services/runtime/run_service.ts";
import { exists } from "../init/write_file.ts";
import { apiAnswers, endpointOf } from "../stack/endpoint.ts";
import { quietLog } from "../stack/quiet_log.ts";
import { natsGreets, operatorBus } from "../supervisor/health_probe.ts";
import type { NodeOfCommand } from "./node.ts";

const again_ms = 1_000;
const answer_ms = 2_000;

export interface HealthWishes {
  readonly services: readonly ServiceSpec[];
  /** Whether the API must answer too. */
  readonly api: boolean;
  readonly patience_ms: number;
  /** A process without which nothing can become well: its end ends the waiting. */
  readonly process?: number;
}

/** Waits until all is well. @returns what is not when the patience ends, one line each */
export async function waitForHealth(
  node: NodeOfCommand,
  wishes: HealthWishes,
): Promise<readonly string[]> {
  const limit = performance.now() + wishes.patience_ms;
  await using gate = new Gate(node);
  let open = [...wishes.services];
  for (;;) {
    const troubles = new Map<string, string>();
    for (const service of open) {
      const trouble = await gate.troubleOf(service);
      if (trouble !== undefined) troubles.set(service.name, trouble);
    }
    // A service that was well may fail while another is waited for: the last look is at all.
    if (troubles.size === 0 && open.length < wishes.services.length) {
      open = [...wishes.services];
      continue;
    }
    open = wishes.services.filter((service) => troubles.has(service.name));
    const lines = [...troubles.values()];
    if (troubles.size === 0) {
      if (!wishes.api || await apiAnswers(node.config, node.paths)) return [];
      lines.push(`api: ${endpointOf(node.config)}/health does not answer over HTTPS.`);
    }
    const left = limit - performance.now();
    if (left <= 0) return lines;
    if (wishes.process !== undefined && !await exists(`/proc/${wishes.process}`)) {
      return [...lines, `Process ${wishes.process} has ended.`];
    }
    await gate.change(Math.min(left, again_ms));
  }
}

class Gate implements AsyncDisposable {
  readonly #node: NodeOfCommand;
  #bus: Bus | undefined;
  #changed = Promise.withResolvers<void>();

  constructor(node: NodeOfCommand) {
    this.#node = node;
  }

  /** What is wrong with a service, in one line; undefined when it is well. */
  async troubleOf(service: ServiceSpec): Promise<string | undefined> {
    const bus = await this.#connected();
    if (bus === undefined) {
      return service.health === "tcp"
        ? `${service.name}: does not answer on port ${this.#node.config.ports.nats}.`
        : `${service.name}: cannot be asked, the bus does not answer.`;
    }
    try {
      if (service.health === "tcp") {
        await bus.connection.request("$JS.API.INFO", undefined, { timeout: answer_ms });
        return undefined;
      }
      const subject = healthOf(service.name, this.#node.config.node_id);
      const health = await bus.ask(subject, null, systemContext(answer_ms));
      return this.#judge(service, health);
    } catch {
      return service.health === "tcp"
        ? `${service.name}: its store does not answer yet.`
        : `${service.name}: does not answer.`;
    }
  }

  #judge(service: ServiceSpec, health: Health): string | undefined {
    if (health.status === "ok") return undefined;
    // The block engine is degraded when a volume that should be served is not.
    return service.name === "viperblock"
      ? `${service.name}: ${health.detail ?? "a volume is not served."}`
      : undefined;
  }

  /** Settles when a service says that it is ready, at the latest after `most_ms`. */
  async change(most_ms: number): Promise<void> {
    const timer = setTimeout(() => this.#changed.resolve(), most_ms);
    await this.#changed.promise;
    clearTimeout(timer);
    this.#changed = Promise.withResolvers();
  }

  async #connected(): Promise<Bus | undefined> {
    const { config, paths } = this.#node;
    // The bus itself would wait for ever for a server that is not there yet.
    if (!await natsGreets(config.ports.nats)) return undefined;
    if (this.#bus !== undefined) return this.#bus;
    this.#bus = await operatorBus(config, paths, quietLog);
    this.#bus.listen("health.event.*", () => this.#changed.resolve());
    return this.#bus;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#bus?.connection.close();
  }
}
