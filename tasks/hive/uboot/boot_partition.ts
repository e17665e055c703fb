/**
 * The mounted ESP of this machine. FAT has no journal: what is written is followed by fsync of the
 * file, and what is renamed by fsync of its folder, before anything else happens.
 */
import { dirname, join } from "node:path";
import type { BootPartition } from "./boot_choice.ts";

/** Whether U-Boot started this system: it says so in the device tree that it hands over. */
export async function startedByUBoot(deviceTree = "/proc/device-tree"): Promise<boolean> {
  try {
    return (await Deno.stat(join(deviceTree, "chosen/u-boot,version"))).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

async function sync(path: string): Promise<void> {
  using file = await Deno.open(path);
  await file.sync();
}

/** @param root where the ESP is mounted */
export function mountedPartition(root: string): BootPartition {
  return {
    async list(folder) {
      const names: string[] = [];
      try {
        for await (const entry of Deno.readDir(join(root, folder))) {
          if (entry.isFile) names.push(entry.name);
        }
      } catch (error) {
        if (!(error instanceof Deno.errors.NotFound)) throw error;
      }
      return names.sort();
    },
    async read(path) {
      try {
        return await Deno.readFile(join(root, path));
      } catch (error) {
        if (error instanceof Deno.errors.NotFound) return undefined;
        throw error;
      }
    },
    async write(path, content) {
      const whole = join(root, path);
      using file = await Deno.open(whole, { write: true, create: true, truncate: true });
      for (let at = 0; at < content.length;) at += await file.write(content.subarray(at));
      await file.sync();
      await sync(dirname(whole));
    },
    async rename(from, to) {
      await Deno.rename(join(root, from), join(root, to));
      await sync(dirname(join(root, to)));
      if (dirname(from) !== dirname(to)) await sync(dirname(join(root, from)));
    },
  };
}
