/**
 * The object store with copies of some objects on the node's own disk, which are read instead of it. A copy holds the bytes
 * as they are stored, sealed ones sealed.
 *
 * A copy is never trusted: each 64 KiB of it has a checksum that is held against it at every read. What is wrong, torn
 * or gone is read from the store, and the copy goes. So nothing is synced. Objects do not change under their names,
 * but what a run that was cut off left may be written once more: then the copy goes first.
 */
import { join } from "node:path";
import { crc32c } from "../../../ffi/crc32c.ts";
import { errorFields, type Log } from "../../log/log.ts";
import { DamagedData } from "../format.ts";
import type { BlockStore } from "../maps/map_objects.ts";
import { ignoreMissing } from "../../config/missing_files.ts";

const magic = 0x4f4b424d; // "MBKO"
/** Magic, the object's length in eight bytes, the checksum of both. */
const headBytes = 16;
const pieceBytes = 1 << 16;
const checksumBytes = 4;
const copyPieceBytes = pieceBytes + checksumBytes;

/** The copy as it lies on the disk: a head, then pieces, each with its checksum behind it. */
export function copyOf(object: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const pieces = Math.ceil(object.length / pieceBytes);
  const copy = new Uint8Array(headBytes + object.length + pieces * checksumBytes);
  const view = new DataView(copy.buffer);
  view.setUint32(0, magic, true);
  view.setBigUint64(4, BigInt(object.length), true);
  view.setUint32(12, crc32c(copy.subarray(0, 12)), true);
  for (let i = 0, at = headBytes; i < pieces; i++) {
    const piece = object.subarray(i * pieceBytes, (i + 1) * pieceBytes);
    copy.set(piece, at);
    view.setUint32(at + piece.length, crc32c(piece), true);
    at += piece.length + checksumBytes;
  }
  return copy;
}

export class KeptObjects implements BlockStore {
  readonly #store: BlockStore;
  readonly #directory: string;
  readonly #log: Log;
  /** Bytes of the objects that there are copies of, by their keys. */
  readonly #kept = new Map<string, number>();
  /** There are no copies but these. */
  #knowsAll = true;
  /** Bytes of all copies. */
  bytes = 0;
  /** Reads that copies answered. */
  hits = 0;
  /** Copies that were not what was stored. */
  wrong = 0;
  /** Called when a copy went that somebody may want. */
  lost: () => void = () => {};

  private constructor(store: BlockStore, directory: string, log: Log) {
    this.#store = store;
    this.#directory = directory;
    this.#log = log;
  }

  /** Takes up the copies that are there. */
  static async open(store: BlockStore, directory: string, log: Log): Promise<KeptObjects> {
    const objects = new KeptObjects(store, directory, log);
    try {
      await Deno.mkdir(directory, { recursive: true, mode: 0o700 });
      for await (const { name } of Deno.readDir(directory)) await objects.#take(name);
    } catch (error) {
      objects.#missed(error);
    }
    return objects;
  }

  async #take(name: string): Promise<void> {
    const path = join(this.#directory, name);
    try {
      if (name.endsWith(".part")) await Deno.remove(path);
      else this.#note(decodeURIComponent(name), (await Deno.stat(path)).size);
    } catch (error) {
      this.#missed(error);
    }
  }

  /** Volumes are served without what the disk does not give. */
  #missed(error: unknown): void {
    if (this.#knowsAll) this.#log.error("kept_objects_not_read", errorFields(error));
    this.#knowsAll = false;
  }

  #path(key: string): string {
    return join(this.#directory, encodeURIComponent(key));
  }

  #note(key: string, bytes: number): void {
    this.bytes += bytes - (this.#kept.get(key) ?? 0);
    this.#kept.set(key, bytes);
  }

  has(key: string): boolean {
    return this.#kept.has(key);
  }

