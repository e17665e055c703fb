/** Where a node's API is, and whether it answers there with the certificate of its own authority. */
import type { NodeConfig, Paths } from "../../services/config/node_config.ts";

const everywhere = new Set(["127.0.0.1", "0.0.0.0", "::", "::1"]);

/** The gateway's address as clients on this machine use it. */
export function endpointOf(config: NodeConfig, port: number = config.ports.gateway): string {
  const host = everywhere.has(config.bind)
    ? "localhost"
    : config.bind.includes(":")
    ? `[${config.bind}]`
    : config.bind;
  return `https://${host}:${port}`;
}

/** Whether `GET /health` is answered with success. Never throws. */
export async function apiAnswers(
  config: NodeConfig,
  paths: Paths,
  patience_ms = 2_000,
): Promise<boolean> {
  // By address: whether this machine knows the name "localhost" is another question.
  const host = everywhere.has(config.bind) ? (config.bind === "::1" ? "[::1]" : "127.0.0.1") : "";
  const url = host === "" ? endpointOf(config) : `https://${host}:${config.ports.gateway}`;
  try {
    using client = Deno.createHttpClient({
      caCerts: [await Deno.readTextFile(paths.tls.ca)],
      poolMaxIdlePerHost: 0,
    });
    const response = await fetch(`${url}/health`, {
      client,
      signal: AbortSignal.timeout(patience_ms),
    });
    await response.body?.cancel();
    return response.ok;
  } catch {
    return false;
  }
}
