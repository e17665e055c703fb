/**
 * A disk that did not give all of a volume's log and checkpoint, or took no more of it, asked whether it does now. Nothing of it is
 * changed: the files are opened as an engine opens them, read to their ends and synced; what is written is a file beside them. What
 * it refused last is asked for first, so that a disk with a bad sector is not read through again and again. Nor does one answer
 * that has no room for the log file that every engine begins with: then nobody could even read the volume.
 */
import { join } from "node:path";
import { cacheFilePattern, checkpointName, logFilePattern, segmentBytes } from "../format.ts";
import { linuxFileSystem } from "../machine/file_system.ts";

const pieceBytes = 1 << 20;

interface Place {
  readonly name: string;
  readonly offset: number;
}

export class AskedDisk {
  readonly #directory: string;
  readonly #reserveBytes: number;
  readonly #piece = new Uint8Array(pieceBytes);
  /** Every file that was ever seen: one that has gone is no more given than one that cannot be read. */
  readonly #names = new Set<string>();
  #refused: Place | undefined;

  /** @param reserveBytes what no log file may take of the disk */
  constructor(directory: string, reserveBytes = 0) {
    this.#directory = directory;
    this.#reserveBytes = reserveBytes;
  }

  /** @returns why not, in one sentence; undefined when it gives everything */
  async refusal(): Promise<string | undefined> {
    try {
      for await (const { name } of Deno.readDir(this.#directory)) {
        if (logFilePattern.test(name) || name === checkpointName) this.#names.add(name);
      }
    } catch (error) {
      return why(this.#directory, error);
    }
    const refused = this.#refused;
    if (refused !== undefined) {
      const still = await this.#refusalOf(refused.name, refused.offset, 1);
      if (still !== undefined) return still;
    }
    for (const name of this.#names) {
      const found = await this.#refusalOf(name, 0, Infinity);
      if (found !== undefined) return found;
    }
    return await this.#refusalToWrite() ?? await this.#wantOfRoom();
  }

  async #wantOfRoom(): Promise<string | undefined> {
    try {
      let available = linuxFileSystem.availableBytes(this.#directory);
      // What its engine keeps of chunks gives way to its log.
      for await (const { name } of Deno.readDir(this.#directory)) {
        if (!cacheFilePattern.test(name)) continue;
        available += ((await Deno.stat(join(this.#directory, name))).blocks ?? 0) * 512;
      }
      if (available - segmentBytes >= this.#reserveBytes) return undefined;
      return `${available} bytes are free, of which ${this.#reserveBytes} are kept`;
    } catch (error) {
      return why(this.#directory, error);
    }
  }

  async #refusalToWrite(): Promise<string | undefined> {
    const path = join(this.#directory, "asked.new");
    try {
      {
        using file = await Deno.open(path, {
          write: true,
          create: true,
          truncate: true,
          mode: 0o600,
        });
        for (let at = 0; at < pieceBytes;) at += await file.write(this.#piece.subarray(at));
        await file.syncData();
      }
      await Deno.remove(path);
      return undefined;
    } catch (error) {
      // What is left of it is written over by the next question.
      return why(path, error);
    }
  }

  /** @param most pieces that are read */
  async #refusalOf(name: string, from: number, most: number): Promise<string | undefined> {
    const path = join(this.#directory, name);
    let offset = from;
    try {
      {
        using file = await Deno.open(path, { read: true, write: true });
        await file.seek(from, Deno.SeekMode.Start);
        for (let pieces = 0; pieces < most; pieces++) {
          const got = await file.read(this.#piece);
          if (got === null) break;
          offset += got;
        }
        await file.syncData();
      }
      // Engines read past the page cache, and the next answer is to be the disk's again.
      linuxFileSystem.forgetCached(path);
      return undefined;
    } catch (error) {
      this.#refused = { name, offset };
      return why(path, error);
    }
  }
}

const why = (path: string, error: unknown) =>
  `${path}: ${error instanceof Error ? error.message : String(error)}`;
