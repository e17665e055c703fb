/**
 * Freezes a volume that is being written to. The moment of the snapshot is the call of `freeze`: the map is
 * captured, the log begins a new segment, and from then on guests do not notice. In the background what
 * the captured map has in the log is moved into chunks, then the map is stored; until then the segments and
 * chunks that it names are held.
 *
 * A snapshot whose engine ends before that is lost, and whoever asked for it is told so. One that the
 * store does not take is tried again and again.
 */
import {
  type BlockMap,
  type CapturedLeaf,
  checksumAt,
  containerAt,
  indexAt,
  leafBlocks,
  move,
} from "../maps/block_map.ts";
import { blockBytes, chunkContainer, chunkNumber, hole, isChunk } from "../format.ts";
import type { FromWorker } from "../mounts/mailbox.ts";
import { MapWriter, type StoredChunk } from "../maps/map_stream.ts";
import type { Checkpointer } from "./checkpoint.ts";
import type { Drainer, Entry } from "./drainer.ts";
import type { LogWriter } from "./log_writer.ts";
import type { Places, Segment } from "./places.ts";

/** Leaves that are looked through in one turn, so that guests do not wait for it. */
const leavesPerTurn = 32;
const pauseMs = 1000;

export interface SnapshotterOptions {
  readonly volumeId: string;
  readonly epoch: number;
  readonly map: BlockMap;
  readonly places: Places;
  readonly log: LogWriter;
  readonly drainer: Drainer;
  readonly checkpointer: Checkpointer;
  readonly post: (message: FromWorker) => void;
  readonly now: () => number;
  readonly chunkBlocks: number;
}

interface Frozen {
  readonly key: string;
  readonly leaves: CapturedLeaf[];
  readonly sizeBlocks: number;
  readonly sequence: number;
  readonly nextSegment: number;
  readonly mappedBlocks: number;
  readonly segments: ReadonlyMap<number, Segment>;
  /** Chunks that it may name, by number. */
  readonly chunks: Set<number>;
  /** Blocks of it in each chunk, as far as it was looked through. */
  readonly live: Map<number, number>;
  /** Leaves that are copies of its own. */
  readonly copied: Set<number>;
  leaf: number;
  inLeaf: number;
  /** Its chunk table, once it is to be stored: what is stored again is the same, should some of the first land late. */
  table?: readonly (StoredChunk | undefined)[];
}

export class Snapshotter {
  readonly #o: SnapshotterOptions;
  readonly #queue: Frozen[] = [];
  #busy = false;
  /** How many were begun. */
  freezes = 0;
  /** What was gathered and could not be stored yet. */
  #entries: Entry[] = [];
  #failedAt = 0;
  #yield = false;

  constructor(options: SnapshotterOptions) {
    this.#o = options;
  }

  get idle(): boolean {
    return this.#queue.length === 0;
  }

  /** The store has not taken the last that it was given. */
  get isFailing(): boolean {
    return this.#failedAt > 0;
  }

  /** It waits for nothing but time or its turn. */
  get wantsTick(): boolean {
    return this.#queue.length > 0 && !this.#busy;
  }

  /** Whether a snapshot that is not stored yet names the chunk. */
  holds(chunk: number): boolean {
    return this.#queue.some((each) => each.chunks.has(chunk));
  }

