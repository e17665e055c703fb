/**
 * Gives back the space of chunks that are mostly dead: what still lives in the sparsest of them is
 * gathered into one new chunk, and the old ones are given up with the next checkpoint.
 *
 * It works in the background and within a budget of bytes a second, one chunk at a time, and never
 * while the drain, a checkpoint or a snapshot is at work. Chunks that a snapshot names are left alone: as
 * long as it lives, moving their blocks would only store them twice. A block that does not match its
 * checksum stays where it is. Nothing changes before the new chunk is stored.
 */
import { crc32cOf } from "../../../ffi/crc32c.ts";
import type { Memory } from "../../../ffi/libc.ts";
import { checksumAt, livesAt } from "../maps/block_map.ts";
import { type ChunkHeader, readChunkHeader } from "../chunks/chunk_record.ts";
import { blockBytes, chunkContainer, chunkHeaderBytes } from "../format.ts";
import type { FromWorker } from "../mounts/mailbox.ts";
import type { Checkpointer } from "./checkpoint.ts";
import type { Drainer, Entry } from "./drainer.ts";
import { windowBlocks, windowBytes } from "./fetcher.ts";
import type { Chunk, Places } from "./places.ts";

/** Bytes that it reads in a second at most. */
const budgetBytesPerSecond = 32 << 20;
const shortestPauseMs = 100;
/** When nothing was found that is worth it. */
export const idlePauseMs = 5000;
const failurePauseMs = 10_000;
/** A chunk that the store could not give is left alone for so long; others come first. */
const unreadPauseMs = 600_000;
/** Dead chunks that are worth a checkpoint. */
const deadChunks = 16;

export interface CompactorOptions {
  readonly volumeId: string;
  /** Chunks up to this epoch may belong to others. */
  readonly snapshotEpoch: number;
  readonly chunkBlocks: number;
  readonly places: Places;
  readonly drainer: Drainer;
  readonly checkpointer: Checkpointer;
  /** Where the drainer makes its chunks. */
  readonly chunk: Memory;
  /** A window of its own. */
  readonly window: Memory;
  readonly post: (message: FromWorker) => void;
  readonly now: () => number;
  readonly idlePauseMs: number;
  readonly damaged: (block: number, container: number, index: number) => void;
}

interface Source {
  readonly number: number;
  readonly chunk: Chunk;
}

export class Compactor {
  readonly #o: CompactorOptions;
  #sources: Source[] = [];
  #entries: Entry[] = [];
  #header: ChunkHeader | undefined;
  #window = 0;
  #order = 0;
  #notBefore = 0;
  #found = false;
  #read = 0;
  /** Chunks in which a block is damaged; they stay as they are. */
  readonly #spoilt = new Set<number>();
  /** Chunks that the store could not give, and when. */
  readonly #unread = new Map<number, number>();
  /** Chunks emptied and blocks moved so far. */
  compacted = 0;
  moved = 0;

  constructor(options: CompactorOptions) {
    this.#o = options;
    this.#notBefore = options.now() + shortestPauseMs;
  }

  get running(): boolean {
    return this.#sources.length > 0;
  }

  /** Something was found the last time: there may be more. */
  get wantsTick(): boolean {
    return this.#found;
  }

  /**
   * Whether something is still to be read of it. One that was read may give up its number: the drainer, which is taken till what was
   * gathered is stored, gives out none until then, and looks again at what lives where.
   */
  uses(chunk: number): boolean {
    return this.#sources.some((source) => source.number === chunk);
  }

  /** The chunk is gone, and its number is another's from now on. */
  forget(chunk: number): void {
    this.#spoilt.delete(chunk);
    this.#unread.delete(chunk);
  }

