/**
 * A volume's log files, read in windows: batches follow each other, and one read brings many of them. What the file system knows to
 * have been set aside only is not read.
 */
import type { FileExtent, Memory } from "../../../ffi/libc.ts";
import { blockBytes } from "../format.ts";
import type { LogDisk, OpenFile } from "../machine/machine.ts";
import type { LogFile } from "../log/log_file.ts";

/** Blocks of one read from a log file; much more than the longest batch. */
const windowBlocks = 1024;
export const logWindowBytes = windowBlocks * blockBytes;

export type OpenLogFile = LogFile & OpenFile;

/** @param buffer of `logWindowBytes`; what a read gives lies in it */
export function readable(
  disk: Pick<LogDisk, "read" | "written">,
  files: readonly OpenFile[],
  buffer: Memory,
): OpenLogFile[] {
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
          const got = disk.read(file.fd, buffer, worthwhile(offset, count * blockBytes), offset);
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
