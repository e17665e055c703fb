/** The address at which browsers and AWS clients find the node. */
import type { NodeConfig } from "../config/node_config.ts";

const everywhere = ["127.0.0.1", "::1", "0.0.0.0", "::", "localhost"];

/** As seen from this machine, or from the network that the node was told to listen to. */
export function originOf(config: NodeConfig): string {
  const { bind, ports } = config;
  const host = everywhere.includes(bind) ? "localhost" : bind.includes(":") ? `[${bind}]` : bind;
  return `https://${host}:${ports.gateway}`;
}
