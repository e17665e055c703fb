/** `hive doctor`: what setup checks, and how the running node is, with advice for what is not well. */
import { taskCommand } from "../terminal/task_command.ts";
import { pathsOf } from "../../services/config/node_config.ts";
import { dataDirOf } from "../init/data_dir.ts";
import { exists } from "../init/write_file.ts";
import { type Finding, machineFindings } from "../setup/machine.ts";
import { findingsTable, softwareFindings } from "../setup/setup.ts";
import { apiAnswers, endpointOf } from "../stack/endpoint.ts";
import { nodeStatus, startCommand } from "../stack/installed.ts";
import { imageVersion } from "../../services/config/release.ts";
import { nodeOf } from "./node.ts";
import { protectionFindings, readProtection } from "./protection.ts";

async function runningFindings(dataDir: string): Promise<Finding[]> {
  const paths = pathsOf(dataDir);
  if (!await exists(paths.config)) {
    return [{
      what: "Node",
      state: "warn",
      detail: `none in ${dataDir}`,
      advice: await startCommand(paths),
    }];
  }
  const { config } = await nodeOf(dataDir);
  const status = await nodeStatus(config, paths);
  if (status === undefined) {
    return [{
      what: "Node",
      state: "warn",
      detail: `${config.node_id} in ${dataDir} is not running`,
      advice: await startCommand(paths),
    }];
  }
  const answers = await apiAnswers(config, paths);
  return [
    {
      what: "API",
      state: answers ? "ok" : "bad",
      detail: `${endpointOf(config)} ${answers ? "answers" : "does not answer"}`,
      ...(answers ? {} : { advice: `${taskCommand()} logs gateway` }),
    },
    ...status.services.map((one): Finding => ({
      what: one.name,
      state: one.state === "ok" ? (one.restarts > 0 ? "warn" : "ok") : "bad",
      detail: [
        one.state,
        ...(one.restarts > 0 ? [`restarted ${one.restarts} times`] : []),
        ...(one.start_ms === undefined ? [] : [`started in ${one.start_ms} ms`]),
        ...(one.detail === undefined ? [] : [one.detail]),
        ...(one.last_error === undefined ? [] : [one.last_error]),
      ].join("; "),
      advice: `${taskCommand()} logs ${one.name}`,
    })),
  ];
}

/** @returns 0 when nothing is bad */
export async function doctor(dataDirOption: string | undefined, json: boolean): Promise<number> {
  const dataDir = dataDirOf(dataDirOption);
  const findings = [
    ...await softwareFindings("run"),
    ...await machineFindings(dataDir, { fresh: true }),
    ...(imageVersion() === undefined ? [] : protectionFindings(await readProtection())),
    ...await runningFindings(dataDir),
  ];
  console.log(json ? JSON.stringify(findings, null, 2) : findingsTable(findings));
  return findings.some((one) => one.state === "bad") ? 1 : 0;
}
