/** The sub-commands of `hive`: what each is called, takes and does. */
import { resolve } from "node:path";
import { guestImageNames } from "../../image/build.ts";
import { initNode } from "../init/init.ts";
import { dataDirOf } from "../init/data_dir.ts";
import { exists } from "../init/write_file.ts";
import { logsCommand } from "../stack/logs_command.ts";
import { nodeOptions, startOptionsOf } from "../stack/start_options.ts";
import { status } from "../stack/status.ts";
import { CommandError, dataDirOption, jsonOption, parse } from "../terminal/command.ts";
import { table } from "../terminal/table.ts";
import { console_, ssh } from "./access.ts";
import { accountCommands } from "./accounts/commands.ts";
import { consoleLink } from "./console_link.ts";
import { firstBootCommand, healthCommand, stopGuestsCommand } from "./installed.ts";
import { doctor } from "./doctor.ts";
import { ensureNodeProfile, environmentOf, shellExports } from "./environment.ts";
import {
  type Architecture,
  buildImage,
  formatOf,
  hostArchitecture,
  type ImageFormat,
  importFile,
  listImages,
} from "./image.ts";
import type { HiveCommand } from "./hive_command.ts";
import { busOf, nodeOf, requireInstanceId } from "./node.ts";
import { s3Commands } from "./s3/commands.ts";
import { usageCommand } from "./usage/command.ts";
import { volumeCommands } from "./volume/commands.ts";
import { systemCommands } from "./system_commands.ts";
import { claimCommand } from "./claim.ts";
import { seedCheckCommand, seedSchemaCommand } from "./seed.ts";

const statusCommand: HiveCommand = {
  words: ["status"],
  summary: "How the node and each of its services are",
  async run(args) {
    const parsed = parse({
      name: "hive status",
      summary: "Shows how the node and each of its services are.",
      options: { ...jsonOption, ...dataDirOption },
      notes: ["Exit code: 0 all is well, 1 something is not, 3 the node does not run."],
    }, args);
    if (parsed === undefined) return;
    return await status(parsed.options["data-dir"], parsed.options.json ?? false);
  },
};

const envCommand: HiveCommand = {
  words: ["env"],
  summary: "The exports that any AWS client needs",
  async run(args) {
    const parsed = parse({
      name: "hive env",
      summary: 'Prints shell exports for any AWS client: eval "$(hive env)".',
      options: { ...jsonOption, ...dataDirOption },
    }, args);
    if (parsed === undefined) return;
    const node = await nodeOf(parsed.options["data-dir"]);
    await ensureNodeProfile(node);
    const variables = environmentOf(node);
    console.log(
      parsed.options.json === true ? JSON.stringify(variables, null, 2) : shellExports(variables),
    );
  },
};

const sshCommand: HiveCommand = {
  words: ["ssh"],
  summary: "A shell in an instance",
  async run(args) {
    // Everything but our own options is ssh's: its letters are not ours to know.
    const own: string[] = [];
    const after: string[] = [];
    let instance: string | undefined;
    let remote: string[] = [];
    for (let at = 0; at < args.length; at++) {
      const word = args[at] ?? "";
      if (word === "--") {
        remote = args.slice(at + 1);
        break;
      } else if (word === "--data-dir") own.push(word, args[++at] ?? "");
      else if (word.startsWith("--")) own.push(word);
      else if (instance === undefined && !word.startsWith("-")) instance = word;
      else if (word === "-h" && instance === undefined) own.push(word);
      else if (/^-[BbcDEeFIiJLlmOoPpQRSWw]$/.test(word)) after.push(word, args[++at] ?? "");
      else if (word.startsWith("-")) after.push(word);
      else {
        remote = args.slice(at);
        break;
      }
    }
    const parsed = parse({
      name: "hive ssh",
      summary: "Opens SSH to an instance with the system's ssh, over the port that leads to it.",
      arguments: "<instance-id> [ssh options] [-- command…]",
      options: dataDirOption,
      notes: [
        "Everything else is handed to ssh: -i KEY, -l USER (default: debian), -L, -v, a command.",
      ],
    }, own);
    if (parsed === undefined) return;
    if (instance === undefined) {
      throw new CommandError("Which instance? Usage: hive ssh <instance-id> -i KEY.", 2);
    }
    const node = await nodeOf(parsed.options["data-dir"]);
    return await ssh(node, requireInstanceId(instance), after, remote);
  },
};

