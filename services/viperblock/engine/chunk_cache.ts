/**
 * Chunks on the node's own disk: what was drained or fetched stays near, in files of slots that are one chunk long, so
 * that what fits is read from the disk and not from the object store. A slot holds its chunk's windows as they came.
 *
 * It is a cache and nothing else: nothing is synced, and nobody relies on what lies in it. Each block that is read
 * is held against the checksum in the map by the reader, who asks the store for what is wrong here. So a crash may leave
 * torn, stale or lost slots. Windows pass through a few buffers of its own on their way to the disk: when the disk has no
 * time for them, the buffers are all under way and what comes then is not kept. A slot is given to another chunk only when
 * nothing reads or writes it; the chunk that goes is one that is dead or was not read for a round of the clock's hand.
 */
import type { Memory } from "../../../ffi/libc.ts";
import { ringOperations } from "../../../ffi/liburing.ts";
import { type CacheEntry, type CacheShape, readCacheTable } from "../chunks/cache_table.ts";
import type { CacheSeal } from "../encryption/cache_seal.ts";
import { blockBytes, cacheSlots, chunkBlocks, chunkKey, chunkNumber } from "../format.ts";
import type { Machine, OpenFile } from "../machine/machine.ts";
import type { FromWorker } from "../mounts/mailbox.ts";
import { CacheTables } from "./cache_tables.ts";
import { windowBlocks, windowBytes } from "./fetcher.ts";
import type { Places } from "./places.ts";

/** Windows that may be on their way to the disk: those of one chunk. */
const buffers = 4;
/** A further file is asked for when no more empty slots than these are left. */
const fewEmpty = 4;
/** After a file was refused, or given back for the log, no other is asked for so soon. */
const usualRefusalPauseMs = 60_000;
const none = -1;

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

interface CacheFile extends OpenFile {
  readonly slots: KeptChunk[];
  /** Requests under way on it. */
  busy: number;
  /** It is being given back. */
  isLeaving: boolean;
}

/** A slot, and what it holds. */
export interface KeptChunk {
  readonly file: CacheFile;
  /** Byte of the file at which the chunk's first block lies. */
  readonly at: number;
  /** The chunk's number in the map's table; `none` when empty. */
  chunk: number;
  /** Windows that are there, and that are being written. */
  windows: number;
  coming: number;
  readers: number;
  /** Read since the hand of the clock came by. */
  isUsed: boolean;
  /** Among the empty ones. */
  isListed: boolean;
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
  readonly #files: CacheFile[] = [];
  readonly #tables: CacheTables<CacheFile>;
  #slots: KeptChunk[] = [];
  #empty: KeptChunk[] = [];
  readonly #byChunk = new Map<number, KeptChunk>();
  /** Chunks that went while they were being read, by their slots. */
  readonly #gone = new Map<KeptChunk, number>();
  readonly #memories: Memory[] = [];
  readonly #free: number[] = [];
  readonly #writes: (Write | undefined)[] = [];
  readonly #writeKind: number;
  #budget: number;
  #hand = 0;
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
    let windows = 0;
    for (const { windows: bits } of this.#byChunk.values()) {
      for (let left = bits; left !== 0; left &= left - 1) windows++;
    }
    return windows * Math.min(windowBytes, this.#shape.slotBlocks * blockBytes);
  }

