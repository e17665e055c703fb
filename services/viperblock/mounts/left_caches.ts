/**
 * Chunks that are kept on this node's disk for volumes that are not mounted any more: found again when they are. A chunk never changes
 * under its name, the map says which of them are needed, and each block is held against its checksum there; so what is left may be as old as it
 * likes. It is a cache: it goes when mounted volumes need the room, the longest left first, and with its volume.
 */
import { join } from "node:path";
import { cacheFileBytes, cacheFilePattern } from "../format.ts";
import { ignoreMissing } from "../../config/missing_files.ts";

async function namesIn(directory: string): Promise<string[]> {
  try {
    return (await Array.fromAsync(Deno.readDir(directory))).map(({ name }) => name);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

const kept = async (directory: string) =>
  (await namesIn(directory)).filter((name) => cacheFilePattern.test(name));

async function removed(path: string): Promise<void> {
  await Deno.remove(path, { recursive: true }).catch(ignoreMissing);
}

/** Removes all in a volume's directory but the chunks that are kept there; returns the number of their files. */
export async function clearDirectory(directory: string): Promise<number> {
  for (const name of await namesIn(directory)) {
    if (!cacheFilePattern.test(name)) await removed(join(directory, name));
  }
  return (await kept(directory)).length;
}

export class LeftCaches {
  readonly #directory: string;
  /** Files by volume, the longest left first. */
  readonly #left = new Map<string, number>();

  /** @param directory of all volumes' directories */
  constructor(directory: string) {
    this.#directory = directory;
  }

  get bytes(): number {
    let files = 0;
    for (const each of this.#left.values()) files += each;
    return files * cacheFileBytes;
  }

  get any(): boolean {
    return this.#left.size > 0;
  }

  /** The volume has been unmounted: of its directory only this stays. */
  async leave(volumeId: string): Promise<void> {
    const files = await clearDirectory(join(this.#directory, volumeId));
    this.#left.delete(volumeId);
    if (files > 0) this.#left.set(volumeId, files);
    else await removed(join(this.#directory, volumeId));
  }

  /** It is mounted again, or deleted, and the files are no longer counted here. */
  taken(volumeId: string): void {
    this.#left.delete(volumeId);
  }

  /**
   * Gives up the longest left until no more than so many files are left. Only such files are removed: should the volume be mounted at
   * this moment, its engine misses them and nothing else.
   */
  async shrink(files: number): Promise<void> {
    for (const volumeId of this.#left.keys()) {
      if (this.bytes <= files * cacheFileBytes) return;
      this.#left.delete(volumeId);
      const directory = join(this.#directory, volumeId);
      for (const name of await kept(directory)) await removed(join(directory, name));
    }
  }
}
