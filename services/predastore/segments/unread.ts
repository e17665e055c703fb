/**
 * Directories that were not there as the store started, or could not be read: what they have beyond the place up to which
 * the index knows them is in no index. So that place stays as it is, and at the next start all is read anew, unless there
 * turns out to be nothing beyond it when they are back.
 */
import type { BlobDirectory } from "./blob_directory.ts";
import type { Durable } from "./record.ts";

/** Whether anything stands in a directory behind a place. */
export async function hasMore(
  directory: BlobDirectory,
  segments: readonly number[],
  { segment, offset }: Durable,
): Promise<boolean> {
  for (const id of segments) {
    if (id < segment) continue;
    // Whoever then reads it tells what is wrong.
    const size = await directory.segmentSize(id).catch(() => Infinity);
    if (size > (id === segment ? offset : 0)) return true;
  }
  return false;
}

export class Unread {
  readonly #directories = new Set<BlobDirectory>();

  /** The index has been brought up to what could be read. */
  note(all: readonly BlobDirectory[]): void {
    for (const directory of all) if (!directory.online) this.#directories.add(directory);
  }

  has(directory: BlobDirectory): boolean {
    return this.#directories.has(directory);
  }

  /** Before anything is written into one that is back. */
  async isBack(directory: BlobDirectory, position: Durable | undefined): Promise<void> {
    if (!this.has(directory)) return;
    const segments = await directory.segments().catch(() => undefined);
    if (segments === undefined) return;
    const from = position ?? { segment: 0, offset: 0 };
    if (!await hasMore(directory, segments, from)) this.#directories.delete(directory);
  }

  forget(directory: BlobDirectory): void {
    this.#directories.delete(directory);
  }
}
