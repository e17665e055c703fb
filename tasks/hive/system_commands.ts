/** The commands that care for the system and its state as a whole; each has a folder. */
import { backupCommand, restoreCommand } from "./backup/command.ts";
import type { HiveCommand } from "./hive_command.ts";
import { supportCommand } from "./support/command.ts";
import { installCommand } from "./install/command.ts";
import { resetCommand } from "./reset/command.ts";
import { keepCommand } from "./uboot/command.ts";
import { updateCommand } from "./update/command.ts";

export const systemCommands: readonly HiveCommand[] = [
  updateCommand,
  keepCommand,
  backupCommand,
  restoreCommand,
  supportCommand,
  installCommand,
  resetCommand,
];
