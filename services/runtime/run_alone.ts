/** How a service runs where there is no node yet: no configuration, no bus, nobody who asks for its health. */
import type { Log } from "../log/log.ts";
import { processFrame } from "./process_frame.ts";
import { ServiceManager } from "./service_manager.ts";

export interface AloneService {
  readonly log: Log;
  /** Aborts when the service is told to stop. */
  readonly stopping: AbortSignal;
  /** Runs `work` at stop, last registered first. */
  onStop(work: () => Promise<void> | void): void;
}

/** Starts the service; returns never before it is told to stop. */
export async function runAlone(
  name: string,
  start: (service: AloneService) => Promise<void>,
): Promise<void> {
  const { log, die, told } = processFrame(name);
  const stop = new AbortController();
  const stops: (() => Promise<void> | void)[] = [];
  try {
    const systemd = ServiceManager.ofEnvironment();
    await start({ log, stopping: stop.signal, onStop: (work) => stops.push(work) });
    await systemd?.ready();
    log.info("service_ready", { alone: true });
    log.info("service_stopping", { reason: await told });
    stop.abort();
    await systemd?.stopping();
    for (const work of stops.reverse()) await work();
    log.info("service_stopped");
    Deno.exit(0);
  } catch (error) {
    die("service_failed", error);
  }
}
