/**
 * What a support bundle holds. Every part is gathered by itself and bounded: a part that cannot be had
 * leaves a line in `missing.txt`, since a bundle is made when things do not work. Every text passes the
 * redactor on its way in; there is no other way in. What guests wrote, and what tenants store, is left out.
 */
import { jetstreamManager } from "@nats-io/jetstream";
import { join } from "node:path";
import { formats, readStamp } from "../../../services/config/formats.ts";
import { type NodeConfig, type Paths, readConfig } from "../../../services/config/node_config.ts";
import { releaseVersion } from "../../../services/config/release.ts";
import { services } from "../../../services/manifest.ts";
import { healthOf } from "../../../services/runtime/run_service.ts";
import { machineFindings } from "../../setup/machine.ts";
import { nodeStatus } from "../../stack/installed.ts";
import type { ArchiveEntry } from "../archive/tar.ts";
import { listBlockDevices } from "../disk/block_devices.ts";
import { busOf } from "../node.ts";
import { readProtection } from "../protection.ts";
import type { Redactor } from "./redact.ts";

const command_ms = 15_000;
const part_ms = 30_000;
/** Of each log, its end. */
const log_bytes = 2 << 20;

/** Programs whose words say how the machine is. */
const commands: Readonly<Record<string, readonly string[]>> = {
  "system/uname.txt": ["uname", "-a"],
  "system/uptime.txt": ["uptime"],
  "system/time.txt": ["timedatectl", "status"],
  "system/memory.txt": ["free", "-m"],
  "system/processes.txt": ["ps", "-eo", "pid,ppid,user,rss,stat,lstart,comm"],
  "system/kernel.log": ["dmesg", "--ctime", "--level=emerg,alert,crit,err,warn"],
  "system/units.txt": ["systemctl", "list-units", "--all", "--no-pager", "--plain"],
  "system/failed.txt": ["systemctl", "--failed", "--no-pager", "--plain"],
  "system/unit-states.txt": ["systemctl", "status", "--no-pager", "--lines=0", "mulga*"],
  "system/boots.txt": ["journalctl", "--list-boots", "--no-pager"],
  "system/boot-times.txt": ["systemd-analyze", "critical-chain", "--no-pager"],
  "system/boot-loader.txt": ["bootctl", "list", "--no-pager"],
  "system/packages.txt": ["dpkg-query", "--show"],
  "logs/journal.log": [
    "journalctl",
    "--no-pager",
    "--output=short-iso-precise",
    "--unit=mulga*",
    "--unit=systemd-*",
    "--lines=20000",
  ],
  // What the operator's commands could not do; they run in sessions, not in units.
  "logs/hive.log": ["journalctl", "--no-pager", "--identifier=hive", "--lines=2000"],
  "disks/df.txt": ["df", "--block-size=1M", "--output"],
  "disks/inodes.txt": ["df", "--inodes"],
  "disks/mounts.txt": ["findmnt", "--list"],
  "network/addresses.txt": ["ip", "address"],
  "network/routes.txt": ["ip", "route"],
  "network/listening.txt": ["ss", "--listening", "--tcp", "--udp", "--numeric"],
  "versions/nats-server.txt": ["nats-server", "--version"],
  "versions/qemu.txt": ["qemu-system-x86_64", "--version"],
  "versions/systemd.txt": ["systemctl", "--version"],
};

async function spoken(command: readonly string[]): Promise<string> {
  const [program = "", ...args] = command;
  const { stdout, stderr } = await new Deno.Command(program, {
    args,
    stdin: "null",
    env: { LC_ALL: "C.UTF-8", NO_COLOR: "1", SYSTEMD_COLORS: "0", SYSTEMD_PAGER: "" },
    signal: AbortSignal.timeout(command_ms),
  }).output();
  return new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
}

async function endOf(path: string): Promise<string> {
  using file = await Deno.open(path);
  const { size } = await file.stat();
  await file.seek(Math.max(0, size - log_bytes), Deno.SeekMode.Start);
  const text = await new Response(file.readable).text();
  // What was cut in the middle of a line may have lost the word that tells a secret.
  return size > log_bytes ? text.slice(text.indexOf("\n") + 1) : text;
}

const json = (value: unknown) => `${JSON.stringify(value, null, 2)}\n`;

type Parts = Readonly<Record<string, () => Promise<string>>>;

