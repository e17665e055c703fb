/**
 * The systemd units of the node, made from the service table: pure functions, one unit a text.
 *
 * What always holds: a service runs as its own user with the Deno permissions of the table and no
 * others, sees the system read-only but for its own directories, and has no capability. A service
 * that ends or hangs is started again for ever. The order of starts follows `after`; a service that
 * needs another waits for its readiness, and does not end when the other does.
 *
 * Ports and addresses are the node's, not the image's: the units read them from a file that
 * `hive admin first-boot` writes (`unitEnvironment`), without which nothing starts.
 */
import { unitEnvironmentFile } from "../../tasks/init/unit_environment.ts";
import { ownerships, writableBy } from "../../tasks/init/ownership.ts";
import { pathsOf } from "../../services/config/node_config.ts";
import type { DenoPermissions, ServiceSpec } from "../../services/manifest.ts";
import {
  fillTemplate,
  memoryFlags,
  permissionFlags,
  quickCopies,
  type TemplateValues,
} from "../../tasks/supervisor/service_command.ts";
import { claimUnits, startsWithTarget } from "./claim_units.ts";
import { bundleOf, layout, natsServer } from "./layout.ts";

/** What the table's templates are in a unit: systemd fills the variables at each start. */
const values: TemplateValues = {
  data: layout.data,
  repo: layout.library,
  bind: "${MULGA_BIND}",
  gateway: "${MULGA_PORT_GATEWAY}",
  s3: "${MULGA_PORT_S3}",
  nats: "${MULGA_PORT_NATS}",
};

const paths = pathsOf(layout.data);
const rows = ownerships(paths, []);
const managerSocket = "/run/systemd/notify";

/** A service that says nothing for this long hangs: far above what a slow board under load takes. */
const watchdog_s = 120;
/** Volumes are recovered and a store's index is rebuilt before a service is ready. */
const start_s = 900;

/** How long guests may take to shut down before they are switched off. */
const guests_s = 90;

export const unitName = (service: string) => `mulga-${service}.service`;

/** What speaking to systemd takes beyond the table: its socket, and one of the service's own. */
function withNotification(service: ServiceSpec): DenoPermissions {
  const own = `${layout.runtime}/${service.name}/notify`;
  const { net, read, write, env } = service.permissions;
  return {
    ...service.permissions,
    net: net === "any" ? "any" : [...net ?? [], `unix:${own}`, `unix:${managerSocket}`],
    read: [...read ?? [], own],
    write: [...write ?? [], own, managerSocket],
    env: [...env ?? [], "NOTIFY_SOCKET", "WATCHDOG_USEC", "RUNTIME_DIRECTORY"],
  };
}

/** Small memory before the last bit of speed, but where data goes through. */
function v8Flags(service: ServiceSpec): string[] {
  return [
    "--expose-gc",
    ...(service.movesData === true ? [] : ["--optimize-for-size"]),
    ...memoryFlags(service),
  ];
}

function command(service: ServiceSpec): string[] {
  if (typeof service.entry !== "string") {
    return [
      // The table names the checkout's copy; an installed system has its own.
      service.entry.program.replace("{data}/bin/nats-server", natsServer),
      ...service.entry.args.map((argument) => fillTemplate(argument, values)),
    ];
  }
  return [
    layout.deno,
    "run",
    ...["--cached-only", "--no-prompt", "--no-config", "--no-lock", "--quiet"],
    // Speaking to systemd takes a datagram socket, which Deno calls unstable.
    ...new Set(["net", ...service.unstable ?? []].map((feature) => `--unstable-${feature}`)),
    `--v8-flags=${v8Flags(service).join(",")}`,
    ...permissionFlags(withNotification(service), values),
    bundleOf(service.entry),
  ];
}

/** How systemd learns that it is ready, and that it still lives. */
function readiness(service: ServiceSpec): string[] {
  if (typeof service.entry === "string") {
    return ["Type=notify", "NotifyAccess=main", `WatchdogSec=${watchdog_s}`];
  }
  // The bus has no word for systemd, and greets clients before its store is ready: it is asked. As
  // root, since the operator's key is root's.
  return [
    "Type=exec",
    // Told to end by SIGTERM it shuts down as well, and then says that it failed.
    "KillSignal=SIGINT",
    `ExecStartPost=+${layout.hive} admin health --quiet --timeout ${start_s} ` +
    `--process $MAINPID ${service.name}`,
  ];
}

