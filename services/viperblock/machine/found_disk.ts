/**
 * The log files as one crash leaves them, for an opening that only looks: what it removes is gone for
 * it alone, and the disk that it was taken from goes on as if nothing had happened.
 */
import { errnos, type FileExtent, type Memory, SystemError } from "../../../ffi/libc.ts";
import { blockBytes, checkpointName, logFilePattern } from "../format.ts";
import type { LogDisk, OpenFile } from "./machine.ts";
import { type StoredBytes, storedBytes } from "./stored_bytes.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Bytes in each of which these bits are not what was written. */
export interface DamagedPlace {
  readonly at: number;
  readonly count: number;
  readonly bits: number;
}

/** What a disk may say at most is not written: every block of zeros, whether it was written or not. */
export function writtenIn(bytes: Uint8Array, offset: number): FileExtent | undefined {
  const isZero = (at: number) => {
    for (let i = at; i < Math.min(bytes.length, at + blockBytes); i++) {
      if (bytes[i] !== 0) return false;
    }
    return true;
  };
  let from = offset - offset % blockBytes;
  while (from < bytes.length && isZero(from)) from += blockBytes;
  if (from >= bytes.length) return undefined;
  let to = from + blockBytes;
  while (to < bytes.length && !isZero(to)) to += blockBytes;
  return { from: Math.max(from, offset), to };
}

export class FoundDisk implements LogDisk {
  readonly #files: Map<string, Bytes>;
  readonly #directory: string;
  readonly #open: (Bytes | undefined)[] = [];
  readonly #lost = new Map<string, ReadonlySet<number>>();
  readonly #paths: string[] = [];

  /** @param files by their paths; nobody changes their bytes while this disk is looked at */
  constructor(directory: string, files: Map<string, Bytes>) {
    this.#directory = directory;
    this.#files = files;
  }

  openAll(): OpenFile[] {
    const files: OpenFile[] = [];
    for (const path of this.#files.keys()) {
      if (logFilePattern.test(path.slice(this.#directory.length + 1))) files.push(this.open(path));
    }
    return files;
  }

  /** Whoever only looks has no use for them. */
  cacheFiles(): string[] {
    return [];
  }

  open(path: string): OpenFile {
    this.#paths.push(path);
    return { path, fd: this.#open.push(this.#files.get(path)) - 1 };
  }

  close(fd: number): void {
    this.#open[fd] = undefined;
  }

  remove(): void {}

  /** The medium has changed some bits; the disk that this one was taken from has not. */
  damage(path: string, { at, count, bits }: DamagedPlace): void {
    const bytes = this.#files.get(path)?.slice();
    if (bytes === undefined) return;
    for (let i = at; i < Math.min(bytes.length, at + count); i++) {
      bytes[i] = (bytes[i] as number) ^ bits;
    }
    this.#files.set(path, bytes);
  }

  /** The medium gives nothing any more for these blocks of the file. */
  lose(path: string, blocks: readonly number[]): void {
    this.#lost.set(path, new Set(blocks));
  }

  /** What the file holds. */
  bytes(fd: number): Bytes {
    const bytes = this.#open[fd];
    if (bytes === undefined) throw new Error(`file ${fd} is not open`);
    return bytes;
  }

  read(fd: number, into: Memory, length: number, offset: number): number {
    const bytes = this.bytes(fd).subarray(offset, offset + length);
    for (const block of this.#lost.get(this.#paths[fd] ?? "") ?? []) {
      const at = block * blockBytes;
      const isAsked = at < offset + bytes.length && at + blockBytes > offset;
      if (isAsked) throw new SystemError("pread", errnos.EIO);
    }
    into.bytes.set(bytes);
    return bytes.length;
  }

  written(fd: number, offset: number) {
    return writtenIn(this.bytes(fd), offset);
  }

  sync(): void {}

  checkpoint(): StoredBytes | undefined {
    const bytes = this.#files.get(`${this.#directory}/${checkpointName}`);
    return bytes === undefined ? undefined : storedBytes(bytes);
  }
}
