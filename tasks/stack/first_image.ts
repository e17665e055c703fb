/**
 * The first guest image of a node: built once, when the account has none. A node without an image is
 * up all the same; a build that fails says so and how to repeat it.
 */
import { taskCommand } from "../terminal/task_command.ts";
import type { NodeConfig, Paths } from "../../services/config/node_config.ts";
import { buildImage, listImages } from "../hive/image.ts";
import { operatorBus } from "../supervisor/health_probe.ts";
import { quietLog } from "./quiet_log.ts";

const firstImage = "debian-13";

/** @returns the id of an image to launch, or undefined when there is none now */
export async function ensureFirstImage(
  config: NodeConfig,
  paths: Paths,
): Promise<string | undefined> {
  await using bus = await operatorBus(config, paths, quietLog);
  const [have] = await listImages(bus, config);
  if (have?.ImageId !== undefined) return have.ImageId;
  try {
    return await buildImage(bus, config, paths, firstImage);
  } catch (error) {
    console.error(
      `No guest image could be made: ${error instanceof Error ? error.message : error}\n` +
        `The cloud runs without one; repeat it with \`${taskCommand()} hive image build ${firstImage}\`.`,
    );
    return undefined;
  }
}
