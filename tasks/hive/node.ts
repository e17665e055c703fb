/** What the operator's commands begin with: the node they mean, and a bus to it. */
import type { Bus } from "../../services/bus/bus.ts";
import {
  type NodeConfig,
  type Paths,
  pathsOf,
  readConfig,
} from "../../services/config/node_config.ts";
import { dataDirOf } from "../init/data_dir.ts";
import { exists } from "../init/write_file.ts";
import { startCommand } from "../stack/installed.ts";
import { quietLog } from "../stack/quiet_log.ts";
import { natsGreets, operatorBus } from "../supervisor/health_probe.ts";
import { CommandError } from "../terminal/command.ts";

export interface NodeOfCommand {
  readonly config: NodeConfig;
  readonly paths: Paths;
}

/** The node of a data directory. @throws CommandError when there is none */
export async function nodeOf(dataDirOption: string | undefined): Promise<NodeOfCommand> {
  const dataDir = dataDirOf(dataDirOption);
  const paths = pathsOf(dataDir);
  if (!await exists(paths.config)) {
    throw new CommandError(
      `There is no node in ${dataDir}; \`${await startCommand(
        paths,
      )}\` makes one, --data-dir names another.`,
    );
  }
  return { config: await readConfig(dataDir), paths };
}

/** The operator's connection to a running node. @throws CommandError when it does not run */
export async function busOf({ config, paths }: NodeOfCommand): Promise<Bus> {
  // The bus itself would wait for ever for a server that is not there yet.
  if (!await natsGreets(config.ports.nats)) {
    throw new CommandError(
      `MulgaOS is not running from ${paths.root}; \`${await startCommand(paths)}\` starts it.`,
    );
  }
  return await operatorBus(config, paths, quietLog);
}

const instanceId = /^i-[0-9a-f]{17}$/;

/** @throws CommandError when it is no instance id */
export function requireInstanceId(text: string): string {
  if (!instanceId.test(text)) {
    throw new CommandError(
      `"${text}" is no instance id; one looks like i-0123456789abcdef0 ` +
        `(\`aws ec2 describe-instances\` lists them).`,
      2,
    );
  }
  return text;
}
