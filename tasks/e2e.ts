/** `deno task e2e`: real guests, kill -9 and power cuts, fresh Debian roots. */
import { ensureMachine } from "./setup/setup.ts";
import { parse, runCommand } from "./terminal/command.ts";
import { runSteps } from "./testing/run_tests.ts";
import { endToEndSteps } from "./testing/suites.ts";

await runCommand(async () => {
  const parsed = parse({
    name: "deno task e2e",
    summary: "Runs the end-to-end tests with real guests and on fresh Debian roots.",
    options: { "no-setup": { type: "boolean", help: "Do not look for missing packages" } },
    notes: ["The last line is `N passed, N failed`."],
  }, Deno.args);
  if (parsed === undefined) return;
  if (parsed.options["no-setup"] !== true) await ensureMachine("tests");
  return await runSteps(endToEndSteps());
});
