/**
 * The write-ahead log: blocks are gathered into batches, each written by one O_DIRECT write, and a
 * request is answered when its batch and all batches before it are written (group commit).
 *
 * Invariants: batches are answered in the order of their sequence, so that what a client was told is
 * always a prefix of the log; the map names a block's place in the log as soon as the block is in a
 * batch, and `buffered` finds it in memory until the batch is written; a flush covers every batch
 * made before it; each batch says up to which one everything was durable when it was made, so that a later
 * opening can tell damage from a torn end (`synced_mark.ts`). Failure: a log write or sync that fails ends the worker (`LogFailed`); it is
 * started again and replays, and clients repeat what they had no answer to. When there is no segment to go
 * on with, `put` and `hole` answer false and the caller waits.
 */
import { copyLow, isLow } from "../../../ffi/copy.ts";
import { crc32cOf } from "../../../ffi/crc32c.ts";
import type { Memory } from "../../../ffi/libc.ts";
import { ringOperations } from "../../../ffi/liburing.ts";
import {
  batchEntries,
  batchVersion,
  blockBytes,
  entryData,
  entryHole,
  type Geometry,
  hole as holeContainer,
  sealedBatchVersion,
} from "../format.ts";
import {
  entryWords,
  firstEntryWord,
  headerWord,
  prepareHeader,
  sealHeader,
} from "../log/log_record.ts";
import { containerAt } from "../maps/block_map.ts";
import type { LogSeal } from "../encryption/log_seal.ts";
import type { Machine, OpenFile, RequestQueue } from "../machine/machine.ts";
import { type Durability, LocalDurability, LogFailed } from "./durability.ts";
import type { Places, Segment } from "./places.ts";

export { LogFailed } from "./durability.ts";

const buffers = 8;
/**
 * Batches handed to the disk at a time. A write of the disk costs as much processor time as twenty blocks do, so while
 * many blocks are under way what comes gathers until the disk is done with them, or makes a batch worth its
 * write; only where few are, as with few requests at a time, is each written at once.
 */
const maximumInFlight = 4;
const fewBlocks = 8;
const worthwhileBlocks = 64;
/** Ticks without a flush before a batch of its own says that the last one was done: about a second. */
const quietTicks = 5;
/** CRC-32C of 4096 zero bytes. */
const zeroBlockChecksum = 0x98f94189;

const free = 0;
const filling = 1;
const inFlight = 2;
const written = 3;

export interface LogOptions {
  readonly volumeId: string;
  readonly epoch: number;
  readonly geometry: Geometry;
  readonly nextSegment: number;
  readonly nextSequence: number;
  /** Of an encrypted volume. */
  readonly seal?: LogSeal;
  /** The disk of this machine alone, when nothing is said. */
  readonly durability?: Durability;
  /** Called when a request's batches are all written. */
  readonly committed: (request: number) => void;
  /** Called when a flush that the request waited for is done. */
  readonly flushed: (request: number) => void;
}

export class LogWriter {
  readonly #ring: RequestQueue;
  readonly #bufferBytes: number;
  readonly #places: Places;
  readonly #options: LogOptions;
  readonly #memory: Memory;
  /** What goes to the disk: sealed, of an encrypted volume, while `#memory` still answers reads. */
  readonly #out: Memory;
  readonly #words: Uint32Array;
  readonly #isLow: boolean;
  readonly #state = new Uint8Array(buffers);
  readonly #segmentOf = new Float64Array(buffers);
  readonly #positionOf = new Int32Array(buffers);
  readonly #dataOf = new Int32Array(buffers);
  readonly #sequenceOf = new Float64Array(buffers);
  readonly #waiting: number[][] = Array.from({ length: buffers }, () => []);
  readonly #writeKind: number;
  readonly #durability: Durability;

