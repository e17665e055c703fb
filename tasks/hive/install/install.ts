/** An installation from the running system to a disk of this machine: choose, remember, copy. */
import { osReleaseField } from "../../../services/config/release.ts";
import { CommandError } from "../../terminal/command.ts";
import { diskOf } from "../disk/block_devices.ts";
import { readPartitionTable } from "../disk/gpt.ts";
import { copySystem, type InstallSource, installSource } from "./copy.ts";
import { type Candidate, chooseDisk, type DiskRule, installCandidates } from "./disks.ts";
import { installedDisks, rememberDisk } from "./record.ts";

/** The machine, as an installation sees it. */
export interface InstallSite {
  readonly source: InstallSource;
  /** The source's boot partition, mounted. */
  readonly boot: string;
  candidates(): Promise<Candidate[]>;
}

/** @throws CommandError on a system that is not the appliance */
export async function thisSite(): Promise<InstallSite> {
  const text = await Deno.readTextFile("/usr/lib/os-release").catch(() => "");
  const version = osReleaseField(text, "IMAGE_VERSION");
  if (osReleaseField(text, "IMAGE_ID") !== "mulgaos" || version === undefined) {
    throw new CommandError(
      "This system is not the MulgaOS image, so there is nothing to install from it. Start the box from " +
        "a stick with the image.",
    );
  }
  const disk = await diskOf("/usr");
  if (disk === undefined) throw new CommandError("The running system is on no disk.");
  if (Deno.uid() !== 0) throw new CommandError("An installation needs root: run this with sudo.");
  const source = await installSource(disk, version);
  return {
    source,
    boot: "/boot",
    candidates: () => installCandidates(disk, source.needed_bytes),
  };
}

/** A disk of this machine that this very stick has installed already. */
export async function installedHere(site: InstallSite): Promise<string | undefined> {
  const known = new Set(await installedDisks(site.boot));
  for (const { path } of await site.candidates()) {
    try {
      if (known.has((await readPartitionTable(path)).disk_uuid)) return path;
    } catch {
      // No table, or a disk that cannot be read: this stick has not made it.
    }
  }
  return undefined;
}

/** Whether the running disk was itself made by an installation. */
export async function isInstalled(site: InstallSite): Promise<boolean> {
  const { disk_uuid } = await readPartitionTable(site.source.disk);
  return (await installedDisks(site.boot)).includes(disk_uuid);
}

export interface InstallChoice {
  readonly rule: DiskRule;
  readonly overwrite: boolean;
  readonly signal: AbortSignal;
  readonly progress: (what: string, share: number) => void;
  /** Asked once the disk is known; false ends it. */
  readonly confirm?: (disk: Candidate) => boolean;
}

/** A device may be named by any of its links, such as those below /dev/disk. */
async function realRule(rule: DiskRule): Promise<DiskRule> {
  const { path } = rule;
  if (path === undefined) return rule;
  return { ...rule, path: await Deno.realPath(path).catch(() => path) };
}

/** @throws CommandError; nothing was written unless the copy had begun */
export async function install(site: InstallSite, choice: InstallChoice): Promise<Candidate> {
  const disk = chooseDisk(await realRule(choice.rule), await site.candidates(), choice.overwrite);
  if (choice.confirm?.(disk) === false) throw new CommandError("Nothing was written.");
  const disk_uuid = crypto.randomUUID();
  // Before the copy, which takes the record along.
  await rememberDisk(site.boot, disk_uuid);
  await copySystem(site.source, disk.path, {
    signal: choice.signal,
    progress: choice.progress,
    disk_uuid,
  });
  return disk;
}
