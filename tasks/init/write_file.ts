/** Files that are whole or not there: written beside, synced, then renamed into place. */
import { ignoreMissing } from "../../services/config/missing_files.ts";

let heard: ((path: string) => void) | undefined;

/** Hears of each file once it is written or removed: a test ends the work there, as a power cut would. */
export function hearWrites(hear: ((path: string) => void) | undefined): void {
  heard = hear;
}

export async function writeWhole(path: string, content: string, mode: number): Promise<void> {
  const beside = `${path}.${crypto.randomUUID().slice(0, 8)}.new`;
  try {
    {
      using file = await Deno.open(beside, { write: true, createNew: true, mode });
      const bytes = new TextEncoder().encode(content);
      for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
      await file.sync();
    }
    await Deno.rename(beside, path);
  } catch (error) {
    await Deno.remove(beside).catch(() => {});
    throw error;
  }
  heard?.(path);
}

/**
 * Writes a file unless it says so already: what every start makes anew needs no room on a disk that has
 * none left.
 */
export async function writeChanged(path: string, content: string, mode: number): Promise<void> {
  if (await Deno.readTextFile(path).catch(() => undefined) === content) return;
  await writeWhole(path, content, mode);
}

/** Whether something failed since no room is left. */
export function isDiskFull(error: unknown): error is Error {
  return error instanceof Error && "code" in error &&
    (error.code === "ENOSPC" || error.code === "EDQUOT");
}

/** Removes a file; what is not there is removed already. */
export async function removeWhole(path: string): Promise<void> {
  await Deno.remove(path).catch(ignoreMissing);
  heard?.(path);
}

/** Whether something is there, of whatever kind. */
export async function exists(path: string): Promise<boolean> {
  try {
    await Deno.lstat(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
