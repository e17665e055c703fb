/**
 * The cloud in the foreground: supervised by this very process, its logs on this terminal, stopped
 * gracefully by Ctrl-C. `dev` also restarts a service when its files change; shared ground and `ffi/`
 * belong to all.
 */
import { taskCommand } from "../terminal/task_command.ts";
import { join, relative } from "node:path";
import type { NodeConfig, Paths } from "../../services/config/node_config.ts";
import { createLog, errorFields, type Log } from "../../services/log/log.ts";
import { services } from "../../services/manifest.ts";
import { LogFile, toLogLine } from "../supervisor/log_file.ts";
import { AlreadyRunning, Supervisor } from "../supervisor/supervisor.ts";
import { CommandError } from "../terminal/command.ts";
import { endpointOf } from "./endpoint.ts";
import { readable } from "./logs.ts";
import { repository } from "./repository.ts";
import { prepare, type StartOptions, writeProfiles } from "./start.ts";

export async function foreground(options: StartOptions, watch: boolean): Promise<number> {
  const { config, paths, running } = await prepare(options);
  if (running !== undefined) {
    throw new CommandError(
      `MulgaOS is already running from ${paths.root} (process ${running.pid}); ` +
        `\`${taskCommand()} down\` stops it.`,
    );
  }
  using file = new LogFile(`${paths.logs}/supervisor.log`, "supervisor");
  const log = createLog("supervisor", {
    write: (line) => {
      file.write(line);
      console.log(readable(toLogLine(line, "supervisor")));
    },
  });
  const supervisor = await take(config, paths, log);
  let asked = 0;
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(signal, () => {
      if (++asked > 1) console.error("Stopping already; it takes as long as the guests need.");
      else void supervisor.stop((text) => console.error(text));
    });
  }
  await supervisor.start();
  using _watching = watch ? watchFiles(supervisor, log) : undefined;
  void supervisor.well().then(async () => {
    await writeProfiles(config, paths, options);
    console.log(`\nThe API answers on ${endpointOf(config)}. Ctrl-C stops everything.\n`);
  }).catch((error) => log.error("after_start_failed", errorFields(error)));
  await supervisor.stopped;
  supervisor.release();
  return 0;
}

async function take(config: NodeConfig, paths: Paths, log: Log): Promise<Supervisor> {
  try {
    return await Supervisor.take({
      config,
      paths,
      repository,
      services,
      log,
      onLine: (line) => console.log(readable(line)),
    });
  } catch (error) {
    if (!(error instanceof AlreadyRunning)) throw error;
    throw new CommandError(`${error.message}; \`${taskCommand()} down\` stops it.`, 1, {
      cause: error,
    });
  }
}

/** The services that a changed file belongs to: its own, or all for what they share. */
function servicesOfFile(path: string): readonly string[] {
  if (!/\.(ts|tsx|json)$/.test(path) || /_test\.tsx?$/.test(path)) return [];
  const all = services.filter((service) => typeof service.entry === "string")
    .map((service) => service.name);
  const [top, folder] = path.split("/");
  if (top === "ffi" || path === "deno.json") return all;
  if (top !== "services" || folder === undefined) return [];
  const own = all.filter((name) => name === folder);
  // A contract is imported by others; which, only the module graph knows.
  return own.length === 0 || path.endsWith("/contract.ts") ? all : own;
}

function watchFiles(supervisor: Supervisor, log: Log): Disposable {
  const watcher = Deno.watchFs(
    ["services", "ffi", "deno.json"].map((one) => join(repository, one)),
  );
  const changed = new Set<string>();
  let timer: ReturnType<typeof setTimeout> | undefined;
  void (async () => {
    for await (const event of watcher) {
      if (event.kind === "access") continue;
      for (const path of event.paths) {
        for (const name of servicesOfFile(relative(repository, path))) changed.add(name);
      }
      if (changed.size === 0) continue;
      clearTimeout(timer);
      // Editors write a file in several steps, and a save of many files is one change.
      timer = setTimeout(() => {
        const names = [...changed];
        changed.clear();
        log.info("files_changed", { restarting: names });
        void supervisor.restart(names);
      }, 200);
    }
  })();
  return {
    [Symbol.dispose]() {
      clearTimeout(timer);
      watcher.close();
    },
  };
}