const consoleCommand: HiveCommand = {
  words: ["console"],
  summary: "The serial console of an instance",
  async run(args) {
    const parsed = parse(
      {
        name: "hive console",
        summary: "Shows an instance's serial console and attaches to it; Ctrl-] leaves.",
        arguments: "<instance-id>",
        options: {
          "no-attach": { type: "boolean", help: "Only print what it said so far" },
          ...dataDirOption,
        },
      },
      args,
      { min: 1 },
    );
    if (parsed === undefined) return;
    const id = requireInstanceId(parsed.positionals[0] ?? "");
    return await console_(await nodeOf(parsed.options["data-dir"]), id, {
      attach: parsed.options["no-attach"] !== true,
    });
  },
};

const consoleLinkCommand: HiveCommand = {
  words: ["console-link"],
  summary: "An address that signs a browser in to the console",
  async run(args) {
    const parsed = parse({
      name: "hive console-link",
      summary:
        "Prints an address that signs one browser in to the console, once, for five minutes.",
      options: { ...jsonOption, ...dataDirOption },
    }, args);
    if (parsed === undefined) return;
    const link = await consoleLink(await nodeOf(parsed.options["data-dir"]));
    console.log(parsed.options.json === true ? JSON.stringify(link, null, 2) : link.url);
  },
};

const imageBuildCommand: HiveCommand = {
  words: ["image", "build"],
  summary: "Build a guest image from Debian's packages and register it",
  async run(args) {
    const parsed = parse(
      {
        name: "hive image build",
        summary: "Builds a guest image and registers it as an AMI.",
        arguments: "<name>",
        options: { ...jsonOption, ...dataDirOption },
        notes: [`Names: ${guestImageNames.join(", ")}.`],
      },
      args,
      { min: 1 },
    );
    if (parsed === undefined) return;
    const node = await nodeOf(parsed.options["data-dir"]);
    await using bus = await busOf(node);
    const id = await buildImage(bus, node.config, node.paths, parsed.positionals[0] ?? "");
    console.log(parsed.options.json === true ? JSON.stringify({ image_id: id }) : id);
  },
};

const formats: readonly string[] = ["raw", "qcow2", "vmdk"] satisfies ImageFormat[];
const architectures: readonly string[] = ["x86_64", "arm64"] satisfies Architecture[];

const imageImportCommand: HiveCommand = {
  words: ["image", "import"],
  summary: "Register a disk image file (raw, qcow2, vmdk) as an AMI",
  async run(args) {
    const parsed = parse(
      {
        name: "hive image import",
        summary: "Imports a disk image file and registers it as an AMI.",
        arguments: "<file>",
        options: {
          name: { type: "string", value: "NAME", help: "The AMI's name (default: the file's)" },
          description: { type: "string", value: "TEXT", help: "The AMI's description" },
          format: {
            type: "string",
            value: "FORMAT",
            help: "raw, qcow2 or vmdk (default: what the file's first bytes say)",
          },
          architecture: {
            type: "string",
            value: "ARCH",
            help: `x86_64 or arm64 (default: ${hostArchitecture})`,
          },
          ...jsonOption,
          ...dataDirOption,
        },
      },
      args,
      { min: 1 },
    );
    if (parsed === undefined) return;
    const { options } = parsed;
    const path = resolve(parsed.positionals[0] ?? "");
    if (!await exists(path) || !(await Deno.stat(path)).isFile) {
      throw new CommandError(`There is no file ${path}.`);
    }
    const format = options.format ?? await formatOf(path);
    const architecture = options.architecture ?? hostArchitecture;
    if (!formats.includes(format)) {
      throw new CommandError(`--format must be one of ${formats.join(", ")}, not "${format}".`, 2);
    }
    if (!architectures.includes(architecture)) {
      throw new CommandError(`--architecture must be one of ${architectures.join(", ")}.`, 2);
    }
    const fileName = path.split("/").at(-1) ?? "image";
    const node = await nodeOf(options["data-dir"]);
    await using bus = await busOf(node);
    const id = await importFile(bus, node.paths, {
      path,
      format: format as ImageFormat,
      architecture: architecture as Architecture,
      name: options.name ?? fileName.replace(/\.(raw|img|qcow2|vmdk)$/, ""),
      ...(options.description === undefined ? {} : { description: options.description }),
    });
    console.log(options.json === true ? JSON.stringify({ image_id: id }) : id);
  },
};

