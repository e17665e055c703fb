/**
 * What the systemd units need to know of the node: its address and ports, as variables. The units
 * are the image's and the same on every node; this file is the node's.
 */
import { join } from "node:path";
import type { NodeConfig, Paths } from "../../services/config/node_config.ts";
import { writeChanged } from "./write_file.ts";

export const unitEnvironmentFile = (paths: Pick<Paths, "root">) => join(paths.root, "units.env");

/** What of the configuration the units need; an unclaimed box has no more than that. */
type Doors = Pick<NodeConfig, "bind" | "ports">;

export function unitEnvironment(config: Doors): string {
  return [
    "# Made from config.json at every start; changes here are lost.",
    `MULGA_BIND=${config.bind.includes(":") ? `[${config.bind}]` : config.bind}`,
    `MULGA_PORT_GATEWAY=${config.ports.gateway}`,
    `MULGA_PORT_S3=${config.ports.s3}`,
    `MULGA_PORT_NATS=${config.ports.nats}`,
    "",
  ].join("\n");
}

/** Writes the file. systemd reads it as root. */
export async function writeUnitEnvironment(config: Doors, paths: Paths): Promise<void> {
  await writeChanged(unitEnvironmentFile(paths), unitEnvironment(config), 0o600);
}
