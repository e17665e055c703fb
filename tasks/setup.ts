/** `deno task setup`: checks this machine and installs what is missing. */
import { dataDirOf } from "./init/data_dir.ts";
import { setup } from "./setup/setup.ts";
import { CommandError, dataDirOption, jsonOption, parse, runCommand } from "./terminal/command.ts";

await runCommand(async () => {
  const parsed = parse({
    name: "deno task setup",
    summary: "Checks this machine and installs what MulgaOS needs and is missing.",
    options: {
      for: {
        type: "string",
        value: "run|tests",
        help: "What the machine is prepared for (default: run; tests needs that too)",
      },
      check: { type: "boolean", help: "Only look; install nothing" },
      ...jsonOption,
      ...dataDirOption,
    },
    notes: ["Exit code 0 when everything needed is there, 1 when something is missing."],
  }, Deno.args);
  if (parsed === undefined) return;
  const { options } = parsed;
  const set = options.for ?? "run";
  if (set !== "run" && set !== "tests") {
    throw new CommandError(`--for must be run or tests, not "${set}".`, 2);
  }
  return await setup(set, dataDirOf(options["data-dir"]), {
    check: options.check ?? false,
    json: options.json ?? false,
  });
});
