/** The commands that an installed system's units run: make the node, wait until all is well, stop the guests. */
import { resolve } from "node:path";
import { systemContext } from "../../services/bus/subject.ts";
import { quiesce } from "../../services/compute/contract.ts";
import { stampForward } from "../../services/config/formats.ts";
import { imageVersion } from "../../services/config/release.ts";
import { services } from "../../services/manifest.ts";
import { dataDirOf } from "../init/data_dir.ts";
import { CommandError, dataDirOption, parse } from "../terminal/command.ts";
import type { HiveCommand } from "./hive_command.ts";
import { firstBoot } from "./first_boot/first_boot.ts";
import { System } from "./first_boot/system.ts";
import { waitForHealth } from "./health.ts";
import { busOf, nodeOf } from "./node.ts";
import { isUnclaimed, unclaimedStatus } from "./unclaimed.ts";

/** Flushing the volumes of the last guest may take longer than its own shutdown. */
const flush_ms = 60_000;

function secondsOf(text: string): number {
  const seconds = Number(text);
  if (!(seconds > 0 && seconds <= 86_400)) {
    throw new CommandError(`--timeout must be a number of seconds, not "${text}".`, 2);
  }
  return seconds;
}

export const firstBootCommand: HiveCommand = {
  words: ["admin", "first-boot"],
  summary: "Make or complete the node of an installed system before its services start",
  async run(args) {
    const parsed = parse({
      name: "hive admin first-boot",
      summary:
        "Makes or completes the node of an installed system and gives each file to the service " +
        "that needs it. Runs as root at every boot.",
      options: {
        root: {
          type: "string",
          value: "DIR",
          help: "Write into this tree instead, as for an appliance, and run nothing",
        },
        ...dataDirOption,
      },
      notes: [
        "On the appliance it applies the seed that it finds (mulga.yaml on the boot partition, a " +
        "medium labelled CIDATA, the systemd credential mulga.seed); without a seed the box waits " +
        "to be claimed.",
      ],
    }, args);
    if (parsed === undefined) return;
    const { root, "data-dir": named } = parsed.options;
    const outcome = await firstBoot({
      dataDir: root === undefined ? dataDirOf(named) : resolve(root, "var/lib/mulga"),
      system: new System(root === undefined ? "/" : resolve(root)),
      appliance: root !== undefined || imageVersion() !== undefined,
    });
    if (outcome.state === "unclaimed") {
      return console.log(`Box ${outcome.node_id} is not claimed yet; its screen says how to.`);
    }
    const { config } = outcome.node;
    console.log(
      `${outcome.state === "made" ? "Made" : "Completed"} node ${config.node_id} of cluster ` +
        `${config.cluster_id} in ${config.data_dir} (${config.az}).`,
    );
  },
};

export const healthCommand: HiveCommand = {
  words: ["admin", "health"],
  summary: "Wait until services, volumes and the API are well; say what is not",
  async run(args) {
    const parsed = parse(
      {
        name: "hive admin health",
        summary:
          "Waits until every service answers for its health, every volume that should be served " +
          "is, and the API answers over HTTPS.",
        arguments: "[service…]",
        options: {
          timeout: { type: "string", value: "SECONDS", help: "How long to wait (default: 60)" },
          process: {
            type: "string",
            value: "PID",
            help: "Give up when this process has ended",
          },
          quiet: { type: "boolean", help: "Say nothing when all is well" },
          bless: {
            type: "boolean",
            help: "When all is well, let the state move on to this release's formats",
          },
          ...dataDirOption,
        },
        notes: [
          "With services named, only these are waited for. Exit code: 0 all is well, 1 something " +
          "is not, with one line for each.",
        ],
      },
      args,
      { max: services.length },
    );
    if (parsed === undefined) return;
    const { options, positionals } = parsed;
    const seconds = secondsOf(options.timeout ?? "60");
    const unknown = positionals.find((name) => !services.some((one) => one.name === name));
    if (unknown !== undefined) {
      throw new CommandError(
        `There is no service "${unknown}"; there are ${services.map((s) => s.name).join(", ")}.`,
        2,
      );
    }
    if (options.bless === true && positionals.length > 0) {
      throw new CommandError("--bless is for the whole node: name no service with it.", 2);
    }
    const dataDir = dataDirOf(options["data-dir"]);
    if (await isUnclaimed(dataDir)) return await unclaimedHealth(dataDir, seconds);
    const node = await nodeOf(options["data-dir"]);
    const troubles = await waitForHealth(node, {
      services: positionals.length === 0
        ? services
        : services.filter((one) => positionals.includes(one.name)),
      api: positionals.length === 0,
      patience_ms: seconds * 1_000,
      ...(options.process === undefined ? {} : { process: Number(options.process) }),
    });
    for (const trouble of troubles) console.error(trouble);
    if (troubles.length > 0) return 1;
    if (options.bless === true) await stampForward(node.config.data_dir);
    if (options.quiet !== true) console.log("All is well.");
    return 0;
  },
};

export const stopGuestsCommand: HiveCommand = {
  words: ["admin", "stop-guests"],
  summary: "Shut every guest of this node down, as a stop of the node does",
  async run(args) {
    const parsed = parse({
      name: "hive admin stop-guests",
      summary: "Shuts every guest of this node down; those that take too long are switched off.",
      options: {
        timeout: { type: "string", value: "SECONDS", help: "How long they may take (default: 90)" },
        ...dataDirOption,
      },
      notes: ["They start again with the node."],
    }, args);
    if (parsed === undefined) return;
    const timeout_ms = secondsOf(parsed.options.timeout ?? "90") * 1_000;
    await using bus = await busOf(await nodeOf(parsed.options["data-dir"]));
    const { still_running } = await bus.ask(
      quiesce,
      { timeout_ms },
      systemContext(timeout_ms + flush_ms),
    );
    if (still_running.length > 0) {
      console.error(`Did not shut down in time and was switched off: ${still_running.join(", ")}.`);
    }
  },
};

/** All that an unclaimed box has to do is to offer the claim. */
async function unclaimedHealth(dataDir: string, seconds: number): Promise<number> {
  const limit = performance.now() + seconds * 1_000;
  while (await unclaimedStatus(dataDir) === undefined) {
    if (performance.now() > limit) {
      console.error("cluster: the control server does not answer, so the box cannot be claimed.");
      return 1;
    }
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  console.log("All is well: the box waits to be claimed; its screen says how to.");
  return 0;
}
