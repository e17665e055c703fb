/** `deno task status`: health of every service. */
import { status } from "./stack/status.ts";
import { dataDirOption, jsonOption, parse, runCommand } from "./terminal/command.ts";

await runCommand(async () => {
  const parsed = parse({
    name: "deno task status",
    summary: "Shows how the node and each of its services are.",
    options: { ...jsonOption, ...dataDirOption },
    notes: ["Exit code: 0 all is well, 1 something is not, 3 the node does not run."],
  }, Deno.args);
  if (parsed === undefined) return;
  return await status(parsed.options["data-dir"], parsed.options.json ?? false);
});
