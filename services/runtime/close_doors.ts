/**
 * How a service's HTTP servers come to their end: what is under way is finished, as long as that may take, and the rest is cut off.
 *
 * `Deno.serve` reads no more of a body once it shuts down, so that who is still sending one would lose it. So it is told to
 * only when none is being received any more; until then the service itself refuses what comes.
 */
import type { Log } from "../log/log.ts";
import type { Crowd } from "./crowd.ts";
import type { RequestsUnderWay } from "./requests_under_way.ts";
import { within } from "./within.ts";

/** How long a request that was cut off may take to notice, and a connection to close. */
const cutOff_ms = 1_000;

export interface OpenDoors {
  readonly servers: readonly Pick<Deno.HttpServer, "shutdown">[];
  /** Waits for the bodies that are being received; for all that is under way unless given. */
  readonly received?: () => Promise<void>;
  readonly underWay: RequestsUnderWay;
  readonly crowd: Crowd;
  readonly log: Log;
}

/** Returns when the servers have ended, or a little after the time at the latest. */
export async function closeDoors(
  { servers, received, underWay, crowd, log }: OpenDoors,
  timeout_ms: number,
): Promise<void> {
  const started_ms = performance.now();
  await within(timeout_ms, (received ?? (() => underWay.ended()))());
  const closed = Promise.all(servers.map((server) => server.shutdown()));
  const left_ms = Math.max(0, timeout_ms - (performance.now() - started_ms));
  await within(left_ms, underWay.ended());
  if (underWay.count > 0) log.warn("requests_cut_off", { in_flight: underWay.count });
  else await within(cutOff_ms, closed);
  // Whoever has not said anything yet is not waited for; and a server that shuts down can be aborted no more.
  crowd.endAll();
  await within(cutOff_ms, closed);
  crowd[Symbol.dispose]();
}
