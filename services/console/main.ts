/** Starts the console: its pages through the gateway, and login links for the operator. */
import { consolePage } from "../gateway/contract.ts";
import { errorFields } from "../log/log.ts";
import { runService } from "../runtime/run_service.ts";
import { loginLink } from "./contract.ts";
import { Tables } from "./inventory.ts";
import { originOf } from "./origin.ts";
import { answerPage } from "./pages.ts";
import { HealthWatch } from "./service_health.ts";
import { Sessions } from "./sessions.ts";

/** How often the services are asked while nobody looks, so that the page knows since when. */
const healthEvery_ms = 15_000;
const sweepEvery_ms = 3_600_000;

await runService("console", async ({ bus, config, log, paths, onStop, reportHealth }) => {
  const caCertificate = await Deno.readTextFile(paths.tls.ca);
  const sessions = await Sessions.open(bus, log);
  const tables = await Tables.open(bus, log);
  const watch = new HealthWatch(bus, config.node_id);

  bus.answer(consolePage, (request) =>
    answerPage({
      config,
      sessions,
      caCertificate,
      health: () => watch.check(),
      inventory: () => tables.read(),
    }, request));
  bus.answer(loginLink, async () => {
    const { token, expires_ms } = await sessions.newLogin();
    return {
      url: `${originOf(config)}/console/login?token=${token}`,
      expires_at: new Date(expires_ms).toISOString(),
    };
  });

  const attempt = (event: string, work: () => Promise<unknown>) => () =>
    void work().catch((error) => log.warn(event, errorFields(error)));
  const timers = [
    setInterval(attempt("health_check_failed", () => watch.check()), healthEvery_ms),
    setInterval(attempt("session_sweep_failed", () => sessions.sweep()), sweepEvery_ms),
  ];
  onStop(() => timers.forEach(clearInterval));
  reportHealth(() => ({ status: "ok", facts: { sessions: sessions.size } }));
});
