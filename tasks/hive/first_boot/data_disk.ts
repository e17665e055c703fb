/**
 * A second disk for data, by the seed's rule: made once on a disk that is empty, found by its label ever
 * after, mounted where systemd's own unit for it says. A disk with anything on it is never touched.
 *
 * While it is away its directory is not there either, so that objects are not written to the disk that
 * the system runs from instead; predastore says what is missing.
 */
import type { Seed } from "../../../services/cluster/seed.ts";
import { diskOf, listBlockDevices } from "../disk/block_devices.ts";
import { chooseDisk, installCandidates } from "../install/disks.ts";
import { CommandError } from "../../terminal/command.ts";
import type { System } from "./system.ts";

export const dataLabel = "mulga-data";
/** Below a directory that services with object shards may write to. */
export const dataMount = "/mnt";
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

type Rule = NonNullable<NonNullable<Seed["storage"]>["data_disk"]>;

/** Makes and mounts the disk. @throws CommandError in one sentence when no disk fits, or it is not empty */
export async function prepareDataDisk(rule: Rule, system: System): Promise<void> {
  await system.write(unit, mountUnit);
  await system.link(enabled, unit);
  if (!system.live) return;
  const devices = await listBlockDevices();
  const known = devices.flatMap((one) => [one, ...one.children])
    .find(({ label }) => label === dataLabel);
  if (known?.mounts.includes(dataMount) === true) return;
  let path = known?.path;
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
