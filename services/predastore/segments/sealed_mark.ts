/**
 * In each blob directory: says that objects here are sealed, and under which key. A key file that was made in the place of
 * a lost one would open nothing: the mark has the fingerprint of the key that sealed here last.
 */
import { join } from "node:path";
import type { Disk } from "../disk/disk.ts";

export const sealedMark = "sealed";

/** Undefined where there is none, or none that can be read. */
export async function readMark(disk: Disk, path: string): Promise<string | undefined> {
  try {
    const text = new TextDecoder().decode(await disk.readWhole(join(path, sealedMark))).trim();
    return text === "" ? undefined : text;
  } catch {
    return undefined;
  }
}

export async function writeMark(disk: Disk, path: string, mark: string): Promise<void> {
  await disk.writeWhole(join(path, sealedMark), new TextEncoder().encode(`${mark}\n`));
}
