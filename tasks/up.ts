/** `deno task up`: sets this machine up if needed, starts the cloud, says what to type next. */
import { foreground } from "./stack/foreground.ts";
import { start } from "./stack/start.ts";
import { nodeOptions, startOptionsOf } from "./stack/start_options.ts";
import { parse, runCommand } from "./terminal/command.ts";

await runCommand(async () => {
  const parsed = parse({
    name: "deno task up",
    summary: "Sets this machine up if needed, starts the cloud and leaves it running.",
    options: {
      foreground: { type: "boolean", help: "Stay; print the logs; Ctrl-C stops the cloud" },
      "no-image": { type: "boolean", help: "Do not build the first guest image" },
      "no-setup": { type: "boolean", help: "Do not look for missing packages" },
      ...nodeOptions,
    },
    notes: [
      "Ports, region and names are chosen at the first start and kept with the data.",
      "A second `up` on the same data directory finds the running cloud and changes nothing.",
    ],
  }, Deno.args);
  if (parsed === undefined) return;
  const { options } = parsed;
  const startOptions = {
    ...startOptionsOf(options),
    image: options["no-image"] !== true,
    setup: options["no-setup"] !== true,
  };
  return options.foreground === true
    ? await foreground(startOptions, false)
    : await start(startOptions);
});
