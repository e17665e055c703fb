/** Starts the gateway service. */
import { runService } from "../runtime/run_service.ts";
import { startGateway } from "./server.ts";

/** Less than the supervisor waits before it kills. */
const graceful_ms = 20_000;

await runService("gateway", async ({ bus, config, log, paths, reportHealth, onStop }) => {
  const gateway = await startGateway({
    bus,
    log,
    hostname: config.bind,
    port: config.ports.gateway,
    cert: await Deno.readTextFile(paths.tls.cert),
    key: await Deno.readTextFile(paths.tls.key),
    region: config.region,
    s3Front: paths.s3Front,
  });
  log.info("gateway_listening", { bind: config.bind, port: gateway.port });
  reportHealth(() => ({
    status: gateway.audit.losing ? "degraded" : "ok",
    ...(!gateway.audit.losing
      ? {}
      : { detail: `${gateway.audit.dropped} audit entries were lost; see the log.` }),
    facts: {
      calls: gateway.calls,
      in_flight: gateway.inFlight,
      connections_ended: gateway.connectionsEnded,
      audit_pending: gateway.audit.pending,
      audit_dropped: gateway.audit.dropped,
      audit_strangers_pending: gateway.strangersAudit.pending,
      audit_strangers_dropped: gateway.strangersAudit.dropped,
      ffi: gateway.ffi,
      no_delay_sockets: gateway.noDelaySockets,
    },
  }));
  onStop(() => gateway.stop(graceful_ms));
});
