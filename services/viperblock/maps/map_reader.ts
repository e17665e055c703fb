/**
 * Reads a map that comes in order from wherever it is stored, through one window of 1 MiB: an open volume may have a
 * hundred times that, and what is once taken from the system for it is not easily given back. FORMAT.md has the layout.
 *
 * The checksum of the whole stands at its end, so a visitor has seen everything by then: what it made of it is worth
 * nothing when `readMapFrom` throws. `loadMap` takes a map that is in memory anyway, for who needs to know before.
 */
import { crc32c } from "../../../ffi/crc32c.ts";
import { DamagedData, mapChunkEntryBytes, mapHeaderBytes, volumeIdBytes } from "../format.ts";
import { type StoredBytes, storedBytes } from "../machine/stored_bytes.ts";
import { leafBlocks, maximumIndex } from "./block_map.ts";
import {
  chunkTableEnd,
  extentBytes,
  type MapHead,
  mapTailBytes,
  readId,
  readMapHead,
  type StoredChunk,
} from "./map_stream.ts";

export interface RunVisitor {
  /** Comes first. May throw what says that the map is not to be read. */
  head(head: MapHead): void;
  chunk(number: number, chunk: StoredChunk | undefined): void;
  /**
   * `count` blocks from `first` on live in the container from `index` on. Their checksums begin at `at` of
   * `checksums`, which holds something else afterwards.
   */
  run(
    first: number,
    count: number,
    container: number,
    index: number,
    checksums: Uint32Array,
    at: number,
  ): void;
}

class Window {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly words: Uint32Array;
  /** Where what was not used yet begins, and where it ends. */
  at = 0;
  end = 0;
  checksum = 0;
  readonly #from: StoredBytes;
  #summed = 0;

  constructor(from: StoredBytes, length: number) {
    this.#from = from;
    this.bytes = new Uint8Array(length);
    this.words = new Uint32Array(this.bytes.buffer);
  }

  /** Whether so many bytes are there, from `at` on; brings more when they are not. */
  has(length: number): boolean {
    if (this.at + length <= this.end) return true;
    this.#sum(this.at);
    this.bytes.copyWithin(0, this.at, this.end);
    this.end -= this.at;
    this.at = this.#summed = 0;
    while (this.end < this.bytes.length) {
      const got = this.#from.read(this.bytes.subarray(this.end));
      if (got === 0) break;
      this.end += got;
    }
    return length <= this.end;
  }

  #sum(end: number): void {
    this.checksum = crc32c(this.bytes.subarray(this.#summed, end), this.checksum);
    this.#summed = end;
  }

  /** The checksum of all that was used. */
  sum(): number {
    this.#sum(this.at);
    return this.checksum;
  }
}

/**
 * Reads a whole map.
 * @returns its head
 * @throws DamagedData, maybe only after everything was visited, when the bytes are not what was written
 */
export function readMapFrom(
  stored: StoredBytes,
  visitor: RunVisitor,
  windowBytes = 1 << 20,
): MapHead {
  const window = new Window(stored, windowBytes);
  if (!window.has(mapHeaderBytes)) throw new DamagedData("the map is shorter than its head");
  const head = readMapHead(window.bytes.subarray(0, mapHeaderBytes));
  window.at = mapHeaderBytes;
  visitor.head(head);
  const damaged = (what: string) => new DamagedData(`the map of ${head.volumeId} ${what}`);
  readTable(window, head, visitor);
  const { words } = window;
  while (window.has(extentBytes)) {
    const word = window.at >> 2;
    const first = words[word] as number;
    const count = words[word + 1] as number;
    const container = words[word + 2] as number;
    const index = words[word + 3] as number;
    if (count === 0) {
      window.at += extentBytes;
      const checksum = window.sum();
      if (!window.has(mapTailBytes) || words[window.at >> 2] !== checksum) {
        throw damaged("does not match its checksum");
      }
      window.at += mapTailBytes;
      if (window.has(1)) throw damaged("goes on after its end");
      return head;
    }
    if (
      first + count > head.sizeBlocks || count > leafBlocks || index + count - 1 > maximumIndex
    ) throw damaged(`does not match its checksum: it has an extent of ${count} blocks at ${first}`);
    if (!window.has(extentBytes + count * 4)) break;
    visitor.run(first, count, container, index, words, (window.at + extentBytes) >> 2);
    window.at += extentBytes + count * 4;
  }
  throw damaged("has no end");
}

export interface BlockVisitor {
  chunk(number: number, chunk: StoredChunk | undefined): void;
  block(block: number, container: number, index: number, checksum: number): void;
}

/**
 * Reads a whole map that is in memory.
 * @returns its head
 * @throws DamagedData before anything was visited when the bytes are not what was written
 */
export function loadMap(bytes: Uint8Array<ArrayBuffer>, visitor: BlockVisitor): MapHead {
  const head = readMapHead(bytes);
  const end = bytes.length - mapTailBytes;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (
    end < chunkTableEnd(head) + extentBytes ||
    crc32c(bytes.subarray(0, end)) !== view.getUint32(end, true)
  ) throw new DamagedData(`the map of ${head.volumeId} does not match its checksum`);
  return readMapFrom(storedBytes(bytes), {
    head() {},
    chunk: (number, chunk) => visitor.chunk(number, chunk),
    run(first, count, container, index, checksums, at) {
      for (let i = 0; i < count; i++) {
        visitor.block(first + i, container, index + i, checksums[at + i] as number);
      }
    },
  });
}

function readTable(window: Window, head: MapHead, visitor: RunVisitor): void {
  let checksum = 0;
  // Most chunks of a volume have one owner: its name is kept once.
  let owner = "";
  let field = new Uint8Array(volumeIdBytes);
  for (let number = 0; number < head.chunkCount; number++) {
    if (!window.has(mapChunkEntryBytes)) throw new DamagedData("the map's chunk table is cut off");
    const { at, bytes, words } = window;
    if (head.tableChecksum !== 0) {
      checksum = crc32c(bytes.subarray(at, at + mapChunkEntryBytes), checksum);
    }
    const isSame = field.every((byte, i) => byte === bytes[at + i]);
    if (!isSame) {
      field = bytes.slice(at, at + volumeIdBytes);
      owner = readId(bytes, at);
    }
    const word = (at + volumeIdBytes) >> 2;
    visitor.chunk(
      number,
      owner === "" ? undefined : {
        name: { owner, epoch: words[word] as number, sequence: words[word + 1] as number },
        blocks: words[word + 2] as number,
        live: words[word + 3] as number,
      },
    );
    window.at += mapChunkEntryBytes;
  }
  if (head.tableChecksum !== checksum) {
    throw new DamagedData("the map's chunk table does not match its checksum");
  }
}
