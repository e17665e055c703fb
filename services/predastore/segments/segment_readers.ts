/**
 * Segment files of one directory that are open to be read: the last that were used, each once.
 *
 * A file that is being opened is waited for by all who want it. One that is let go of, because others are used more or the
 * directory was away, is closed when those who have begun to read it are done. Where the process can open no more files, all
 * that nobody reads are let go of.
 */
import { IoError } from "../../../ffi/direct_io.ts";
import type { Disk, DiskFile } from "../disk/disk.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Files that are kept open. */
const mostFiles = 256;
/** For what was let go of to be closed on another thread. */
const closing_ms = 20;

/** Whether the process, or the machine, can open no more files. */
export const isOutOfFiles = (error: unknown) =>
  error instanceof IoError && (error.code === "EMFILE" || error.code === "ENFILE");

class Reader {
  readonly #opening: Promise<DiskFile>;
  #file: DiskFile | undefined;
  #users = 0;
  #isDropped = false;

  constructor(opening: Promise<DiskFile>) {
    this.#opening = opening;
  }

  async read(buffer: Bytes, offset: number): Promise<number> {
    this.#users++;
    try {
      this.#file ??= await this.#opening;
      return await this.#file.read(buffer, offset);
    } finally {
      this.#users--;
      if (this.#isDropped) this.#closeUnused();
    }
  }

  get isIdle(): boolean {
    return this.#users === 0;
  }

  drop(): void {
    this.#isDropped = true;
    this.#closeUnused();
  }

  #closeUnused(): void {
    if (this.#users > 0) return;
    void this.#opening.then((file) => file[Symbol.dispose](), () => {});
  }
}

export class SegmentReaders {
  readonly #disk: Disk;
  readonly #pathOf: (segment: number) => string;
  /** Most recently used last. */
  readonly #readers = new Map<number, Reader>();

  constructor(disk: Disk, pathOf: (segment: number) => string) {
    this.#disk = disk;
    this.#pathOf = pathOf;
  }

  /** Opens a file of the directory, for which these may have to make way. @throws IoError */
  async open(
    path: string,
    options: { readonly write: boolean; readonly create?: boolean },
  ): Promise<DiskFile> {
    try {
      return await this.#disk.open(path, options);
    } catch (error) {
      if (!isOutOfFiles(error)) throw error;
    }
    for (const [segment, reader] of [...this.#readers]) if (reader.isIdle) this.drop(segment);
    await new Promise((closed) => setTimeout(closed, closing_ms));
    return await this.#disk.open(path, options);
  }

  /** Reads into an aligned buffer. @returns how many bytes there were @throws IoError */
  async read(segment: number, buffer: Bytes, offset: number): Promise<number> {
    return await this.#reader(segment).read(buffer, offset);
  }

  #reader(segment: number): Reader {
    const known = this.#readers.get(segment);
    if (known !== undefined) {
      this.#readers.delete(segment);
      this.#readers.set(segment, known);
      return known;
    }
    const opening = this.open(this.#pathOf(segment), { write: false });
    const reader = new Reader(opening);
    for (const [oldest] of this.#readers) {
      if (this.#readers.size < mostFiles) break;
      this.drop(oldest);
    }
    this.#readers.set(segment, reader);
    // Who comes next tries again.
    opening.catch(() => {
      if (this.#readers.get(segment) === reader) this.#readers.delete(segment);
    });
    return reader;
  }

  drop(segment: number): void {
    const reader = this.#readers.get(segment);
    this.#readers.delete(segment);
    reader?.drop();
  }

  dropAll(): void {
    for (const segment of [...this.#readers.keys()]) this.drop(segment);
  }
}
