/**
 * Tar archives (ustar) in memory-sized pieces: written for backups and support bundles, read back from
 * backups. The reader takes regular files with plain relative names only: whatever else an archive may
 * say (links, devices, `..`) is refused, since what is read is written to a disk later.
 */

export interface ArchiveEntry {
  readonly name: string;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly mode?: number;
  readonly modified?: Date;
}

/** Not an archive of ours, or damaged. */
export class ArchiveError extends Error {
  override readonly name = "ArchiveError";
}

const block_bytes = 512;
const plainName = /^[A-Za-z0-9_@+=-][A-Za-z0-9_.@+=-]*(\/[A-Za-z0-9_@+=-][A-Za-z0-9_.@+=-]*)*$/;

export function isPlainName(name: string): boolean {
  return plainName.test(name) && name.length <= 99;
}

function header(entry: ArchiveEntry): Uint8Array<ArrayBuffer> {
  if (!isPlainName(entry.name)) throw new ArchiveError(`"${entry.name}" cannot name an entry`);
  const block = new Uint8Array(block_bytes);
  const put = (text: string, at: number) => block.set(new TextEncoder().encode(text), at);
  const octal = (value: number, width: number) => value.toString(8).padStart(width - 1, "0");
  put(entry.name, 0);
  put(octal(entry.mode ?? 0o600, 8), 100);
  put(octal(0, 8), 108);
  put(octal(0, 8), 116);
  put(octal(entry.bytes.length, 12), 124);
  put(octal(Math.floor((entry.modified ?? new Date()).getTime() / 1_000), 12), 136);
  put("        ", 148);
  put("0", 156);
  put("ustar\0" + "00", 257);
  put("root", 265);
  put("root", 297);
  let sum = 0;
  for (const byte of block) sum += byte;
  put(`${octal(sum, 7)}\0 `, 148);
  return block;
}

/** The bytes of an archive with these entries. */
export async function* writeTar(
  entries: Iterable<ArchiveEntry> | AsyncIterable<ArchiveEntry>,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  for await (const entry of entries) {
    yield header(entry);
    if (entry.bytes.length > 0) yield entry.bytes;
    const rest = entry.bytes.length % block_bytes;
    if (rest > 0) yield new Uint8Array(block_bytes - rest);
  }
  yield new Uint8Array(2 * block_bytes);
}

/** Reads a number field. */
function octalAt(block: Uint8Array, at: number, width: number): number {
  const text = new TextDecoder().decode(block.subarray(at, at + width)).replace(/[\0 ]+$/, "");
  if (!/^[0-7]*$/.test(text)) throw new ArchiveError("a number in the archive is none");
  return Number.parseInt(text || "0", 8);
}

/** @throws ArchiveError when it ends too early or has what is not taken */
export async function* readTar(
  stream: AsyncIterable<Uint8Array>,
  max_entry_bytes: number,
): AsyncGenerator<ArchiveEntry> {
  const reader = new ExactReader(stream);
  while (true) {
    const block = await reader.take(block_bytes);
    if (block.every((byte) => byte === 0)) {
      await reader.drain();
      return;
    }
    const stored = octalAt(block, 148, 8);
    let sum = 0;
    for (let at = 0; at < block_bytes; at++) sum += at >= 148 && at < 156 ? 32 : block[at] ?? 0;
    if (sum !== stored) throw new ArchiveError("a header in the archive is damaged");
    const name = new TextDecoder().decode(block.subarray(0, 100)).replace(/\0.*$/s, "");
    if (!isPlainName(name)) throw new ArchiveError(`"${name}" is no name for an entry`);
    if (block[156] !== 0x30 || block[345] !== 0) {
      throw new ArchiveError(`"${name}" is no regular file`);
    }
    const size = octalAt(block, 124, 12);
    if (size > max_entry_bytes) throw new ArchiveError(`"${name}" is larger than it can be`);
    const bytes = await reader.take(size);
    await reader.take((block_bytes - size % block_bytes) % block_bytes);
    yield {
      name,
      bytes,
      mode: octalAt(block, 100, 8),
      modified: new Date(octalAt(block, 136, 12) * 1_000),
    };
  }
}

class ExactReader {
  readonly #from: AsyncIterator<Uint8Array>;
  #rest: Uint8Array = new Uint8Array(0);

  constructor(stream: AsyncIterable<Uint8Array>) {
    this.#from = stream[Symbol.asyncIterator]();
  }

  async take(count: number): Promise<Uint8Array<ArrayBuffer>> {
    const out = new Uint8Array(count);
    let filled = 0;
    while (filled < count) {
      if (this.#rest.length === 0) {
        const { value, done } = await this.#from.next();
        if (done === true) throw new ArchiveError("the archive ends too early");
        this.#rest = value;
        continue;
      }
      const piece = this.#rest.subarray(0, count - filled);
      out.set(piece, filled);
      filled += piece.length;
      this.#rest = this.#rest.subarray(piece.length);
    }
    return out;
  }

  /** To the end, so that whatever checks the stream has seen all of it. */
  async drain(): Promise<void> {
    while ((await this.#from.next()).done !== true);
  }
}
