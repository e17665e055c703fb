/**
 * How every service starts, answers for its health and stops.
 *
 * `MULGA_DATA_DIR` names the node's data directory. A service that cannot start says why in one log
 * line and exits with 1; the supervisor or systemd starts it again. Where systemd waits for a word
 * (`NOTIFY_SOCKET`), it is told when the service is ready, and every so often that its event loop
 * still turns. SIGTERM and SIGINT stop it
 * gracefully: no new work, what runs finishes, then the connections close. An error that nobody
 * caught ends the process, since its state can no longer be trusted; all state is built to be found
 * again.
 */
import { Bus } from "../bus/bus.ts";
import { subject } from "../bus/subject.ts";
import { type NodeConfig, type Paths, pathsOf, readConfig } from "../config/node_config.ts";
import type { Log } from "../log/log.ts";
import { processFrame } from "./process_frame.ts";
import { ServiceManager } from "./service_manager.ts";

export interface Health {
  readonly service: string;
  readonly node_id: string;
  readonly status: "ok" | "degraded";
  /** One sentence for the operator when degraded. */
  readonly detail?: string;
  readonly uptime_ms: number;
  readonly rss_bytes: number;
  /** What the service likes to tell about itself: counts, sizes, rates. */
  readonly facts: Readonly<Record<string, string | number | boolean>>;
}

/** The health of one service of one node. */
export const healthOf = (service: string, nodeId: string) =>
  subject<null, Health>(`health.${service}.${nodeId}`, 2_000);

/** Said once a service answers for its health, so that who waits for it need not keep asking. */
export const readyEvent = (service: string) => `health.event.${service}`;

export interface Service {
  readonly name: string;
  readonly config: NodeConfig;
  readonly paths: Paths;
  readonly bus: Bus;
  readonly log: Log;
  /** Aborts when the service is told to stop. */
  readonly stopping: AbortSignal;
  /** Called for every health check; merge what is worth telling. */
  reportHealth(report: () => Pick<Health, "status" | "facts"> & { detail?: string }): void;
  /** A start that takes long gets on: systemd is not to end it. */
  startGetsOn(): void;
  /** Runs `work` at stop, last registered first. */
  onStop(work: () => Promise<void> | void): void;
}

/**
 * What loading left behind, above all the AWS schemas' source, would stay for as long as the service
 * is idle: a third of the gateway's memory. Where V8 offers the call it is taken away once.
 */
function collectGarbage(): void {
  (globalThis as { readonly gc?: () => void }).gc?.();
}

/** Starts a service; returns never before it is told to stop. */
export async function runService(
  name: string,
  start: (service: Service) => Promise<void>,
): Promise<void> {
  const started = performance.now();
  const { log, die, told } = processFrame(name);
  const stop = new AbortController();
  try {
    const systemd = ServiceManager.ofEnvironment();
    const dataDir = Deno.env.get("MULGA_DATA_DIR");
    if (dataDir === undefined) throw new Error("MULGA_DATA_DIR is not set");
    const config = await readConfig(dataDir);
    const paths = pathsOf(dataDir);
    const seed = await Deno.readFile(paths.nkey(name));
    const bus = await Bus.connect({
      service: name,
      url: `nats://127.0.0.1:${config.ports.nats}`,
      seed: seed.subarray(0, seed.at(-1) === 10 ? -1 : undefined),
      log,
    });
    const stops: (() => Promise<void> | void)[] = [];
    let report: () => Pick<Health, "status" | "facts"> & { detail?: string } = () => ({
      status: "ok",
      facts: {},
    });
    await start({
      name,
      config,
      paths,
      bus,
      log,
      stopping: stop.signal,
      reportHealth: (made) => report = made,
      startGetsOn: () => void systemd?.getsOn(),
      onStop: (work) => stops.push(work),
    });
    // Health is answered last: who hears it knows that everything before it stands.
    bus.answer(healthOf(name, config.node_id), () => ({
      service: name,
      node_id: config.node_id,
      uptime_ms: Math.round(performance.now() - started),
      rss_bytes: Deno.memoryUsage().rss,
      ...report(),
    }), { queue: null });
    bus.say(readyEvent(name), { node_id: config.node_id });
    await bus.connection.flush();
    await systemd?.ready();
    collectGarbage();
    log.info("service_ready", { start_ms: Math.round(performance.now() - started) });

    log.info("service_stopping", { reason: await told });
    stop.abort();
    await systemd?.stopping();
    for (const work of stops.reverse()) await work();
    await bus.drain();
    log.info("service_stopped");
    Deno.exit(0);
  } catch (error) {
    die("service_failed", error);
  }
}
