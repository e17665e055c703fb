/** zstd, as fast as this machine can: what it packs is compressed file systems, mostly. */
import { ImageBuildError } from "../mkosi/run.ts";

/** @throws ImageBuildError */
export async function compress(from: string, to: string, signal?: AbortSignal): Promise<void> {
  const { success, stderr } = await new Deno.Command("zstd", {
    args: ["--quiet", "--force", "-T0", "-6", from, "-o", to],
    stdin: "null",
    ...(signal === undefined ? {} : { signal }),
  }).output();
  signal?.throwIfAborted();
  if (!success) {
    throw new ImageBuildError(
      `${from} could not be compressed: ${new TextDecoder().decode(stderr).trim()}.`,
    );
  }
}
