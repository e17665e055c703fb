/**
 * How this user types a task: `deno task …` where Deno is installed, else through npx with the
 * version that runs now. Hints that cannot be typed as they stand are worse than none.
 */
import { join } from "node:path";

let found: string | undefined;

export function taskCommand(): string {
  return found ??= onPath("deno") ? "deno task" : `npx -y deno@${Deno.version.deno} task`;
}

/** npx puts its own cache in front for what it runs; the user's shell does not have that. */
function onPath(program: string): boolean {
  for (const directory of (Deno.env.get("PATH") ?? "").split(":")) {
    if (directory.includes("node_modules")) continue;
    try {
      if (Deno.statSync(join(directory, program)).isFile) return true;
    } catch {
      // Not there.
    }
  }
  return false;
}
