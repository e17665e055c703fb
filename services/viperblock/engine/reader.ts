/**
 * Gathers the blocks of a read into its slot: zeros for holes, copies from the log's buffers and the
 * read cache, O_DIRECT reads from log segments and from the chunk cache, windows of chunks from the object store.
 *
 * Every block that comes from a disk or from the store is held against the checksum that the map had
 * for it when the read began; one that does not match fails the read and is never served. What does not match in
 * the chunk cache is asked of the store. Segments with
 * reads under way are not reused. The data is copied, not referred to: a reply may be on its way
 * long after the block's old place was given to another. Only a block of the read cache may be held in its place instead.
 */
import { crc32cOf } from "../../../ffi/crc32c.ts";
import { ringOperations } from "../../../ffi/liburing.ts";
import { checksumAt, containerAt, indexAt, livesAt } from "../maps/block_map.ts";
import type { LogSeal } from "../encryption/log_seal.ts";
import { blockBytes, hole, isChunk } from "../format.ts";
import type { RequestQueue } from "../machine/machine.ts";
import type { KeptChunk } from "./cache_slots.ts";
import type { ChunkCache } from "./chunk_cache.ts";
import { copyBlock, mostExpected, type ReadCache } from "./read_cache.ts";
import { DiskReads } from "./disk_reads.ts";
import { type Fetcher, windowBlocks } from "./fetcher.ts";
import type { LogWriter } from "./log_writer.ts";
import { nbdError } from "./nbd_protocol.ts";
import type { Places, Segment } from "./places.ts";
import type { Requests } from "./requests.ts";
import type { Slots } from "./slots.ts";

const pieceCapacity = 16384;
/** Blocks of one disk read at most: 1 MiB. */
const pieceBlocks = 256;

export interface ReaderOptions {
  readonly ring: RequestQueue;
  readonly places: Places;
  readonly cache: ReadCache;
  readonly chunkCache?: ChunkCache;
  readonly requests: Requests;
  readonly slots: Slots;
  readonly log: Pick<LogWriter, "buffered" | "memory">;
  /** Of an encrypted volume. */
  readonly seal?: LogSeal;
  /** Called when every block of the request is in its slot, or one of them failed. */
  readonly done: (request: number) => void;
  readonly damaged: (block: number, container: number, index: number) => void;
}

export class Reader {
  readonly #o: ReaderOptions;
  readonly #kind: number;
  #fetcher: Fetcher | undefined;
  // A piece is one run of blocks of a request that comes from one place.
  readonly #pieceRequest = new Int32Array(pieceCapacity);
  readonly #pieceFirst = new Int32Array(pieceCapacity);
  readonly #pieceCount = new Int32Array(pieceCapacity);
  /** Where in the chunk cache it is read from. */
  readonly #pieceKept: (KeptChunk | undefined)[] = new Array(pieceCapacity).fill(undefined);
  readonly #freePieces = new Int32Array(pieceCapacity);
  readonly #disk = new DiskReads(pieceCapacity, (piece) => this.#read(piece));
  #pieces = pieceCapacity;
  readonly #expectedContainer = new Uint32Array(mostExpected);
  readonly #expectedIndex = new Int32Array(mostExpected);

  constructor(options: ReaderOptions) {
    this.#o = options;
    this.#kind = options.ring.kind((piece, result) => this.#onRead(piece, result));
    for (let i = 0; i < pieceCapacity; i++) this.#freePieces[i] = i;
  }

  useFetcher(fetcher: Fetcher): void {
    this.#fetcher = fetcher;
  }

  /** Whether a read of that many blocks may begin: each may need a piece of its own. */
  hasRoom(blocks: number): boolean {
    return this.#pieces >= blocks;
  }

