/**
 * Chunks on their way to and from the object store: packed by zstd where that pays, and unpacked again
 * piece by piece, so that a read of a window fetches and unpacks no more than that window. Everybody
 * above sees chunks as `chunk_record.ts` makes them; FORMAT.md has the packed form.
 *
 * A piece that cannot be unpacked reads as zeros: the checksums of its blocks tell. Packing runs on
 * another thread than this. Unpacking takes about a millisecond for a MiB and is done at once: its
 * asynchronous form throws where nobody can catch it when the data is damaged.
 */
import { promisify } from "node:util";
import { constants, zstdCompress, zstdDecompressSync } from "node:zlib";
import { crc32c } from "../../../ffi/crc32c.ts";
import { chunkHeaderBytes } from "../format.ts";
import type { BlockStore } from "../maps/map_objects.ts";

const compress = promisify(zstdCompress);

const packedMagic = 0x5a43424d; // "MBCZ"
const packedVersion = 1;
const headBytes = 128;
const lengthsAt = 64;
/** As much as one cold read fetches. */
const pieceBytes = 1 << 20;
/** A chunk that packing makes smaller by less than an eighth is stored as it is. */
const worthwhile = 7 / 8;
const smallest = 64 << 10;
const knownLayouts = 4096;

interface Layout {
  readonly length: number;
  /** Packed lengths of the pieces: the header, then one for each MiB. */
  readonly pieces: readonly number[];
}

/** Where each piece of a chunk begins; the last entry is the end. */
function boundaries(length: number): number[] {
  const starts = [0];
  for (let at = Math.min(chunkHeaderBytes, length); at < length; at += pieceBytes) starts.push(at);
  starts.push(length);
  return starts;
}

function readLayout(head: Uint8Array<ArrayBuffer>): Layout | undefined {
  if (head.length < headBytes) return undefined;
  const words = new Uint32Array(head.slice(0, headBytes).buffer);
  const at = (index: number) => words[index] as number;
  if (at(0) !== packedMagic || at(1) !== packedVersion) return undefined;
  const stored = at(2);
  words[2] = 0;
  const length = at(3);
  const count = at(4);
  if (crc32c(new Uint8Array(words.buffer)) !== stored) return undefined;
  if (count !== boundaries(length).length - 1 || lengthsAt + count * 4 > headBytes) {
    return undefined;
  }
  return { length, pieces: Array.from({ length: count }, (_, i) => at(lengthsAt / 4 + i)) };
}

async function pack(body: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const starts = boundaries(body.length);
  const count = starts.length - 1;
  if (body.length < smallest || lengthsAt + count * 4 > headBytes) return undefined;
  const params = { [constants.ZSTD_c_compressionLevel]: 1 };
  const pieces: Uint8Array[] = [];
  for (let i = 0; i < count; i++) {
    pieces.push(await compress(body.subarray(starts[i], starts[i + 1]), { params }));
  }
  const total = pieces.reduce((sum, piece) => sum + piece.length, headBytes);
  if (total > body.length * worthwhile) return undefined;
  const packed = new Uint8Array(total);
  const words = new Uint32Array(packed.buffer, 0, headBytes >> 2);
  words.set([packedMagic, packedVersion, 0, body.length, count]);
  words.set(pieces.map((piece) => piece.length), lengthsAt / 4);
  words[2] = crc32c(packed.subarray(0, headBytes));
  let at = headBytes;
  for (const piece of pieces) {
    packed.set(piece, at);
    at += piece.length;
  }
  return packed;
}

export class PackedChunks implements BlockStore {
  readonly #store: BlockStore;
  /** How chunks that were seen lately are laid out; `null` for those that are not packed. */
  readonly #layouts = new Map<string, Layout | null>();
  /** Bytes of chunks that were stored, before and after packing. */
  chunkBytes = 0;
  storedBytes = 0;

  constructor(store: BlockStore) {
    this.#store = store;
  }

  #remember(key: string, layout: Layout | null): void {
    if (this.#layouts.size >= knownLayouts) {
      for (const oldest of this.#layouts.keys()) {
        this.#layouts.delete(oldest);
        break;
      }
    }
    this.#layouts.set(key, layout);
  }

  async put(key: string, body: Uint8Array<ArrayBuffer>): Promise<void> {
    if (!key.startsWith("chunks/")) return await this.#store.put(key, body);
    const packed = await pack(body);
    this.#layouts.delete(key);
    await this.#store.put(key, packed ?? body);
    this.chunkBytes += body.length;
    this.storedBytes += packed?.length ?? body.length;
    this.#remember(key, packed === undefined ? null : readLayout(packed) ?? null);
  }

  async get(
    key: string,
    range?: { readonly offset: number; readonly length: number },
  ): Promise<Uint8Array<ArrayBuffer> | undefined> {
    if (!key.startsWith("chunks/")) return await this.#store.get(key, range);
    const known = this.#layouts.get(key);
    const layout = known ?? await this.#look(key);
    if (layout === undefined) return undefined;
    if (layout === null) return await this.#store.get(key, range);
    const read = await this.#unpack(key, layout, range);
    if (read?.whole !== false || known === undefined) return read?.bytes;
    // Somebody else may have stored it anew since it was looked at.
    const again = await this.#look(key);
    if (again === undefined) return undefined;
    if (again === null) return await this.#store.get(key, range);
    return (await this.#unpack(key, again, range))?.bytes;
  }

  /** How the object is laid out now; `undefined` when it is not there. */
  async #look(key: string): Promise<Layout | null | undefined> {
    const head = await this.#store.get(key, { offset: 0, length: headBytes });
    if (head === undefined) return undefined;
    const layout = readLayout(head) ?? null;
    this.#remember(key, layout);
    return layout;
  }

  async #unpack(
    key: string,
    { length, pieces }: Layout,
    range: { readonly offset: number; readonly length: number } = { offset: 0, length },
  ): Promise<{ readonly bytes: Uint8Array<ArrayBuffer>; readonly whole: boolean } | undefined> {
    const starts = boundaries(length);
    const end = Math.min(length, range.offset + range.length);
    if (end <= range.offset) return { bytes: new Uint8Array(0), whole: true };
    const first = starts.findLastIndex((start) => start <= range.offset);
    const last = starts.findIndex((start) => start >= end);
    const packedAt = (piece: number) =>
      pieces.slice(0, piece).reduce((sum, each) => sum + each, headBytes);
    const from = packedAt(first);
    const packed = await this.#store.get(key, { offset: from, length: packedAt(last) - from });
    if (packed === undefined) return undefined;
    const out = new Uint8Array(end - range.offset);
    let whole = true;
    for (let i = first; i < last; i++) {
      const at = packedAt(i) - from;
      const start = starts[i] as number;
      const wanted = (starts[i + 1] as number) - start;
      let piece: Uint8Array;
      try {
        piece = zstdDecompressSync(packed.subarray(at, at + (pieces[i] as number)), {
          maxOutputLength: wanted,
        });
      } catch {
        whole = false;
        continue;
      }
      if (piece.length !== wanted) {
        whole = false;
        continue;
      }
      const skip = Math.max(0, range.offset - start);
      const take = piece.subarray(skip, Math.min(wanted, end - start));
      out.set(take, Math.max(0, start - range.offset));
    }
    return { bytes: out, whole };
  }

  async delete(key: string): Promise<void> {
    this.#layouts.delete(key);
    await this.#store.delete(key);
  }

  list(prefix: string): AsyncIterable<string> {
    return this.#store.list(prefix);
  }
}
