/**
 * Brings cold blocks from the object store: chunks are fetched in windows of 1 MiB by the main thread,
 * whatever the size of the reads that want them, and whole windows go into the read cache, so that a
 * guest that boots from a cold clone costs a few large requests and not thousands of small ones.
 *
 * Reads that follow each other pull the next window along. A window that the store does not have or
 * cannot give fails those who wait for it, and only them.
 */
import type { Memory } from "../../../ffi/libc.ts";
import { blockBytes, chunkContainer, chunkHeaderBytes, chunkNumber } from "../format.ts";
import type { ReadCache } from "./read_cache.ts";
import type { Places } from "./places.ts";

export const windowBlocks = 256;
export const windowBytes = windowBlocks * blockBytes;
const windowsPerChunk = 4;

export interface FetchOrder {
  readonly id: number;
  readonly key: string;
  readonly offset: number;
  readonly length: number;
  readonly address: number;
}

interface Fetch {
  readonly id: number;
  readonly chunk: number;
  readonly window: number;
  readonly blocks: number;
  /** Pieces of reads that wait for it. */
  readonly waiting: number[];
  buffer: number;
}

export interface FetcherOptions {
  readonly places: Places;
  readonly cache: ReadCache;
  /** Transfer buffers, one window each, that the main thread fills. */
  readonly buffers: readonly Memory[];
  readonly order: (order: FetchOrder) => void;
  /** Whether the window is kept on the node's own disk. */
  readonly isKept?: (chunk: number, window: number) => boolean;
  /** Offers a window that came to whoever keeps them there. */
  readonly came?: (chunk: number, window: number, bytes: Memory) => void;
  /** Tells a piece that its window has come (its bytes and their first block) or that it will not. */
  readonly arrived: (piece: number, bytes: Uint8Array | undefined, firstBlock: number) => void;
}

export class Fetcher {
  readonly #options: FetcherOptions;
  readonly #byWindow = new Map<number, Fetch>();
  readonly #byId = new Map<number, Fetch>();
  readonly #queue: Fetch[] = [];
  readonly #freeBuffers: number[];
  #nextId = 1;
  #lastWindow = -1;
  /** Windows asked of the store so far. */
  fetches = 0;

  constructor(options: FetcherOptions) {
    this.#options = options;
    this.#freeBuffers = options.buffers.map((_, i) => i);
  }

  get idle(): boolean {
    return this.#byId.size === 0;
  }

  /** Whether a window of the chunk is on its way. */
  uses(chunk: number): boolean {
    for (const fetch of this.#byId.values()) if (fetch.chunk === chunk) return true;
    return false;
  }

  /** The piece wants blocks of the chunk that all lie in the window of `index`. */
  want(container: number, index: number, piece: number): void {
    const chunk = chunkNumber(container);
    const window = Math.floor(index / windowBlocks);
    const key = chunk * windowsPerChunk + window;
    const follows = key === this.#lastWindow + 1;
    this.#fetch(chunk, window).waiting.push(piece);
    // One window ahead within the chunk; chunks are written in the order of the volume's blocks.
    if (follows && window + 1 < windowsPerChunk) this.#ahead(chunk, window + 1);
    this.#lastWindow = key;
  }

  #ahead(chunk: number, window: number): void {
    const known = this.#options.places.chunks[chunk];
    if (known === undefined || window * windowBlocks >= known.blocks) return;
    if (this.#freeBuffers.length < 2) return;
    if (this.#options.cache.has(chunkContainer(chunk), window * windowBlocks)) return;
    if (this.#options.isKept?.(chunk, window) === true) return;
    this.#fetch(chunk, window);
  }

  #fetch(chunk: number, window: number): Fetch {
    const key = chunk * windowsPerChunk + window;
    const running = this.#byWindow.get(key);
    if (running !== undefined) return running;
    const blocks = Math.min(
      windowBlocks,
      (this.#options.places.chunks[chunk]?.blocks ?? 0) - window * windowBlocks,
    );
    const fetch: Fetch = { id: this.#nextId++, chunk, window, blocks, waiting: [], buffer: -1 };
    this.#byWindow.set(key, fetch);
    this.#byId.set(fetch.id, fetch);
    this.#queue.push(fetch);
    return fetch;
  }

  /** Once each turn: orders what has a buffer to go to. */
  advance(): void {
    while (this.#queue.length > 0) {
      const buffer = this.#freeBuffers.pop();
      if (buffer === undefined) return;
      const fetch = this.#queue.shift() as Fetch;
      const chunk = this.#options.places.chunks[fetch.chunk];
      fetch.buffer = buffer;
      if (chunk === undefined || fetch.blocks <= 0) {
        this.finished(fetch.id, false);
        continue;
      }
      this.fetches++;
      this.#options.order({
        id: fetch.id,
        key: chunk.key,
        offset: chunkHeaderBytes + fetch.window * windowBytes,
        length: fetch.blocks * blockBytes,
        address: (this.#options.buffers[buffer] as Memory).address,
      });
    }
  }

  /** The main thread has filled the buffer, or could not. */
  finished(id: number, ok: boolean): void {
    const fetch = this.#byId.get(id);
    if (fetch === undefined) return;
    this.#byId.delete(id);
    this.#byWindow.delete(fetch.chunk * windowsPerChunk + fetch.window);
    const first = fetch.window * windowBlocks;
    const memory = this.#options.buffers[fetch.buffer] as Memory;
    const { bytes } = memory;
    for (const piece of fetch.waiting) {
      this.#options.arrived(piece, ok ? bytes : undefined, first);
    }
    if (ok) {
      const container = chunkContainer(fetch.chunk);
      for (let i = 0; i < fetch.blocks; i++) {
        this.#options.cache.insert(container, first + i, bytes, i * blockBytes);
      }
      this.#options.came?.(fetch.chunk, fetch.window, memory);
    }
    this.#freeBuffers.push(fetch.buffer);
  }
}
