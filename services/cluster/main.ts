/**
 * Starts the cluster service, in one of two lives: on a box that nobody has claimed there is no node,
 * no bus and no configuration yet, and it offers the claim; on a node it is a service like any other.
 * Between them lies a restart, which the first-boot step makes once the node is there.
 */
import { pathsOf } from "../config/node_config.ts";
import { runService } from "../runtime/run_service.ts";
import { runNode } from "./node.ts";
import { runUnclaimed } from "./unclaimed.ts";

async function isMade(dataDir: string): Promise<boolean> {
  try {
    await Deno.stat(pathsOf(dataDir).config);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

const dataDir = Deno.env.get("MULGA_DATA_DIR") ?? "";
if (await isMade(dataDir)) await runService("cluster", runNode);
else await runUnclaimed(pathsOf(dataDir));
