/** `deno task bench`: measures against peers in the same run, and prints ratios. */
import { ensureMachine } from "./setup/setup.ts";
import { jsonOption, parse, runCommand } from "./terminal/command.ts";
import { runBenchmarks } from "./testing/benchmarks.ts";

await runCommand(async () => {
  const parsed = parse(
    {
      name: "deno task bench",
      summary: "Runs the benchmarks one after another and prints their ratios.",
      arguments: "[name…] [-- options of that benchmark…]",
      options: jsonOption,
    },
    Deno.args,
    { min: 0, max: 20 },
  );
  if (parsed === undefined) return;
  await ensureMachine("tests");
  return await runBenchmarks(parsed.positionals, parsed.options.json ?? false, parsed.rest);
});
