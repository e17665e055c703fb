/**
 * A disk of which so many calls are on their way at once, and no more: each takes one of the process's 32 threads until
 * it is answered. A disk that answers nothing would have all of them after a few reads, and with them every other disk,
 * the digests and the looks that find out which one it is.
 *
 * Calls beyond that wait for their turn. Reads do not wait where a call has had no answer for long: whoever reads asks the
 * others then, and what it would read into is not kept for nothing.
 */
import { IoError } from "../../../ffi/direct_io.ts";
import type { Disk, DiskFile } from "./disk.ts";

/** Threads that disks which answer nothing may have together; the rest are for the others. */
const threads = 24;

/** How many calls of one disk may be on their way, where the store goes on without so many of them. */
export const callsAtOnce = (spare: number) => Math.max(2, Math.floor(threads / Math.max(1, spare)));

export class LimitedDisk implements Disk {
  readonly #disk: Disk;
  readonly #late_ms: number;
  #free: number;
  /** When each of those on their way began; the oldest first. */
  readonly #begun = new Set<{ readonly at_ms: number }>();
  readonly #queue: (() => void)[] = [];

  /** @param late_ms when no read waits for its turn any more */
  constructor(disk: Disk, most: number, late_ms: number) {
    this.#disk = disk;
    this.#free = most;
    this.#late_ms = late_ms;
  }

  async #call<T>(work: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free--;
    else {
      const turn = Promise.withResolvers<void>();
      this.#queue.push(turn.resolve);
      await turn.promise;
    }
    const call = { at_ms: performance.now() };
    this.#begun.add(call);
    try {
      return await work();
    } finally {
      this.#begun.delete(call);
      const next = this.#queue.shift();
      // Whoever is next has the place of this one.
      if (next === undefined) this.#free++;
      else next();
    }
  }

  async #read<T>(call: string, path: string, work: () => Promise<T>): Promise<T> {
    const [oldest] = this.#begun;
    const isLate = oldest !== undefined && performance.now() - oldest.at_ms > this.#late_ms;
    if (this.#free === 0 && isLate) throw new IoError("ETIMEDOUT", call, path);
    return await this.#call(work);
  }

  async open(
    path: string,
    options: { readonly write: boolean; readonly create?: boolean },
  ): Promise<DiskFile> {
    const open = () => this.#disk.open(path, options);
    const file = await (options.write ? this.#call(open) : this.#read("open", path, open));
    // It is closed when those who wait for their turn have had it.
    let users = 0;
    let isClosing = false;
    const use = async <T>(work: () => Promise<T>): Promise<T> => {
      users++;
      try {
        return await work();
      } finally {
        users--;
        if (isClosing && users === 0) file[Symbol.dispose]();
      }
    };
    return {
      write: (bytes, offset) => use(() => this.#call(() => file.write(bytes, offset))),
      read: (bytes, offset) => use(() => this.#read("pread", path, () => file.read(bytes, offset))),
      sync: () => use(() => this.#call(() => file.sync())),
      [Symbol.dispose]: () => {
        isClosing = true;
        if (users === 0) file[Symbol.dispose]();
      },
    };
  }

  makeFolder(path: string): Promise<void> {
    return this.#call(() => this.#disk.makeFolder(path));
  }
  names(folder: string): Promise<string[]> {
    return this.#call(() => this.#disk.names(folder));
  }
  syncFolder(folder: string): Promise<void> {
    return this.#call(() => this.#disk.syncFolder(folder));
  }
  size(path: string): Promise<number> {
    return this.#call(() => this.#disk.size(path));
  }
  remove(path: string): Promise<void> {
    return this.#call(() => this.#disk.remove(path));
  }
  readWhole(path: string): Promise<Uint8Array<ArrayBuffer>> {
    return this.#call(() => this.#disk.readWhole(path));
  }
  writeWhole(path: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    return this.#call(() => this.#disk.writeWhole(path, bytes));
  }
  space(path: string): Promise<{ readonly free: number; readonly total: number }> {
    return this.#call(() => this.#disk.space(path));
  }
}