  /**
   * Touches what is known of blocks that are about to be read or written. Each of these places in memory has to be waited for when it is
   * looked at by itself, one after another for each request; asked for together, they come together.
   */
  expect(blocks: Float64Array, count: number, anyRead: boolean): void {
    const { places, cache } = this.#o;
    const n = Math.min(count, mostExpected);
    const { sizeBlocks } = places.map;
    for (let i = 0; i < n; i++) {
      const block = Math.floor(blocks[i] as number);
      const leaf = block < sizeBlocks ? places.map.leaf(block) : undefined;
      this.#expectedContainer[i] = leaf === undefined ? hole : containerAt(leaf, block);
      this.#expectedIndex[i] = leaf === undefined ? 0 : indexAt(leaf, block);
    }
    if (anyRead) cache.expect(this.#expectedContainer, this.#expectedIndex, n);
  }

  /** Holds the block for the request if it is in the read cache and is what was written. */
  hold(id: number, block: number): boolean {
    const { places, cache, requests } = this.#o;
    const leaf = places.map.leaf(block);
    if (leaf === undefined) return false;
    const container = containerAt(leaf, block);
    if (container === hole) return false;
    const entry = cache.hold(container, indexAt(leaf, block));
    if (entry < 0) return false;
    const at = cache.placeOf(entry);
    // Blocks of a fetched window are in the cache before anybody has looked at them.
    if (
      isChunk(container) && crc32cOf(cache.memory, at, blockBytes) !== checksumAt(leaf, block)
    ) {
      cache.letGo(entry);
      return false;
    }
    requests.held[id] = entry;
    requests.address[id] = cache.memory.address + at;
    return true;
  }

  letGo(held: number): void {
    this.#o.cache.letGo(held);
  }

  /** Begins the read of request `id`, whose slot is taken. `done` may be called before this returns. */
  start(id: number): void {
    const { places, slots, requests, log, cache } = this.#o;
    const slot = requests.slot[id] as number;
    const base = slots.start[slot] as number;
    const column = slots.firstBlock[slot] as number;
    const offset = requests.offset[id] as number;
    const firstBlock = Math.floor(offset / blockBytes);
    const count = Math.ceil((offset + (requests.length[id] as number)) / blockBytes) - firstBlock;
    const to = slots.memory.bytes;
    requests.left[id] = 1;
    for (let i = 0; i < count;) {
      const block = firstBlock + i;
      const leaf = places.map.leaf(block);
      const container = leaf === undefined ? hole : containerAt(leaf, block);
      const index = leaf === undefined ? 0 : indexAt(leaf, block);
      slots.container[column + i] = container;
      slots.index[column + i] = index;
      const at = base + i * blockBytes;
      if (container === hole) {
        to.fill(0, at, at + blockBytes);
        i++;
        continue;
      }
      const checksum = checksumAt(leaf as Uint32Array, block);
      slots.checksum[column + i] = checksum;
      const cached = cache.lookup(container, index);
      if (cached >= 0) {
        copyBlock(to, at, cache.bytes, cached);
        // Blocks of a fetched window are in the cache before anybody has looked at them.
        if (isChunk(container) && !this.#matches(at, checksum)) {
          this.#fail(id, block, container, index);
        }
        i++;
        continue;
      }
      if (!isChunk(container)) {
        const waiting = log.buffered(container, index);
        if (waiting >= 0) {
          to.set(log.memory.bytes.subarray(waiting, waiting + blockBytes), at);
          i++;
          continue;
        }
      }
      i += this.#startPiece(id, i, count, firstBlock, column);
    }
    this.#finishPart(id);
  }

  /** Reads the run that begins at the request's block `first`; returns its length. */
  #startPiece(
    id: number,
    first: number,
    count: number,
    firstBlock: number,
    column: number,
  ): number {
    const { places, slots, log, cache, requests } = this.#o;
    const container = slots.container[column + first] as number;
    const index = slots.index[column + first] as number;
    const inChunk = isChunk(container);
    const limit = Math.min(
      count - first,
      inChunk ? windowBlocks - index % windowBlocks : pieceBlocks,
    );
    let run = 1;
    for (; run < limit; run++) {
      const block = firstBlock + first + run;
      const leaf = places.map.leaf(block);
      if (
        !livesAt(leaf, block, container, index + run) ||
        cache.has(container, index + run) ||
        (!inChunk && log.buffered(container, index + run) >= 0)
      ) break;
      slots.container[column + first + run] = container;
      slots.index[column + first + run] = index + run;
      slots.checksum[column + first + run] = checksumAt(leaf as Uint32Array, block);
    }
    const piece = this.#freePieces[--this.#pieces] as number;
    this.#pieceRequest[piece] = id;
    this.#pieceFirst[piece] = first;
    this.#pieceCount[piece] = run;
    requests.left[id] = (requests.left[id] as number) + 1;
    if (inChunk) {
      const kept = this.#o.chunkCache?.take(container, index, run);
      this.#pieceKept[piece] = kept;
      if (kept === undefined) this.#fetcher?.want(container, index, piece);
      else this.#disk.start(piece);
      return run;
    }
    const segment = places.segment(container);
    if (segment === undefined) {
      this.#fail(id, firstBlock + first, container, index);
      this.#freePieces[this.#pieces++] = piece;
      this.#finishPart(id);
      return run;
    }
    segment.readers++;
    this.#disk.start(piece);
    return run;
  }

  /** Once each turn. */
  advance(): void {
    this.#disk.advance();
  }

  /** How many completions are worth waiting for together. */
  get awaited(): number {
    return this.#disk.awaited;
  }

