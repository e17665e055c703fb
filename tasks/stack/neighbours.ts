/** The nodes that this one hears on the network, for `hive status`. */
import { systemContext } from "../../services/bus/subject.ts";
import { neighbourhood, type Peer } from "../../services/cluster/contract.ts";
import type { NodeConfig, Paths } from "../../services/config/node_config.ts";
import { operatorBus } from "../supervisor/health_probe.ts";
import { duration, table } from "../terminal/table.ts";
import { quietLog } from "./quiet_log.ts";

/** Who was heard; nobody when the cluster service does not answer: its state is told elsewhere. */
export async function neighboursOf(config: NodeConfig, paths: Paths): Promise<readonly Peer[]> {
  try {
    await using bus = await operatorBus(config, paths, quietLog);
    return (await bus.ask(neighbourhood, null, systemContext(1_500))).peers;
  } catch {
    return [];
  }
}

export function neighbourTable(peers: readonly Peer[], now_ms = Date.now()): string {
  return table(
    ["PEER", "HOST", "ADDRESS", "STATE", "CLUSTER", "RELEASE", "HEARD"],
    peers.map((peer) => [
      peer.node_id,
      peer.host,
      peer.addr,
      peer.state,
      peer.cluster_id === "" ? "-" : peer.cluster_id,
      peer.version,
      `${duration(Math.max(0, now_ms - peer.last_heard_ms))} ago`,
    ]),
  );
}
