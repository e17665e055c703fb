/**
 * `deno task test`: installs what the tests need, then checks and tests everything but the long suites.
 *
 * By its name Deno takes this file for a test module; `deno.json` excludes it, and the guard below
 * keeps a run that finds it all the same from running all tests inside a test.
 */
import { ensureMachine } from "./setup/setup.ts";
import { parse, runCommand } from "./terminal/command.ts";
import { runSteps } from "./testing/run_tests.ts";
import { checkSteps, integrationSteps } from "./testing/suites.ts";

if (import.meta.main) {
  await runCommand(async () => {
    const parsed = parse({
      name: "deno task test",
      summary: "Installs what the tests need, then runs `check` and the integration tests.",
      options: { "no-setup": { type: "boolean", help: "Do not look for missing packages" } },
      notes: ["The last line is `N passed, N failed`."],
    }, Deno.args);
    if (parsed === undefined) return;
    if (parsed.options["no-setup"] !== true) await ensureMachine("tests");
    return await runSteps([...checkSteps, ...integrationSteps()]);
  });
}
