/** `hive`, the operator's command: finds the sub-command and runs it. */
import { commands } from "./hive/commands.ts";
import { CommandError, runCommand } from "./terminal/command.ts";

function overview(group: string | undefined): string {
  const shown = commands.filter((one) => group === undefined || one.words[0] === group);
  const names = shown.map((one) => one.words.join(" "));
  const width = Math.max(...names.map((name) => name.length));
  return [
    "hive: the operator's command of MulgaOS",
    "",
    `Usage: hive ${group ?? ""}${group === undefined ? "" : " "}<command> [options]`,
    "",
    ...shown.map((one, at) => `  ${names[at]?.padEnd(width)}  ${one.summary}`),
    "",
    "`hive <command> --help` tells more. The node is that of --data-dir, else $MULGA_DATA_DIR, else",
    "~/.local/share/mulga.",
  ].join("\n");
}

await runCommand(async () => {
  const args = Deno.args;
  const [first, second] = args;
  if (first === undefined || first === "--help" || first === "-h" || first === "help") {
    console.log(overview(undefined));
    return first === undefined ? 2 : 0;
  }
  const command = commands.find((one) => one.words.every((word, at) => args[at] === word));
  if (command !== undefined) return await command.run(args.slice(command.words.length));
  const group = commands.some((one) => one.words.length > 1 && one.words[0] === first);
  if (group) {
    console.log(overview(first));
    return second === "--help" || second === "-h" ? 0 : 2;
  }
  throw new CommandError(`hive does not know "${first}"; \`hive --help\` lists what it knows.`, 2);
});
