/** The command line of `logs`, which `deno task logs` and `hive logs` share. */
import { CommandError, dataDirOption, jsonOption, parse } from "../terminal/command.ts";
import { logs } from "./logs.ts";

export async function logsCommand(name: string, args: readonly string[]): Promise<number | void> {
  const parsed = parse(
    {
      name,
      summary: "Prints the services' logs in the order of time.",
      arguments: "[service…]",
      options: {
        follow: { type: "boolean", short: "f", help: "Go on as lines come" },
        request: {
          type: "string",
          value: "ID",
          help: "Only what belongs to one API request, through all services",
        },
        level: { type: "string", value: "LEVEL", help: "debug, info, warn or error and above" },
        lines: { type: "string", short: "n", value: "N", help: "How many lines (default: 200)" },
        ...jsonOption,
        ...dataDirOption,
      },
    },
    args,
    { min: 0, max: 20 },
  );
  if (parsed === undefined) return;
  const { options } = parsed;
  const lines = Number(options.lines ?? 200);
  if (!Number.isInteger(lines) || lines < 0) {
    throw new CommandError(`--lines must be a number, not "${options.lines}".`, 2);
  }
  return await logs({
    names: parsed.positionals,
    follow: options.follow ?? false,
    lines,
    json: options.json ?? false,
    ...(options.request === undefined ? {} : { request: options.request }),
    ...(options.level === undefined ? {} : { level: options.level }),
    ...(options["data-dir"] === undefined ? {} : { dataDir: options["data-dir"] }),
  });
}
