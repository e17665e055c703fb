/** `hive reset`. */
import { dataDirOf } from "../../init/data_dir.ts";
import { CommandError, dataDirOption, parse } from "../../terminal/command.ts";
import type { HiveCommand } from "../hive_command.ts";
import { applianceReset, factoryReset, resetSubject } from "./reset.ts";

export const resetCommand: HiveCommand = {
  words: ["reset"],
  summary: "Erase everything on this machine and start anew (--factory)",
  async run(args) {
    const parsed = parse({
      name: "hive reset",
      summary:
        "Erases users, keys, instances, volumes and objects of this machine, and restarts it as new.",
      options: {
        factory: { type: "boolean", help: "Needed: this is what it does" },
        yes: { type: "boolean", help: "Do not ask" },
        ...dataDirOption,
      },
      notes: [
        "Only on the MulgaOS image. The installed versions stay. Save the state first: `hive backup FILE`.",
      ],
    }, args);
    if (parsed === undefined) return;
    const { options } = parsed;
    if (options.factory !== true) {
      throw new CommandError("Say --factory: there is no other reset than to erase everything.", 2);
    }
    const places = applianceReset(dataDirOf(options["data-dir"]));
    const subject = await resetSubject(places);
    if (Deno.uid() !== 0) throw new CommandError("A reset needs root: run this with sudo.");
    if (options.yes !== true) {
      if (!Deno.stdin.isTerminal()) {
        throw new CommandError("Nobody can be asked here; say --yes if this is meant.", 2);
      }
      const word = subject === "this box" ? "erase" : subject;
      const answer = prompt(
        `Everything on ${subject} will be erased for good. Type "${word}" to go on:`,
      );
      if (answer?.trim() !== word) throw new CommandError("Nothing was changed.");
    }
    await factoryReset(places);
    console.log("The machine restarts and erases its data partition.");
  },
};
