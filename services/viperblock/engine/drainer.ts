/**
 * Moves what still lives in log segments into chunk objects, one chunk at a time in the background.
 *
 * The blocks of a chunk are gathered from the segments with the least to move, sorted by their number
 * in the volume, read from the log into the transfer buffer, and handed to the main thread to store.
 * Only when the chunk is durable does the map name it, and only for blocks that were not written
 * again in the meantime. A block that does not match its checksum is read again, since a fault on the way
 * must not become one for ever; when that does not help it is moved as it is, with the checksum that it
 * should have: reading it goes on to fail, and nothing else is held up by it.
 */
import { crc32cOf } from "../../../ffi/crc32c.ts";
import type { Memory } from "../../../ffi/libc.ts";
import { ringOperations } from "../../../ffi/liburing.ts";
import { checksumAt, livesAt } from "../maps/block_map.ts";
import { writeChunkHeader } from "../chunks/chunk_record.ts";
import type { LogSeal } from "../encryption/log_seal.ts";
import {
  blockBytes,
  chunkContainer,
  chunkHeaderBytes,
  chunkKey,
  type ChunkName,
} from "../format.ts";
import type { RequestQueue } from "../machine/machine.ts";
import type { FromWorker } from "../mounts/mailbox.ts";
import type { LogWriter } from "./log_writer.ts";
import type { Places, Segment } from "./places.ts";

/** Blocks of one read from the log at most: 512 KiB, so that a guest's reads get in between. */
const readBlocks = 128;
/** How often a block that does not match is read before it counts as damaged. */
const attempts = 4;

export interface DrainerOptions {
  readonly ring: RequestQueue;
  readonly volumeId: string;
  readonly epoch: number;
  /** Blocks of a full chunk. */
  readonly chunkBlocks: number;
  /** The first sequence of this epoch's log. */
  readonly began: number;
  readonly places: Places;
  readonly log: LogWriter;
  /** Of an encrypted volume. */
  readonly seal?: LogSeal;
  /** A whole chunk, header and all. */
  readonly chunk: Memory;
  readonly post: (message: FromWorker) => void;
  readonly damaged: (block: number, container: number, index: number) => void;
  /** A chunk was stored, and still lies in the memory. */
  readonly storedAs?: (chunk: number) => void;
}

export interface Entry {
  readonly block: number;
  /** Where it lives now. */
  readonly container: number;
  /** What it is read from, when that is the log. */
  readonly segment?: Segment;
  readonly index: number;
  readonly checksum: number;
  /** For whoever gathered it. */
  readonly leaf?: number;
}

export class Drainer {
  readonly #o: DrainerOptions;
  readonly #kind: number;
  #entries: Entry[] = [];
  #readsLeft = 0;
  #attempt = 1;
  #running = false;
  #nextSequence = 1;
  #asOf = 0;
  #name: ChunkName | undefined;
  #done: (chunk: number | undefined, entries: readonly Entry[]) => void = () => {};
  /** Chunks stored so far. */
  stored = 0;

  constructor(options: DrainerOptions) {
    this.#o = options;
    this.#kind = options.ring.kind((read, result) => this.#onRead(read, result));
  }

  /** The chunk that is being stored, and the sequence of the last that has a name. */
  get storing(): ChunkName | undefined {
    return this.#name;
  }

  get lastSequence(): number {
    return this.#nextSequence - 1;
  }

  get running(): boolean {
    return this.#running;
  }

  /** The disk is reading into the chunk's memory. */
  get reading(): boolean {
    return this.#readsLeft > 0;
  }

