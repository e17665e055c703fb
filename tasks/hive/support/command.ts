/** `hive support`. */
import { resolve } from "node:path";
import { pathsOf } from "../../../services/config/node_config.ts";
import { dataDirOf } from "../../init/data_dir.ts";
import { CommandError, dataDirOption, jsonOption, parse } from "../../terminal/command.ts";
import { Progress } from "../../terminal/progress.ts";
import { bytes as sizeText } from "../../terminal/table.ts";
import { writeTar } from "../archive/tar.ts";
import { compressed } from "../backup/backup.ts";
import { placeOf } from "../backup/place.ts";
import type { HiveCommand } from "../hive_command.ts";
import { collectSupport } from "./collect.ts";
import { redactorOf } from "./redact.ts";

/** `mulga-support-20261125T151800Z.tar.zst` */
function defaultName(): string {
  const now = new Date().toISOString().replace(/\.\d+Z$/, "Z").replace(/[:-]/g, "");
  return `mulga-support-${now}.tar.zst`;
}

export const supportCommand: HiveCommand = {
  words: ["support"],
  summary: "Write a bundle for whoever helps: logs, states, versions, no secrets",
  async run(args) {
    const parsed = parse(
      {
        name: "hive support",
        summary: "Writes a bundle of logs, states, versions and facts, without secrets.",
        arguments: "[FILE]",
        options: { ...jsonOption, ...dataDirOption },
        notes: [
          "In it: the services' logs and the journal, unit states, configuration, versions, health, disks, " +
          "network, sizes of the state store's streams. Not in it: keys, passwords, user data, what guests " +
          "wrote, what is stored. Look into it before you send it: `tar --zstd -xf FILE`.",
        ],
      },
      args,
      { min: 0, max: 1 },
    );
    if (parsed === undefined) return;
    const file = resolve(parsed.positionals[0] ?? defaultName());
    const paths = pathsOf(dataDirOf(parsed.options["data-dir"]));
    const place = await placeOf(
      file,
      () => Promise.reject(new CommandError("A bundle goes to a file.", 2)),
    );
    using progress = new Progress("Support bundle");
    const redactor = await redactorOf(paths.root);
    const entries = collectSupport(paths, redactor, (what) => progress.update(what));
    const size_bytes = await place.write(compressed(writeTar(entries)));
    progress.done(`${sizeText(size_bytes)} in ${place.name}`);
    console.log(
      parsed.options.json === true
        ? JSON.stringify({ file: place.name, size_bytes }, null, 2)
        : place.name,
    );
  },
};
