/**
 * The files through which this service and the first-boot step speak: this service faces the network
 * and may write to its own directory only; the step is the administrator of the box and does the rest.
 * All lie in this service's directory, are small, carry a version, and appear whole.
 */
import { join } from "node:path";
import type { Announce, Paths, Ports } from "../config/node_config.ts";
import type { GivenAdminKey } from "../identity/contract.ts";
import { readJson } from "./durable_file.ts";
import type { Capability } from "./names.ts";

export interface ClaimFiles {
  /** Written by the first-boot step: who an unclaimed box is. */
  readonly box: string;
  /** Written here: the code on the screen. */
  readonly code: string;
  /** Written here when the box is claimed; its appearance starts the first-boot step, which removes it. */
  readonly claim: string;
  /** Written by the first-boot step: an access key that nobody has yet; removed when it is handed over. */
  readonly handover: string;
  /** Written by the first-boot step: what the seed says of the cluster. */
  readonly part: string;
  /** Written here when the certificate does not name an address; removed by the first-boot step. */
  readonly certificateWanted: string;
  /** Written by the first-boot step: what the operator should know, such as why a seed was refused. */
  readonly notice: string;
}

export function claimFiles(paths: Paths): ClaimFiles {
  const at = (name: string) => join(paths.service("cluster"), name);
  return {
    box: at("box.json"),
    code: at("claim-code.json"),
    claim: at("claim.json"),
    handover: at("handover.json"),
    part: at("part.json"),
    certificateWanted: at("certificate-wanted"),
    notice: at("notice.json"),
  };
}

/** Who a box is before it is claimed. */
export interface Box {
  readonly version: 1;
  readonly node_id: string;
  /** Where the defaults do not do: several boxes on one machine. */
  readonly ports?: Partial<Ports>;
  readonly announce?: Partial<Announce>;
}

export interface Notice {
  readonly version: 1;
  readonly text: string;
}

/** The notice as an option that is there or not. */
export async function readNotice(files: ClaimFiles): Promise<{ readonly notice?: string }> {
  const notice = await readJson(files.notice).catch(() => undefined) as Notice | undefined;
  return typeof notice?.text === "string" ? { notice: notice.text } : {};
}

export interface Claim {
  readonly version: 1;
  readonly region?: string;
  readonly az?: string;
  readonly hostname?: string;
  readonly admin: GivenAdminKey;
  /** ISO 8601 */
  readonly claimed_at: string;
}

export interface Handover {
  readonly version: 1;
  readonly admin: GivenAdminKey;
}

/** The node's part in a cluster, for forming one larger than itself. */
export interface ClusterPart {
  readonly version: 1;
  readonly nodes: number;
  readonly founder?: string;
  readonly token?: string;
  readonly capabilities?: readonly Capability[];
}
