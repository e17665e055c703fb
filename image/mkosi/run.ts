/**
 * Runs mkosi: its words go to a log, what they say about progress to the terminal, and a failure
 * becomes one sentence with the line that tells most. What the images have in common stands here.
 */
import { join } from "node:path";

/** Why an image was not built, in one sentence for the terminal. */
export class ImageBuildError extends Error {
  override readonly name = "ImageBuildError";
}

/** Where programs of Debian are looked for, also those that only root has in its path. */
export const searchPath = `${Deno.env.get("PATH") ?? ""}:/usr/sbin:/sbin`;

/**
 * Where packages, tools and finished images are kept: `MULGA_IMAGE_CACHE`, by which several systems on
 * one machine share them, else `~/.cache/mulga`.
 */
export function imageCache(): string {
  const shared = Deno.env.get("MULGA_IMAGE_CACHE");
  if (shared) return shared;
  const home = Deno.env.get("XDG_CACHE_HOME") || join(Deno.env.get("HOME") ?? "/root", ".cache");
  return join(home, "mulga");
}

/** What a line of mkosi's or apt's output says about how far the build is; most say nothing. */
export function progressOf(line: string): string | undefined {
  const fetched = line.match(/^Get:(\d+) /);
  if (fetched !== null) return `fetching packages (${fetched[1]})`;
  const setUp = line.match(/^(?:Unpacking|Setting up) ([^ :]+)/);
  if (setUp !== null) return `installing ${setUp[1]}`;
  const step = line.match(/^‣\s+(.+?)(?:…|\.\.\.)?$/);
  if (step === null || /not installed|unknown' kernel type/.test(step[1] ?? "")) return undefined;
  return (step[1] ?? "").replaceAll(/\/\S*\//g, "").toLowerCase();
}

/** The line of a failed build's log that tells most, for the one sentence. */
export function reasonOf(log: string): string {
  const lines = log.split("\n").map((line) => line.trim()).filter((line) => line !== "");
  const telling = lines.findLast((line) =>
    /No space left on device|^E: |^dpkg: error|Temporary failure|Operation not permitted|Permission denied/
      .test(line)
  );
  return (telling ?? lines.findLast((line) => line.startsWith("‣")) ?? lines.at(-1) ?? "no output")
    .replace(/^‣\s*/, "").replace(/\.$/, "").slice(0, 300);
}

export interface MkosiRun {
  readonly program: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** The file that takes everything it says. */
  readonly log: string;
  readonly onProgress: (text: string) => void;
  readonly signal?: AbortSignal | undefined;
}

/** @throws ImageBuildError when it fails */
export async function runMkosi(run: MkosiRun): Promise<void> {
  const { log, signal } = run;
  const child = new Deno.Command(run.program, {
    args: [...run.args],
    env: { PATH: searchPath, LC_ALL: "C.UTF-8", ...run.env },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    ...(signal === undefined ? {} : { signal }),
  }).spawn();
  using file = await Deno.open(log, { create: true, write: true, truncate: true });
  let text = "";
  const read = async (stream: ReadableStream<Uint8Array<ArrayBuffer>>) => {
    let rest = "";
    for await (const chunk of stream.pipeThrough(new TextDecoderStream())) {
      text += chunk;
      const lines = (rest + chunk).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        const progress = progressOf(line);
        if (progress !== undefined) run.onProgress(progress);
      }
      file.writeSync(new TextEncoder().encode(chunk));
    }
  };
  const [status] = await Promise.all([child.status, read(child.stdout), read(child.stderr)]);
  signal?.throwIfAborted();
  if (!status.success) {
    throw new ImageBuildError(
      `mkosi did not build the image: ${reasonOf(text)}. The whole log is in ${log}.`,
    );
  }
}
