/**
 * A node under systemd, as on the appliance and on hosts with the package: how its services are and
 * what they logged, for the commands that otherwise ask the supervisor of a checkout.
 */
import type { NodeConfig, Paths } from "../../services/config/node_config.ts";
import { services, type ServiceSpec } from "../../services/manifest.ts";
import { layout } from "../../image/payload/layout.ts";
import { exists } from "../init/write_file.ts";
import { run } from "../setup/debian.ts";
import { type NodeStatus, statusOf } from "../supervisor/control.ts";
import { HealthProbes } from "../supervisor/health_probe.ts";
import { type LogLine, toLogLine } from "../supervisor/log_file.ts";
import type { ServiceState, ServiceStatus } from "../supervisor/running_service.ts";
import { taskCommand } from "../terminal/task_command.ts";
import { quietLog } from "./quiet_log.ts";

const unitOf = (service: string) => `mulga-${service}.service`;

/** Whether systemd runs the node of this data directory. */
export async function isInstalled(paths: Pick<Paths, "root">): Promise<boolean> {
  return paths.root === layout.data && await exists(`${layout.units}/mulga.target`);
}

/** What starts the node of this data directory. */
export async function startCommand(paths: Pick<Paths, "root">): Promise<string> {
  return await isInstalled(paths) ? "systemctl start mulga.target" : `${taskCommand()} up`;
}

/** How the node is, whoever runs it; undefined when it does not run. */
export async function nodeStatus(
  config: NodeConfig,
  paths: Paths,
): Promise<NodeStatus | undefined> {
  return await statusOf(paths) ??
    (await isInstalled(paths) ? await unitStatus(config, paths) : undefined);
}

const properties = [
  "Id",
  "ActiveState",
  "MainPID",
  "NRestarts",
  "ActiveEnterTimestampMonotonic",
] as const;
type Unit = Readonly<Partial<Record<(typeof properties)[number], string>>>;

/** What `systemctl show` prints: a block of `Name=value` lines for each unit. */
export function parseUnits(text: string): ReadonlyMap<string, Unit> {
  return new Map(
    text.split(/\n\n+/).filter((block) => block.trim() !== "").map((block) => {
      const unit = Object.fromEntries(
        block.trim().split("\n").map((line) => {
          const at = line.indexOf("=");
          return [line.slice(0, at), line.slice(at + 1)];
        }),
      ) as Unit;
      return [unit.Id ?? "", unit];
    }),
  );
}

const states: Readonly<Record<string, ServiceState>> = {
  active: "ok",
  reloading: "ok",
  activating: "starting",
  deactivating: "stopping",
  failed: "restarting",
};

async function unitStatus(config: NodeConfig, paths: Paths): Promise<NodeStatus | undefined> {
  const { stdout, code } = await run([
    "systemctl",
    "show",
    `--property=${properties.join(",")}`,
    ...services.map((service) => unitOf(service.name)),
  ]);
  if (code !== 0) return undefined;
  const units = parseUnits(stdout);
  if (![...units.values()].some((unit) => states[unit.ActiveState ?? ""] !== undefined)) {
    return undefined;
  }
  await using probes = new HealthProbes(config, paths, quietLog);
  const found: ServiceStatus[] = [];
  // The bus comes first in the table, and whoever is asked after it is asked over it.
  for (const service of services) {
    found.push(await serviceStatus(service, units.get(unitOf(service.name)), probes));
  }
  return { pid: 1, started: "", stopping: false, services: found };
}

async function serviceStatus(
  service: ServiceSpec,
  unit: Unit | undefined,
  probes: HealthProbes,
): Promise<ServiceStatus> {
  const state = states[unit?.ActiveState ?? ""] ?? "stopped";
  const pid = Number(unit?.MainPID ?? 0);
  const base = {
    name: service.name,
    restarts: Number(unit?.NRestarts ?? 0),
    ...(pid > 0 ? { pid } : {}),
  };
  if (state !== "ok") return { ...base, state };
  const health = await probes.probe(service).catch(() => undefined);
  if (health === undefined) return { ...base, state: "unresponsive" };
  const entered_ms = Number(unit?.ActiveEnterTimestampMonotonic ?? 0) / 1_000;
  return {
    ...base,
    state: health.status === "degraded" ? "degraded" : "ok",
    uptime_ms: health.uptime_ms ?? Math.max(0, Deno.osUptime() * 1_000 - entered_ms),
    ...(health.rss_bytes === undefined ? {} : { rss_bytes: health.rss_bytes }),
    ...(health.detail === undefined ? {} : { detail: health.detail }),
    ...(health.facts === undefined ? {} : { facts: health.facts }),
  };
}

/** The services' lines in the journal, oldest first; goes on as they come when `follow` is set. */
export async function* journal(
  names: readonly string[],
  options: { readonly lines?: number; readonly follow: boolean },
): AsyncGenerator<LogLine> {
  const child = new Deno.Command("journalctl", {
    args: [
      ...["--output=json", "--no-pager", "--quiet", "--all"],
      ...(options.lines === undefined ? [] : [`--lines=${options.lines}`]),
      ...(options.follow ? ["--follow"] : []),
      ...names.map((name) => `--unit=${unitOf(name)}`),
    ],
    stdin: "null",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  let open = "";
  for await (const part of child.stdout.pipeThrough(new TextDecoderStream())) {
    const lines = (open + part).split("\n");
    open = lines.pop() ?? "";
    for (const line of lines) {
      const { MESSAGE, _SYSTEMD_UNIT, __REALTIME_TIMESTAMP } = JSON.parse(line) as Record<
        string,
        unknown
      >;
      // What systemd itself says of a unit is another's line, and bytes that are no text are a list.
      if (typeof MESSAGE !== "string" || typeof _SYSTEMD_UNIT !== "string") continue;
      if (!_SYSTEMD_UNIT.startsWith("mulga-")) continue;
      const told = toLogLine(MESSAGE, _SYSTEMD_UNIT.replace(/^mulga-|\.service$/g, ""));
      // A line that tells no time has that of its arrival.
      const arrived = new Date(Number(__REALTIME_TIMESTAMP) / 1_000).toISOString();
      yield told.event === "output" ? { ...told, ts: arrived } : told;
    }
  }
  await child.status;
}
