/**
 * The files of a volume's directory. Log segments are made ready before the log needs them: written
 * with zeros once and synced, so that a sync of the log has no metadata of the file system to write. The first
 * one of an opening is waited for by guests: its space is only set aside, which takes no time. So is that of the second, which is all
 * that most volumes need beside it, and an opening need not read what was never written. A
 * file that would eat into the node's reserve is refused; those that other volumes are making at that moment count as made.
 *
 * A log file gets its name when it is whole, and what a crash left half made is removed before the next one is made and
 * never read: where an engine was killed while it wrote zeros, the kernel may answer EIO to a read with O_DIRECT.
 * Nor is one that was made and never written to read by the next opening (`machine/untouched.ts`).
 *
 * Files of the chunk cache only have their space set aside, and leave more room than the
 * log's. A checkpoint takes the place of the one before it in one step.
 */
import { join } from "node:path";
import {
  cacheFileBytes,
  cacheFilePattern,
  checkpointName,
  logFilePattern,
  newLogFilePattern,
  segmentBytes,
} from "../format.ts";
import type { FileHandle, FileSystem } from "../machine/file_system.ts";
import { NoSpace, type VolumeFiles } from "../mounts/orders.ts";

/** Log files of an opening that are only set aside. */
const onlySetAside = 2;
/** Log files that must still fit beside the reserve when one for the cache is made. */
const logFilesFirst = 8;

const zeros = new Uint8Array(1 << 20);

/** Files that volumes of one disk are making: the file system does not count all of their bytes yet. */
export class BeingMade {
  bytes = 0;
}

export interface LocalFilesOptions {
  readonly system: FileSystem;
  readonly directory: string;
  readonly reserveBytes: number;
  /** Bytes of a log segment. */
  readonly segmentBytes?: number;
  /** Bytes of a file of the chunk cache. */
  readonly cacheFileBytes?: number;
  /** What is shared with the other volumes of the disk. */
  readonly beingMade?: BeingMade;
}

export class LocalFiles implements VolumeFiles {
  readonly #o: LocalFilesOptions;
  readonly #beingMade: BeingMade;
  readonly #segmentBytes: number;
  readonly #cacheFileBytes: number;
  #next = 0;
  #nextCache = 0;
  readonly #caches = new Set<string>();
  /** What an earlier process did not get whole. */
  readonly #halfMade = new Set<string>();
  #made = 0;
  #checkpoint: FileHandle | undefined;

  constructor(options: LocalFilesOptions) {
    this.#o = options;
    this.#beingMade = options.beingMade ?? new BeingMade();
    this.#segmentBytes = options.segmentBytes ?? segmentBytes;
    this.#cacheFileBytes = options.cacheFileBytes ?? cacheFileBytes;
    for (const name of options.system.names(options.directory)) {
      if (cacheFilePattern.test(name)) {
        this.#caches.add(join(options.directory, name));
        this.#nextCache = Math.max(this.#nextCache, parseInt(name.slice(6)) + 1);
      }
      if (newLogFilePattern.test(name)) this.#halfMade.add(join(options.directory, name));
      if (!logFilePattern.test(name)) continue;
      this.#next = Math.max(this.#next, parseInt(name.slice(4)) + 1);
    }
  }

  async makeLog(): Promise<string> {
    const { directory, reserveBytes } = this.#o;
    for (const path of this.#halfMade) await this.#removeHalfMade(path);
    const available = this.#available();
    if (available - this.#segmentBytes < reserveBytes) {
      throw new NoSpace(`${available} bytes are free, of which ${reserveBytes} are kept`);
    }
    const path = join(directory, `log-${this.#next++}.seg`);
    return await this.#counted(this.#segmentBytes, () => this.#makeLog(path));
  }

  async #counted(bytes: number, make: () => Promise<string>): Promise<string> {
    this.#beingMade.bytes += bytes;
    try {
      return await make();
    } finally {
      this.#beingMade.bytes -= bytes;
    }
  }

  /** Bytes that nobody has, nor is about to have. */
  #available(): number {
    return this.#o.system.availableBytes(this.#o.directory) - this.#beingMade.bytes;
  }

  async #makeLog(path: string): Promise<string> {
    const { system, directory } = this.#o;
    const made = `${path}.new`;
    let isNamed = false;
    try {
      const file = await system.create(made, true);
      try {
        if (this.#made++ >= onlySetAside || !await system.allocate(made, this.#segmentBytes)) {
          for (let at = 0; at < this.#segmentBytes; at += zeros.length) {
            await file.write(zeros.subarray(0, Math.min(zeros.length, this.#segmentBytes - at)));
          }
        }
        await file.sync();
      } finally {
        file.close();
      }
      system.forgetCached(made);
      await system.markUntouched(made);
      await system.rename(made, path);
      isNamed = true;
      // What is synced in a file is worth nothing if a power cut takes the file's name.
      await system.syncDirectory(directory);
    } catch (error) {
      this.#halfMade.add(made);
      // Under that name only what was given it here is ours.
      if (isNamed) await system.remove(path);
      await this.#removeHalfMade(made);
      if (error instanceof Error && "code" in error && error.code === "ENOSPC") {
        throw new NoSpace("the file system is full");
      }
      throw error;
    }
    return path;
  }

  async #removeHalfMade(path: string): Promise<void> {
    await this.#o.system.remove(path);
    this.#halfMade.delete(path);
  }

  /** Bytes of the disk that the chunk cache takes. */
  get cacheBytes(): number {
    return this.#caches.size * this.#cacheFileBytes;
  }

  async makeCache(): Promise<string> {
    const { directory, reserveBytes } = this.#o;
    const kept = reserveBytes + logFilesFirst * this.#segmentBytes;
    const available = this.#available();
    if (available - this.#cacheFileBytes < kept) {
      throw new NoSpace(`${available} bytes are free, of which ${kept} are kept`);
    }
    const path = join(directory, `cache-${this.#nextCache++}.chk`);
    return await this.#counted(this.#cacheFileBytes, () => this.#makeCache(path));
  }

  async #makeCache(path: string): Promise<string> {
    const { system } = this.#o;
    const file = await system.create(path, true);
    file.close();
    let made = false;
    try {
      made = await system.allocate(path, this.#cacheFileBytes);
    } finally {
      if (!made) await system.remove(path);
    }
    if (!made) throw new NoSpace("the file system sets no space aside");
    this.#caches.add(path);
    return path;
  }

  async remove(path: string): Promise<void> {
    this.#caches.delete(path);
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
