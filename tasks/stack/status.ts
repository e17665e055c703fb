/** `status`: how the node and each of its services are, as a table or as JSON. */
import { pathsOf, readConfig } from "../../services/config/node_config.ts";
import { dataDirOf } from "../init/data_dir.ts";
import { exists } from "../init/write_file.ts";
import type { ServiceState } from "../supervisor/running_service.ts";
import { green, red, yellow } from "../terminal/progress.ts";
import { bytes, duration, table } from "../terminal/table.ts";
import { nodeStatus, startCommand } from "./installed.ts";
import { apiAnswers, endpointOf } from "./endpoint.ts";
import { isUnclaimed, unclaimedStatus } from "../hive/unclaimed.ts";
import { neighboursOf, neighbourTable } from "./neighbours.ts";

const colour = (state: ServiceState): string =>
  state === "ok"
    ? green(state)
    : state === "starting" || state === "waiting" || state === "degraded" || state === "stopping"
    ? yellow(state)
    : red(state);

/** Prints the status. @returns 0 when all is well, 1 when not, 3 when the node does not run */
export async function status(dataDirOption: string | undefined, json: boolean): Promise<number> {
  const dataDir = dataDirOf(dataDirOption);
  const paths = pathsOf(dataDir);
  if (await isUnclaimed(dataDir)) return await sayUnclaimed(dataDir, json);
  const node = await exists(paths.config)
    ? await nodeStatus(await readConfig(dataDir), paths)
    : undefined;
  if (node === undefined) {
    if (json) console.log(JSON.stringify({ data_dir: dataDir, running: false, services: [] }));
    else {console.log(
        `MulgaOS is not running from ${dataDir}; \`${await startCommand(paths)}\` starts it.`,
      );}
    return 3;
  }
  const config = await readConfig(dataDir);
  const [answers, peers] = await Promise.all([
    apiAnswers(config, paths),
    neighboursOf(config, paths),
  ]);
  const well = answers && node.services.every((one) => one.state === "ok");
  if (json) {
    console.log(JSON.stringify(
      {
        data_dir: dataDir,
        running: true,
        well,
        endpoint: endpointOf(config),
        s3_endpoint: endpointOf(config, config.ports.s3),
        api_answers: answers,
        node_id: config.node_id,
        cluster_id: config.cluster_id,
        region: config.region,
        az: config.az,
        peers,
        ...node,
      },
      null,
      2,
    ));
    return well ? 0 : 1;
  }
  console.log(
    `${endpointOf(config)}  ${answers ? green("answers") : red("does not answer")}   ` +
      `${config.region} (${config.az})  node ${config.node_id}  ${dataDir}\n`,
  );
  console.log(table(
    ["SERVICE", "STATE", "PID", "UP", "RESTARTS", "MEMORY", ""],
    node.services.map((one) => [
      one.name,
      colour(one.state),
      String(one.pid ?? "-"),
      one.uptime_ms === undefined ? "-" : duration(one.uptime_ms),
      String(one.restarts),
      one.rss_bytes === undefined ? "-" : bytes(one.rss_bytes),
      one.detail ?? one.last_error ?? factsLine(one.facts),
    ]),
  ));
  if (peers.length > 0) console.log(`\n${neighbourTable(peers)}`);
  return well ? 0 : 1;
}

/** A box without a node: whether it can be claimed, and how. */
async function sayUnclaimed(dataDir: string, json: boolean): Promise<number> {
  const told = await unclaimedStatus(dataDir);
  if (json) {
    console.log(JSON.stringify({ data_dir: dataDir, running: told !== undefined, ...told }));
  } else {
    console.log(
      told === undefined
        ? "This box is not claimed, and its control server does not answer; see `journalctl -u mulga-cluster`."
        : `This box (${
          told["node_id"]
        }) is not claimed yet: its screen says how to, or \`hive claim\` does it here.`,
    );
  }
  return told === undefined ? 3 : 0;
}

function factsLine(facts: Readonly<Record<string, string | number | boolean>> | undefined): string {
  return Object.entries(facts ?? {}).slice(0, 6).map(([name, value]) => `${name}=${value}`).join(
    " ",
  );
}