  /** Once each turn, unless the volume is being closed. */
  advance(): void {
    const { drainer, checkpointer, now } = this.#o;
    if (this.running || drainer.running || checkpointer.running || now() < this.#notBefore) return;
    if (this.#giveUpDead()) return;
    this.#sources = this.#choose();
    this.#found = this.running;
    if (!this.running) {
      this.#notBefore = now() + this.#o.idlePauseMs;
      return;
    }
    drainer.take();
    this.#entries = [];
    this.#read = 0;
    this.#next();
  }

  #isOwn({ name, shared, isOwn }: Chunk): boolean {
    return !shared && name.owner === this.#o.volumeId &&
      (isOwn || name.epoch > this.#o.snapshotEpoch);
  }

  /** A checkpoint gives up what is dead, when there is enough of it. */
  #giveUpDead(): boolean {
    let dead = 0;
    for (const chunk of this.#o.places.chunks) if (chunk?.live === 0 && this.#isOwn(chunk)) dead++;
    if (dead < deadChunks) return false;
    this.#notBefore = this.#o.now() + this.#o.idlePauseMs;
    this.#o.checkpointer.start(undefined);
    return true;
  }

  /** The chunk stays as it is, for good or for now. */
  #isLeft(number: number): boolean {
    const unreadAt = this.#unread.get(number);
    return this.#spoilt.has(number) ||
      (unreadAt !== undefined && this.#o.now() - unreadAt < unreadPauseMs);
  }

  /** The sparsest chunks, as many as one new one can take up. */
  #choose(): Source[] {
    const sparse: Source[] = [];
    for (const [number, chunk] of this.#o.places.chunks.entries()) {
      if (chunk === undefined || chunk.live === 0 || chunk.live * 2 > chunk.blocks) continue;
      if (this.#isOwn(chunk) && !this.#isLeft(number)) sparse.push({ number, chunk });
    }
    sparse.sort((a, b) => a.chunk.live - b.chunk.live);
    const chosen: Source[] = [];
    let live = 0;
    for (const source of sparse) {
      live += source.chunk.live;
      if (live > this.#o.chunkBlocks) break;
      chosen.push(source);
    }
    return chosen;
  }

  /** Fetches the header of the next source, or stores what was gathered. */
  #next(): void {
    const source = this.#sources[0];
    this.#header = undefined;
    this.#window = -1;
    if (source !== undefined) this.#fetch(source.chunk.key, 0, chunkHeaderBytes);
    else this.#store();
  }

  #fetch(key: string, offset: number, length: number): void {
    this.#read += length;
    // Negative, so that nobody takes the answer for one of the reads'.
    this.#order = this.#order - 1;
    const { address } = this.#o.window;
    this.#o.post({ kind: "fetch", id: this.#order, key, offset, length, address });
  }

  /** What was ordered has come, or will not. */
  fetched(id: number, ok: boolean): void {
    const source = this.#sources[0];
    if (id !== this.#order || source === undefined) return;
    if (!ok || !this.#use(source)) {
      if (ok) this.#spoilt.add(source.number);
      else this.#unread.set(source.number, this.#o.now());
      this.#stop(failurePauseMs);
      return;
    }
    this.#nextWindow(source);
  }

  /** Takes what lives of the window, or the header; returns whether they are what they should be. */
  #use(source: Source): boolean {
    const { window } = this.#o;
    const header = this.#header;
    if (header === undefined) {
      try {
        this.#header = readChunkHeader(window.bytes.subarray(0, chunkHeaderBytes));
      } catch {
        return false;
      }
      const { name } = this.#header;
      return name.owner === source.chunk.name.owner && name.epoch === source.chunk.name.epoch &&
        name.sequence === source.chunk.name.sequence;
    }
    const first = this.#window * windowBlocks;
    const last = Math.min(first + windowBlocks, header.blocks.length);
    for (let index = first; index < last; index++) this.#take(source, header, index, first);
    return true;
  }

  #take(source: Source, header: ChunkHeader, index: number, first: number): void {
    const { chunk, window, places, damaged } = this.#o;
    const block = header.blocks[index]?.block ?? 0;
    const container = chunkContainer(source.number);
    if (!this.#livesAt(block, container, index)) return;
    const checksum = checksumAt(places.map.leaf(block) as Uint32Array, block);
    const from = (index - first) * blockBytes;
    if (crc32cOf(window, from, blockBytes) !== checksum) {
      this.#spoilt.add(source.number);
      damaged(block, container, index);
      return;
    }
    const to = chunkHeaderBytes + this.#entries.length * blockBytes;
    chunk.bytes.set(window.bytes.subarray(from, from + blockBytes), to);
    this.#entries.push({ block, container, index, checksum });
  }

  #livesAt(block: number, container: number, index: number): boolean {
    const { map } = this.#o.places;
    return block < map.sizeBlocks && livesAt(map.leaf(block), block, container, index);
  }

  /** Goes on with the next window in which something lives. */
  #nextWindow(source: Source): void {
    const blocks = this.#header?.blocks ?? [];
    const container = chunkContainer(source.number);
    for (this.#window++; this.#window * windowBlocks < blocks.length; this.#window++) {
      const first = this.#window * windowBlocks;
      const count = Math.min(windowBlocks, blocks.length - first);
      for (let i = first; i < first + count; i++) {
        if (!this.#livesAt(blocks[i]?.block ?? 0, container, i)) continue;
        const offset = chunkHeaderBytes + this.#window * windowBytes;
        this.#fetch(source.chunk.key, offset, count * blockBytes);
        return;
      }
    }
    this.#sources.shift();
    this.compacted++;
    this.#next();
  }

  #store(): void {
    const { drainer } = this.#o;
    const entries = this.#entries;
    if (entries.length === 0) {
      this.#stop(shortestPauseMs);
      return;
    }
    drainer.storeTaken(entries, (chunk) => {
      if (chunk !== undefined) this.moved += entries.length;
      const pause = this.#read / budgetBytesPerSecond * 1000;
      this.#notBefore = this.#o.now() +
        (chunk === undefined ? failurePauseMs : Math.max(shortestPauseMs, pause));
    });
  }

  #stop(pauseMs: number): void {
    this.#sources = [];
    this.#entries = [];
    this.#o.drainer.giveBack();
    this.#notBefore = this.#o.now() + pauseMs;
  }
}
