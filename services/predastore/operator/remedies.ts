/** What the operator can do where a directory takes no writes, by what the kernel said. */
import { IoError } from "../../../ffi/direct_io.ts";

const room =
  "Its file system refuses room that it tells of: raise the quota, or look for inodes with `df -i`.";
const files = "The process has as many files open as it may: raise LimitNOFILE of its unit.";

const remedies: Readonly<Record<string, string>> = {
  EROFS:
    "Its file system is read-only, most often after errors of the disk: see the kernel's log, " +
    "then check it and mount it writable, or put an empty disk in its place.",
  EDQUOT: room,
  ENOSPC: room,
  EMFILE: files,
  ENFILE: files,
  EACCES: "The service may not write there: see who owns it.",
  EPERM: "The service may not write there: see who owns it.",
  EIO: "The disk fails: see the kernel's log, and put an empty disk in its place.",
  ETIMEDOUT:
    "It does not answer: see whether the disk, or the server that it is mounted from, is there.",
};

/** Undefined where there is nothing to say but to bring it back. */
export function remedyOf(reason: unknown): string | undefined {
  for (let at = reason; at instanceof Error; at = at.cause) {
    if (at instanceof IoError && remedies[at.code] !== undefined) return remedies[at.code];
  }
  return undefined;
}
