/** `hive seed`: looks a seed over before it goes onto a card, and writes the schema for editors. */
import { readSeed, readUserData, seedSchema } from "../../services/cluster/seed.ts";
import { CommandError, parse } from "../terminal/command.ts";
import type { HiveCommand } from "./hive_command.ts";

export const seedCheckCommand: HiveCommand = {
  words: ["seed", "check"],
  summary: "Look a first-boot seed (mulga.yaml, user-data) over before it is used",
  async run(args) {
    const parsed = parse(
      {
        name: "hive seed check",
        summary: "Says whether a box would take this seed, and if not, what to mend and where.",
        arguments: "<file>",
        options: {},
        notes: [
          "A file named user-data is read as cloud-init's: a seed under the first line #mulga, or",
          "under the key `mulga` of a cloud-config. cloud-init/mulga.yaml explains every key.",
        ],
      },
      args,
      { min: 1 },
    );
    if (parsed === undefined) return;
    const path = parsed.positionals[0] ?? "";
    let bytes: Uint8Array;
    try {
      bytes = await Deno.readFile(path);
    } catch (cause) {
      throw new CommandError(`${path} cannot be read.`, 1, { cause });
    }
    const name = path.split("/").at(-1) ?? "";
    const seed = name === "user-data" ? readUserData(bytes, path) : readSeed(bytes, path);
    if (seed === undefined) {
      throw new CommandError(`${path} holds no seed: a box would wait to be claimed.`);
    }
    console.log(
      `${path} is good: a box would take ${Object.keys(seed).join(", ")} from it` +
        (name === "mulga.yaml" || name === "user-data"
          ? "."
          : ", once it is called mulga.yaml there: no other name is read."),
    );
  },
};

export const seedSchemaCommand: HiveCommand = {
  words: ["seed", "schema"],
  summary: "Print the JSON Schema of a seed, for editors",
  // deno-lint-ignore require-await
  async run(args) {
    const parsed = parse({
      name: "hive seed schema",
      summary: "Prints the JSON Schema of a seed, which editors use to complete and check it.",
      options: {},
    }, args);
    if (parsed === undefined) return;
    console.log(JSON.stringify(seedSchema(), null, 2));
  },
};