  #buffer = 0;
  #oldest = 0;
  #inFlight = 0;
  #blocksInFlight = 0;
  /** The disk got free since the loop last looked at what has come. */
  #isFreed = false;
  #entries = 0;
  #data = 0;
  #capacity = 0;
  #segment: Segment | undefined;
  #position = 0;
  #nextSegment: number;
  #nextSequence: number;
  #committed: number;
  /** Every batch up to this one is durable. */
  #synced: number;
  /** What the newest batch says of that. */
  #named: number;
  /** The last batch that holds anything. */
  #lastContent: number;
  /** What was durable at the last tick, and for how many ticks before it. */
  #seenSynced = 0;
  #quiet = 0;

  /** Files ready to become segments. */
  readonly spares: OpenFile[] = [];
  /** A batch could not be opened for want of a segment. */
  starved = false;

  #unsynced: Segment[] = [];
  #flushQueue: number[] = [];
  #flushRunning: number[] = [];
  #thenQueue: (() => void)[] = [];
  #thenRunning: (() => void)[] = [];
  #flushTarget = -1;
  #syncing = false;
  /** Bytes written to the log since it was opened, headers included. */
  writtenBytes = 0;
  /** Bytes of blocks that were put into it since then. */
  putBytes = 0;

  constructor(machine: Machine, places: Places, options: LogOptions) {
    const ring = machine.ring;
    this.#ring = ring;
    const bufferBytes = (options.geometry.batchBlocks + 1) * blockBytes;
    this.#bufferBytes = bufferBytes;
    this.#places = places;
    this.#options = options;
    this.#nextSegment = options.nextSegment;
    this.#nextSequence = options.nextSequence;
    this.#committed = options.nextSequence - 1;
    // Whoever opened the log has synced what it found.
    this.#synced = this.#named = this.#lastContent = options.nextSequence - 1;
    const kind = { low: true, huge: true };
    this.#memory = machine.memory(buffers * bufferBytes, kind);
    const { seal } = options;
    this.#out = seal === undefined ? this.#memory : machine.memory(buffers * bufferBytes, kind);
    this.#words = new Uint32Array(this.#memory.buffer);
    this.#isLow = isLow(this.#memory.address + this.#memory.length);
    for (let i = 0; i < buffers; i++) {
      prepareHeader(
        this.#memory.bytes.subarray(i * bufferBytes, i * bufferBytes + blockBytes),
        options.volumeId,
        options.epoch,
        seal === undefined ? batchVersion : sealedBatchVersion,
        options.nextSequence,
      );
    }
    this.#writeKind = ring.kind((id, result) => this.#onWritten(id, result));
    this.#durability = options.durability ?? new LocalDurability(ring);
  }

  get memory(): Memory {
    return this.#memory;
  }

