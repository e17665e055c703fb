/**
 * Where update files come from: an HTTP(S) server, a directory, a USB stick. A source hands out bytes
 * and promises nothing about them; everything is checked against the signed list afterwards.
 */
import { basename, dirname, join, resolve } from "node:path";
import { CommandError } from "../../terminal/command.ts";
import { mountUsbStick } from "./usb.ts";

export interface OpenedFile {
  readonly stream: ReadableStream<Uint8Array<ArrayBuffer>>;
  /** Where the stream begins: what was asked for, or 0 when the source can only give the whole. */
  readonly at_bytes: number;
  /** Of the whole file, when the source knows. */
  readonly size_bytes: number | undefined;
}

export interface Source extends AsyncDisposable {
  /** For messages. */
  readonly name: string;
  /** @throws SourceError */
  size(file: string, signal: AbortSignal): Promise<number | undefined>;
  /** @throws SourceError */
  open(file: string, from_bytes: number, signal: AbortSignal): Promise<OpenedFile>;
}

/** The source does not give a file. `passing`: it may do so when asked again. */
export class SourceError extends Error {
  override readonly name = "SourceError";
  constructor(message: string, readonly passing: boolean, options?: ErrorOptions) {
    super(message, options);
  }
}

/** Nothing came for so long: the server is gone, whatever its socket says. */
export const silence_ms = 60_000;

const why = (error: unknown) => error instanceof Error ? error.message : String(error);

export function httpSource(address: URL): Source {
  const folder = new URL(address);
  if (!folder.pathname.endsWith("/")) folder.pathname += "/";
  // What a URL may carry of names and passwords is nobody's to read in a log.
  const shown = `${folder.origin}${folder.pathname}`;
  const ask = async (file: string, init: RequestInit, signal: AbortSignal): Promise<Response> => {
    const url = new URL(encodeURIComponent(file), folder);
    url.search = address.search;
    const silence = new AbortController();
    const timer = setTimeout(() => silence.abort(), silence_ms);
    try {
      return await fetch(url, { ...init, signal: AbortSignal.any([signal, silence.signal]) });
    } catch (cause) {
      signal.throwIfAborted();
      throw new SourceError(`${shown} does not answer: ${why(cause)}`, true, { cause });
    } finally {
      clearTimeout(timer);
    }
  };
  const refuse = async (file: string, response: Response): Promise<never> => {
    await response.body?.cancel().catch(() => {});
    throw new SourceError(
      `${shown} answered ${response.status} for ${file}.`,
      response.status >= 500 || response.status === 408 || response.status === 429,
    );
  };
  return {
    name: shown,
    async size(file, signal) {
      const response = await ask(file, { method: "HEAD" }, signal);
      // It does not answer such questions; how much comes is seen when it comes.
      const unasked = response.status === 405 || response.status === 501;
      if (!response.ok && !unasked) await refuse(file, response);
      await response.body?.cancel();
      if (unasked) return undefined;
      const length = response.headers.get("content-length");
      return length === null || response.headers.has("content-encoding")
        ? undefined
        : Number(length);
    },
    async open(file, from_bytes, signal) {
      const headers = {
        // A server that compresses on the way cannot also resume.
        "accept-encoding": "identity",
        ...(from_bytes === 0 ? {} : { range: `bytes=${from_bytes}-` }),
      };
      let response = await ask(file, { headers }, signal);
      if (response.status === 416) {
        // More is here than there: it is another file by now.
        await response.body?.cancel();
        response = await ask(file, { headers: { "accept-encoding": "identity" } }, signal);
      }
      if (!response.ok || response.body === null) return await refuse(file, response);
      const [, start, total] = response.status === 206
        ? /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(response.headers.get("content-range") ?? "") ?? []
        : [];
      if (response.status === 206 && Number(start) !== from_bytes) await refuse(file, response);
      const length = response.headers.get("content-length");
      const size = response.status === 206 ? total : length;
      return {
        stream: response.body,
        at_bytes: response.status === 206 ? from_bytes : 0,
        size_bytes: size === undefined || size === null || size === "*" ? undefined : Number(size),
      };
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

export function directorySource(
  directory: string,
  shown = directory,
  dispose: () => Promise<void> = () => Promise.resolve(),
): Source {
  const refused = (file: string, cause: unknown) =>
    new SourceError(
      cause instanceof Deno.errors.NotFound
        ? `There is no ${file} in ${shown}.`
        : `${file} in ${shown} cannot be read: ${why(cause)}`,
      false,
      { cause },
    );
  return {
    name: shown,
    async size(file) {
      try {
        return (await Deno.stat(join(directory, file))).size;
      } catch (cause) {
        throw refused(file, cause);
      }
    },
    async open(file, from_bytes) {
      try {
        // Whoever opens a pipe waits for its other end.
        const { isFile, size } = await Deno.stat(join(directory, file));
        if (!isFile) throw new SourceError(`${file} in ${shown} is no file.`, false);
        const opened = await Deno.open(join(directory, file));
        const at_bytes = from_bytes <= size ? from_bytes : 0;
        await opened.seek(at_bytes, Deno.SeekMode.Start);
        return { stream: opened.readable, at_bytes, size_bytes: size };
      } catch (cause) {
        if (cause instanceof SourceError) throw cause;
        throw refused(file, cause);
      }
    },
    [Symbol.asyncDispose]: dispose,
  };
}

/**
 * What `--from` means: an address, a folder, a file in a folder of a release, or `usb`.
 * @throws CommandError
 */
export async function sourceOf(from: string): Promise<Source> {
  if (/^https?:\/\//i.test(from)) {
    const url = URL.parse(from);
    if (url === null) throw new CommandError(`"${from}" is no address.`, 2);
    if (url.pathname.endsWith("/SHA256SUMS")) {
      url.pathname = url.pathname.slice(0, -"SHA256SUMS".length);
    }
    return httpSource(url);
  }
  if (from.toLowerCase() === "usb") {
    const stick = await mountUsbStick();
    return directorySource(stick.directory, stick.name, () => stick.release());
  }
  const path = resolve(from);
  let stat: Deno.FileInfo;
  try {
    stat = await Deno.stat(path);
  } catch (cause) {
    throw new CommandError(
      `${path} cannot be read: it is no folder with an update, and --from also takes an address or "usb".`,
      1,
      { cause },
    );
  }
  if (stat.isDirectory) return directorySource(path);
  if (!stat.isFile || !/^(SHA256SUMS|mulgaos_.*)$/.test(basename(path))) {
    throw new CommandError(
      `${path} is no file of a release; name its SHA256SUMS, or the folder that holds it.`,
      2,
    );
  }
  return directorySource(dirname(path));
}
