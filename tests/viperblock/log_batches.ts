/** The batches in the log files of a volume that nobody serves, for tests that damage them. */
import { blockBytes } from "../../services/viperblock/format.ts";
import { type BatchHeader, decodeHeader } from "../../services/viperblock/log/log_record.ts";

export interface FoundBatch {
  readonly path: string;
  readonly header: BatchHeader;
}

/** Every batch in a volume's log files, in sequence. @param directory the volume's own */
export async function batches(
  directory: string,
  volumeId: string,
  isEncrypted = false,
): Promise<FoundBatch[]> {
  const found: FoundBatch[] = [];
  for await (const { name } of Deno.readDir(`${directory}`)) {
    if (!name.endsWith(".seg")) continue;
    const path = `${directory}/${name}`;
    const bytes = await Deno.readFile(path);
    for (let at = 0; at + blockBytes <= bytes.length; at += blockBytes) {
      const block = bytes.slice(at, at + blockBytes);
      const header = decodeHeader(block, volumeId, isEncrypted ? 2 : 1);
      if (header?.position === at / blockBytes) found.push({ path, header });
    }
  }
  return found.sort((a, b) => a.header.sequence - b.header.sequence);
}

/** Other bits than were written, in that many bytes. */
export async function change(path: string, at: number, count: number, by: number): Promise<void> {
  using file = await Deno.open(path, { read: true, write: true });
  const bytes = new Uint8Array(count);
  await file.seek(at, Deno.SeekMode.Start);
  await file.read(bytes);
  await file.seek(at, Deno.SeekMode.Start);
  await file.write(bytes.map((byte) => byte ^ by));
  await file.sync();
}

export const flipBit = (path: string, at: number) => change(path, at, 1, 4);
