/**
 * `hive claim`: claims the box that it runs on, for whoever is at its shell already and so need not
 * read the code off the screen. It goes through the same door as everybody, so there is one way to
 * claim a box.
 */
import { claimFiles } from "../../services/cluster/claim_files.ts";
import { defaultPorts, pathsOf, readConfig } from "../../services/config/node_config.ts";
import { dataDirOf } from "../init/data_dir.ts";
import { exists } from "../init/write_file.ts";
import { CommandError, dataDirOption, jsonOption, parse } from "../terminal/command.ts";
import type { HiveCommand } from "./hive_command.ts";

export const claimCommand: HiveCommand = {
  words: ["claim"],
  summary: "Claim this box from its own shell: names region and zone, prints the access key once",
  async run(args) {
    const parsed = parse({
      name: "hive claim",
      summary: "Claims the box that this runs on, and prints the administrator's access key, once.",
      options: {
        region: { type: "string", value: "NAME", help: "Region (default: ap-southeast-2)" },
        az: { type: "string", value: "NAME", help: "Availability zone (default: region + a)" },
        hostname: { type: "string", value: "NAME", help: "Host name of the box" },
        ...jsonOption,
        ...dataDirOption,
      },
      notes: ["From another machine: the box's screen shows an address and a code."],
    }, args);
    if (parsed === undefined) return;
    const { "data-dir": named, json, help: _, ...wish } = parsed.options as
      & typeof parsed.options
      & {
        help?: boolean;
      };
    const claimed = await claim(dataDirOf(named), wish);
    if (json === true) return console.log(JSON.stringify(claimed, null, 2));
    console.log(
      `This box is node ${claimed["node_id"]} of ${
        claimed["az"]
      } now. Its access key, shown once:\n\n` +
        `  aws_access_key_id = ${claimed["access_key_id"]}\n` +
        `  aws_secret_access_key = ${claimed["secret_access_key"]}`,
    );
  },
};

async function claim(
  dataDir: string,
  wish: { readonly region?: string; readonly az?: string; readonly hostname?: string },
): Promise<Record<string, unknown>> {
  const paths = pathsOf(dataDir);
  const { code: file } = claimFiles(paths);
  if (!await exists(file)) {
    throw new CommandError(
      `There is nothing to claim in ${dataDir}: it is claimed already, or no box was set up there.`,
    );
  }
  const { code } = JSON.parse(await Deno.readTextFile(file));
  const port = await exists(paths.config)
    ? (await readConfig(dataDir)).ports.control
    : defaultPorts.control;
  using client = Deno.createHttpClient({ caCerts: [await Deno.readTextFile(paths.tls.ca)] });
  let reply: Response;
  try {
    reply = await fetch(`https://localhost:${port}/claim`, {
      client,
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ code, ...wish }),
      signal: AbortSignal.timeout(30_000),
    });
  } catch (cause) {
    throw new CommandError(
      `The control server on port ${port} does not answer; is mulga-cluster.service running?`,
      1,
      { cause },
    );
  }
  const said = await reply.json();
  if (!reply.ok) throw new CommandError(String(said.error));
  return said;
}
