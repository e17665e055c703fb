/**
 * How the supervisor learns that a service is well: over the bus, where the service answers only when
 * everything before it stands; for NATS itself by its greeting and an answer of JetStream, since the
 * server greets clients before its store is ready.
 */
import { Bus } from "../../services/bus/bus.ts";
import { systemContext } from "../../services/bus/subject.ts";
import type { NodeConfig, Paths } from "../../services/config/node_config.ts";
import type { Log } from "../../services/log/log.ts";
import type { ServiceSpec } from "../../services/manifest.ts";
import { type Health, healthOf } from "../../services/runtime/run_service.ts";
import { operatorName } from "../init/bus_permissions.ts";

const patience_ms = 1_500;

/** The bus as the operator speaks on it. */
export async function operatorBus(config: NodeConfig, paths: Paths, log: Log): Promise<Bus> {
  const seed = new TextEncoder().encode((await Deno.readTextFile(paths.nkey(operatorName))).trim());
  return await Bus.connect({
    service: operatorName,
    url: `nats://127.0.0.1:${config.ports.nats}`,
    seed,
    log,
  });
}

/** Whether a NATS server greets on the port. */
export async function natsGreets(port: number): Promise<boolean> {
  const limit = AbortSignal.timeout(patience_ms);
  let connection: Deno.TcpConn | undefined;
  try {
    const opened = await Deno.connect({ hostname: "127.0.0.1", port, signal: limit });
    connection = opened;
    const greeting = new Uint8Array(5);
    const late = new Promise<never>((_, reject) =>
      limit.addEventListener("abort", () => reject(limit.reason), { once: true })
    );
    await Promise.race([opened.read(greeting), late]);
    return new TextDecoder().decode(greeting) === "INFO ";
  } catch {
    return false;
  } finally {
    connection?.close();
  }
}

export class HealthProbes implements AsyncDisposable {
  #connecting: Promise<Bus> | undefined;
  #bus: Bus | undefined;

  constructor(readonly config: NodeConfig, readonly paths: Paths, readonly log: Log) {}

  /** The operator's bus, once NATS has been there. */
  get bus(): Bus | undefined {
    return this.#bus;
  }

  readonly probe = async (spec: ServiceSpec): Promise<Partial<Health> | undefined> => {
    if (spec.health === "tcp") {
      if (!await natsGreets(this.config.ports.nats)) return undefined;
      const bus = await this.#connect();
      await bus.connection.request("$JS.API.INFO", undefined, { timeout: patience_ms });
      return { status: "ok", facts: {} };
    }
    const bus = this.#bus;
    if (bus === undefined) return undefined;
    const subject = healthOf(spec.name, this.config.node_id);
    return await bus.ask(subject, null, systemContext(patience_ms));
  };

  async #connect(): Promise<Bus> {
    if (this.#bus !== undefined) return this.#bus;
    this.#connecting ??= operatorBus(this.config, this.paths, this.log);
    return this.#bus = await this.#connecting;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#bus?.connection.close();
    this.#bus = undefined;
  }
}
