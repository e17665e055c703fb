/** `deno task test:image`: the appliance's images in virtual machines, from flashing to factory reset. */
import { ensureMachine } from "./setup/setup.ts";
import { CommandError, parse, runCommand } from "./terminal/command.ts";
import { runSteps } from "./testing/run_tests.ts";
import { imageSteps } from "./testing/suites.ts";

await runCommand(async () => {
  const parsed = parse({
    name: "deno task test:image",
    summary: "Builds the appliance's images and runs them in virtual machines; takes hours.",
    options: {
      cuts: {
        type: "string",
        value: "N",
        help: "How often the power is cut in the first boot, and in an update (default: 20)",
      },
      only: { type: "string", value: "NAME", help: "Only tests/image/NAME_test.ts" },
      "no-setup": { type: "boolean", help: "Do not look for missing packages" },
    },
    notes: [
      "MULGA_TEST_SEED=… repeats the random moments of an earlier run.",
      "The last line is `N passed, N failed`.",
    ],
  }, Deno.args);
  if (parsed === undefined) return;
  const { options } = parsed;
  if (options.cuts !== undefined) {
    if (!/^[1-9]\d{0,3}$/.test(options.cuts)) {
      throw new CommandError(`--cuts must be a number from 1 on, not "${options.cuts}".`, 2);
    }
    Deno.env.set("MULGA_TEST_CUTS", options.cuts);
  }
  const steps = imageSteps().filter(({ name }) =>
    options.only === undefined || name.endsWith(`/${options.only}_test.ts`)
  );
  if (steps.length === 0) {
    throw new CommandError(
      `There is no tests/image/${options.only}_test.ts; there are ${
        imageSteps().map(({ name }) => name).join(", ")
      }.`,
      2,
    );
  }
  if (options["no-setup"] !== true) await ensureMachine("tests");
  return await runSteps(steps);
});