  /**
   * Makes one chunk of what lives in sealed segments.
   * @returns false when there is nothing to move
   */
  start(done: (ok: boolean) => void): boolean {
    const entries = this.#gather();
    if (entries.length === 0) return false;
    entries.sort((a, b) => a.block - b.block);
    this.move(entries, this.#o.log.committedSequence, (chunk) => done(chunk !== undefined));
    return true;
  }

  /**
   * Makes one chunk of these blocks, which lie in segments that are written.
   * @param asOf the batch after which they were what the volume held
   * @param done hears the chunk's number, or undefined when it could not be stored
   */
  move(
    entries: readonly Entry[],
    asOf: number,
    done: (chunk: number | undefined, entries: readonly Entry[]) => void,
  ): void {
    this.#entries = [...entries];
    this.#asOf = asOf;
    this.#running = true;
    this.#done = done;
    this.#attempt = 1;
    this.#readsLeft = 1;
    for (let i = 0; i < this.#entries.length;) i += this.#read(i, readBlocks);
    this.#readDone();
  }

  /** Somebody else gathers a chunk in the memory for it. */
  take(): void {
    this.#running = true;
    // Whatever still lives when it is looked at was there by now.
    this.#asOf = this.#o.log.committedSequence;
  }

  /** Nothing came of it. */
  giveBack(): void {
    this.#running = false;
  }

  /** Stores what was gathered, in the order of the entries. */
  storeTaken(entries: readonly Entry[], done: (chunk: number | undefined) => void): void {
    this.#entries = [...entries];
    this.#done = done;
    this.#store();
  }

  #gather(): Entry[] {
    const { places, log } = this.#o;
    const candidates = [...places.segments.values()]
      .filter((each) => each.sealed && each.live > 0 && each.lastSequence <= log.committedSequence)
      .sort((a, b) => a.live - b.live);
    const entries: Entry[] = [];
    for (const segment of candidates) {
      for (let index = 0; index < segment.blocks.length; index++) {
        const block = segment.blocks[index] as number;
        if (!this.#livesAt(block, segment.number, index)) continue;
        const leaf = places.map.leaf(block) as Uint32Array;
        entries.push({
          block,
          container: segment.number,
          segment,
          index,
          checksum: checksumAt(leaf, block),
        });
        if (entries.length === this.#o.chunkBlocks) return entries;
      }
    }
    return entries;
  }

  #livesAt(block: number, container: number, index: number): boolean {
    return livesAt(this.#o.places.map.leaf(block), block, container, index);
  }

  /** Reads the run that begins at entry `first`; returns its length. */
  #read(first: number, longest: number): number {
    const start = this.#entries[first] as Entry;
    const segment = start.segment as Segment;
    let run = 1;
    for (; run < longest && first + run < this.#entries.length; run++) {
      const next = this.#entries[first + run] as Entry;
      if (next.segment !== segment || next.index !== start.index + run) break;
    }
    this.#readsLeft++;
    segment.readers++;
    this.#o.ring.queue(
      ringOperations.read,
      segment.fd,
      start.index * blockBytes,
      this.#o.chunk.address + chunkHeaderBytes + first * blockBytes,
      run * blockBytes,
      0,
      this.#kind,
      first,
    );
    return run;
  }

  #onRead(first: number, result: number): void {
    // A read that failed or came short leaves bytes that do not match their checksums.
    const entry = this.#entries[first] as Entry;
    const segment = entry.segment as Segment;
    segment.readers--;
    const { seal, chunk } = this.#o;
    for (let i = 0; seal !== undefined && (i + 1) * blockBytes <= result; i++) {
      const at = chunkHeaderBytes + (first + i) * blockBytes;
      seal.openBlock(chunk, at, segment.epoch, segment.number, entry.index + i);
    }
    this.#readDone();
  }

  #matches(i: number): boolean {
    const at = chunkHeaderBytes + i * blockBytes;
    return crc32cOf(this.#o.chunk, at, blockBytes) === (this.#entries[i] as Entry).checksum;
  }

  /** Reads what does not match once more; returns whether anything is being read. */
  #readAgain(): boolean {
    if (this.#attempt === attempts) return false;
    this.#attempt++;
    this.#readsLeft = 1;
    for (let i = 0; i < this.#entries.length; i++) if (!this.#matches(i)) this.#read(i, 1);
    return --this.#readsLeft > 0;
  }

  #readDone(): void {
    if (--this.#readsLeft > 0 || this.#readAgain()) return;
    this.#store();
  }

  #store(): void {
    const { chunk, volumeId, epoch, began } = this.#o;
    const count = this.#entries.length;
    const blocks = new Uint32Array(count);
    const checksums = new Uint32Array(count);
    for (const [i, entry] of this.#entries.entries()) {
      blocks[i] = entry.block;
      checksums[i] = entry.checksum;
      if (!this.#matches(i)) this.#o.damaged(entry.block, entry.container, entry.index);
    }
    const name = { owner: volumeId, epoch, sequence: this.#nextSequence++ };
    this.#name = name;
    const moment = { asOf: this.#asOf, began };
    writeChunkHeader(chunk.bytes, name, blocks, checksums, count, moment);
    this.#o.post({
      kind: "store",
      key: chunkKey(name),
      length: chunkHeaderBytes + count * blockBytes,
    });
  }

  /** The main thread has stored the chunk, or could not. */
  storedChunk(ok: boolean): void {
    const name = this.#name;
    if (name === undefined) return;
    this.#name = undefined;
    this.#running = false;
    let number: number | undefined;
    if (ok) {
      this.stored++;
      const { places } = this.#o;
      number = places.addChunk(name, this.#entries.length);
      const container = chunkContainer(number);
      for (const [i, entry] of this.#entries.entries()) {
        if (this.#livesAt(entry.block, entry.container, entry.index)) {
          places.place(entry.block, container, i, entry.checksum);
        }
      }
      this.#o.storedAs?.(number);
    }
    const entries = this.#entries;
    this.#entries = [];
    this.#done(number, entries);
  }
}
