/**
 * The serial console's output: QEMU appends it to a file, this keeps the file bounded and reads its
 * end for GetConsoleOutput. Escapes and carriage returns are kept, as AWS keeps them.
 */
import type { MachinePaths } from "./machine_paths.ts";

/** What AWS keeps of a console. */
export const consoleTail_bytes = 64 << 10;
/** A log longer than this is cut to its tail. */
const longest_bytes = 4 << 20;

export interface ConsoleText {
  /** Base64. */
  readonly output: string;
  /** When something was written last; ISO 8601. */
  readonly written?: string;
}

/** The last 64 KiB of what the guest wrote; nothing is no error. */
export async function readConsole(paths: MachinePaths): Promise<ConsoleText> {
  const newest = await tail(paths.consoleLog, consoleTail_bytes);
  const missing = consoleTail_bytes - newest.bytes.length;
  const older = missing > 0 ? await tail(paths.consoleOlder, missing) : { bytes: new Uint8Array() };
  const bytes = new Uint8Array(older.bytes.length + newest.bytes.length);
  bytes.set(older.bytes);
  bytes.set(newest.bytes, older.bytes.length);
  return {
    output: bytes.toBase64(),
    ...(newest.written === undefined ? {} : { written: newest.written.toISOString() }),
  };
}

async function tail(
  path: string,
  length: number,
): Promise<{ readonly bytes: Uint8Array; readonly written?: Date }> {
  let file: Deno.FsFile;
  try {
    file = await Deno.open(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return { bytes: new Uint8Array() };
    throw error;
  }
  using open = file;
  const { size, mtime } = await open.stat();
  await open.seek(Math.max(0, size - length), Deno.SeekMode.Start);
  const bytes = new Uint8Array(Math.min(size, length));
  let at = 0;
  while (at < bytes.length) {
    const count = await open.read(bytes.subarray(at));
    if (count === null) break;
    at += count;
  }
  return { bytes: bytes.subarray(0, at), ...(mtime === null ? {} : { written: mtime }) };
}

/**
 * Cuts a log that has grown too long. QEMU has the file open for appending, so it goes on at the new
 * end; what it writes between the copy and the cut is lost, which a flood of megabytes can bear.
 */
export async function boundConsole(paths: MachinePaths): Promise<void> {
  const size = await Deno.stat(paths.consoleLog).then((stat) => stat.size, () => 0);
  if (size <= longest_bytes) return;
  const { bytes } = await tail(paths.consoleLog, consoleTail_bytes);
  await Deno.writeFile(paths.consoleOlder, bytes, { mode: 0o640 });
  await Deno.truncate(paths.consoleLog, 0);
}
