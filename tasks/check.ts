/** `deno task check`: format, lint, types and unit tests; the gate before a commit. */
import { ensureMachine } from "./setup/setup.ts";
import { parse, runCommand } from "./terminal/command.ts";
import { runSteps } from "./testing/run_tests.ts";
import { checkSteps } from "./testing/suites.ts";

await runCommand(async () => {
  const parsed = parse({
    name: "deno task check",
    summary: "Checks format, lint and types, and runs the unit tests.",
    options: { "no-setup": { type: "boolean", help: "Do not look for missing packages" } },
  }, Deno.args);
  if (parsed === undefined) return;
  if (parsed.options["no-setup"] !== true) await ensureMachine("run");
  return await runSteps(checkSteps);
});