async function logParts(paths: Paths): Promise<Parts> {
  const found: Record<string, () => Promise<string>> = {};
  for await (const { name, isFile } of Deno.readDir(paths.logs)) {
    if (isFile && /^[\w.-]+$/.test(name) && !name.startsWith(".")) {
      found[`logs/${name}`] = () => endOf(join(paths.logs, name));
    }
  }
  return found;
}

function busParts(config: NodeConfig, paths: Paths): Parts {
  return {
    "node/health.json": async () => {
      await using bus = await busOf({ config, paths });
      const asked = services.filter((service) => service.health === "bus");
      return json(
        await Promise.all(asked.map(async ({ name }) => ({
          service: name,
          ...await bus.ask(healthOf(name, config.node_id), null).catch((error) => ({
            error: String(error),
          })),
        }))),
      );
    },
    "node/streams.json": async () => {
      await using bus = await busOf({ config, paths });
      const info = await bus.connection.request("$JS.API.INFO", "", { timeout: 5_000 });
      const manager = await jetstreamManager(bus.connection, { checkAPI: false });
      const streams = [];
      const names = await bus.connection.request("$JS.API.STREAM.NAMES", "{}", { timeout: 5_000 });
      for (const name of (names.json<{ streams?: string[] }>().streams ?? []).sort()) {
        const { config: { num_replicas, storage }, state } = await manager.streams.info(name);
        streams.push({ name, num_replicas, storage, state });
      }
      return json({ account: info.json(), streams });
    },
  };
}

async function nodeParts(paths: Paths): Promise<Parts> {
  const config = await readConfig(paths.root);
  return {
    "node/config.json": () => Promise.resolve(json(config)),
    "node/status.json": async () => json(await nodeStatus(config, paths) ?? "not running"),
    "node/machine.json": async () => json(await machineFindings(paths.root, { fresh: false })),
    ...busParts(config, paths),
  };
}

function plainParts(paths: Paths): Parts {
  return {
    "versions/release.json": async () =>
      json({
        release: releaseVersion(),
        deno: Deno.version,
        os: Deno.build,
        formats,
        stamp: await readStamp(paths.root) ?? null,
      }),
    "versions/os-release.txt": () => Deno.readTextFile("/etc/os-release"),
    "system/cmdline.txt": () => Deno.readTextFile("/proc/cmdline"),
    "system/cpuinfo.txt": () => Deno.readTextFile("/proc/cpuinfo"),
    "system/pressure.txt": async () => {
      const kinds = ["cpu", "io", "memory"];
      const texts = kinds.map((kind) => Deno.readTextFile(`/proc/pressure/${kind}`));
      return (await Promise.all(texts)).map((text, at) => `${kinds[at]}\n${text}`).join("");
    },
    "system/protection.json": async () => json(await readProtection()),
    "disks/devices.json": async () => json(await listBlockDevices()),
    "update/state.json": () => Deno.readTextFile("/var/lib/updates/state.json"),
  };
}

async function bounded(work: Promise<string>): Promise<string> {
  const { promise, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error("it took too long")), part_ms);
  try {
    return await Promise.race([work, promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** Every part that can be had, in the order of their names. */
export async function* collectSupport(
  paths: Paths,
  redactor: Redactor,
  progress: (what: string) => void,
): AsyncGenerator<ArchiveEntry> {
  const missing: string[] = [];
  const soft = async (what: string, of: Promise<Parts>): Promise<Parts> => {
    try {
      return await of;
    } catch (error) {
      missing.push(`${what}: ${error instanceof Error ? error.message : error}`);
      return {};
    }
  };
  const parts: Parts = {
    ...plainParts(paths),
    ...await soft("node", nodeParts(paths)),
    ...await soft("logs", logParts(paths)),
    ...Object.fromEntries(
      Object.entries(commands).map(([name, command]) => [name, () => spoken(command)]),
    ),
  };
  const entry = (name: string, text: string): ArchiveEntry => ({
    name,
    bytes: new TextEncoder().encode(redactor.redact(text)),
    mode: 0o600,
  });
  for (const name of Object.keys(parts).sort()) {
    progress(name);
    try {
      yield entry(name, await bounded(parts[name]?.() ?? Promise.resolve("")));
    } catch (error) {
      missing.push(`${name}: ${error instanceof Error ? error.message : error}`);
    }
  }
  yield entry("missing.txt", missing.map((line) => `${line}\n`).join(""));
}
