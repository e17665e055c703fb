/**
 * What the system says of a place that it cannot give any more, as opposed to a disk that could not be asked. A file system that
 * found itself damaged gives no place to write to.
 */
import { errnoName, errnos, SystemError } from "../../../ffi/libc.ts";

const lostCodes: ReadonlySet<string> = new Set(
  [errnos.EIO, errnos.ENODATA, errnos.EILSEQ, errnos.EREMOTEIO, errnos.ETIMEDOUT, errnos.EROFS].map(
    errnoName,
  ),
);

/** The name of the error that the system gave; empty when it was none of the system's. */
export function lostCode(error: unknown): string {
  if (error instanceof SystemError) return errnoName(error.errno);
  return error instanceof Error && "code" in error ? String(error.code) : "";
}

export const isLost = (error: unknown): boolean => lostCodes.has(lostCode(error));