  statistics() {
    return {
      chunk_cache_hits: this.hits,
      chunk_cache_misses: this.misses,
      chunk_cache_wrong: this.wrong,
      chunk_cache_bytes: this.bytes,
      chunk_cache_files: this.#files.length,
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
      if (this.#files.length >= this.#budget) this.#o.post({ kind: "drop_file", path });
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
    const file = this.#add(opened);
    for (const [slot, entry] of entries.entries()) {
      const number = entry === undefined ? undefined : numbers.get(chunkKey(entry.name));
      const kept = file.slots[slot];
      if (entry === undefined || number === undefined || kept === undefined) continue;
      if (this.#byChunk.has(number)) continue;
      kept.chunk = number;
      kept.windows = entry.windows;
      this.#byChunk.set(number, kept);
    }
    for (const kept of file.slots) this.#settle(kept);
  }

  #add(opened: OpenFile): CacheFile {
    const file: CacheFile = { ...opened, slots: [], busy: 0, isLeaving: false };
    for (let i = 0; i < this.#shape.slots; i++) {
      const kept: KeptChunk = {
        file,
        at: blockBytes + i * this.#shape.slotBlocks * blockBytes,
        chunk: none,
        windows: 0,
        coming: 0,
        readers: 0,
        isUsed: false,
        isListed: false,
      };
      file.slots.push(kept);
      this.#slots.push(kept);
    }
    this.#files.push(file);
    return file;
  }

  /** Asks for a further file when chunks are about to come and there is little room for them. */
  prepare(): void {
    const { machine, post } = this.#o;
    if (this.paused || this.#asked || this.#empty.length > fewEmpty) return;
    if (this.#files.length >= this.#budget || machine.now() < this.#notBefore) return;
    this.#asked = true;
    post({ kind: "cache_wanted" });
  }

  fileCame(path: string): void {
    this.#asked = false;
    const { machine: { disk }, post } = this.#o;
    try {
      const file = this.#add(disk.open(path));
      this.#tables.outdated(file);
      for (const kept of file.slots) this.#settle(kept);
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
    while (this.#files.length > this.#budget) this.#giveBack();
  }

  /** The log found no room: it comes first. */
  giveWay(): void {
    this.#pause();
    this.#giveBack();
  }

  #giveBack(): void {
    const file = this.#files.pop();
    if (file === undefined) return;
    file.isLeaving = true;
    for (const kept of file.slots) this.#drop(kept);
    this.#tables.forget(file);
    this.#slots = this.#slots.filter((kept) => kept.file !== file);
    this.#empty = this.#empty.filter((kept) => kept.file !== file);
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
    return ((this.#byChunk.get(chunk)?.windows ?? 0) & (1 << window)) !== 0;
  }

  /**
   * Where the blocks from `index` on, all of one window, are to be read; undefined when they are not here. Who takes it says
   * when it is done with it.
   */
  take(container: number, index: number, count: number): KeptChunk | undefined {
    const kept = this.#byChunk.get(chunkNumber(container));
    if (kept === undefined || (kept.windows & (1 << Math.floor(index / windowBlocks))) === 0) {
      this.misses += count;
      return undefined;
    }
    kept.readers++;
    kept.file.busy++;
    kept.isUsed = true;
    return kept;
  }

  /** Makes a block that was read what it was before it was sealed. */
  open(container: number, index: number, memory: Memory, at: number): void {
    const chunk = this.#o.places.chunks[chunkNumber(container)];
    if (chunk !== undefined) this.#o.seal?.openBlock(chunk.name, index, memory, at);
  }

  /** The read is over. @param ok whether what came is what was written; otherwise all of the chunk goes */
  done(kept: KeptChunk, container: number, count: number, ok: boolean): void {
    if (--kept.readers === 0) this.#gone.delete(kept);
    if (ok) this.hits += count;
    else this.#isWrong(kept, container, count);
    this.#settle(kept);
    this.#ended(kept.file, 1);
  }

  #isWrong(kept: KeptChunk, container: number, count: number): void {
    this.wrong += count;
    this.misses += count;
    const number = chunkNumber(container);
    if (kept.chunk === number) this.#drop(kept);
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
    if ((this.#byChunk.get(chunk)?.readers ?? 0) > 0) return true;
    // Its readers may have to ask the store for it.
    for (const gone of this.#gone.values()) if (gone === chunk) return true;
    return false;
  }

  /** Keeps a copy of the chunk's window, which begins at byte `at`, if there is time and room for it. */
  keep(chunk: number, window: number, from: Memory, at: number): void {
    const known = this.#o.places.chunks[chunk];
    if (this.paused || this.#budget === 0 || known === undefined || known.live === 0) return;
    if (known.blocks > this.#shape.slotBlocks) return;
    const bit = 1 << window;
    const present = this.#byChunk.get(chunk);
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
    if (this.#empty.length === 0 && !this.#asked) this.#evict();
    const kept = this.#empty.pop();
    if (kept === undefined) return undefined;
    kept.isListed = false;
    kept.chunk = chunk;
    kept.isUsed = false;
    this.#byChunk.set(chunk, kept);
    return kept;
  }

  #evict(): void {
    const { chunks } = this.#o.places;
    const slots = this.#slots;
    for (let i = 0; i < slots.length * 2; i++) {
      this.#hand = (this.#hand + 1) % slots.length;
      const kept = slots[this.#hand] as KeptChunk;
      if (kept.readers > 0 || kept.coming !== 0) continue;
      const isDead = (chunks[kept.chunk]?.live ?? 0) === 0;
      if (kept.isUsed && !isDead) {
        kept.isUsed = false;
        continue;
      }
      this.#drop(kept);
      return;
    }
  }

  /** The chunk is needed no more, or not by this volume. */
  forget(chunk: number): void {
    const kept = this.#byChunk.get(chunk);
    if (kept !== undefined) this.#drop(kept);
  }

  #drop(kept: KeptChunk): void {
    if (kept.chunk === none) return;
    this.#byChunk.delete(kept.chunk);
    if (kept.readers > 0) this.#gone.set(kept, kept.chunk);
    kept.chunk = none;
    kept.windows = 0;
    this.#tables.outdated(kept.file);
    this.#settle(kept);
  }

  /** A slot that nothing is in and nobody uses may be given out. */
  #settle(kept: KeptChunk): void {
    if (kept.chunk !== none || kept.readers > 0 || kept.coming !== 0) return;
    if (kept.file.isLeaving || kept.isListed) return;
    kept.isListed = true;
    this.#empty.push(kept);
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
    } else if (kept.chunk === chunk && kept.windows === 0 && kept.coming === 0) this.#drop(kept);
    this.#settle(kept);
    this.#ended(kept.file, 1);
  }

  /** Once each turn. */
  advance(): void {
    this.#tables.advance();
  }

  /** Lets go of its files; what is under way on them may still end. */
  close(): void {
    for (const file of this.#files.splice(0)) this.#o.machine.disk.close(file.fd);
    this.#o.seal?.[Symbol.dispose]();
  }

  /** Everything that was under way is over. */
  release(): void {
    const { machine } = this.#o;
    for (const memory of this.#memories.splice(0)) machine.release(memory);
    this.#tables.release();
  }
}