/** Devices, addresses and files: what of the machine the service may see. */
function fence(service: ServiceSpec): string[] {
  const { run, sys } = service.permissions;
  const startsPrograms = (run ?? []).length > 0;
  const devices = service.groups.includes("kvm") ? ["/dev/kvm rw"] : [];
  const listensOutside = service.ports.some((port) => port !== "nats");
  const writable = writableBy(service.user, rows);
  // Directories of object shards may be on disks of their own; whose they are, the owner says.
  const disks = service.permissions.write?.includes("any") === true ? ["-/mnt", "-/srv"] : [];
  return [
    "NoNewPrivileges=yes",
    "CapabilityBoundingSet=",
    "AmbientCapabilities=",
    "ProtectSystem=strict",
    `ReadWritePaths=${[...writable, ...disks].join(" ")}`,
    "ProtectHome=yes",
    "PrivateTmp=yes",
    ...(devices.length === 0 ? ["PrivateDevices=yes"] : [
      "DevicePolicy=closed",
      ...devices.map((device) => `DeviceAllow=${device}`),
    ]),
    "ProtectClock=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "ProtectControlGroups=yes",
    "ProtectProc=invisible",
    // Memory and processors are told by files that are no process's.
    ...((sys ?? []).length === 0 && typeof service.entry === "string" ? ["ProcSubset=pid"] : []),
    // The kernel tells a machine's addresses over netlink.
    `RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6${
      (sys ?? []).includes("networkInterfaces") ? " AF_NETLINK" : ""
    }`,
    ...(listensOutside ? [] : ["IPAddressAllow=localhost", "IPAddressDeny=any"]),
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "LockPersonality=yes",
    "RemoveIPC=yes",
    "KeyringMode=private",
    // V8 compiles as it runs.
    "MemoryDenyWriteExecute=no",
    "SystemCallArchitectures=native",
    "SystemCallErrorNumber=EPERM",
    // QEMU fences itself in further.
    `SystemCallFilter=@system-service @pkey${startsPrograms ? " seccomp" : ""}`,
    `TasksMax=${startsPrograms ? 32_768 : 512}`,
    "LimitNOFILE=524288",
    // A core of a service holds its secrets.
    "LimitCORE=0",
  ];
}

/**
 * How soon a service that ended is started again. While one that data goes through is away guests and clients
 * wait, so it comes at once, before others get the processor; one that keeps ending comes ever later (where
 * systemd knows how: from 254 on).
 */
function restart(service: ServiceSpec): string[] {
  if (service.movesData !== true) return ["RestartSec=1"];
  return ["RestartSec=100ms", "RestartSteps=8", "RestartMaxDelaySec=10s", "Nice=-5"];
}

/** The unit of one service. */
export function serviceUnit(service: ServiceSpec): string {
  const needs = service.after.map(unitName);
  const startsPrograms = (service.permissions.run ?? []).length > 0;
  return [
    "# Made from the service table; changes belong into a drop-in.",
    "[Unit]",
    `Description=MulgaOS ${service.name} (${service.summary})`,
    "Requires=mulga-first-boot.service",
    `After=${["mulga-first-boot.service", ...needs].join(" ")}`,
    ...(needs.length === 0 ? [] : [`Wants=${needs.join(" ")}`]),
    // A box that nobody has claimed has no node that could run.
    ...(service.unclaimed === true ? [] : [`ConditionPathExists=${paths.config}`]),
    "PartOf=mulga.target",
    "StartLimitIntervalSec=0",
    "",
    "[Service]",
    ...readiness(service),
    `ExecStart=${command(service).join(" ")}`,
    `User=${service.user}`,
    `Group=${service.user}`,
    ...(service.groups.length === 0 ? [] : [`SupplementaryGroups=${service.groups.join(" ")}`]),
    "UMask=0077",
    `EnvironmentFile=${unitEnvironmentFile(paths)}`,
    `Environment=MULGA_DATA_DIR=${layout.data} DENO_DIR=${layout.cache}/${service.name}`,
    "Environment=NO_COLOR=1 DENO_NO_UPDATE_CHECK=1 DENO_NO_PROMPT=1",
    // What parsing a bundle took goes back to the system at once: 60 MiB less of a gateway that runs
    // for the first time.
    ...(service.movesData === true
      ? Object.entries(quickCopies).map(([name, value]) => `Environment=${name}=${value}`)
      : ["Environment=MALLOC_ARENA_MAX=1 MALLOC_TRIM_THRESHOLD_=131072"]),
    `RuntimeDirectory=mulga/${service.name}`,
    "RuntimeDirectoryMode=0700",
    `CacheDirectory=mulga/${service.name}`,
    "CacheDirectoryMode=0700",
    `SyslogIdentifier=mulga-${service.name}`,
    "Restart=always",
    ...restart(service),
    `TimeoutStartSec=${start_s}`,
    `TimeoutStopSec=${Math.ceil(service.stop_timeout_ms / 1_000)}`,
    // Guests outlive a restart of the service that started them.
    ...(startsPrograms ? ["KillMode=process", "SendSIGKILL=yes", "OOMPolicy=continue"] : [
      // Memory is taken from guests first. Theirs is mapped by the block engine too, and counts as its own:
      // ending that would give none of it back.
      "OOMScoreAdjust=-950",
    ]),
    ...fence(service),
    "",
  ].join("\n");
}

