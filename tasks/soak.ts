/** `deno task soak`: random histories, random requests and long losses, with seeds that a failure names. */
import { ensureMachine } from "./setup/setup.ts";
import { parse, runCommand } from "./terminal/command.ts";
import { runSteps } from "./testing/run_tests.ts";
import { soakSteps } from "./testing/suites.ts";

await runCommand(async () => {
  const parsed = parse({
    name: "deno task soak",
    summary: "Looks for what nobody has found yet: random histories, requests and losses.",
    options: { "no-setup": { type: "boolean", help: "Do not look for missing packages" } },
    notes: ["A failure names its seed. The last line is `N passed, N failed`."],
  }, Deno.args);
  if (parsed === undefined) return;
  if (parsed.options["no-setup"] !== true) await ensureMachine("tests");
  return await runSteps(soakSteps());
});
