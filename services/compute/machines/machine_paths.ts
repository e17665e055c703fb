/** Where the files and sockets of one machine lie. Pure arithmetic on names. */
import { dirname, join } from "node:path";
import type { Paths } from "../../config/node_config.ts";

export interface MachinePaths {
  readonly directory: string;
  readonly qmp: string;
  readonly pid: string;
  readonly firmwareVariables: string;
  /** The host's end of the channel to the agent in the guest. */
  readonly agentSocket: string;
  /** There while the guest may be frozen. */
  readonly frozen: string;
  readonly consoleSocket: string;
  readonly consoleLog: string;
  /** What fell off the front of the log. */
  readonly consoleOlder: string;
  /** Where the screen is written to before it is answered. */
  readonly screen: string;
  readonly tpm: {
    /** The directory of its state. */
    readonly state: string;
    /** The public endorsement keys, read when it was new. */
    readonly keys: string;
    readonly pid: string;
    /** The socket that QEMU connects to. */
    readonly control: string;
    /** The socket by which the keys are read. */
    readonly server: string;
  };
}

export function machinePaths(paths: Paths, instanceId: string): MachinePaths {
  const directory = join(paths.service("compute"), "machines", instanceId);
  return {
    directory,
    qmp: paths.qmp(instanceId),
    pid: join(directory, "qemu.pid"),
    firmwareVariables: join(directory, "firmware_variables.fd"),
    agentSocket: join(dirname(paths.qmp(instanceId)), `${instanceId}.agent`),
    frozen: join(directory, "frozen"),
    consoleSocket: paths.machineConsole(instanceId),
    consoleLog: join(directory, "console.log"),
    consoleOlder: join(directory, "console.older.log"),
    screen: join(directory, "screen.ppm"),
    tpm: {
      state: join(directory, "tpm"),
      keys: join(directory, "endorsement_keys.json"),
      pid: join(directory, "swtpm.pid"),
      control: join(dirname(paths.qmp(instanceId)), `${instanceId}.tpm`),
      server: join(dirname(paths.qmp(instanceId)), `${instanceId}.ek`),
    },
  };
}
