/**
 * The supervisor as a process of its own, which `up` starts and leaves. Its only argument is the data
 * directory. It logs to `logs/supervisor.log`; what goes wrong before that is possible goes to
 * standard error, which `up` shows.
 */
import { createLog, errorFields, type Level } from "../../services/log/log.ts";
import { pathsOf, readConfig } from "../../services/config/node_config.ts";
import { services } from "../../services/manifest.ts";
import { repository } from "../stack/repository.ts";
import { LogFile } from "./log_file.ts";
import { AlreadyRunning, Supervisor } from "./supervisor.ts";

const [dataDir] = Deno.args;
if (dataDir === undefined) {
  console.error("usage: supervisor/main.ts DATA_DIRECTORY");
  Deno.exit(2);
}
const paths = pathsOf(dataDir);
const config = await readConfig(dataDir);
const file = new LogFile(`${paths.logs}/supervisor.log`, "supervisor");
const log = createLog("supervisor", {
  minimum: (Deno.env.get("MULGA_LOG") as Level | undefined) ?? "info",
  write: (line) => void file.write(line),
});
globalThis.addEventListener("unhandledrejection", (event) => {
  // One service's trouble must not take the others with it: they are watched one by one.
  event.preventDefault();
  log.error("unhandled_rejection", errorFields(event.reason));
});

try {
  const supervisor = await Supervisor.take({ config, paths, repository, services, log });
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    Deno.addSignalListener(signal, () => void supervisor.stop());
  }
  // The terminal that started us may close; the cloud stays.
  Deno.addSignalListener("SIGHUP", () => {});
  await supervisor.start();
  log.info("supervisor_started", { pid: Deno.pid });
  await supervisor.stopped;
  supervisor.release();
  Deno.exit(0);
} catch (error) {
  if (error instanceof AlreadyRunning) Deno.exit(3);
  log.error("supervisor_failed", errorFields(error));
  console.error(error instanceof Error ? error.message : error);
  Deno.exit(1);
}
