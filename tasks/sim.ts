/**
 * Runs a simulation by its name, for as long as one likes: `deno task sim predastore --schedules 100000`.
 * Each is `tests/sim/<name>_sim.ts`, prints its seed and takes `--seed` to run the same again.
 */
import { CommandError, runCommand } from "./terminal/command.ts";

const folder = new URL("../tests/sim/", import.meta.url);

await runCommand(async () => {
  const names: string[] = [];
  for await (const { name } of Deno.readDir(folder)) {
    const match = /^(.+)_sim\.ts$/.exec(name);
    if (match?.[1] !== undefined) names.push(match[1]);
  }
  const [name, ...args] = Deno.args;
  const usage = `Usage: deno task sim <${names.sort().join("|")}> [options]`;
  if (name === "--help" || name === "-h") {
    console.log(
      `Runs a store on simulated disks that crash as a seed says.\n\n${usage}\n\n` +
        "`deno task sim <name> --help` tells the options of one.",
    );
    return 0;
  }
  if (name === undefined || !names.includes(name)) {
    const what = name === undefined ? "Which simulation?" : `There is no simulation "${name}".`;
    throw new CommandError(`${what} ${usage}`, 2);
  }
  const { code } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", new URL(`${name}_sim.ts`, folder).pathname, ...args],
    stdin: "inherit",
    stdout: "inherit",
    stderr: "inherit",
  }).output();
  return code;
});