  /** All that it was given. */
  get memories(): readonly Memory[] {
    return [...new Set([this.#memory, this.#out])];
  }

  /** The sequence that the next batch will have. */
  get nextSequence(): number {
    return this.#nextSequence;
  }

  /** Every batch up to this one is written. */
  get committedSequence(): number {
    return this.#committed;
  }

  get nextSegment(): number {
    return this.#nextSegment;
  }

  /** Nothing is being gathered, written or synced. */
  get idle(): boolean {
    return this.#entries === 0 && this.#inFlight === 0 && this.#flushTarget < 0 &&
      this.#flushQueue.length === 0 && this.#thenQueue.length === 0;
  }

  #open(): boolean {
    if (this.#state[this.#buffer] === filling) return true;
    if (this.#state[this.#buffer] !== free) return false;
    if (this.#segment === undefined || this.#position + 2 > this.#options.geometry.segmentBlocks) {
      if (!this.#nextFile()) return false;
    }
    this.#state[this.#buffer] = filling;
    this.#entries = 0;
    this.#data = 0;
    const { batchBlocks, segmentBlocks } = this.#options.geometry;
    this.#capacity = Math.min(batchBlocks, segmentBlocks - this.#position - 1);
    return true;
  }

  #nextFile(): boolean {
    const file = this.spares.pop();
    if (file === undefined) {
      this.starved = true;
      return false;
    }
    this.starved = false;
    this.sealSegment();
    this.#segment = this.#places.addSegment(
      this.#nextSegment++,
      file,
      this.#nextSequence,
      this.#options.epoch,
    );
    this.#position = 0;
    return true;
  }

  /** Where in the memory the batch is: one after another, since what the disk has just read is slow to be written again. */
  #baseOf(buffer: number): number {
    return buffer * this.#bufferBytes;
  }

  /** The next batch begins a new segment, so that this one may be drained. */
  sealSegment(): void {
    if (this.#entries > 0) this.submit();
    if (this.#state[this.#buffer] === filling) this.#state[this.#buffer] = free;
    if (this.#segment !== undefined) this.#segment.sealed = true;
    this.#segment = undefined;
  }

  /**
   * Puts one block into the log. A block of zeros becomes a hole and takes no space.
   * @param address where it lies, if that is below 4 GiB; otherwise 0
   * @returns false when there is no room now; nothing was done then
   */
  put(block: number, source: Uint8Array, from: number, address = 0): boolean {
    if (!this.#open()) return false;
    const base = this.#baseOf(this.#buffer);
    const at = base + (this.#data + 1) * blockBytes;
    if (address > 0 && this.#isLow) copyLow(this.#memory.address + at, address, blockBytes);
    else this.#memory.bytes.set(source.subarray(from, from + blockBytes), at);
    const checksum = crc32cOf(this.#memory, at, blockBytes);
    if (checksum === zeroBlockChecksum && this.#isZero(at)) return this.hole(block, 1);
    const segment = this.#segment as Segment;
    const index = this.#position + 1 + this.#data;
    const word = (base >> 2) + firstEntryWord + this.#entries * entryWords;
    this.#words[word] = block;
    this.#words[word + 1] = checksum;
    this.#words[word + 2] = entryData;
    segment.blocks[index] = block;
    this.#data++;
    this.#entries++;
    this.putBytes += blockBytes;
    this.#places.place(block, segment.number, index, checksum);
    if (this.#data === this.#capacity || this.#entries === batchEntries) this.submit();
    return true;
  }

  #isZero(at: number): boolean {
    const first = at >> 2;
    for (let i = first; i < first + (blockBytes >> 2); i++) {
      if (this.#words[i] !== 0) return false;
    }
    return true;
  }

  /** Makes holes. Returns false when there is no room now; nothing was done then. */
  hole(first: number, count: number): boolean {
    if (count === 1) {
      const leaf = this.#places.map.leaf(first);
      if (leaf === undefined || containerAt(leaf, first) === holeContainer) return true;
    } else if (!this.#places.map.anyMapped(first, count)) return true;
    if (!this.#open()) return false;
    const entries = (this.#baseOf(this.#buffer) >> 2) + firstEntryWord;
    const last = entries + (this.#entries - 1) * entryWords;
    if (
      this.#entries > 0 && this.#words[last + 2] === entryHole &&
      (this.#words[last] as number) + (this.#words[last + 1] as number) === first
    ) {
      this.#words[last + 1] = (this.#words[last + 1] as number) + count;
    } else {
      const word = entries + this.#entries * entryWords;
      this.#words[word] = first;
      this.#words[word + 1] = count;
      this.#words[word + 2] = entryHole;
      this.#entries++;
    }
    this.#places.clear(first, count);
    if (this.#entries === batchEntries) this.submit();
    return true;
  }

  /** Answers the request once everything put so far is written. */
  attach(request: number): void {
    if (this.#entries > 0) (this.#waiting[this.#buffer] as number[]).push(request);
    else if (this.#inFlight > 0) {
      const last = (this.#buffer + buffers - 1) % buffers;
      (this.#waiting[last] as number[]).push(request);
    } else this.#options.committed(request);
  }

  /** Byte offset in `memory` of a block that is not on disk yet, or -1. */
  buffered(container: number, index: number): number {
    for (let i = this.#oldest, n = 0; n < buffers; i = (i + 1) % buffers, n++) {
      if (this.#state[i] === free) return -1;
      const isCurrent = this.#state[i] === filling;
      const segment = isCurrent ? this.#segment?.number : this.#segmentOf[i];
      if (segment !== container) continue;
      const position = isCurrent ? this.#position : this.#positionOf[i] as number;
      const data = isCurrent ? this.#data : this.#dataOf[i] as number;
      if (index > position && index <= position + data) {
        return this.#baseOf(i) + (index - position) * blockBytes;
      }
    }
    return -1;
  }

  /** Writes the gathered batch, if there is one. */
  submit(): void {
    if (this.#entries === 0) return;
    this.#write();
  }

  /** Writes a batch without entries: it marks where this epoch's log begins, or says what is durable. */
  mark(): void {
    if (!this.#open()) throw new LogFailed("there is no segment to begin the log in");
    this.#write();
  }

  /** A flush was done that no batch names yet. */
  get #isUnnamed(): boolean {
    return this.#named < this.#synced && this.#named < this.#lastContent;
  }

  /** Such a flush waits to be named, and the segment has room for that. */
  get unmarked(): boolean {
    return this.#isUnnamed && this.#segment !== undefined &&
      this.#position + 2 <= this.#options.geometry.segmentBlocks;
  }

  /**
   * Once each tick: writes a batch without entries that says what is durable, if no other does and nothing was flushed
   * for a while. It costs a flush nothing and is not synced itself: should it be lost, nothing is but that knowledge.
   */
  markWhenQuiet(): void {
    this.#quiet = this.#seenSynced === this.#synced ? this.#quiet + 1 : 0;
    this.#seenSynced = this.#synced;
    if (this.#quiet >= quietTicks && this.unmarked && this.idle) this.mark();
  }

  /** As `markWhenQuiet`, at once, in a new segment if need be. Returns whether it did. */
  markAtEnd(): boolean {
    if (!this.#isUnnamed || !this.idle || !this.#open()) return false;
    this.#write();
    return true;
  }

  #write(): void {
    const segment = this.#segment as Segment;
    const base = this.#baseOf(this.#buffer);
    const words = this.#words;
    const header = base >> 2;
    const sequence = this.#nextSequence++;
    words[header + headerWord.segment] = segment.number;
    words[header + headerWord.position] = this.#position;
    words[header + headerWord.sequenceLow] = sequence;
    words[header + headerWord.sequenceHigh] = Math.floor(sequence / 4294967296);
    words[header + headerWord.dataCount] = this.#data;
    words[header + headerWord.entryCount] = this.#entries;
    words[header + headerWord.syncedLow] = this.#synced;
    words[header + headerWord.syncedHigh] = Math.floor(this.#synced / 4294967296);
    this.#named = this.#synced;
    if (this.#entries > 0) this.#lastContent = sequence;
    this.#options.seal?.sealBatch(this.#memory, this.#out, base, {
      epoch: this.#options.epoch,
      segment: segment.number,
      position: this.#position,
      dataCount: this.#data,
    });
    sealHeader(this.#out.bytes.subarray(base, base + blockBytes));
    const length = (this.#data + 1) * blockBytes;
    this.#state[this.#buffer] = inFlight;
    this.#segmentOf[this.#buffer] = segment.number;
    this.#positionOf[this.#buffer] = this.#position;
    this.#dataOf[this.#buffer] = this.#data;
    this.#sequenceOf[this.#buffer] = sequence;
    segment.lastSequence = sequence;
    this.#ring.queue(
      ringOperations.write,
      segment.fd,
      this.#position * blockBytes,
      this.#out.address + base,
      length,
      0,
      this.#writeKind,
      this.#buffer,
    );
    this.writtenBytes += length;
    this.#position += this.#data + 1;
    this.#inFlight++;
    this.#blocksInFlight += this.#data;
    this.#entries = 0;
    this.#data = 0;
    this.#buffer = (this.#buffer + 1) % buffers;
    if (!this.#unsynced.includes(segment)) this.#unsynced.push(segment);
  }

  #onWritten(buffer: number, result: number): void {
    const length = ((this.#dataOf[buffer] as number) + 1) * blockBytes;
    if (result !== length) {
      throw new LogFailed(`a log write of ${length} bytes answered ${result}`);
    }
    this.#state[buffer] = written;
    this.#isFreed = true;
    while (this.#state[this.#oldest] === written) {
      const done = this.#oldest;
      this.#state[done] = free;
      this.#oldest = (done + 1) % buffers;
      this.#inFlight--;
      this.#blocksInFlight -= this.#dataOf[done] as number;
      this.#committed = this.#sequenceOf[done] as number;
      const waiting = this.#waiting[done] as number[];
      for (let i = 0; i < waiting.length; i++) this.#options.committed(waiting[i] as number);
      waiting.length = 0;
    }
  }

  /**
   * Answers the request when everything that was put before is on stable storage: at once when it is, and with
   * the flush under way when nothing was put since that began.
   */
  flush(request: number): void {
    if (this.#covers(this.#synced)) this.#options.flushed(request);
    else if (this.#covers(this.#flushTarget)) this.#flushRunning.push(request);
    else this.#flushQueue.push(request);
  }

  /** Whether everything that was put is in batches up to this one. */
  #covers(sequence: number): boolean {
    return this.#entries === 0 && this.#nextSequence <= sequence + 1;
  }

  /** As `flush`, for the engine itself. */
  flushThen(work: () => void): void {
    this.#thenQueue.push(work);
  }

  /**
   * The disk is free for what has gathered, which waits for the loop to look once more, without sleeping, at what has come
   * meanwhile: that goes along, instead of waiting for a write of its own.
   */
  get holding(): boolean {
    return this.#isFreed && this.#entries > 0 && this.#inFlight === 0;
  }

  /** The loop is about to look. */
  endHold(): void {
    this.#isFreed = false;
  }

  /** Whether what has gathered is to be written now. */
  get #isDue(): boolean {
    if (this.#entries === 0 || this.#inFlight >= maximumInFlight || this.holding) return false;
    return this.#inFlight === 0 || this.#data >= worthwhileBlocks ||
      this.#blocksInFlight + this.#data <= fewBlocks;
  }

  /** Once each turn: writes what has gathered when the disk is free for it, and moves flushes on. */
  advance(): void {
    if (this.#isDue) this.submit();
    if (this.#syncing) return;
    if (this.#flushTarget < 0) {
      if (this.#flushQueue.length === 0 && this.#thenQueue.length === 0) return;
      this.submit();
      [this.#flushRunning, this.#flushQueue] = [this.#flushQueue, this.#flushRunning];
      [this.#thenRunning, this.#thenQueue] = [this.#thenQueue, this.#thenRunning];
      this.#flushTarget = this.#nextSequence - 1;
    }
    if (this.#committed < this.#flushTarget) return;
    const segments = this.#unsynced;
    // A segment that is written to while it is synced is unsynced again afterwards.
    this.#unsynced = [];
    for (const segment of segments) {
      if (this.#hasInFlight(segment.number)) this.#unsynced.push(segment);
    }
    this.#syncing = true;
    this.#durability.make(segments, this.#flushTarget, () => this.#finishFlush());
  }

  #hasInFlight(segment: number): boolean {
    for (let i = 0; i < buffers; i++) {
      if ((this.#state[i] as number) >= inFlight && this.#segmentOf[i] === segment) return true;
    }
    return false;
  }

  #finishFlush(): void {
    this.#syncing = false;
    this.#synced = this.#flushTarget;
    this.#flushTarget = -1;
    const requests = this.#flushRunning;
    for (let i = 0; i < requests.length; i++) this.#options.flushed(requests[i] as number);
    requests.length = 0;
    const work = this.#thenRunning.splice(0);
    for (const each of work) each();
  }
}
