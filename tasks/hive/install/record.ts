/**
 * Which disks a stick has installed: `mulga-installed.json` on its boot partition, from which every
 * installed disk has a copy. So one stick can install many boxes, does not install the same box again
 * while it is still plugged in, and an installed disk never installs others.
 */
import { join } from "node:path";
import { writeWhole } from "../../init/write_file.ts";
import { CommandError } from "../../terminal/command.ts";

const name = "mulga-installed.json";

interface InstalledDisk {
  readonly disk_uuid: string;
  readonly at: string;
}

/** What cannot be read is as good as empty: it only keeps from repeating. */
export async function installedDisks(boot: string): Promise<readonly string[]> {
  try {
    const { disks } = JSON.parse(await Deno.readTextFile(join(boot, name))) as {
      disks: InstalledDisk[];
    };
    return disks.map((one) => one.disk_uuid).filter((uuid) => typeof uuid === "string");
  } catch {
    return [];
  }
}

/** @throws CommandError */
export async function rememberDisk(boot: string, disk_uuid: string): Promise<void> {
  const path = join(boot, name);
  const before = await Deno.readTextFile(path).then((text) => JSON.parse(text).disks).catch(
    () => [],
  );
  const disks: InstalledDisk[] = [
    ...(Array.isArray(before) ? before : []),
    { disk_uuid, at: new Date().toISOString() },
  ];
  const text = `${JSON.stringify({ disks: disks.slice(-1_000) }, null, 2)}\n`;
  try {
    await writeWhole(path, text, 0o644);
  } catch (cause) {
    throw new CommandError(
      `The stick cannot be written (${path}: ${
        cause instanceof Error ? cause.message : cause
      }), so it ` +
        `would install the same box again and again. Make room on its boot partition, or unlock it. ` +
        `Nothing was installed.`,
      1,
      { cause },
    );
  }
}
