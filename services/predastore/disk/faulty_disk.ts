/** A disk in front of another, whose paths can be made slow, full or broken while it is used. */
import { IoError } from "../../../ffi/direct_io.ts";
import type { Disk, DiskFile } from "./disk.ts";

/** What is wrong with all paths that begin with `path`. */
export interface DiskFault {
  readonly path: string;
  /** Reads wait for this. */
  readonly slow?: Promise<void>;
  /** Writes are refused for want of room, and the disk says that it has none. */
  readonly full?: boolean;
  /** No call ends before this. */
  readonly hung?: Promise<void>;
  /** Every call fails. */
  readonly broken?: boolean;
  /** Whatever would change something fails, as where the kernel has mounted it read-only. */
  readonly readOnly?: boolean;
  /** Bytes are refused although the disk says that it has room, as by a quota; files can be made. */
  readonly quota?: boolean;
  /** No more files can be opened than are open. */
  readonly noFiles?: boolean;
  /** What the disk says of its room, as where it was made larger or smaller. */
  readonly space?: { readonly free: number; readonly total: number };
}

export class FaultyDisk implements Disk {
  readonly #disk: Disk;
  readonly faults = new Set<DiskFault>();
  /** Calls that had no answer when they were made. */
  unanswered = 0;
  /** Reads of segment files so far. */
  reads = 0;

  constructor(disk: Disk) {
    this.#disk = disk;
  }

  #faultsAt(path: string): DiskFault[] {
    return [...this.faults].filter((fault) => path.startsWith(fault.path));
  }

  async #hang(path: string): Promise<void> {
    const hung = this.#faultsAt(path).flatMap((fault) => fault.hung ?? []);
    if (hung.length > 0) this.unanswered++;
    await Promise.all(hung);
  }

  #check(call: string, path: string, writes = false): void {
    for (const { broken, full, readOnly, quota, noFiles } of this.#faultsAt(path)) {
      if (broken === true) throw new IoError("EIO", call, path);
      if (call === "open" && noFiles === true) throw new IoError("EMFILE", call, path);
      if (readOnly === true && call === "unlink") throw new IoError("EROFS", call, path);
      if (!writes) continue;
      if (readOnly === true) throw new IoError("EROFS", call, path);
      if (full === true) throw new IoError("ENOSPC", call, path);
      if (quota === true && call !== "open") throw new IoError("EDQUOT", call, path);
    }
  }

  async open(
    path: string,
    options: { readonly write: boolean; readonly create?: boolean },
  ): Promise<DiskFile> {
    await this.#hang(path);
    this.#check("open", path, options.create === true);
    const file = await this.#disk.open(path, options);
    return {
      write: async (bytes, offset) => {
        await this.#hang(path);
        this.#check("pwrite", path, true);
        await file.write(bytes, offset);
      },
      read: async (bytes, offset) => {
        this.reads++;
        await this.#hang(path);
        this.#check("pread", path);
        await Promise.all(this.#faultsAt(path).map(({ slow }) => slow));
        return await file.read(bytes, offset);
      },
      sync: async () => {
        await this.#hang(path);
        this.#check("fdatasync", path);
        await file.sync();
      },
      [Symbol.dispose]: () => file[Symbol.dispose](),
    };
  }

  async makeFolder(path: string): Promise<void> {
    await this.#hang(path);
    this.#check("mkdir", path);
    await this.#disk.makeFolder(path);
  }
  async names(folder: string): Promise<string[]> {
    await this.#hang(folder);
    this.#check("readdir", folder);
    return await this.#disk.names(folder);
  }
  async syncFolder(folder: string): Promise<void> {
    await this.#hang(folder);
    this.#check("fsync", folder);
    await this.#disk.syncFolder(folder);
  }
  async size(path: string): Promise<number> {
    await this.#hang(path);
    this.#check("stat", path);
    return await this.#disk.size(path);
  }
  async remove(path: string): Promise<void> {
    await this.#hang(path);
    this.#check("unlink", path);
    await this.#disk.remove(path);
  }
  async readWhole(path: string): Promise<Uint8Array<ArrayBuffer>> {
    await this.#hang(path);
    this.#check("read", path);
    return await this.#disk.readWhole(path);
  }
  async writeWhole(path: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    await this.#hang(path);
    this.#check("write", path, true);
    await this.#disk.writeWhole(path, bytes);
  }
  async space(path: string): Promise<{ readonly free: number; readonly total: number }> {
    await this.#hang(path);
    this.#check("statfs", path);
    const told = this.#faultsAt(path).find((fault) => fault.space !== undefined)?.space;
    const space = told ?? await this.#disk.space(path);
    const full = this.#faultsAt(path).some((fault) => fault.full === true);
    return full ? { ...space, free: 0 } : space;
  }
}
