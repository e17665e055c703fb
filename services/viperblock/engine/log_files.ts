/**
 * A volume's log files, read in windows: batches follow each other, and one read brings many of them. What the file system knows to
 * have been set aside only is not read.
 */
import type { FileExtent, Memory } from "../../../ffi/libc.ts";
import { blockBytes } from "../format.ts";
import { isLost, lostCode } from "../machine/lost.ts";
import type { LogDisk, OpenFile } from "../machine/machine.ts";
import type { LogFile } from "../log/log_file.ts";

/** Blocks of one read from a log file; much more than the longest batch. */
const windowBlocks = 1024;
export const logWindowBytes = windowBlocks * blockBytes;

export type OpenLogFile = LogFile & OpenFile;

/** A block of a file that the disk cannot read. */
export interface UnreadableBlock {
  readonly path: string;
  readonly block: number;
  /** In one sentence. */
  readonly why: string;
}

/**
 * @param buffer of `logWindowBytes`; what a read gives lies in it
 * @param unreadable hears of each block that was asked for and cannot be read; it reads as zeros, unless this throws
 */
export function readable(
  disk: Pick<LogDisk, "read" | "written">,
  files: readonly OpenFile[],
  buffer: Memory,
  unreadable: (lost: UnreadableBlock) => void,
): OpenLogFile[] {
  /** As the disk's own, block by block, so that one that is lost takes no other along. */
  const readEach = ({ fd, path }: OpenFile, length: number, offset: number) => {
    const whole = new Uint8Array(length);
    for (let at = 0; at < length; at += blockBytes) {
      try {
        const got = disk.read(fd, buffer, blockBytes, offset + at);
        whole.set(buffer.bytes.subarray(0, got), at);
        if (got < blockBytes) return { whole, got: at + got };
      } catch (error) {
        if (!isLost(error)) throw error;
        const block = (offset + at) / blockBytes;
        const why = `${path} cannot be read at block ${block}: ${lostCode(error)}`;
        unreadable({ path, block, why });
      }
    }
    return { whole, got: length };
  };
  const read = (file: OpenFile, asked: number, length: number, offset: number) => {
    try {
      return disk.read(file.fd, buffer, length, offset);
    } catch (error) {
      if (!isLost(error)) throw error;
      // What lies behind what was asked for need not be readable.
      const { whole, got } = readEach(file, asked, offset);
      buffer.bytes.set(whole);
      return got;
    }
  };
  let window = { fd: -1, first: 0, count: 0 };
  return files.map((file) => {
    /** What the disk said last. What a dead process has under way may land meanwhile: it is as if it did later. */
    let extent: FileExtent | undefined;
    let isRead = false;
    const extentAt = (offset: number) => {
      const isKnown = extent !== undefined && offset >= extent.from && offset < extent.to;
      return isKnown ? extent : extent = disk.written(file.fd, offset);
    };
    /** Bytes worth reading there, of which so many are asked for. */
    const worthwhile = (offset: number, asked: number) => {
      // Each file is asked first for its first block, which says whether it is needed at all.
      if (!isRead) return asked;
      const { from, to } = extentAt(offset) ?? { from: Infinity, to: Infinity };
      const until = from > offset ? offset : Math.ceil(to / blockBytes) * blockBytes;
      return Math.min(logWindowBytes, Math.max(asked, until - offset));
    };
    return {
      ...file,
      read(firstBlock, count) {
        const end = firstBlock + count;
        if (
          window.fd !== file.fd || firstBlock < window.first || end > window.first + window.count
        ) {
          const offset = firstBlock * blockBytes;
          const asked = count * blockBytes;
          const got = read(file, asked, worthwhile(offset, asked), offset);
          isRead = true;
          window = { fd: file.fd, first: firstBlock, count: Math.floor(got / blockBytes) };
        }
        const have = Math.min(count, window.first + window.count - firstBlock);
        const from = (firstBlock - window.first) * blockBytes;
        return buffer.bytes.subarray(from, from + have * blockBytes);
      },
      written(firstBlock) {
        const offset = firstBlock * blockBytes;
        const from = extentAt(offset)?.from;
        return from === undefined ? Infinity : Math.max(firstBlock, Math.floor(from / blockBytes));
      },
    };
  });
}
