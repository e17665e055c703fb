/** `hive volume …`: what a volume does, and whether all that it has stored is what was written. */
import { systemContext } from "../../../services/bus/subject.ts";
import {
  checkVolume,
  type SyncMode,
  volumeMetrics,
  volumeSync,
} from "../../../services/viperblock/contract.ts";
import { CommandError, dataDirOption, jsonOption, parse } from "../../terminal/command.ts";
import { bytes } from "../../terminal/table.ts";
import type { HiveCommand } from "../hive_command.ts";
import { busOf, nodeOf } from "../node.ts";
import { rotateKeyCommand } from "./rotate_key.ts";

const fsckCommand: HiveCommand = {
  words: ["volume", "fsck"],
  summary: "Whether all that a volume or snapshot has stored is what was written",
  async run(args) {
    const parsed = parse(
      {
        name: "hive volume fsck",
        summary: "Reads every chunk of a volume or snapshot and says exactly what is wrong.",
        arguments: "<vol-… | snap-…>",
        options: { ...jsonOption, ...dataDirOption },
        notes: ["Nothing is changed. Exit code: 0 all is sound, 1 something is damaged."],
      },
      args,
      { min: 1 },
    );
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
      if (report.as_of === "now") {
        console.log(
          `  It is mounted: this is its map as it is now. ${
            bytes(report.log_bytes)
          } of it are in the log, which was read, too.`,
        );
      } else if (report.as_of === "last_unmount") {
        console.log(
          "  It is mounted, and its map of now was not to be had: this is what it was mounted with.",
        );
      }
      for (const { block, blocks = 1, why } of report.damage) {
        if (block === undefined) {
          console.log(`  ${why}`);
          continue;
        }
        const end = block + blocks;
        const which = blocks === 1 ? `block ${block}` : `blocks ${block} to ${end - 1}`;
        console.log(`  ${which}: ${why} (bytes ${block * 4096} to ${end * 4096 - 1})`);
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
    const parsed = parse(
      {
        name: "hive volume status",
        summary: "Shows the counters of a mounted volume since its engine began.",
        arguments: "<vol-…>",
        options: { ...jsonOption, ...dataDirOption },
      },
      args,
      { min: 1 },
    );
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

const syncModes: Readonly<Record<SyncMode, string>> = {
  always: "every write is on stable storage when it is acknowledged",
  flush: "writes are on stable storage when a flush or FUA is acknowledged",
  relaxed: "writes reach stable storage some time later; a power cut may lose the last of them",
};

const isMode = (text: string): text is SyncMode => Object.hasOwn(syncModes, text);

const syncCommand: HiveCommand = {
  words: ["volume", "sync"],
  summary: "When a volume's writes are on stable storage: shown, or set",
  async run(args) {
    const parsed = parse(
      {
        name: "hive volume sync",
        summary:
          "Shows when a volume's writes are on stable storage, or sets it, also while it is in use.",
        arguments: "<vol-…> [always | flush | relaxed]",
        options: { ...jsonOption, ...dataDirOption },
        notes: Object.entries(syncModes).map(([mode, what]) => `${mode}: ${what}.`),
      },
      args,
      { min: 1, max: 2 },
    );
    if (parsed === undefined) return;
    const [volume_id, sync] = parsed.positionals;
    if (volume_id === undefined || (sync !== undefined && !isMode(sync))) {
      throw new CommandError(
        "Usage: hive volume sync <vol-…> [always | flush | relaxed].",
        2,
      );
    }
    const node = await nodeOf(parsed.options["data-dir"]);
    await using bus = await busOf(node);
    const now = await bus.ask(volumeSync, { volume_id, ...(sync === undefined ? {} : { sync }) });
    if (parsed.options.json === true) console.log(JSON.stringify(now, null, 2));
    else console.log(`${volume_id}: ${now.sync} (${syncModes[now.sync]}).`);
    return 0;
  },
};

export const volumeCommands: readonly HiveCommand[] = [
  fsckCommand,
  statusCommand,
  rotateKeyCommand,
  syncCommand,
];
