/**
 * The files of a volume's directory. Log segments are made ready before the log needs them: written
 * with zeros once and synced, so that a sync of the log has no metadata of the file system to write. A file that would eat into the
 * node's reserve is refused; one that a crash left half made holds no log and is removed at the next
 * open.
 */
import { join } from "node:path";
import {
  closeFile,
  fileSystemSpace,
  forgetCachedPages,
  openFile,
  openFlags,
} from "../../ffi/libc.ts";
import { checkpointName, logFilePattern, segmentBytes } from "./format.ts";
import { NoSpace, type VolumeFiles } from "./orders.ts";

const zeros = new Uint8Array(1 << 20);

export class LocalFiles implements VolumeFiles {
  #next = 0;
  #checkpoint: Deno.FsFile | undefined;

  constructor(readonly directory: string, readonly reserveBytes: number) {
    for (const entry of Deno.readDirSync(directory)) {
      if (!logFilePattern.test(entry.name)) continue;
      this.#next = Math.max(this.#next, parseInt(entry.name.slice(4)) + 1);
    }
  }

  async makeLog(): Promise<string> {
    const { available_bytes } = fileSystemSpace(this.directory);
    if (available_bytes - segmentBytes < this.reserveBytes) {
      throw new NoSpace(
        `${available_bytes} bytes are free, of which ${this.reserveBytes} are kept`,
      );
    }
    const path = join(this.directory, `log-${this.#next++}.seg`);
    try {
      const file = await Deno.open(path, { write: true, createNew: true, mode: 0o600 });
      try {
        for (let at = 0; at < segmentBytes;) at += await file.write(zeros);
        await file.sync();
      } finally {
        file.close();
      }
    } catch (error) {
      await this.remove(path);
      if (error instanceof Error && "code" in error && error.code === "ENOSPC") {
        throw new NoSpace("the file system is full");
      }
      throw error;
    }
    const fd = openFile(path, openFlags.readOnly);
    forgetCachedPages(fd);
    closeFile(fd);
    return path;
  }

  async remove(path: string): Promise<void> {
    try {
      await Deno.remove(path);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }

  async beginCheckpoint(): Promise<void> {
    this.#checkpoint?.close();
    this.#checkpoint = await Deno.open(join(this.directory, `${checkpointName}.new`), {
      write: true,
      create: true,
      truncate: true,
      mode: 0o600,
    });
  }

  async appendCheckpoint(bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    const file = this.#checkpoint;
    if (file === undefined) throw new Error("a piece of a checkpoint came before its first");
    for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
  }

  async replaceCheckpoint(): Promise<void> {
    await this.#checkpoint?.sync();
    this.close();
    const path = join(this.directory, checkpointName);
    await Deno.rename(`${path}.new`, path);
    await syncDirectory(this.directory);
  }

  close(): void {
    this.#checkpoint?.close();
    this.#checkpoint = undefined;
  }
}

/** Makes a directory's entries durable. */
export async function syncDirectory(directory: string): Promise<void> {
  const handle = await Deno.open(directory, { read: true });
  try {
    await handle.sync();
  } finally {
    handle.close();
  }
}