  freeze(key: string): void {
    this.freezes++;
    const { log, map, places, post } = this.#o;
    log.sealSegment();
    const segments = new Map<number, Segment>();
    for (const segment of places.segments.values()) {
      if (segment.live === 0) continue;
      // As a reader does: the file is not given to another segment.
      segment.readers++;
      segments.set(segment.number, segment);
    }
    const chunks = new Set<number>();
    for (const [number, chunk] of places.chunks.entries()) {
      if (chunk === undefined || chunk.live === 0) continue;
      chunks.add(number);
      chunk.shared = true;
      chunk.isOwn = false;
    }
    this.#queue.push({
      key,
      leaves: map.capture(),
      sizeBlocks: map.sizeBlocks,
      sequence: log.nextSequence - 1,
      nextSegment: log.nextSegment,
      mappedBlocks: map.mappedBlocks,
      segments,
      chunks,
      live: new Map(),
      copied: new Set(),
      leaf: 0,
      inLeaf: 0,
    });
    post({ kind: "captured", key, size_bytes: map.sizeBlocks * blockBytes });
  }

  /** Once each turn: moves the oldest snapshot on when drain and checkpoint are not under way. */
  advance(): void {
    const frozen = this.#queue[0];
    const { drainer, checkpointer, log, now } = this.#o;
    if (frozen === undefined || this.#busy || drainer.running || checkpointer.running) return;
    if (this.#failedAt > 0 && now() - this.#failedAt < pauseMs) return;
    this.#failedAt = 0;
    if (this.#yield) {
      this.#yield = false;
      return;
    }
    // Its blocks are read from the disk, so they have to be there.
    if (log.committedSequence < frozen.sequence) return;
    if (this.#entries.length < this.#o.chunkBlocks) this.#gather(frozen);
    const gathered = frozen.leaf === frozen.leaves.length;
    if (this.#entries.length >= this.#o.chunkBlocks || (gathered && this.#entries.length > 0)) {
      this.#move(frozen);
    } else if (gathered) this.#save(frozen);
  }

  #gather(frozen: Frozen): void {
    const last = Math.min(frozen.leaves.length, frozen.leaf + leavesPerTurn);
    for (; frozen.leaf < last; frozen.leaf++, frozen.inLeaf = 0) {
      const { words, firstBlock } = frozen.leaves[frozen.leaf] as CapturedLeaf;
      for (; frozen.inLeaf < leafBlocks; frozen.inLeaf++) {
        const container = containerAt(words, frozen.inLeaf);
        if (container === hole) continue;
        if (isChunk(container)) {
          const number = chunkNumber(container);
          frozen.live.set(number, (frozen.live.get(number) ?? 0) + 1);
          continue;
        }
        if (this.#entries.length === this.#o.chunkBlocks) return;
        this.#entries.push({
          block: firstBlock + frozen.inLeaf,
          container,
          segment: frozen.segments.get(container) as Segment,
          index: indexAt(words, frozen.inLeaf),
          checksum: checksumAt(words, frozen.inLeaf),
          leaf: frozen.leaf,
        });
      }
    }
  }

  #move(frozen: Frozen): void {
    this.#busy = true;
    this.#o.drainer.move(this.#entries, frozen.sequence, (chunk, entries) => {
      this.#busy = false;
      this.#yield = true;
      if (chunk === undefined) {
        this.#failedAt = this.#o.now();
        return;
      }
      const stored = this.#o.places.chunks[chunk];
      if (stored !== undefined) {
        stored.shared = true;
        stored.isOwn = false;
      }
      frozen.chunks.add(chunk);
      frozen.live.set(chunk, entries.length);
      for (const [i, entry] of entries.entries()) {
        const words = this.#ownLeaf(frozen, entry.leaf as number);
        move(words, entry.block, chunkContainer(chunk), i);
      }
      this.#entries = [];
    });
  }

  #ownLeaf(frozen: Frozen, number: number): Uint32Array {
    const leaf = frozen.leaves[number] as CapturedLeaf;
    if (frozen.copied.has(number)) return leaf.words;
    frozen.copied.add(number);
    const words = leaf.words.slice();
    frozen.leaves[number] = { firstBlock: leaf.firstBlock, words };
    return words;
  }

  #save(frozen: Frozen): void {
    this.#busy = true;
    const { places, volumeId, epoch } = this.#o;
    const chunks = frozen.table ??= places.chunks.map((chunk, number) => {
      const live = frozen.live.get(number);
      if (chunk === undefined || live === undefined) return undefined;
      return { name: chunk.name, blocks: chunk.blocks, live };
    });
    const owners = new Set<string>();
    for (const chunk of chunks) if (chunk !== undefined) owners.add(chunk.name.owner);
    const writer = new MapWriter(
      {
        volumeId,
        epoch,
        sizeBlocks: frozen.sizeBlocks,
        sequence: frozen.sequence,
        nextSegment: frozen.nextSegment,
      },
      frozen.leaves,
      chunks,
    );
    this.#o.checkpointer.save(writer, frozen.key, (ok) => {
      this.#busy = false;
      if (!ok) {
        this.#failedAt = this.#o.now();
        return;
      }
      this.#queue.shift();
      for (const segment of frozen.segments.values()) segment.readers--;
      this.#o.post({
        kind: "frozen",
        key: frozen.key,
        mapped_blocks: frozen.mappedBlocks,
        sequence: frozen.sequence,
        owners: [...owners],
      });
    });
  }
}
