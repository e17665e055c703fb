/** What making log files and checkpoints needs of a file system; the real one and its interface. */
import {
  allocateFile,
  closeFile,
  fileSystemSpace,
  forgetCachedPages,
  openFile,
  openFlags,
  SystemError,
} from "../../../ffi/libc.ts";
import { markUntouched } from "./untouched.ts";
import { ignoreMissing } from "../../config/missing_files.ts";

export interface FileHandle {
  write(bytes: Uint8Array<ArrayBuffer>): Promise<void>;
  sync(): Promise<void>;
  close(): void;
}

export interface FileSystem {
  /**
   * Gives a new file so many bytes that read as zeros, without writing them.
   * @returns false, and nothing is done, where that is not possible
   */
  allocate(path: string, length: number): Promise<boolean>;
  /** @param fresh whether nothing may be there yet; what is there is emptied otherwise */
  create(path: string, fresh: boolean): Promise<FileHandle>;
  rename(from: string, to: string): Promise<void>;
  /** What is not there any more is no error. */
  remove(path: string): Promise<void>;
  /** Makes a directory's entries durable. */
  syncDirectory(directory: string): Promise<void>;
  names(directory: string): string[];
  availableBytes(directory: string): number;
  /** Drops the file's clean pages, so that O_DIRECT users need not throw them out one by one. */
  forgetCached(path: string): void;
  /** What opens the file need not read it for as long as nobody writes to it: it holds zeros. */
  markUntouched(path: string): Promise<void>;
}

export const linuxFileSystem: FileSystem = {
  allocate(path, length) {
    const fd = openFile(path, openFlags.readWrite);
    try {
      allocateFile(fd, length);
      return Promise.resolve(true);
    } catch (error) {
      // What the file system cannot do, or has no room for, writing to it will tell.
      if (!(error instanceof SystemError)) throw error;
      return Promise.resolve(false);
    } finally {
      closeFile(fd);
    }
  },
  async create(path, fresh) {
    const file = await Deno.open(path, {
      write: true,
      mode: 0o600,
      ...(fresh ? { createNew: true } : { create: true, truncate: true }),
    });
    return {
      async write(bytes) {
        for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
      },
      sync: () => file.sync(),
      close: () => file.close(),
    };
  },
  rename: (from, to) => Deno.rename(from, to),
  async remove(path) {
    await Deno.remove(path).catch(ignoreMissing);
  },
  async syncDirectory(directory) {
    using handle = await Deno.open(directory, { read: true });
    await handle.sync();
  },
  names: (directory) => Array.from(Deno.readDirSync(directory), (entry) => entry.name),
  availableBytes: (directory) => fileSystemSpace(directory).available_bytes,
  forgetCached(path) {
    const fd = openFile(path, openFlags.readOnly);
    forgetCachedPages(fd);
    closeFile(fd);
  },
  markUntouched,
};
