/** `hive volume …`: what a volume does, and whether all that it has stored is what was written. */
import { systemContext } from "../../../services/bus/subject.ts";
import { checkVolume, volumeMetrics } from "../../../services/viperblock/contract.ts";
import { CommandError, dataDirOption, jsonOption, parse } from "../../terminal/command.ts";
import { bytes } from "../../terminal/table.ts";
import type { HiveCommand } from "../hive_command.ts";
import { busOf, nodeOf } from "../node.ts";
import { rotateKeyCommand } from "./rotate_key.ts";

const fsckCommand: HiveCommand = {
  words: ["volume", "fsck"],
  summary: "Whether all that a volume or snapshot has stored is what was written",
  async run(args) {
    const parsed = parse({
      name: "hive volume fsck",
      summary: "Reads every chunk of a volume or snapshot and says exactly what is wrong.",
      arguments: "<vol-… | snap-…>",
      options: { ...jsonOption, ...dataDirOption },
      notes: ["Nothing is changed. Exit code: 0 all is sound, 1 something is damaged."],
    }, args);
    if (parsed === undefined) return;
    const id = parsed.positionals[0];
    if (id === undefined) throw new CommandError("Which one? Usage: hive volume fsck <id>.", 2);
    const node = await nodeOf(parsed.options["data-dir"]);
    await using bus = await busOf(node);
    const report = await bus.ask(checkVolume, { id }, systemContext(checkVolume.timeout_ms));
    if (parsed.options.json === true) console.log(JSON.stringify(report, null, 2));
    else {
      console.log(
        `${id}: ${bytes(report.mapped_bytes)} of ${bytes(report.size_bytes)} in ${report.chunks} ` +
          `chunks of ${bytes(report.chunk_bytes)}; ${
            report.is_sound ? "all is sound" : `${report.damaged_blocks} blocks are damaged`
          }.`,
      );
      for (const { block, why } of report.damage) {
        console.log(block === undefined ? `  ${why}` : `  block ${block}: ${why}`);
      }
      for (const sentence of report.books) console.log(`  ${sentence}`);
    }
    return report.is_sound ? 0 : 1;
  },
};

const statusCommand: HiveCommand = {
  words: ["volume", "status"],
  summary: "What a mounted volume has done, and what it takes",
  async run(args) {
    const parsed = parse({
      name: "hive volume status",
      summary: "Shows the counters of a mounted volume since its engine began.",
      arguments: "<vol-…>",
      options: { ...jsonOption, ...dataDirOption },
    }, args);
    if (parsed === undefined) return;
    const volume_id = parsed.positionals[0];
    if (volume_id === undefined) {
      throw new CommandError("Which one? Usage: hive volume status <vol-…>.", 2);
    }
    const node = await nodeOf(parsed.options["data-dir"]);
    await using bus = await busOf(node);
    const metrics = await bus.ask(volumeMetrics, { volume_id });
    if (parsed.options.json === true) console.log(JSON.stringify(metrics, null, 2));
    else for (const [name, value] of Object.entries(metrics)) console.log(`${name}: ${value}`);
    return 0;
  },
};

export const volumeCommands: readonly HiveCommand[] = [
  fsckCommand,
  statusCommand,
  rotateKeyCommand,
];
