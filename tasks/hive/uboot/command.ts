/** `hive admin keep`: what the system calls on a machine that U-Boot starts, once it is healthy. */
import { osReleaseField } from "../../../services/config/release.ts";
import { CommandError, parse } from "../../terminal/command.ts";
import type { HiveCommand } from "../hive_command.ts";
import { type BootPartition, keep } from "./boot_choice.ts";
import { mountedPartition, startedByUBoot } from "./boot_partition.ts";

/** The boot partition of this machine. @throws CommandError when it is not mounted */
export async function bootPartition(): Promise<BootPartition> {
  for (const root of ["/boot", "/efi", "/boot/efi"]) {
    const partition = mountedPartition(root);
    if ((await partition.list("EFI/Linux")).length > 0) return partition;
  }
  throw new CommandError("The boot partition is not mounted; see `systemctl status boot.mount`.");
}

export const keepCommand: HiveCommand = {
  words: ["admin", "keep"],
  summary: "Start the running version from now on (machines that U-Boot starts)",
  async run(args) {
    const parsed = parse({
      name: "hive admin keep",
      summary: "Makes the running version the one that the machine starts from now on.",
      options: {},
      notes: [
        "For machines that U-Boot starts, such as a Raspberry Pi: there a new version is started " +
        "once,\nand the start after that is the old version's. The system calls this by itself when it " +
        "is healthy.",
      ],
    }, args);
    if (parsed === undefined) return;
    if (!await startedByUBoot()) {
      console.log("U-Boot did not start this machine: its boot loader keeps versions by itself.");
      return;
    }
    const text = await Deno.readTextFile("/usr/lib/os-release").catch(() => "");
    const version = osReleaseField(text, "IMAGE_VERSION");
    if (osReleaseField(text, "IMAGE_ID") !== "mulgaos" || version === undefined) {
      throw new CommandError("This system is not the MulgaOS image: there is no version to keep.");
    }
    const changed = await keep(await bootPartition(), version);
    console.log(`Version ${version} is started from now on${changed ? "" : ", as before"}.`);
  },
};