  /** Bytes of the copies of these. */
  bytesOf(keys: readonly string[]): number {
    return keys.reduce((sum, key) => sum + (this.#kept.get(key) ?? 0), 0);
  }

  keys(): string[] {
    return [...this.#kept.keys()];
  }

  /** Makes a copy of the object. @throws DamagedData when there is none; what the store or the disk says */
  async keep(key: string): Promise<void> {
    if (this.#kept.has(key)) return;
    const object = await this.#store.get(key);
    if (object === undefined) throw new DamagedData(`${key} is not in the object store`);
    const copy = copyOf(object);
    const part = `${this.#path(key)}.part`;
    try {
      await Deno.writeFile(part, copy, { mode: 0o600 });
      await Deno.rename(part, this.#path(key));
    } catch (error) {
      await Deno.remove(part).catch(() => {});
      throw error;
    }
    this.#note(key, copy.length);
  }

  /** Removes a copy; that there is none is no error. */
  async drop(key: string): Promise<void> {
    const bytes = this.#kept.get(key);
    // One that is not known now would be found by a later start.
    if (bytes === undefined && this.#knowsAll) return;
    this.#kept.delete(key);
    this.bytes -= bytes ?? 0;
    await Deno.remove(this.#path(key)).catch(ignoreMissing);
  }

  async put(key: string, body: Uint8Array<ArrayBuffer>): Promise<void> {
    await this.drop(key);
    await this.#store.put(key, body);
  }

  async get(
    key: string,
    range?: { readonly offset: number; readonly length: number },
  ): Promise<Uint8Array<ArrayBuffer> | undefined> {
    if (this.#kept.has(key)) {
      try {
        const bytes = await this.#read(key, range?.offset ?? 0, range?.length ?? Infinity);
        this.hits++;
        return bytes;
      } catch (error) {
        // It may have been dropped while it was being read, and rightly.
        if (this.#kept.has(key)) await this.#lose(key, error);
      }
    }
    return await this.#store.get(key, range);
  }

  async #lose(key: string, error: unknown): Promise<void> {
    this.wrong++;
    this.#log.warn("kept_object_wrong", {
      key,
      ...errorFields(error),
      then: "it is read from the object store, and copied again",
    });
    await this.drop(key).catch((problem) =>
      this.#log.warn("kept_object_not_removed", { key, ...errorFields(problem) })
    );
    this.lost();
  }

  async #read(key: string, offset: number, most: number): Promise<Uint8Array<ArrayBuffer>> {
    using file = await Deno.open(this.#path(key));
    const head = await readAt(file, 0, headBytes);
    const view = new DataView(head.buffer);
    if (
      view.getUint32(0, true) !== magic || view.getUint32(12, true) !== crc32c(head.subarray(0, 12))
    ) {
      throw new DamagedData("its head is damaged");
    }
    const length = Number(view.getBigUint64(4, true));
    const end = Math.min(length, offset + most);
    if (end <= offset) return new Uint8Array(0);
    const first = Math.floor(offset / pieceBytes);
    const last = Math.ceil(end / pieceBytes);
    const lastEnd = Math.min(length, last * pieceBytes);
    const stored = await readAt(
      file,
      headBytes + first * copyPieceBytes,
      lastEnd - first * pieceBytes + (last - first) * checksumBytes,
    );
    const bytes = new Uint8Array(end - offset);
    const checksums = new DataView(stored.buffer);
    for (let i = first, at = 0; i < last; i++) {
      const piece = stored.subarray(at, at + Math.min(pieceBytes, length - i * pieceBytes));
      at += piece.length;
      if (checksums.getUint32(at, true) !== crc32c(piece)) {
        throw new DamagedData(`its bytes from ${i * pieceBytes} on do not match their checksum`);
      }
      at += checksumBytes;
      const from = Math.max(0, offset - i * pieceBytes);
      const to = Math.min(piece.length, end - i * pieceBytes);
      bytes.set(piece.subarray(from, to), i * pieceBytes + from - offset);
    }
    return bytes;
  }

  async delete(key: string): Promise<void> {
    await this.#store.delete(key);
    await this.drop(key);
  }

  list(prefix: string): AsyncIterable<string> {
    return this.#store.list(prefix);
  }
}

async function readAt(
  file: Deno.FsFile,
  offset: number,
  length: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(length);
  await file.seek(offset, Deno.SeekMode.Start);
  for (let at = 0; at < length;) {
    const read = await file.read(bytes.subarray(at));
    if (read === null) throw new DamagedData("it is cut off");
    at += read;
  }
  return bytes;
}
