/** The real machine: io_uring, O_DIRECT files in the volume's directory, anonymous mappings. */
import { join } from "node:path";
import {
  closeFile,
  forgetPages,
  mapMemory,
  openFile,
  openFlags,
  readAt,
  syncFileData,
  unmap,
  writtenExtent,
} from "../../../ffi/libc.ts";
import { Ring } from "../../../ffi/liburing.ts";
import { cacheFilePattern, checkpointName, logFilePattern, UnreadableData } from "../format.ts";
import { isLost, lostCode } from "./lost.ts";
import type { LogDisk, Machine, OpenFile } from "./machine.ts";
import type { StoredBytes } from "./stored_bytes.ts";
import { isUntouched } from "./untouched.ts";

/** @throws RingUnavailable */
export function linuxMachine(directory: string): Machine {
  return {
    ring: new Ring(512),
    disk: new Directory(directory),
    memory: mapMemory,
    release: unmap,
    forget: forgetPages,
    now: () => performance.now(),
  };
}

const mustBeOpened = (why: string) => {
  throw new UnreadableData(why);
};

class Directory implements LogDisk {
  constructor(readonly path: string) {}

  open(path: string): OpenFile {
    return { path, fd: openFile(path, openFlags.readWrite | openFlags.direct) };
  }

  openAll(unopened?: (why: string) => void): OpenFile[] {
    const files: OpenFile[] = [];
    // A file system that has become read-only opens nothing for writing, and gives all that there is.
    const access = unopened === undefined ? openFlags.readWrite : openFlags.readOnly;
    try {
      for (const name of this.#names()) {
        if (!logFilePattern.test(name)) continue;
        const path = join(this.path, name);
        try {
          files.push({ path, fd: openFile(path, access | openFlags.direct) });
        } catch (error) {
          if (!isLost(error)) throw error;
          (unopened ?? mustBeOpened)(`${path} cannot be opened: ${lostCode(error)}`);
        }
      }
      return files;
    } catch (error) {
      for (const file of files) closeFile(file.fd);
      throw error;
    }
  }

  #names(): string[] {
    try {
      return Array.from(Deno.readDirSync(this.path), ({ name }) => name);
    } catch (cause) {
      if (!isLost(cause)) throw cause;
      throw new UnreadableData(`${this.path} cannot be read: ${lostCode(cause)}`, { cause });
    }
  }

  cacheFiles(): string[] {
    return Array.from(Deno.readDirSync(this.path), ({ name }) => name)
      .filter((name) => cacheFilePattern.test(name))
      .map((name) => join(this.path, name));
  }

  close(fd: number): void {
    closeFile(fd);
  }

  remove(path: string): void {
    Deno.removeSync(path);
  }

  read(fd: number, into: Parameters<LogDisk["read"]>[1], length: number, offset: number): number {
    return readAt(fd, into, 0, length, offset);
  }

  written(fd: number, offset: number) {
    return isUntouched(fd) ? undefined : writtenExtent(fd, offset);
  }

  sync(fd: number): void {
    syncFileData(fd);
  }

  checkpoint(): StoredBytes | undefined {
    try {
      const file = Deno.openSync(join(this.path, checkpointName));
      return {
        length: file.statSync().size,
        read(into) {
          try {
            return file.readSync(into) ?? 0;
          } catch (cause) {
            throw new UnreadableData("the checkpoint cannot be read", { cause });
          }
        },
        [Symbol.dispose]: () => file.close(),
      };
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return undefined;
      if (!isLost(error)) throw error;
      throw new UnreadableData("the checkpoint cannot be opened", { cause: error });
    }
  }
}
