/**
 * Brings one file of a release here, piece by piece: what has arrived stays, named by the sum that it
 * shall have, so that any later run goes on from there and a file of another release is never taken
 * for it. A source that fails in passing is asked again; a file counts only when its sum is right.
 */
import { join } from "node:path";
import { sumOfFile } from "../../../image/signing/sums.ts";
import { joined } from "../../../services/aws/bytes.ts";
import { CommandError } from "../../terminal/command.ts";
import { bytes as sizeText } from "../../terminal/table.ts";
import { silence_ms as usualSilence_ms, type Source, SourceError } from "./source.ts";

/** Failures in a row without a single byte in between. */
const attempts_max = 6;

export interface DownloadOptions {
  /** Where partial files stay. */
  readonly directory: string;
  readonly signal: AbortSignal;
  readonly progress: (here_bytes: number, size_bytes: number | undefined) => void;
  /** What is longer is not what was signed: it is thrown away before it fills the disk. */
  readonly max_bytes: number;
  /** The first pause after a failure; it doubles with each. */
  readonly pause_ms?: number;
  readonly silence_ms?: number;
}

export interface Wanted {
  readonly name: string;
  readonly sum: string;
}

/** Where the file is or will be. */
export const partialPath = (directory: string, wanted: Wanted) =>
  join(directory, `${wanted.sum}.partial`);

async function sizeOf(path: string): Promise<number> {
  try {
    return (await Deno.stat(path)).size;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return 0;
    throw error;
  }
}

/**
 * @returns the path of the whole, checked file
 * @throws CommandError when it cannot be had or is not what was signed
 */
export async function download(
  source: Source,
  wanted: Wanted,
  options: DownloadOptions,
): Promise<string> {
  const path = partialPath(options.directory, wanted);
  let resumed = await sizeOf(path) > 0;
  for (let failures = 0;;) {
    const before = await sizeOf(path);
    try {
      await fetchRest(source, wanted.name, path, options);
    } catch (error) {
      options.signal.throwIfAborted();
      if (!(error instanceof SourceError)) throw error;
      failures = await sizeOf(path) > before ? 1 : failures + 1;
      if (!error.passing || failures >= attempts_max) {
        throw new CommandError(
          `${error.message} What has arrived is kept: the same command goes on from there.`,
          1,
          { cause: error },
        );
      }
      await pause((options.pause_ms ?? 500) * 2 ** (failures - 1), options.signal);
      continue;
    }
    const size = await sizeOf(path);
    if (await sumOfFile(path, () => options.signal.throwIfAborted()) === wanted.sum) {
      options.progress(size, size);
      return path;
    }
    await Deno.remove(path);
    // The beginning may have been of an older file of this name: once more from the start.
    if (!resumed) {
      throw new CommandError(
        `${wanted.name} from ${source.name} is not what was signed: its SHA-256 differs. It was thrown ` +
          `away, nothing was installed. Fetch it again, or ask whoever published it.`,
      );
    }
    resumed = false;
  }
}

async function fetchRest(
  source: Source,
  name: string,
  path: string,
  { signal, progress, max_bytes, silence_ms = usualSilence_ms }: DownloadOptions,
): Promise<void> {
  const have = await sizeOf(path);
  const silence = new AbortController();
  const either = AbortSignal.any([signal, silence.signal]);
  const { stream, at_bytes, size_bytes } = await source.open(name, have, either);
  using file = await Deno.open(path, { write: true, create: true, mode: 0o600 });
  await file.truncate(at_bytes);
  await file.seek(at_bytes, Deno.SeekMode.Start);
  let here = at_bytes;
  const requireLength = async (length: number) => {
    if (length <= max_bytes) return;
    await Deno.remove(path);
    throw new CommandError(
      `${name} from ${source.name} is longer than such a file can be (${
        sizeText(max_bytes)
      }). It was ` +
        `thrown away, nothing was installed.`,
    );
  };
  progress(here, size_bytes);
  let timer = setTimeout(() => silence.abort(), silence_ms);
  try {
    for await (const chunk of stream) {
      signal.throwIfAborted();
      await requireLength(here + chunk.length);
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), silence_ms);
      for (let at = 0; at < chunk.length;) at += await writeOrSay(file, chunk.subarray(at), name);
      progress(here += chunk.length, size_bytes);
    }
  } catch (cause) {
    if (cause instanceof CommandError) throw cause;
    signal.throwIfAborted();
    throw brokeOff(source, name, cause);
  } finally {
    clearTimeout(timer);
    await file.sync().catch((cause) => {
      throw diskFull(name, cause);
    });
  }
  if (size_bytes !== undefined && here < size_bytes) {
    throw new SourceError(`${source.name} ended ${name} too early.`, true);
  }
}

function brokeOff(source: Source, name: string, cause: unknown): SourceError {
  const why = cause instanceof Error ? cause.message : cause;
  return new SourceError(`${source.name} broke off in ${name}: ${why}.`, true, { cause });
}

async function writeOrSay(file: Deno.FsFile, bytes: Uint8Array, name: string): Promise<number> {
  try {
    return await file.write(bytes);
  } catch (cause) {
    throw diskFull(name, cause);
  }
}

export function diskFull(name: string, cause: unknown): CommandError {
  return new CommandError(
    `${name} does not fit: ${
      cause instanceof Error ? cause.message : cause
    }. Free space on the data ` +
      `partition (\`hive update --abort\` removes what has arrived) and run this again.`,
    1,
    { cause },
  );
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  signal.addEventListener("abort", () => resolve(), { once: true });
  await promise;
  clearTimeout(timer);
  signal.throwIfAborted();
}

/** Reads a short file whole, within the time that a long one may be silent. @throws CommandError, SourceError */
export async function readSmall(
  source: Source,
  name: string,
  max_bytes: number,
  { signal, silence_ms = usualSilence_ms }: Pick<DownloadOptions, "signal" | "silence_ms">,
): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  const silence = new AbortController();
  const timer = setTimeout(
    () => silence.abort(new Error("nothing came any more")),
    silence_ms,
  );
  try {
    const either = AbortSignal.any([signal, silence.signal]);
    const { stream } = await source.open(name, 0, either);
    for await (const chunk of stream) {
      length += chunk.length;
      if (length > max_bytes) {
        throw new CommandError(`${name} of ${source.name} is longer than such a file can be.`);
      }
      chunks.push(chunk);
    }
  } catch (cause) {
    if (cause instanceof CommandError || cause instanceof SourceError) throw cause;
    signal.throwIfAborted();
    throw brokeOff(source, name, cause);
  } finally {
    clearTimeout(timer);
  }
  return joined(chunks);
}
