/**
 * `hive volume rotate-key`: a new master key for the node's volumes.
 *
 * The new key is put before the old one in the file, then viperblock seals every volume's key anew, and only
 * when none is left that needs an older key do the older ones go. Cut off anywhere, it is run again. Data is
 * not touched: what changes is what the data keys are sealed by.
 */
import { systemContext } from "../../../services/bus/subject.ts";
import { rewrapKeys } from "../../../services/viperblock/contract.ts";
import { writeWhole } from "../../init/write_file.ts";
import { CommandError, dataDirOption, jsonOption, parse } from "../../terminal/command.ts";
import type { HiveCommand } from "../hive_command.ts";
import { busOf, nodeOf } from "../node.ts";

/** Puts the lines in the place of the file's, which goes on belonging to whom it belongs. */
async function replaceKeys(path: string, lines: readonly string[]): Promise<void> {
  const { mode, uid, gid } = await Deno.stat(path);
  await writeWhole(path, `${lines.join("\n")}\n`, (mode ?? 0o600) & 0o777);
  if (uid !== null && gid !== null) await Deno.chown(path, uid, gid);
}

export const rotateKeyCommand: HiveCommand = {
  words: ["volume", "rotate-key"],
  summary: "A new master key for encrypted volumes' keys",
  async run(args) {
    const parsed = parse({
      name: "hive volume rotate-key",
      summary: "Makes a new master key and seals the key of every encrypted volume by it.",
      options: { ...jsonOption, ...dataDirOption },
      notes: [
        "The data itself is not touched, and volumes are served meanwhile.",
        "Take a backup afterwards: one that was taken before has the older key.",
      ],
    }, args);
    if (parsed === undefined) return;
    const node = await nodeOf(parsed.options["data-dir"]);
    const path = node.paths.volumeKeys;
    await using bus = await busOf(node);
    const older = (await Deno.readTextFile(path)).split("\n").filter((line) => line.trim() !== "");
    const fresh = crypto.getRandomValues(new Uint8Array(32)).toBase64();
    await replaceKeys(path, [fresh, ...older]);
    const report = await bus.ask(rewrapKeys, null, systemContext(rewrapKeys.timeout_ms));
    if (report.unreadable.length > 0) {
      throw new CommandError(
        `The keys of ${
          report.unreadable.join(", ")
        } are not sealed by any key in ${path}, or were altered. ` +
          `The others have the new key; the older master keys stay in the file. ` +
          `Restore the missing one from a backup and run this again.`,
      );
    }
    await replaceKeys(path, [fresh]);
    if (parsed.options.json === true) console.log(JSON.stringify(report, null, 2));
    else {
      console.log(
        `${report.rewrapped} of ${report.keys} volumes' keys were sealed by a new master key; ` +
          `the older one is gone from ${path}. Take a backup now.`,
      );
    }
    return 0;
  },
};
