/** `deno task dev`: the cloud in the foreground; a service restarts when its files change. */
import { foreground } from "./stack/foreground.ts";
import { nodeOptions, startOptionsOf } from "./stack/start_options.ts";
import { parse, runCommand } from "./terminal/command.ts";

await runCommand(async () => {
  const parsed = parse({
    name: "deno task dev",
    summary: "Runs the cloud in the foreground and restarts a service when its files change.",
    options: nodeOptions,
  }, Deno.args);
  if (parsed === undefined) return;
  return await foreground(
    { ...startOptionsOf(parsed.options), image: false, setup: true },
    true,
  );
});
