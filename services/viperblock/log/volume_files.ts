/**
 * The files of a volume's directory. Log segments are made ready before the log needs them: written
 * with zeros once and synced, so that a sync of the log has no metadata of the file system to write. The first
 * one of an opening is waited for by guests: its space is only set aside, which takes no time. A
 * file that would eat into the node's reserve is refused; one that a crash left half made holds no log
 * and is removed at the next open. A checkpoint takes the place of the one before it in one step.
 */
import { join } from "node:path";
import { checkpointName, logFilePattern, segmentBytes } from "../format.ts";
import type { FileHandle, FileSystem } from "../machine/file_system.ts";
import { NoSpace, type VolumeFiles } from "../mounts/orders.ts";

const zeros = new Uint8Array(1 << 20);

export interface LocalFilesOptions {
  readonly system: FileSystem;
  readonly directory: string;
  readonly reserveBytes: number;
  /** Bytes of a log segment. */
  readonly segmentBytes?: number;
}

export class LocalFiles implements VolumeFiles {
  readonly #o: LocalFilesOptions;
  readonly #segmentBytes: number;
  #next = 0;
  #isFirst = true;
  #checkpoint: FileHandle | undefined;

  constructor(options: LocalFilesOptions) {
    this.#o = options;
    this.#segmentBytes = options.segmentBytes ?? segmentBytes;
    for (const name of options.system.names(options.directory)) {
      if (!logFilePattern.test(name)) continue;
      this.#next = Math.max(this.#next, parseInt(name.slice(4)) + 1);
    }
  }

  async makeLog(): Promise<string> {
    const { system, directory, reserveBytes } = this.#o;
    const available = system.availableBytes(directory);
    if (available - this.#segmentBytes < reserveBytes) {
      throw new NoSpace(`${available} bytes are free, of which ${reserveBytes} are kept`);
    }
    const path = join(directory, `log-${this.#next++}.seg`);
    try {
      const file = await system.create(path, true);
      try {
        const isFirst = this.#isFirst;
        this.#isFirst = false;
        if (!isFirst || !await system.allocate(path, this.#segmentBytes)) {
          for (let at = 0; at < this.#segmentBytes; at += zeros.length) {
            await file.write(zeros.subarray(0, Math.min(zeros.length, this.#segmentBytes - at)));
          }
        }
        await file.sync();
      } finally {
        file.close();
      }
      // What is synced in a file is worth nothing if a power cut takes the file's name.
      await system.syncDirectory(directory);
    } catch (error) {
      await system.remove(path);
      if (error instanceof Error && "code" in error && error.code === "ENOSPC") {
        throw new NoSpace("the file system is full");
      }
      throw error;
    }
    system.forgetCached(path);
    return path;
  }

  async remove(path: string): Promise<void> {
    await this.#o.system.remove(path);
  }

  async beginCheckpoint(): Promise<void> {
    this.close();
    this.#checkpoint = await this.#o.system.create(
      join(this.#o.directory, `${checkpointName}.new`),
      false,
    );
  }

  async appendCheckpoint(bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    if (this.#checkpoint === undefined) {
      throw new Error("a piece of a checkpoint came before its first");
    }
    await this.#checkpoint.write(bytes);
  }

  async replaceCheckpoint(): Promise<void> {
    const { system, directory } = this.#o;
    await this.#checkpoint?.sync();
    this.close();
    const path = join(directory, checkpointName);
    await system.rename(`${path}.new`, path);
    await system.syncDirectory(directory);
  }

  close(): void {
    this.#checkpoint?.close();
    this.#checkpoint = undefined;
  }
}