  /** The disk reads the piece into its slot. */
  #read(piece: number): void {
    const { requests, slots, places, ring } = this.#o;
    const slot = requests.slot[this.#pieceRequest[piece] as number] as number;
    const first = this.#pieceFirst[piece] as number;
    const at = (slots.firstBlock[slot] as number) + first;
    const kept = this.#pieceKept[piece];
    ring.queue(
      ringOperations.read,
      kept?.file.fd ?? (places.segment(slots.container[at] as number) as Segment).fd,
      (kept?.at ?? 0) + (slots.index[at] as number) * blockBytes,
      slots.memory.address + (slots.start[slot] as number) + first * blockBytes,
      (this.#pieceCount[piece] as number) * blockBytes,
      0,
      this.#kind,
      piece,
    );
  }

  /** Whether what lies there in the slots is what was written. */
  #matches(at: number, checksum: number): boolean {
    return crc32cOf(this.#o.slots.memory, at, blockBytes) === checksum;
  }

  #fail(id: number, block: number, container: number, index: number): void {
    const { requests } = this.#o;
    if (requests.error[id] === 0) requests.failedBlock[id] = block;
    requests.error[id] = nbdError.io;
    this.#o.damaged(block, container, index);
  }

  #onRead(piece: number, result: number): void {
    this.#disk.ended();
    const kept = this.#pieceKept[piece];
    if (kept !== undefined) {
      this.#onKept(piece, kept, result);
      return;
    }
    const { requests, slots, places, cache, seal } = this.#o;
    const id = this.#pieceRequest[piece] as number;
    const first = this.#pieceFirst[piece] as number;
    const count = this.#pieceCount[piece] as number;
    const slot = requests.slot[id] as number;
    const column = slots.firstBlock[slot] as number;
    const base = slots.start[slot] as number;
    const segment = places.segment(slots.container[column + first] as number);
    if (segment !== undefined) segment.readers--;
    if (result !== count * blockBytes) {
      this.#failFrom(id, first, column);
    } else {
      for (let i = first; i < first + count; i++) {
        const at = base + i * blockBytes;
        const index = slots.index[column + i] as number;
        if (segment !== undefined) {
          seal?.openBlock(slots.memory, at, segment.epoch, segment.number, index);
        }
        if (!this.#matches(at, slots.checksum[column + i] as number)) {
          this.#failFrom(id, i, column);
        } else {
          cache.insert(
            slots.container[column + i] as number,
            index,
            slots.memory.bytes,
            at,
          );
        }
      }
    }
    this.#freePieces[this.#pieces++] = piece;
    this.#finishPart(id);
  }

  /** What was read from the chunk cache is what was written, or the store is asked for all of the piece. */
  #onKept(piece: number, kept: KeptChunk, result: number): void {
    const { requests, slots, cache, chunkCache } = this.#o;
    this.#pieceKept[piece] = undefined;
    const id = this.#pieceRequest[piece] as number;
    const first = this.#pieceFirst[piece] as number;
    const count = this.#pieceCount[piece] as number;
    const slot = requests.slot[id] as number;
    const column = slots.firstBlock[slot] as number;
    const base = slots.start[slot] as number;
    const container = slots.container[column + first] as number;
    const index = slots.index[column + first] as number;
    let ok = result === count * blockBytes;
    for (let i = 0; ok && i < count; i++) {
      const at = base + (first + i) * blockBytes;
      chunkCache?.open(container, index + i, slots.memory, at);
      ok = this.#matches(at, slots.checksum[column + first + i] as number);
      if (ok) cache.insert(container, index + i, slots.memory.bytes, at);
    }
    if (!ok) this.#fetcher?.want(container, index, piece);
    chunkCache?.done(kept, container, count, ok);
    if (!ok) return;
    this.#freePieces[this.#pieces++] = piece;
    this.#finishPart(id);
  }

  #failFrom(id: number, i: number, column: number): void {
    const { requests, slots } = this.#o;
    this.#fail(
      id,
      Math.floor((requests.offset[id] as number) / blockBytes) + i,
      slots.container[column + i] as number,
      slots.index[column + i] as number,
    );
  }

  /** A window that a piece waited for has come (or not). */
  arrived(piece: number, window: Uint8Array | undefined, windowFirst: number): void {
    const { requests, slots } = this.#o;
    const id = this.#pieceRequest[piece] as number;
    const first = this.#pieceFirst[piece] as number;
    const count = this.#pieceCount[piece] as number;
    const slot = requests.slot[id] as number;
    const column = slots.firstBlock[slot] as number;
    const base = slots.start[slot] as number;
    for (let i = first; i < first + count; i++) {
      if (window === undefined) {
        this.#failFrom(id, i, column);
        continue;
      }
      const from = ((slots.index[column + i] as number) - windowFirst) * blockBytes;
      const at = base + i * blockBytes;
      slots.memory.bytes.set(window.subarray(from, from + blockBytes), at);
      if (!this.#matches(at, slots.checksum[column + i] as number)) {
        this.#failFrom(id, i, column);
      }
    }
    this.#freePieces[this.#pieces++] = piece;
    this.#finishPart(id);
  }

  #finishPart(id: number): void {
    const { requests } = this.#o;
    const left = (requests.left[id] as number) - 1;
    requests.left[id] = left;
    if (left === 0) this.#o.done(id);
  }
}
