/** Where the files and sockets of one machine lie. Pure arithmetic on names. */
import { join } from "node:path";
import type { Paths } from "../config/node_config.ts";

export interface MachinePaths {
  readonly directory: string;
  readonly qmp: string;
  readonly pid: string;
  readonly firmwareVariables: string;
  readonly consoleSocket: string;
  readonly consoleLog: string;
  /** What fell off the front of the log. */
  readonly consoleOlder: string;
}

export function machinePaths(paths: Paths, instanceId: string): MachinePaths {
  const directory = join(paths.service("compute"), "machines", instanceId);
  return {
    directory,
    qmp: paths.qmp(instanceId),
    pid: join(directory, "qemu.pid"),
    firmwareVariables: join(directory, "firmware_variables.fd"),
    consoleSocket: paths.machineConsole(instanceId),
    consoleLog: join(directory, "console.log"),
    consoleOlder: join(directory, "console.older.log"),
  };
}
