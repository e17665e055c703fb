/**
 * A second disk for data, by the seed's rule: made once on a disk that is empty, found by its label ever
 * after, mounted where systemd's own unit for it says. A disk with anything on it is never touched.
 *
 * Objects lie on it, and the block engine's directory, so that a machine that runs from a memory card
 * writes no volume's log to the card. While the disk is away its directories are not there either:
 * predastore says what is missing, and the block engine does not start, since without its logs it would
 * serve volumes as they were before what they last acknowledged.
 */
import type { Seed } from "../../../services/cluster/seed.ts";
import { layout } from "../../../image/payload/layout.ts";
import { diskOf, listBlockDevices } from "../disk/block_devices.ts";
import { chooseDisk, installCandidates } from "../install/disks.ts";
import { makePrivate } from "../../init/init.ts";
import { CommandError } from "../../terminal/command.ts";
import type { System } from "./system.ts";

const dataLabel = "mulga-data";
/** Below a directory that services with object shards may write to. */
const dataMount = "/mnt";
export const dataBlobs = `${dataMount}/blobs`;

const unit = "/etc/systemd/system/mnt.mount";
const enabled = "/etc/systemd/system/local-fs.target.wants/mnt.mount";
const smallest_bytes = 2 ** 30;

const mountUnit = `# Made from the seed; changes here are lost.
[Unit]
Description=MulgaOS data disk
# Missing, it holds the boot up no longer than systemd waits for a device.
Before=mulga-first-boot.service

[Mount]
What=/dev/disk/by-label/${dataLabel}
Where=${dataMount}
Type=ext4
Options=nofail,noatime
`;

/** Where the block engine keeps the logs of volumes, on the data disk and as it sees them. */
const logs = `${dataMount}/viperblock`;
const engineUnit = "/etc/systemd/system/var-lib-mulga-viperblock.mount";
const engineEnabled = "/etc/systemd/system/local-fs.target.wants/var-lib-mulga-viperblock.mount";
const engineNeeds = "/etc/systemd/system/mulga-viperblock.service.d/50-data-disk.conf";

const engineMountUnit = `# Made from the seed; changes here are lost.
[Unit]
Description=MulgaOS volumes on the data disk
BindsTo=mnt.mount
After=mnt.mount
Before=mulga-first-boot.service

[Mount]
What=${logs}
Where=${layout.data}/viperblock
Type=none
Options=bind
`;

const engineDropIn = `# Made from the seed; changes here are lost.
[Unit]
RequiresMountsFor=${layout.data}/viperblock
`;

type Rule = NonNullable<NonNullable<Seed["storage"]>["data_disk"]>;

/** Makes and mounts the disk. @throws CommandError in one sentence when no disk fits, or it is not empty */
export async function prepareDataDisk(rule: Rule, system: System): Promise<void> {
  await system.write(unit, mountUnit);
  await system.link(enabled, unit);
  await system.write(engineUnit, engineMountUnit);
  await system.link(engineEnabled, engineUnit);
  await system.write(engineNeeds, engineDropIn);
  if (!system.live) return;
  const devices = await listBlockDevices();
  const known = devices.flatMap((one) => [one, ...one.children])
    .find(({ label }) => label === dataLabel);
  if (known?.mounts.includes(dataMount) !== true) await mountDisk(rule, known?.path, system);
  await mountLogs(system);
}

async function mountDisk(rule: Rule, known: string | undefined, system: System): Promise<void> {
  let path = known;
  if (path === undefined) {
    const disk = chooseDisk(
      rule,
      await installCandidates(await diskOf("/var"), smallest_bytes),
      false,
    );
    path = disk.path;
    system.say(`Making the data disk on ${path}.`);
    if (!await system.run("mkfs.ext4", "-q", "-L", dataLabel, path)) {
      throw new CommandError(`The data disk ${path} could not be made; see the log.`);
    }
  }
  if (!await system.run("mount", "-t", "ext4", "-o", "noatime", path, dataMount)) {
    throw new CommandError(`The data disk ${path} could not be mounted; see the log.`);
  }
}

/** A node is only made after this, so the engine has written nothing yet. */
async function mountLogs(system: System): Promise<void> {
  const engine = `${layout.data}/viperblock`;
  for (const directory of [logs, engine]) await makePrivate(directory);
  if (await isMountPoint(engine)) return;
  if (!await system.run("mount", "--bind", logs, engine)) {
    throw new CommandError(`${logs} could not be mounted on ${engine}; see the log.`);
  }
}

async function isMountPoint(path: string): Promise<boolean> {
  const mounts = await Deno.readTextFile("/proc/self/mountinfo");
  return mounts.split("\n").some((line) => line.split(" ")[4] === path);
}
