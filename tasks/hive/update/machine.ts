/** The machine that this command runs on, as an update sees it. */
import { trustedKeyDirectories } from "../../../image/signing/keys.ts";
import { readStamp } from "../../../services/config/formats.ts";
import { dataDirOf } from "../../init/data_dir.ts";
import { CommandError } from "../../terminal/command.ts";
import { hostArchitecture } from "./release.ts";
import { startedByUBoot } from "../uboot/boot_partition.ts";
import { bootPartition } from "../uboot/command.ts";
import type { Slots } from "./slots.ts";
import { appliancePlaces, SysupdateSlots } from "./sysupdate_slots.ts";
import { UBootSlots } from "./uboot_slots.ts";
import type { UpdateSite } from "./update.ts";

const updatesDirectory = "/var/lib/updates";

/** Where a machine that is not told otherwise looks for releases: one line, an address or a folder. */
const sourceFiles = ["/etc/mulga/update-source", "/usr/lib/mulga/update-source"] as const;

async function slotsOfThisMachine(): Promise<Slots> {
  const slots = new SysupdateSlots(appliancePlaces(updatesDirectory));
  return await startedByUBoot() ? new UBootSlots(slots, bootPartition) : slots;
}

/** @throws CommandError on a system that is not the appliance, or without the rights */
export async function thisMachine(dataDir: string | undefined): Promise<UpdateSite> {
  const slots = await slotsOfThisMachine();
  await slots.current();
  if (Deno.uid() !== 0) throw new CommandError("An update needs root: run this with sudo.");
  await Deno.mkdir(updatesDirectory, { recursive: true, mode: 0o700 });
  return {
    directory: updatesDirectory,
    keyDirectories: trustedKeyDirectories,
    slots,
    architecture: hostArchitecture,
    stamp: () => readStamp(dataDirOf(dataDir)),
  };
}

/** @throws CommandError when none is configured */
export async function configuredSource(): Promise<string> {
  for (const path of sourceFiles) {
    const line = (await Deno.readTextFile(path).catch(() => "")).split("\n")
      .map((one) => one.trim()).find((one) => one !== "" && !one.startsWith("#"));
    if (line !== undefined) return line;
  }
  throw new CommandError(
    `Where from? Say --from with an address, a folder or "usb", or write it into ${
      sourceFiles[0]
    }.`,
    2,
  );
}
