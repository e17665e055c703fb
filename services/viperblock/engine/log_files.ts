/** A volume's log files, read in windows: batches follow each other, and one read brings many of them. */
import type { Memory } from "../../../ffi/libc.ts";
import { blockBytes } from "../format.ts";
import type { LogDisk, OpenFile } from "../machine/machine.ts";
import type { LogFile } from "../log/log_file.ts";

/** Blocks of one read from a log file; much more than the longest batch. */
const windowBlocks = 1024;
export const logWindowBytes = windowBlocks * blockBytes;

export type OpenLogFile = LogFile & OpenFile;

/** @param buffer of `logWindowBytes`; what a read gives lies in it */
export function readable(
  disk: Pick<LogDisk, "read">,
  files: readonly OpenFile[],
  buffer: Memory,
): OpenLogFile[] {
  let window = { fd: -1, first: 0, count: 0 };
  return files.map((file) => ({
    ...file,
    read(firstBlock, count) {
      const end = firstBlock + count;
      if (
        window.fd !== file.fd || firstBlock < window.first || end > window.first + window.count
      ) {
        const got = disk.read(file.fd, buffer, logWindowBytes, firstBlock * blockBytes);
        window = { fd: file.fd, first: firstBlock, count: Math.floor(got / blockBytes) };
      }
      const have = Math.min(count, window.first + window.count - firstBlock);
      const from = (firstBlock - window.first) * blockBytes;
      return buffer.bytes.subarray(from, from + have * blockBytes);
    },
  }));
}
