/**
 * A disk in memory that behaves as badly as a real one may: what was not synced is lost at a crash in
 * part, in any order, torn within pages; names that were not synced come and go.
 *
 * Every call that changes something is one operation, counted; at the operation `crash_at` the machine
 * stops: it and all after it fail. `afterCrash` gives the disk as the next start finds it. All choices
 * follow from the random source, so a seed gives the same disk again.
 */
import { dirname } from "node:path";
import { IoError, pageBytes } from "../../../ffi/direct_io.ts";
import type { Disk, DiskFile } from "./disk.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Numbers from 0 up to `below`. */
export type Random = (below: number) => number;

export function randomFrom(seed: number): Random {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return Math.floor(((t ^ (t >>> 14)) >>> 0) / 2 ** 32 * below);
  };
}

/** What a crash leaves of writes that were not synced. */
export type Tearing = "nothing" | "everything" | "some";

export class Crashed extends Error {
  override readonly name = "Crashed";
}

const sectorBytes = 512;

interface Content {
  /** As readers see it. */
  now: Bytes;
  size: number;
  /** As it is on the platter. */
  durable: Bytes;
  durableSize: number;
  readonly unsynced: { readonly offset: number; readonly bytes: Bytes }[];
}

const emptyContent = (): Content => ({
  now: new Uint8Array(0),
  size: 0,
  durable: new Uint8Array(0),
  durableSize: 0,
  unsynced: [],
});

function put(into: Bytes, bytes: Bytes, offset: number): Bytes {
  let to = into;
  if (offset + bytes.length > to.length) {
    to = new Uint8Array(Math.max(2 * to.length, offset + bytes.length));
    to.set(into);
  }
  to.set(bytes, offset);
  return to;
}

export class SimulatedDisk implements Disk {
  readonly #random: Random;
  #names = new Map<string, Content>();
  #durableNames = new Map<string, Content>();
  readonly #folders = new Set<string>();
  /** Operations so far. */
  operations = 0;
  crash_at = Infinity;
  /** Called before each operation. */
  onOperation: (operation: number) => void = () => {};
  /** Called when an operation is begun and has not ended: as a crash at it would find the disk. */
  onBegun: (operation: number) => void = () => {};

  constructor(random: Random) {
    this.#random = random;
  }

  get crashed(): boolean {
    return this.operations >= this.crash_at;
  }

