/**
 * Chunks on the node's own disk: what was drained or fetched stays near, in files of slots that are one chunk long, so
 * that what fits is read from the disk and not from the object store. A slot holds its chunk's windows as they came.
 *
 * It is a cache and nothing else: nothing is synced, and nobody relies on what lies in it. Each block that is read
 * is held against the checksum in the map by the reader, who asks the store for what is wrong here. So a crash may leave
 * torn, stale or lost slots. Windows pass through a few buffers of its own on their way to the disk: when the disk has no
 * time for them, the buffers are all under way and what comes then is not kept. Which slot is whose is `cache_slots.ts`.
 */
import type { Memory } from "../../../ffi/libc.ts";
import { ringOperations } from "../../../ffi/liburing.ts";
import { type CacheEntry, type CacheShape, readCacheTable } from "../chunks/cache_table.ts";
import type { CacheSeal } from "../encryption/cache_seal.ts";
import { blockBytes, cacheSlots, chunkBlocks, chunkKey, chunkNumber } from "../format.ts";
import type { Machine, OpenFile } from "../machine/machine.ts";
import type { FromWorker } from "../mounts/mailbox.ts";
import { type CacheFile, CacheSlots, type KeptChunk } from "./cache_slots.ts";
import { CacheTables } from "./cache_tables.ts";
import { windowBlocks, windowBytes } from "./fetcher.ts";
import type { Places } from "./places.ts";

/** Windows that may be on their way to the disk: those of one chunk. */
const buffers = 4;
/** A further file is asked for when no more empty slots than these are left. */
const fewEmpty = 4;
/** After a file was refused, or given back for the log, no other is asked for so soon. */
const usualRefusalPauseMs = 60_000;

export interface ChunkCacheOptions {
  readonly machine: Pick<Machine, "ring" | "disk" | "memory" | "release" | "now">;
  readonly volumeId: string;
  readonly places: Places;
  /** Files that it may have. */
  readonly files: number;
  readonly slots?: number;
  readonly slotBlocks?: number;
  readonly refusalPauseMs?: number;
  /** Of an encrypted volume. */
  readonly seal?: CacheSeal;
  readonly post: (message: FromWorker) => void;
}

interface Write {
  readonly kept: KeptChunk;
  readonly chunk: number;
  readonly bit: number;
  readonly length: number;
}

export class ChunkCache {
  readonly #o: ChunkCacheOptions;
  readonly #shape: CacheShape;
  readonly #slots: CacheSlots;
  readonly #tables: CacheTables<CacheFile>;
  readonly #memories: Memory[] = [];
  readonly #free: number[] = [];
  readonly #writes: (Write | undefined)[] = [];
  readonly #writeKind: number;
  #budget: number;
  #asked = false;
  #notBefore = -Infinity;
  #wrongTold = false;
  /** Nothing more is kept: the volume is being closed. */
  paused = false;
  /** Blocks that were read from it; blocks that it did not have. */
  hits = 0;
  misses = 0;
  /** Blocks of it that were not what was written. */
  wrong = 0;
  /** Windows that were kept, and that the disk had no time for. */
  kept = 0;
  skipped = 0;

