/**
 * `hive admin first-boot`: makes the node of an installed system, or completes it, before any service
 * starts. Runs as root at every boot; each part looks first whether it is done, so a boot that was
 * cut off is finished by the next.
 */
import { claimFiles } from "../../services/cluster/claim_files.ts";
import { pathsOf } from "../../services/config/node_config.ts";
import { initNode, type Node } from "../init/init.ts";
import { applyOwnership } from "../init/ownership.ts";
import { writeUnitEnvironment } from "../init/unit_environment.ts";
import { exists } from "../init/write_file.ts";

/** The addresses that an installed node listens on unless its configuration says otherwise. */
const everywhere = "0.0.0.0";

export async function firstBoot(dataDir: string): Promise<Node> {
  const fresh = !await exists(pathsOf(dataDir).config);
  const node = await initNode(dataDir, fresh ? { bind: everywhere } : {});
  // The certificate was looked at above; whoever asks from now on asks for the next one.
  await Deno.remove(claimFiles(node.paths).certificateWanted).catch(() => {});
  await writeUnitEnvironment(node.config, node.paths);
  await applyOwnership(node.config, node.paths);
  return node;
}