  /** One operation; the last one before the crash is begun and does not end. */
  #operate(begin: () => void): void {
    if (this.crashed) throw new Crashed();
    this.onOperation(this.operations++);
    begin();
    this.onBegun(this.operations);
    if (this.crashed) throw new Crashed();
  }

  /** Calls end in an order of their own. */
  async #later(): Promise<void> {
    for (let turns = this.#random(4); turns > 0; turns--) await Promise.resolve();
    if (this.crashed) throw new Crashed();
  }

  #sync(content: Content): void {
    for (const { offset, bytes } of content.unsynced) {
      content.durable = put(content.durable, bytes, offset);
      content.durableSize = Math.max(content.durableSize, offset + bytes.length);
    }
    content.unsynced.length = 0;
  }

  async open(
    path: string,
    options: { readonly write: boolean; readonly create?: boolean },
  ): Promise<DiskFile> {
    await this.#later();
    let content = this.#names.get(path);
    if (content === undefined) {
      if (options.create !== true || !this.#folders.has(dirname(path))) {
        throw new IoError("ENOENT", "open", path);
      }
      const made = content = emptyContent();
      this.#operate(() => this.#names.set(path, made));
      await this.#later();
    }
    const file = content;
    return {
      write: async (bytes, offset) => {
        // As the kernel does, it takes the bytes when it comes to them.
        await this.#later();
        this.#operate(() => {
          const copy = bytes.slice();
          file.now = put(file.now, copy, offset);
          file.size = Math.max(file.size, offset + copy.length);
          file.unsynced.push({ offset, bytes: copy });
        });
        await this.#later();
      },
      read: async (bytes, offset) => {
        await this.#later();
        const part = file.now.subarray(offset, Math.min(file.size, offset + bytes.length));
        bytes.set(part);
        return part.length;
      },
      sync: async () => {
        const covered = file.unsynced.length;
        await this.#later();
        this.#operate(() => {});
        // What came since it began may be in it or not; it is not counted on.
        const late = file.unsynced.splice(covered);
        this.#sync(file);
        file.unsynced.push(...late);
        await this.#later();
      },
      [Symbol.dispose]: () => {},
    };
  }

  makeFolder(path: string): Promise<void> {
    if (this.crashed) return Promise.reject(new Crashed());
    for (let at = path; at !== dirname(at); at = dirname(at)) this.#folders.add(at);
    return Promise.resolve();
  }

  names(folder: string): Promise<string[]> {
    if (!this.#folders.has(folder)) {
      return Promise.reject(new IoError("ENOENT", "readdir", folder));
    }
    const inside = [...this.#names.keys()].filter((path) => dirname(path) === folder);
    return Promise.resolve(inside.map((path) => path.slice(folder.length + 1)));
  }

  async syncFolder(folder: string): Promise<void> {
    // What came or went since it began may be in it or not; it is not counted on.
    const gone = [...this.#durableNames.keys()]
      .filter((path) => dirname(path) === folder && !this.#names.has(path));
    const there = [...this.#names].filter(([path]) => dirname(path) === folder);
    await this.#later();
    this.#operate(() => {});
    for (const path of gone) if (!this.#names.has(path)) this.#durableNames.delete(path);
    for (const [path, content] of there) {
      if (this.#names.get(path) === content) this.#durableNames.set(path, content);
    }
    await this.#later();
  }

  size(path: string): Promise<number> {
    const content = this.#names.get(path);
    return content === undefined
      ? Promise.reject(new IoError("ENOENT", "stat", path))
      : Promise.resolve(content.size);
  }

  async remove(path: string): Promise<void> {
    await this.#later();
    if (!this.#names.has(path)) throw new IoError("ENOENT", "unlink", path);
    this.#operate(() => this.#names.delete(path));
  }

  readWhole(path: string): Promise<Bytes> {
    const content = this.#names.get(path);
    return content === undefined
      ? Promise.reject(new IoError("ENOENT", "read", path))
      : Promise.resolve(content.now.slice(0, content.size));
  }

  /** Written beside, synced and renamed: a crash leaves the old or the new, which is one operation here. */
  async writeWhole(path: string, bytes: Bytes): Promise<void> {
    await this.#later();
    const content = emptyContent();
    content.now = content.durable = bytes.slice();
    content.size = content.durableSize = bytes.length;
    this.#operate(() => {
      this.#names.set(path, content);
      if (this.#random(2) === 0) this.#durableNames.set(path, content);
    });
    this.#durableNames.set(path, content);
  }

  space(): Promise<{ readonly free: number; readonly total: number }> {
    return Promise.resolve({ free: 2 ** 40, total: 2 ** 41 });
  }

  /** The disk as a start after the crash finds it. */
  afterCrash(tearing: Tearing, random: Random): SimulatedDisk {
    const found = new SimulatedDisk(random);
    for (const folder of this.#folders) found.#folders.add(folder);
    const paths = new Set([...this.#names.keys(), ...this.#durableNames.keys()]);
    for (const path of [...paths].sort()) {
      const now = this.#names.get(path);
      const durable = this.#durableNames.get(path);
      let content = durable;
      if (now !== durable && tearing !== "nothing") {
        content = tearing === "everything" || random(2) === 0 ? now : durable;
      }
      if (content === undefined) continue;
      const left = tornContent(content, tearing, random);
      found.#names.set(path, left);
      found.#durableNames.set(path, left);
    }
    return found;
  }
}

function tornContent(content: Content, tearing: Tearing, random: Random): Content {
  let bytes = content.durable.slice(0, content.durableSize);
  let size = content.durableSize;
  for (const write of tearing === "nothing" ? [] : content.unsynced) {
    // The file's length may have become durable without what stands there.
    const grows = tearing === "everything" || random(2) === 0;
    if (grows) {
      size = Math.max(size, write.offset + write.bytes.length);
      bytes = put(bytes, new Uint8Array(0), size);
    }
    for (let at = 0; at < write.bytes.length; at += pageBytes) {
      let kept = Math.min(pageBytes, write.bytes.length - at);
      if (tearing === "some") {
        const fate = random(4);
        if (fate === 0) continue;
        if (fate === 1) kept = Math.min(kept, random(pageBytes / sectorBytes) * sectorBytes);
      }
      bytes = put(bytes, write.bytes.subarray(at, at + kept), write.offset + at);
      if (kept > 0) size = Math.max(size, write.offset + at + kept);
    }
  }
  const now = bytes.slice(0, size);
  return { now, size, durable: now.slice(), durableSize: size, unsynced: [] };
}