const imageListCommand: HiveCommand = {
  words: ["image", "list"],
  summary: "The images that instances can be launched from",
  async run(args) {
    const parsed = parse({
      name: "hive image list",
      summary: "Lists the images of this node's account, newest first.",
      options: { ...jsonOption, ...dataDirOption },
    }, args);
    if (parsed === undefined) return;
    const node = await nodeOf(parsed.options["data-dir"]);
    await using bus = await busOf(node);
    const images = await listImages(bus, node.config);
    if (parsed.options.json === true) return console.log(JSON.stringify(images, null, 2));
    if (images.length === 0) {
      return console.log("There are none; `hive image build debian-13` makes one.");
    }
    console.log(table(
      ["IMAGE", "NAME", "ARCHITECTURE", "STATE", "CREATED"],
      images.map((image) => [
        image.ImageId ?? "",
        image.Name ?? "",
        image.Architecture ?? "",
        image.State ?? "",
        String(image.CreationDate ?? ""),
      ]),
    ));
  },
};

const adminInitCommand: HiveCommand = {
  words: ["admin", "init"],
  summary: "Make a node without starting it",
  async run(args) {
    const parsed = parse({
      name: "hive admin init",
      summary: "Makes a node: configuration, keys, certificates. Completes one that is unfinished.",
      options: { ...jsonOption, ...nodeOptions },
    }, args);
    if (parsed === undefined) return;
    const { options } = parsed;
    const node = await initNode(dataDirOf(options["data-dir"]), startOptionsOf(options));
    if (options.json === true) return console.log(JSON.stringify(node.config, null, 2));
    console.log(
      `${node.created ? "Made" : "Completed"} node ${node.config.node_id} of cluster ` +
        `${node.config.cluster_id} in ${node.config.data_dir} (${node.config.az}).`,
    );
  },
};

const doctorCommand: HiveCommand = {
  words: ["doctor"],
  summary: "Check machine, software and the running node, with advice",
  async run(args) {
    const parsed = parse({
      name: "hive doctor",
      summary: "Checks this machine, its software and the running node, with advice.",
      options: { ...jsonOption, ...dataDirOption },
      notes: ["Exit code 0 when nothing is bad; warnings do not count."],
    }, args);
    if (parsed === undefined) return;
    return await doctor(parsed.options["data-dir"], parsed.options.json ?? false);
  },
};

const logsHiveCommand: HiveCommand = {
  words: ["logs"],
  summary: "The services' logs; -f follows, --request ID filters",
  run: (args) => logsCommand("hive logs", args),
};

export const commands: readonly HiveCommand[] = [
  statusCommand,
  envCommand,
  sshCommand,
  consoleCommand,
  consoleLinkCommand,
  imageBuildCommand,
  imageImportCommand,
  imageListCommand,
  ...s3Commands,
  ...volumeCommands,
  usageCommand,
  logsHiveCommand,
  doctorCommand,
  ...systemCommands,
  adminInitCommand,
  ...accountCommands,
  claimCommand,
  seedCheckCommand,
  seedSchemaCommand,
  firstBootCommand,
  healthCommand,
  stopGuestsCommand,
];