  constructor(options: ChunkCacheOptions) {
    this.#o = options;
    this.#budget = options.files;
    const { ring } = options.machine;
    this.#writeKind = ring.kind((id, result) => this.#written(id, result));
    this.#shape = {
      volumeId: options.volumeId,
      slots: options.slots ?? cacheSlots,
      slotBlocks: options.slotBlocks ?? chunkBlocks,
    };
    this.#slots = new CacheSlots({
      slotsOfFile: this.#shape.slots,
      slotBlocks: this.#shape.slotBlocks,
      isDead: (chunk) => (options.places.chunks[chunk]?.live ?? 0) === 0,
      changed: (file) => this.#tables.outdated(file),
    });
    this.#tables = new CacheTables({
      machine: options.machine,
      shape: this.#shape,
      entries: (file) => file.slots.map((kept) => this.#entry(kept)),
      begins: (file) => file.busy++,
      ended: (file) => this.#ended(file, 1),
    });
    this.#find();
  }

  #entry({ chunk, windows }: KeptChunk): CacheEntry | undefined {
    const name = this.#o.places.chunks[chunk]?.name;
    return name === undefined || windows === 0 ? undefined : { name, windows };
  }

  /** Bytes of chunks that it holds. */
  get bytes(): number {
    return this.#slots.windows * Math.min(windowBytes, this.#shape.slotBlocks * blockBytes);
  }

  statistics() {
    return {
      chunk_cache_hits: this.hits,
      chunk_cache_misses: this.misses,
      chunk_cache_wrong: this.wrong,
      chunk_cache_bytes: this.bytes,
      chunk_cache_files: this.#slots.files,
      windows_kept: this.kept,
      windows_not_kept: this.skipped,
    };
  }

  /** Nothing of it is on its way to the disk. */
  get idle(): boolean {
    return this.#tables.idle && this.#free.length === this.#memories.length;
  }

  /** Takes up what an earlier life left: one block of each file is read. */
  #find(): void {
    const { machine, places } = this.#o;
    const paths = machine.disk.cacheFiles();
    if (paths.length === 0) return;
    const numbers = new Map<string, number>();
    if (this.#budget > 0) {
      for (const [number, chunk] of places.chunks.entries()) {
        if (chunk !== undefined && chunk.live > 0) numbers.set(chunk.key, number);
      }
    }
    const block = machine.memory(blockBytes);
    for (const path of paths) {
      if (this.#slots.files >= this.#budget) this.#o.post({ kind: "drop_file", path });
      else this.#takeUp(path, block, numbers);
    }
    machine.release(block);
  }

  #takeUp(path: string, block: Memory, numbers: ReadonlyMap<string, number>): void {
    const { machine: { disk }, post } = this.#o;
    let opened: OpenFile | undefined;
    let entries: (CacheEntry | undefined)[];
    try {
      opened = disk.open(path);
      const length = disk.read(opened.fd, block, blockBytes, 0);
      entries = readCacheTable(block.bytes.subarray(0, length), this.#shape);
    } catch {
      // Whatever is wrong with it: the store has all of it.
      if (opened !== undefined) disk.close(opened.fd);
      post({ kind: "drop_file", path });
      return;
    }
    const file = this.#slots.add(opened);
    for (const [slot, entry] of entries.entries()) {
      const number = entry === undefined ? undefined : numbers.get(chunkKey(entry.name));
      const kept = file.slots[slot];
      if (entry === undefined || number === undefined || kept === undefined) continue;
      if (this.#slots.of(number) === undefined) this.#slots.put(kept, number, entry.windows);
    }
    for (const kept of file.slots) this.#slots.settle(kept);
  }

  /** Asks for a further file when chunks are about to come and there is little room for them. */
  prepare(): void {
    const { machine, post } = this.#o;
    if (this.paused || this.#asked || this.#slots.empty > fewEmpty) return;
    if (this.#slots.files >= this.#budget || machine.now() < this.#notBefore) return;
    this.#asked = true;
    post({ kind: "cache_wanted" });
  }

  fileCame(path: string): void {
    this.#asked = false;
    const { machine: { disk }, post } = this.#o;
    try {
      const file = this.#slots.add(disk.open(path));
      this.#tables.outdated(file);
      for (const kept of file.slots) this.#slots.settle(kept);
    } catch {
      this.fileRefused();
      post({ kind: "drop_file", path });
      return;
    }
    this.#shrink();
  }

  fileRefused(): void {
    this.#asked = false;
    this.#pause();
  }

  #pause(): void {
    const { machine, refusalPauseMs = usualRefusalPauseMs } = this.#o;
    this.#notBefore = machine.now() + refusalPauseMs;
  }

  /** It may have so many files from now on. */
  allow(files: number): void {
    this.#budget = files;
    this.#notBefore = -Infinity;
    this.#shrink();
  }

  #shrink(): void {
    while (this.#slots.files > this.#budget) this.#giveBack();
  }

  /** The log found no room: it comes first. */
  giveWay(): void {
    this.#pause();
    this.#giveBack();
  }

  #giveBack(): void {
    const file = this.#slots.giveUp();
    if (file === undefined) return;
    this.#tables.forget(file);
    this.#ended(file, 0);
  }

  /** So many requests on the file are over. */
  #ended(file: CacheFile, requests: number): void {
    file.busy -= requests;
    if (!file.isLeaving || file.busy > 0) return;
    this.#o.machine.disk.close(file.fd);
    this.#o.post({ kind: "drop_file", path: file.path });
  }

  /** Whether the chunk's window is here. */
  has(chunk: number, window: number): boolean {
    return ((this.#slots.of(chunk)?.windows ?? 0) & (1 << window)) !== 0;
  }

  /**
   * Where the blocks from `index` on, all of one window, are to be read; undefined when they are not here. Who takes it says
   * when it is done with it.
   */
  take(container: number, index: number, count: number): KeptChunk | undefined {
    const kept = this.#slots.of(chunkNumber(container));
    if (kept === undefined || (kept.windows & (1 << Math.floor(index / windowBlocks))) === 0) {
      this.misses += count;
      return undefined;
    }
    this.#slots.beginRead(kept);
    kept.file.busy++;
    return kept;
  }

  /** Makes a block that was read what it was before it was sealed. */
  open(container: number, index: number, memory: Memory, at: number): void {
    const chunk = this.#o.places.chunks[chunkNumber(container)];
    if (chunk !== undefined) this.#o.seal?.openBlock(chunk.name, index, memory, at);
  }

  /** The read is over. @param ok whether what came is what was written; otherwise all of the chunk goes */
  done(kept: KeptChunk, container: number, count: number, ok: boolean): void {
    this.#slots.endRead(kept);
    if (ok) this.hits += count;
    else this.#isWrong(kept, container, count);
    this.#slots.settle(kept);
    this.#ended(kept.file, 1);
  }

  #isWrong(kept: KeptChunk, container: number, count: number): void {
    this.wrong += count;
    this.misses += count;
    const number = chunkNumber(container);
    if (kept.chunk === number) this.#slots.drop(kept);
    if (this.#wrongTold) return;
    this.#wrongTold = true;
    const chunk = this.#o.places.chunks[number]?.key;
    this.#o.post({
      kind: "log",
      level: "warn",
      event: "cached_chunk_wrong",
      fields: { chunk, file: kept.file.path, then: "it is read from the object store" },
    });
  }

  /** Whether the chunk is being read. */
  uses(chunk: number): boolean {
    return this.#slots.isRead(chunk);
  }

  /** Keeps a copy of the chunk's window, which begins at byte `at`, if there is time and room for it. */
  keep(chunk: number, window: number, from: Memory, at: number): void {
    const known = this.#o.places.chunks[chunk];
    if (this.paused || this.#budget === 0 || known === undefined || known.live === 0) return;
    if (known.blocks > this.#shape.slotBlocks) return;
    const bit = 1 << window;
    const present = this.#slots.of(chunk);
    if (present !== undefined && ((present.windows | present.coming) & bit) !== 0) return;
    const count = Math.min(windowBlocks, known.blocks - window * windowBlocks);
    const buffer = count > 0 ? this.#buffer() : undefined;
    if (buffer === undefined) {
      this.skipped++;
      return;
    }
    const kept = present ?? this.#assign(chunk);
    if (kept === undefined) {
      this.skipped++;
      this.#free.push(buffer);
      return;
    }
    const memory = this.#memories[buffer] as Memory;
    const { seal, machine } = this.#o;
    const length = count * blockBytes;
    if (seal === undefined) memory.bytes.set(from.bytes.subarray(at, at + length));
    else {
      for (let i = 0; i < count; i++) {
        const to = i * blockBytes;
        seal.sealBlock(known.name, window * windowBlocks + i, from, at + to, memory, to);
      }
    }
    kept.coming |= bit;
    kept.file.busy++;
    this.#writes[buffer] = { kept, chunk, bit, length };
    machine.ring.queue(
      ringOperations.write,
      kept.file.fd,
      kept.at + window * windowBytes,
      memory.address,
      length,
      0,
      this.#writeKind,
      buffer,
    );
  }

  /** Keeps all of a chunk that lies in memory from byte `at` on. */
  keepAll(chunk: number, from: Memory, at: number): void {
    const blocks = this.#o.places.chunks[chunk]?.blocks ?? 0;
    for (let window = 0; window * windowBlocks < blocks; window++) {
      this.keep(chunk, window, from, at + window * windowBytes);
    }
  }

  /** A buffer that nothing is under way from. */
  #buffer(): number | undefined {
    const free = this.#free.pop();
    if (free !== undefined || this.#memories.length === buffers) return free;
    const { machine, seal } = this.#o;
    const length = Math.min(windowBytes, this.#shape.slotBlocks * blockBytes);
    return this.#memories.push(machine.memory(length, { low: seal !== undefined })) - 1;
  }

  /** A slot for the chunk: an empty one, or one whose chunk is needed least. */
  #assign(chunk: number): KeptChunk | undefined {
    this.prepare();
    // A file that is on its way is better than giving something up.
    if (this.#slots.empty === 0 && !this.#asked) this.#slots.evict();
    return this.#slots.assign(chunk);
  }

  /** The chunk is needed no more, and its number may be another's. */
  forget(chunk: number): void {
    const kept = this.#slots.of(chunk);
    if (kept !== undefined) this.#slots.drop(kept);
  }

  #written(buffer: number, result: number): void {
    const write = this.#writes[buffer] as Write;
    this.#writes[buffer] = undefined;
    this.#free.push(buffer);
    const { kept, chunk, bit, length } = write;
    kept.coming &= ~bit;
    if (kept.chunk === chunk && result === length) {
      kept.windows |= bit;
      this.#tables.outdated(kept.file);
      this.kept++;
    } else if (kept.chunk === chunk && kept.windows === 0 && kept.coming === 0) {
      this.#slots.drop(kept);
    }
    this.#slots.settle(kept);
    this.#ended(kept.file, 1);
  }

  /** Once each turn. */
  advance(): void {
    this.#tables.advance();
  }

  /** Lets go of its files; what is under way on them may still end. */
  close(): void {
    for (const file of this.#slots.leave()) this.#o.machine.disk.close(file.fd);
    this.#o.seal?.[Symbol.dispose]();
  }

  /** Everything that was under way is over. */
  release(): void {
    const { machine } = this.#o;
    for (const memory of this.#memories.splice(0)) machine.release(memory);
    this.#tables.release();
  }
}
