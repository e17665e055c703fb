/** A box that nobody has claimed, as the operator's commands see it: there is no node yet to ask. */
import { claimFiles } from "../../services/cluster/claim_files.ts";
import { defaultPorts, pathsOf } from "../../services/config/node_config.ts";
import { exists } from "../init/write_file.ts";

/** Whether the data directory is that of a box without a node. */
export async function isUnclaimed(dataDir: string): Promise<boolean> {
  const paths = pathsOf(dataDir);
  return !await exists(paths.config) && await exists(claimFiles(paths).box);
}

/** What an unclaimed box says of itself; undefined when its control server does not answer. */
export async function unclaimedStatus(
  dataDir: string,
): Promise<Readonly<Record<string, unknown>> | undefined> {
  try {
    const ca = await Deno.readTextFile(pathsOf(dataDir).tls.ca);
    using client = Deno.createHttpClient({ caCerts: [ca] });
    const reply = await fetch(`https://localhost:${defaultPorts.control}/status`, {
      client,
      signal: AbortSignal.timeout(5_000),
    });
    return reply.ok ? await reply.json() : undefined;
  } catch {
    return undefined;
  }
}
