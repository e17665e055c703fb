/** What is not there, nor what would be above it. */
import { IoError } from "../../../ffi/direct_io.ts";

export const isAbsent = (error: unknown) =>
  error instanceof IoError && (error.code === "ENOENT" || error.code === "ENOTDIR");
