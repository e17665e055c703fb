/** The segment files of one directory: made, counted, synced and removed, each within the time that the disk has to answer. */
import { join } from "node:path";
import { isAbsent } from "../disk/absent.ts";
import type { Disk, DiskFile } from "../disk/disk.ts";
import { answered } from "./answers.ts";
import { SegmentReaders } from "./segment_readers.ts";

const segmentName = (id: number) => `${String(id).padStart(10, "0")}.seg`;

export class SegmentFiles {
  readonly #disk: Disk;
  readonly #path: string;
  readonly #answer_ms: number;
  readonly #folder: string;
  readonly readers: SegmentReaders;

  /** @param path of the blob directory */
  constructor(disk: Disk, path: string, answer_ms: number) {
    this.#disk = disk;
    this.#path = path;
    this.#answer_ms = answer_ms;
    this.#folder = join(path, "segments");
    this.readers = new SegmentReaders(disk, (segment) => this.#pathOf(segment));
  }

  #pathOf(segment: number): string {
    return join(this.#folder, segmentName(segment));
  }

  #ask<T>(call: string, work: Promise<T>): Promise<T> {
    return answered(work, this.#answer_ms, call, this.#path);
  }

  async makeFolder(): Promise<void> {
    await this.#ask("mkdir", this.#disk.makeFolder(this.#folder));
  }

  /** Ids of those that are there, in order. */
  async ids(): Promise<number[]> {
    const ids: number[] = [];
    for (const name of await this.#ask("readdir", this.#disk.names(this.#folder))) {
      const match = /^(\d{10})\.seg$/.exec(name);
      if (match !== null) ids.push(Number(match[1]));
    }
    return ids.sort((a, b) => a - b);
  }

  /** Makes the file of a segment; its name is durable then. Whoever asks for it looks at the time. */
  async make(id: number): Promise<DiskFile> {
    const file = await this.readers.open(this.#pathOf(id), { write: true, create: true });
    try {
      await this.#disk.syncFolder(this.#folder);
    } catch (error) {
      file[Symbol.dispose]();
      throw error;
    }
    return file;
  }

  /** Makes durable what an earlier process may have left in a segment without syncing it. */
  async sync(segment: number): Promise<void> {
    const work = async () => {
      using file = await this.#disk.open(this.#pathOf(segment), { write: true });
      await file.sync();
    };
    await this.#ask("fdatasync", work());
  }

  /** A segment's size; 0 when it is gone. */
  async size(segment: number): Promise<number> {
    try {
      return await this.#ask("stat", this.#disk.size(this.#pathOf(segment)));
    } catch (error) {
      if (isAbsent(error)) return 0;
      throw error;
    }
  }

  async remove(segment: number): Promise<void> {
    this.readers.drop(segment);
    await this.#ask("unlink", this.#disk.remove(this.#pathOf(segment)));
    await this.#ask("fsync", this.#disk.syncFolder(this.#folder));
  }
}
