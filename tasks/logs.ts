/** `deno task logs`: prints and follows the services' logs. */
import { logsCommand } from "./stack/logs_command.ts";
import { runCommand } from "./terminal/command.ts";

await runCommand(() => logsCommand("deno task logs", Deno.args));