/** What starts with the machine: all services, and the gate behind them. */
function targetUnit(services: readonly ServiceSpec[]): string {
  const units = services.map((service) => unitName(service.name));
  return [
    "[Unit]",
    "Description=MulgaOS",
    `Wants=${
      [
        ...units,
        "mulga-guests.service",
        "mulga-health.service",
        ...Object.keys(claimUnits()).filter(startsWithTarget),
      ]
        .join(" ")
    }`,
    `After=${units.join(" ")}`,
    "",
    "[Install]",
    "WantedBy=multi-user.target",
    "",
  ].join("\n");
}

/** Makes or completes the node before any service starts. */
function firstBootUnit(services: readonly ServiceSpec[]): string {
  return [
    "[Unit]",
    "Description=MulgaOS node: configuration, keys, and who owns them",
    `RequiresMountsFor=${layout.data}`,
    // Certificates name this machine's addresses.
    "Wants=network-online.target",
    "After=network-online.target systemd-sysusers.service systemd-tmpfiles-setup.service",
    `Before=${services.map((service) => unitName(service.name)).join(" ")}`,
    "",
    "[Service]",
    "Type=oneshot",
    "RemainAfterExit=yes",
    // The system makes users and directories when it thinks that it was updated, which a new version
    // whose files carry old dates does not look like.
    `ExecStartPre=/usr/bin/systemd-sysusers ${layout.sysusers}`,
    `ExecStartPre=/usr/bin/systemd-tmpfiles --create ${layout.tmpfiles}`,
    `ExecStart=${layout.hive} admin first-boot`,
    `Environment=MULGA_DATA_DIR=${layout.data} NO_COLOR=1`,
    "ImportCredential=mulga.seed",
    "TimeoutStartSec=300",
    "",
  ].join("\n");
}

/**
 * Shuts the guests down when the node stops. A restart of compute leaves them running, so their end
 * hangs on a unit of its own, which stops first: while compute and the volumes are still there.
 */
function guestsUnit(services: readonly ServiceSpec[]): string {
  const units = services.map((service) => unitName(service.name));
  return [
    "[Unit]",
    "Description=MulgaOS guests: shut down when the node stops",
    `After=${units.join(" ")}`,
    "PartOf=mulga.target",
    "",
    "[Service]",
    "Type=oneshot",
    "RemainAfterExit=yes",
    "ExecStart=/bin/true",
    `ExecStop=${layout.hive} admin stop-guests --timeout ${guests_s}`,
    `Environment=MULGA_DATA_DIR=${layout.data} NO_COLOR=1`,
    // Flushing what the last guest wrote comes on top.
    `TimeoutStopSec=${guests_s + 90}`,
    "",
  ].join("\n");
}

/** The gate behind which a boot counts as good. */
function healthUnit(services: readonly ServiceSpec[]): string {
  const units = services.map((service) => unitName(service.name));
  return [
    "[Unit]",
    "Description=MulgaOS health gate: services, volumes, API",
    `After=${units.join(" ")}`,
    "Before=boot-complete.target",
    "",
    "[Service]",
    "Type=oneshot",
    "RemainAfterExit=yes",
    `ExecStart=${layout.hive} admin health --bless --timeout 300`,
    `Environment=MULGA_DATA_DIR=${layout.data} NO_COLOR=1`,
    "TimeoutStartSec=600",
    "",
    "[Install]",
    "RequiredBy=boot-complete.target",
    "",
  ].join("\n");
}

/** All units by name. */
export function allUnits(services: readonly ServiceSpec[]): Readonly<Record<string, string>> {
  return {
    ...Object.fromEntries(services.map((one) => [unitName(one.name), serviceUnit(one)])),
    "mulga.target": targetUnit(services),
    "mulga-first-boot.service": firstBootUnit(services),
    "mulga-guests.service": guestsUnit(services),
    "mulga-health.service": healthUnit(services),
    ...claimUnits(),
  };
}
