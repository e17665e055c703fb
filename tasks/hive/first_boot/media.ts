/**
 * Where a seed's files may lie: the boot partition and NoCloud media, as directories that can be read
 * while they are held. On a running system partitions are mounted for as long as that takes.
 */
import { join } from "node:path";
import { type BlockDevice, diskOf, listBlockDevices } from "../disk/block_devices.ts";
import type { System } from "./system.ts";

export interface Medium extends AsyncDisposable {
  /** For messages. */
  readonly name: string;
  readonly directory: string;
  /** Makes it writable, for the removal of secrets. */
  writable(): Promise<boolean>;
}

/** Where a boot partition is mounted by systemd, Debian, and Debian on a Raspberry Pi. */
const bootDirectories = ["/efi", "/boot", "/boot/efi", "/boot/firmware"];
/** Where a tree of files keeps what would be a medium. */
const mediaDirectory = "/run/media";
const cidata = /^cidata$/i;

function directoryMedium(name: string, directory: string): Medium {
  return {
    name,
    directory,
    writable: () => Promise.resolve(true),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

async function mounted(
  system: System,
  device: BlockDevice,
  name: string,
): Promise<Medium | undefined> {
  const known = device.mounts[0];
  if (known !== undefined) {
    return { ...directoryMedium(name, known), writable: () => remount(system, known) };
  }
  const directory = await Deno.makeTempDir({ dir: "/run", prefix: "mulga-seed-" });
  const options = "ro,nosuid,nodev,noexec";
  if (!await system.run("mount", "-o", options, device.path, directory)) {
    await Deno.remove(directory);
    return undefined;
  }
  return {
    name,
    directory,
    writable: () => remount(system, directory),
    async [Symbol.asyncDispose]() {
      await system.run("umount", directory);
      await Deno.remove(directory).catch(() => {});
    },
  };
}

const remount = (system: System, directory: string) =>
  system.run("mount", "-o", "remount,rw", directory);

/** The boot partitions, the mounted ones first. Each must be disposed before the next is asked for. */
export async function* bootPartitions(system: System): AsyncGenerator<Medium> {
  for (const directory of bootDirectories) {
    // Looking into it mounts it where systemd does so on demand.
    if ((await system.list(directory)).length === 0) continue;
    yield directoryMedium("the boot partition", system.path(directory));
  }
  if (!system.live) return;
  // Not mounted: on machines whose firmware does not say where they were booted from. Another disk's
  // boot partition is not ours.
  const disk = await diskOf("/var");
  const devices = disk === undefined ? [] : await listBlockDevices(disk);
  for (const device of devices.flatMap(({ children }) => children)) {
    if (device.file_system !== "vfat" || device.mounts.length > 0) continue;
    await using medium = await mounted(system, device, "the boot partition");
    if (medium !== undefined) yield medium;
  }
}

/** The media labelled CIDATA. */
export async function* noCloudMedia(system: System): AsyncGenerator<Medium> {
  if (!system.live) {
    for (const name of await system.list(mediaDirectory)) {
      if (cidata.test(name)) {
        yield directoryMedium(`the medium ${name}`, system.path(join(mediaDirectory, name)));
      }
    }
    return;
  }
  const flat = (device: BlockDevice): BlockDevice[] => [device, ...device.children.flatMap(flat)];
  for (const device of (await listBlockDevices()).flatMap(flat)) {
    if (device.label === undefined || !cidata.test(device.label)) continue;
    await using medium = await mounted(system, device, `the medium ${device.label}`);
    if (medium !== undefined) yield medium;
  }
}
