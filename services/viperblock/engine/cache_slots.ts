/**
 * Which chunk lies in which slot of the chunk cache's files, and which one goes when another needs a slot. A slot is given
 * to another chunk only when nothing reads or writes it; the chunk that goes is one that is dead, or was not read for a
 * round of the clock's hand. What is read while it goes is known until its readers are done.
 */
import { blockBytes } from "../format.ts";
import type { OpenFile } from "../machine/machine.ts";

const none = -1;

export interface CacheFile extends OpenFile {
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

export interface CacheSlotsOptions {
  readonly slotsOfFile: number;
  readonly slotBlocks: number;
  readonly isDead: (chunk: number) => boolean;
  /** A chunk that was in the file is gone. */
  readonly changed: (file: CacheFile) => void;
}

export class CacheSlots {
  readonly #o: CacheSlotsOptions;
  readonly #files: CacheFile[] = [];
  #slots: KeptChunk[] = [];
  #empty: KeptChunk[] = [];
  readonly #byChunk = new Map<number, KeptChunk>();
  /** Chunks that went while they were being read, by their slots. */
  readonly #gone = new Map<KeptChunk, number>();
  #hand = 0;

  constructor(options: CacheSlotsOptions) {
    this.#o = options;
  }

  get files(): number {
    return this.#files.length;
  }

  get empty(): number {
    return this.#empty.length;
  }

  /** Windows that are there. */
  get windows(): number {
    let windows = 0;
    for (const { windows: bits } of this.#byChunk.values()) {
      for (let left = bits; left !== 0; left &= left - 1) windows++;
    }
    return windows;
  }

  /** A file whose slots are to be used; each that stays empty is to be settled. */
  add(opened: OpenFile): CacheFile {
    const file: CacheFile = { ...opened, slots: [], busy: 0, isLeaving: false };
    for (let i = 0; i < this.#o.slotsOfFile; i++) {
      const kept: KeptChunk = {
        file,
        at: blockBytes + i * this.#o.slotBlocks * blockBytes,
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

  /** Gives up the newest file and all that is in it. */
  giveUp(): CacheFile | undefined {
    const file = this.#files.pop();
    if (file === undefined) return undefined;
    file.isLeaving = true;
    for (const kept of file.slots) this.drop(kept);
    this.#slots = this.#slots.filter((kept) => kept.file !== file);
    this.#empty = this.#empty.filter((kept) => kept.file !== file);
    return file;
  }

  /** Where the chunk lies, as far as it is here. */
  of(chunk: number): KeptChunk | undefined {
    return this.#byChunk.get(chunk);
  }

  /** The slot holds these windows of the chunk from now on. */
  put(kept: KeptChunk, chunk: number, windows: number): void {
    kept.chunk = chunk;
    kept.windows = windows;
    kept.isUsed = false;
    this.#byChunk.set(chunk, kept);
  }

  /** An empty slot for the chunk. */
  assign(chunk: number): KeptChunk | undefined {
    const kept = this.#empty.pop();
    if (kept === undefined) return undefined;
    kept.isListed = false;
    this.put(kept, chunk, 0);
    return kept;
  }

  /** Drops the chunk that is needed least, if there is one that nothing reads or writes. */
  evict(): void {
    const slots = this.#slots;
    for (let i = 0; i < slots.length * 2; i++) {
      this.#hand = (this.#hand + 1) % slots.length;
      const kept = slots[this.#hand] as KeptChunk;
      if (kept.readers > 0 || kept.coming !== 0) continue;
      if (kept.isUsed && !this.#o.isDead(kept.chunk)) {
        kept.isUsed = false;
        continue;
      }
      this.drop(kept);
      return;
    }
  }

  drop(kept: KeptChunk): void {
    if (kept.chunk === none) return;
    this.#byChunk.delete(kept.chunk);
    if (kept.readers > 0) this.#gone.set(kept, kept.chunk);
    kept.chunk = none;
    kept.windows = 0;
    this.#o.changed(kept.file);
    this.settle(kept);
  }

  /** A slot that nothing is in and nobody uses may be given out. */
  settle(kept: KeptChunk): void {
    if (kept.chunk !== none || kept.readers > 0 || kept.coming !== 0) return;
    if (kept.file.isLeaving || kept.isListed) return;
    kept.isListed = true;
    this.#empty.push(kept);
  }

  beginRead(kept: KeptChunk): void {
    kept.readers++;
    kept.isUsed = true;
  }

  /** What is to become of the slot is settled after this. */
  endRead(kept: KeptChunk): void {
    if (--kept.readers === 0) this.#gone.delete(kept);
  }

  /** Whether the chunk is being read. */
  isRead(chunk: number): boolean {
    if ((this.#byChunk.get(chunk)?.readers ?? 0) > 0) return true;
    // Its readers may have to ask the store for it.
    for (const gone of this.#gone.values()) if (gone === chunk) return true;
    return false;
  }

  /** Every file, for whoever closes them; none is known after. */
  leave(): readonly CacheFile[] {
    return this.#files.splice(0);
  }
}
