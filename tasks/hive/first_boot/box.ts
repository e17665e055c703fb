/** Who a box is before there is a node on it, and what its cluster service needs to offer the claim. */
import { claimFiles } from "../../../services/cluster/claim_files.ts";
import { defaultPorts, type Paths } from "../../../services/config/node_config.ts";
import { ensureServerCertificate } from "../../init/certificates.ts";
import { newNodeId } from "../../init/init.ts";
import { writeUnitEnvironment } from "../../init/unit_environment.ts";
import { writeWhole } from "../../init/write_file.ts";
import { dirname } from "node:path";

const nodeIdForm = /^n-[0-9a-z]{1,32}$/;

export interface Box {
  readonly node_id: string;
  /** The name that it has until somebody gives it another. */
  readonly hostname: string;
  /** Makes what the cluster service needs while there is no node. */
  prepare(): Promise<void>;
}

/** The box; its id is made once, and the node that comes to be on it keeps it. */
export async function openBox(paths: Paths): Promise<Box> {
  const file = claimFiles(paths).box;
  let node_id: unknown;
  try {
    node_id = JSON.parse(await Deno.readTextFile(file)).node_id;
  } catch {
    // Not there yet, or damaged: nobody has relied on it before there was a node.
  }
  const known = typeof node_id === "string" && nodeIdForm.test(node_id) ? node_id : undefined;
  const id = known ?? newNodeId();
  if (known === undefined) {
    await writeWhole(file, `${JSON.stringify({ version: 1, node_id: id })}\n`, 0o600);
  }
  return {
    node_id: id,
    hostname: `mulga-${id.slice(2, 8)}`,
    async prepare() {
      await Deno.mkdir(dirname(paths.tls.ca), { recursive: true, mode: 0o700 });
      await ensureServerCertificate(paths, paths.tls.control);
      await writeUnitEnvironment({ bind: "0.0.0.0", ports: defaultPorts }, paths);
    },
  };
}
