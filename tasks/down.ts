/** `deno task down`: stops the cloud gracefully; `--purge` leaves nothing of it. */
import { stop } from "./stack/stop.ts";
import { dataDirOption, parse, runCommand } from "./terminal/command.ts";

await runCommand(async () => {
  const parsed = parse({
    name: "deno task down",
    summary: "Stops the cloud: first the guests, then the services, saying what it waits for.",
    options: {
      purge: { type: "boolean", help: "Remove the data directory and all that was stored in it" },
      force: { type: "boolean", help: "Give guests 10 seconds instead of 90 to shut down" },
      ...dataDirOption,
    },
    notes: ["Debian packages that setup installed stay; they are the system's."],
  }, Deno.args);
  if (parsed === undefined) return;
  const { options } = parsed;
  return await stop({
    ...(options["data-dir"] === undefined ? {} : { dataDir: options["data-dir"] }),
    purge: options.purge ?? false,
    force: options.force ?? options.purge ?? false,
  });
});
