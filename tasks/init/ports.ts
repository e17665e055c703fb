/**
 * The ports of a node: chosen once, kept in its configuration, and checked before a start, so that a
 * port that somebody else holds is one clear sentence and not a service that never comes up.
 */
import { defaultPorts, type NodeConfig, type Ports } from "../../services/config/node_config.ts";
import { freePorts } from "../../services/config/free_ports.ts";
import { CommandError } from "../terminal/command.ts";

/** Which option changes which port. */
const portOptions = {
  gateway: "--port",
  s3: "--s3-port",
  nats: "--nats-port",
  control: "--control-port",
} as const;
export type PortName = keyof Ports;
export const portNames = [
  "gateway",
  "s3",
  "nats",
  "control",
] as const satisfies readonly PortName[];

/** What the command line said about ports. */
export type PortWishes = { readonly [K in PortName]?: number } & { readonly auto?: boolean };

/** The ports for a new node, or for one that had `current` before. @throws CommandError */
export function choosePorts(wishes: PortWishes, current: Ports | undefined): Ports {
  const free = wishes.auto === true && current === undefined ? freePorts(portNames.length) : [];
  const ports = Object.fromEntries(portNames.map((name, at) => [
    name,
    wishes[name] ?? current?.[name] ?? free[at] ?? defaultPorts[name],
  ])) as unknown as Ports;
  for (const [at, name] of portNames.entries()) {
    const other = portNames.slice(0, at).find((earlier) => ports[earlier] === ports[name]);
    if (other !== undefined) {
      throw new CommandError(
        `Port ${ports[name]} cannot serve both ${other} and ${name}; give another with ` +
          `${portOptions[name]}.`,
        2,
      );
    }
  }
  return ports;
}

/** Makes sure that the node can have its ports. @throws CommandError naming the first that is taken */
export function requirePorts(config: NodeConfig): void {
  for (const name of portNames) {
    const port = config.ports[name];
    const hostname = name === "nats" ? "127.0.0.1" : config.bind;
    try {
      Deno.listen({ hostname, port }).close();
    } catch (cause) {
      if (cause instanceof Deno.errors.PermissionDenied) {
        throw new CommandError(
          `Port ${port} (${name}) may not be used by this user; give another with ` +
            `${portOptions[name]} N.`,
          1,
          { cause },
        );
      }
      if (!(cause instanceof Deno.errors.AddrInUse)) {
        throw new CommandError(
          `This machine has no address ${hostname} to listen on; mend "bind" in config.json.`,
          1,
          { cause },
        );
      }
      const holder = holderOf(port);
      throw new CommandError(
        `Port ${port} (${name}) is already taken${holder === undefined ? "" : ` by ${holder}`}; ` +
          `give another with ${portOptions[name]} N, or --ports auto for a new data directory.`,
        1,
        { cause },
      );
    }
  }
}

/** The program that listens on a TCP port, as far as this user may see it. */
export function holderOf(port: number): string | undefined {
  const wanted = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  const listening = "0A";
  const inodes = new Set<string>();
  for (const file of ["/proc/net/tcp", "/proc/net/tcp6"]) {
    for (const line of readOr(file, "").split("\n").slice(1)) {
      const fields = line.trim().split(/\s+/);
      if (fields[1]?.endsWith(wanted) && fields[3] === listening && fields[9] !== undefined) {
        inodes.add(`socket:[${fields[9]}]`);
      }
    }
  }
  if (inodes.size === 0) return undefined;
  for (const { name: pid } of Deno.readDirSync("/proc")) {
    if (!/^\d+$/.test(pid)) continue;
    try {
      for (const { name: fd } of Deno.readDirSync(`/proc/${pid}/fd`)) {
        let target: string;
        try {
          target = Deno.readLinkSync(`/proc/${pid}/fd/${fd}`);
        } catch {
          continue;
        }
        if (inodes.has(target)) {
          return `${readOr(`/proc/${pid}/comm`, "a program").trim()} (process ${pid})`;
        }
      }
    } catch {
      // Another user's process, or one that has just ended.
    }
  }
  return undefined;
}

function readOr(path: string, otherwise: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch {
    return otherwise;
  }
}
