/**
 * Unpacks a checked file to where the installer takes it from. systemd 254's importer takes the
 * bytes of a .zst as they are, so it is given the plain file; zeros become holes, since a slot's image is
 * mostly empty. The file has its final name only when it is whole and on the disk.
 */
import { createReadStream } from "node:fs";
import { createZstdDecompress } from "node:zlib";
import { CommandError } from "../../terminal/command.ts";
import { diskFull } from "./download.ts";

const block_bytes = 64 * 1024;
const zeros = new Uint8Array(block_bytes);

function isEmpty(bytes: Uint8Array): boolean {
  return bytes.length === block_bytes && Buffer.compare(bytes, zeros) === 0;
}

export interface UnpackOptions {
  readonly signal: AbortSignal;
  readonly progress: (unpacked_bytes: number) => void;
  /** A file that unpacks to more is not what it says. */
  readonly max_bytes: number;
}

/** @throws CommandError */
export async function unpack(
  from: string,
  to: string,
  compressed: boolean,
  options: UnpackOptions,
): Promise<void> {
  const beside = `${to}.unpacking`;
  const input = createReadStream(from, { highWaterMark: 1 << 20 });
  const stream = compressed ? input.pipe(createZstdDecompress()) : input;
  input.on("error", (error) => stream.destroy(error));
  try {
    using file = await Deno.open(beside, {
      write: true,
      create: true,
      truncate: true,
      mode: 0o600,
    });
    let length = 0;
    let pending = new Uint8Array(0);
    const put = async (bytes: Uint8Array) => {
      if (isEmpty(bytes)) await file.seek(bytes.length, Deno.SeekMode.Current);
      else {
        for (let at = 0; at < bytes.length;) {
          at += await file.write(bytes.subarray(at)).catch((cause) => {
            throw diskFull(to, cause);
          });
        }
      }
      length += bytes.length;
      if (length > options.max_bytes) {
        throw new CommandError(`${to} is larger than the slot that it shall go to.`);
      }
    };
    for await (const chunk of stream as AsyncIterable<Uint8Array>) {
      options.signal.throwIfAborted();
      const joined: Uint8Array = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
      let at = 0;
      for (; at + block_bytes <= joined.length; at += block_bytes) {
        await put(joined.subarray(at, at + block_bytes));
      }
      pending = joined.slice(at);
      options.progress(length);
    }
    await put(pending);
    await file.truncate(length);
    await file.sync();
  } catch (cause) {
    await Deno.remove(beside).catch(() => {});
    if (cause instanceof CommandError || options.signal.aborted) throw cause;
    throw new CommandError(
      `${from} cannot be unpacked: ${cause instanceof Error ? cause.message : cause}. Run ` +
        `\`hive update --abort\` and fetch it again.`,
      1,
      { cause },
    );
  } finally {
    input.destroy();
    stream.destroy();
  }
  await Deno.rename(beside, to);
}
