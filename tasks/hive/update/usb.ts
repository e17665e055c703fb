/**
 * A USB stick with an update: found among the block devices, mounted read-only for as long as it is
 * read. Its file system comes from a stranger, so nothing on it may be run, owned or a device.
 */
import { join } from "node:path";
import { exists } from "../../init/write_file.ts";
import { CommandError } from "../../terminal/command.ts";
import { sumsName } from "../../../image/signing/sums.ts";
import { type BlockDevice, listBlockDevices } from "../disk/block_devices.ts";

export interface Stick {
  readonly directory: string;
  readonly name: string;
  release(): Promise<void>;
}

/** Folders of a stick in which a release may lie. */
const folders = ["", "mulgaos", "update"] as const;

/** File systems on removable USB devices. */
export function usbFileSystems(devices: readonly BlockDevice[]): BlockDevice[] {
  const inside = (device: BlockDevice): BlockDevice[] => [
    device,
    ...device.children.flatMap(inside),
  ];
  return devices.filter((device) => device.transport === "usb").flatMap(inside)
    .filter((device) => device.file_system !== undefined && device.children.length === 0);
}

async function run(program: string, ...args: string[]): Promise<{ ok: boolean; said: string }> {
  const { success, stderr } = await new Deno.Command(program, { args, stdout: "null" }).output();
  return { ok: success, said: new TextDecoder().decode(stderr).trim() };
}

/** Mounts one device; @returns undefined when it cannot be mounted or has no release. */
export async function mountStick(path: string): Promise<Stick | undefined> {
  const at = await Deno.makeTempDir({ prefix: "mulga-usb-" });
  const release = async () => {
    await run("umount", at);
    await Deno.remove(at);
  };
  if (!(await run("mount", "-o", "ro,nosuid,nodev,noexec", path, at)).ok) {
    await Deno.remove(at);
    return undefined;
  }
  for (const folder of folders) {
    const directory = join(at, folder);
    if (await exists(join(directory, sumsName))) {
      return { directory, name: `the USB stick ${path}${folder && ` (${folder}/)`}`, release };
    }
  }
  await release();
  return undefined;
}

/** The first stick that has a release. @throws CommandError */
export async function mountUsbStick(): Promise<Stick> {
  const found = usbFileSystems(await listBlockDevices());
  for (const device of found) {
    const stick = await mountStick(device.path);
    if (stick !== undefined) return stick;
  }
  throw new CommandError(
    found.length === 0
      ? "No USB stick with a file system is plugged in."
      : `No release is on ${
        found.map((one) => one.path).join(", ")
      }: there is no ${sumsName} at the ` +
        `top, nor in mulgaos/ or update/.`,
  );
}
