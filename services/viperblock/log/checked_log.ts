/**
 * The log of a mounted volume as a check reads it: from its files, beside the engine that writes them, and without changing
 * anything. It reads past the page cache, as the engine writes: nothing stale is seen, and nothing is left there for
 * the engine's writes to throw out.
 *
 * A file says in its first batch which segment it is; where that header is damaged, its newest batch says so. The engine may
 * use a file again for another segment meanwhile, whose number is a new one: so a block that is wrong here counts only
 * when the map, asked again afterwards, still names the same place.
 */
import { join } from "node:path";
import {
  closeFile,
  errnos,
  mapMemory,
  type Memory,
  openFile,
  openFlags,
  readAt,
  SystemError,
  unmap,
  writtenExtent,
} from "../../../ffi/libc.ts";
import { LogSeal } from "../encryption/log_seal.ts";
import type { VolumeKey } from "../encryption/volume_key.ts";
import {
  batchVersion,
  blockBytes,
  logFilePattern,
  sealedBatchVersion,
  segmentBlocks,
} from "../format.ts";
import { rest } from "../rest.ts";
import { type BatchHeader, decodeHeader } from "./log_record.ts";

/** Of one read: it is over soon, also on a disk that turns. */
export const checkedBlocks = 128;

/** How its files are read. */
export const checkedFiles = {
  open: (path: string): number => openFile(path, openFlags.readOnly | openFlags.direct),
  close: closeFile,
  /** Reads until so many bytes or the end of the file; returns how many came. */
  read: (fd: number, into: Memory, length: number, offset: number): number =>
    readAt(fd, into, 0, length, offset),
  written: writtenExtent,
};

interface CheckedSegment {
  readonly path: string;
  readonly epoch: number;
}

export interface CheckedLogOptions {
  readonly directory: string;
  readonly volumeId: string;
  /** Of an encrypted volume. */
  readonly key?: VolumeKey | undefined;
  /** The machine's own unless given. */
  readonly files?: typeof checkedFiles;
}

const nothing = new Uint8Array(0);

/** What is in the directory: nothing, when the volume has been unmounted and it has gone. */
function entriesOf(directory: string): Deno.DirEntry[] {
  try {
    return [...Deno.readDirSync(directory)];
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

export class CheckedLog implements Disposable {
  readonly #o: CheckedLogOptions;
  readonly #files: typeof checkedFiles;
  readonly #segments = new Map<number, CheckedSegment>();
  /** Files that do not begin with a header: not used yet, or damaged. */
  #unnamed: string[] = [];
  readonly #memories: Memory[] = [];
  readonly #seal: LogSeal | undefined;
  readonly #window: Memory;
  #open: { readonly path: string; readonly fd: number } | undefined;

  /** Finds the segments that there are. */
  constructor(options: CheckedLogOptions) {
    this.#o = options;
    this.#files = options.files ?? checkedFiles;
    const mapped = (length: number) => {
      const memory = mapMemory(length);
      this.#memories.push(memory);
      return memory;
    };
    this.#window = mapped(checkedBlocks * blockBytes);
    this.#seal = options.key === undefined ? undefined : new LogSeal(options.key, mapped);
    try {
      for (const { name } of entriesOf(options.directory)) {
        if (!logFilePattern.test(name)) continue;
        const path = join(options.directory, name);
        const header = this.#header(this.#blocks(path, 0, 1), 0, 0);
        if (header === undefined) this.#unnamed.push(path);
        else this.#segments.set(header.segment, { path, epoch: header.epoch });
      }
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  /**
   * What stands there, fewer blocks where the file ends before; undefined where nothing can be read. Valid until the next call.
   * @param count at most `checkedBlocks`
   */
  async read(
    segment: number,
    first: number,
    count: number,
  ): Promise<Uint8Array<ArrayBuffer> | undefined> {
    if (!this.#segments.has(segment)) await this.#nameFiles();
    const found = this.#segments.get(segment);
    const bytes = found && this.#blocks(found.path, first, count);
    if (found === undefined || bytes === undefined) return undefined;
    for (let i = 0; i * blockBytes < bytes.length; i++) {
      this.#seal?.openBlock(this.#window, i * blockBytes, found.epoch, segment, first + i);
    }
    return bytes;
  }

  /** Looks for the newest batch of each file that does not say at its beginning what it is. */
  async #nameFiles(): Promise<void> {
    for (const path of this.#unnamed.splice(0)) {
      const fd = this.#fd(path);
      if (fd === undefined) continue;
      let newest: BatchHeader | undefined;
      const look = (bytes: Uint8Array<ArrayBuffer>, first: number) => {
        for (let i = 0; (i + 1) * blockBytes <= bytes.length; i++) {
          const header = this.#header(bytes, i, first + i);
          if (header !== undefined && header.sequence > (newest?.sequence ?? 0)) newest = header;
        }
      };
      for (let first = 0, isAll = false; !isAll && first < segmentBlocks; first += checkedBlocks) {
        // What was only set aside holds no batch.
        const written = this.#files.written(fd, first * blockBytes);
        if (written === undefined) break;
        if (written.from >= (first + checkedBlocks) * blockBytes) continue;
        const began = performance.now();
        const bytes = this.#blocks(path, first, checkedBlocks);
        if (bytes !== undefined) {
          look(bytes, first);
          isAll = bytes.length < checkedBlocks * blockBytes;
        } else {
          // The disk cannot read some of them; the others may say it.
          for (let block = first; block < first + checkedBlocks; block++) {
            look(this.#blocks(path, block, 1) ?? nothing, block);
          }
        }
        await rest(began);
      }
      if (newest !== undefined) {
        this.#segments.set(newest.segment, { path, epoch: newest.epoch });
      }
    }
  }

  #header(bytes: Uint8Array<ArrayBuffer> | undefined, at: number, position: number) {
    const block = bytes?.subarray(at * blockBytes, (at + 1) * blockBytes);
    if (block?.length !== blockBytes) return undefined;
    const version = this.#o.key === undefined ? batchVersion : sealedBatchVersion;
    const header = decodeHeader(block, this.#o.volumeId, version);
    return header?.position === position ? header : undefined;
  }

  /** The file, opened; undefined where it has gone, or where its disk cannot even say that. */
  #fd(path: string): number | undefined {
    if (this.#open?.path === path) return this.#open.fd;
    this.#close();
    try {
      this.#open = { path, fd: this.#files.open(path) };
      return this.#open.fd;
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      if (error.errno === errnos.ENOENT || error.errno === errnos.EIO) return undefined;
      throw error;
    }
  }

  /** Whole blocks of a file; undefined where it has gone, or where its disk cannot read them. */
  #blocks(path: string, first: number, count: number): Uint8Array<ArrayBuffer> | undefined {
    const fd = this.#fd(path);
    if (fd === undefined) return undefined;
    try {
      const got = this.#files.read(fd, this.#window, count * blockBytes, first * blockBytes);
      return this.#window.bytes.subarray(0, got - got % blockBytes);
    } catch (error) {
      // A sector that cannot be read is EIO, or ENODATA, EILSEQ, EREMOTEIO, ETIMEDOUT: each disk has its own word for it.
      if (error instanceof SystemError && error.call === "pread") return undefined;
      throw error;
    }
  }

  #close(): void {
    if (this.#open !== undefined) this.#files.close(this.#open.fd);
    this.#open = undefined;
  }

  [Symbol.dispose](): void {
    this.#close();
    this.#seal?.[Symbol.dispose]();
    for (const memory of this.#memories.splice(0)) unmap(memory);
  }
}
