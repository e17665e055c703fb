/**
 * A disk with a volatile cache and a directory whose entries are durable only when it is synced. A
 * power cut keeps of what was not synced whatever chance says, in any order, down to single sectors;
 * the end of a process keeps all of it, and what was under way may still land afterwards.
 *
 * Names behave as on a journalling file system: after a power cut some first part of the changes since
 * the last sync of the directory has happened.
 */
import type { Memory } from "../../../ffi/libc.ts";
import {
  blockBytes,
  cacheFilePattern,
  checkpointName,
  logFilePattern,
  newLogFilePattern,
} from "../format.ts";
import type { FileHandle, FileSystem } from "./file_system.ts";
import { type DamagedPlace, FoundDisk, writtenIn } from "./found_disk.ts";
import type { LogDisk, OpenFile } from "./machine.ts";
import { type StoredBytes, storedBytes } from "./stored_bytes.ts";
import type { Chance, World } from "./simulated_world.ts";

const sectorBytes = 512;

/** What a file held at one moment, and which of its sectors were not durable then. */
export interface Moment {
  readonly bytes: Uint8Array;
  /** By sector the write that dirtied it. */
  readonly dirty: ReadonlyMap<number, number>;
}

/** How a life ends: the kernel and the disk go on, or nothing does. */
export type CrashKind = "process" | "power";

/** A part of a write that was under way and reached the disk. */
export interface Landing {
  readonly at: number;
  readonly bytes: Uint8Array;
}

/** Of the sectors that were not durable a power cut keeps all, none, or each by chance. */
function keeps(chance: Chance): () => boolean {
  const lucky = chance.below(3);
  return () => lucky === 2 || (lucky === 1 && chance.below(2) === 0);
}

export class SimulatedFile {
  bytes = new Uint8Array(0);
  #durable = new Uint8Array(0);
  readonly #dirty = new Map<number, number>();
  #writes = 0;

  write(at: number, bytes: Uint8Array): void {
    const end = at + bytes.length;
    if (end > this.bytes.length) this.bytes = grown(this.bytes, end);
    this.bytes.set(bytes, at);
    const number = ++this.#writes;
    for (let sector = Math.floor(at / sectorBytes); sector * sectorBytes < end; sector++) {
      this.#dirty.set(sector, number);
    }
  }

  get contents(): Uint8Array<ArrayBuffer>[] {
    return [this.bytes, this.#durable];
  }

  /** Whether the byte is as it is on the medium itself. */
  isDurable(at: number): boolean {
    return !this.#dirty.has(Math.floor(at / sectorBytes));
  }

  moment(): Moment {
    return { bytes: this.bytes.slice(), dirty: new Map(this.#dirty) };
  }

  /** Makes durable what was written up to the moment. */
  sync({ bytes, dirty }: Moment = this.moment()): void {
    if (bytes.length > this.#durable.length) this.#durable = grown(this.#durable, bytes.length);
    for (const [sector, number] of dirty) {
      const at = sector * sectorBytes;
      this.#durable.set(bytes.subarray(at, at + sectorBytes), at);
      if (this.#dirty.get(sector) === number) this.#dirty.delete(sector);
    }
  }

  powerCut(world: World): void {
    const kept = keeps(world.chance);
    const after = grown(this.#durable, this.bytes.length);
    for (const sector of this.#dirty.keys()) {
      if (!kept()) continue;
      const at = sector * sectorBytes;
      after.set(this.bytes.subarray(at, at + sectorBytes), at);
    }
    this.#dirty.clear();
    this.bytes = after;
    this.#durable = after.slice();
  }

  /** What a crash now would leave of it; nothing changes. The bytes may be the file's own. */
  found(kind: CrashKind, landed: readonly Landing[], chance: Chance): Uint8Array<ArrayBuffer> {
    const longest = landed.reduce((most, { at, bytes }) => Math.max(most, at + bytes.length), 0);
    const length = Math.max(this.bytes.length, longest);
    if (kind === "process" || this.#dirty.size === 0) {
      if (landed.length === 0) return this.bytes;
      const after = grown(this.bytes, length);
      const kept = kind === "process" ? () => true : keeps(chance);
      for (const landing of landed) land(after, landing, kept);
      return after;
    }
    const kept = keeps(chance);
    const after = grown(this.#durable, length);
    for (const sector of this.#dirty.keys()) {
      if (!kept()) continue;
      const at = sector * sectorBytes;
      after.set(this.bytes.subarray(at, at + sectorBytes), at);
    }
    for (const landing of landed) land(after, landing, kept);
    return after;
  }
}

function land(into: Uint8Array, { at, bytes }: Landing, kept: () => boolean): void {
  for (let from = 0; from < bytes.length; from += sectorBytes) {
    if (kept()) into.set(bytes.subarray(from, from + sectorBytes), at + from);
  }
}

function grown(bytes: Uint8Array, length: number): Uint8Array<ArrayBuffer> {
  const larger = new Uint8Array(Math.max(length, bytes.length));
  larger.set(bytes);
  return larger;
}

type Change =
  | { readonly kind: "link"; readonly path: string; readonly file: SimulatedFile }
  | { readonly kind: "unlink"; readonly path: string }
  | { readonly kind: "rename"; readonly from: string; readonly to: string };

function applied(names: Map<string, SimulatedFile>, change: Change): void {
  if (change.kind === "link") names.set(change.path, change.file);
  else if (change.kind === "unlink") names.delete(change.path);
  else {
    const file = names.get(change.from);
    names.delete(change.from);
    if (file !== undefined) names.set(change.to, file);
  }
}

/** The system refused, as Linux would say it. */
export class SimulatedError extends Error {
  override readonly name = "SimulatedError";
  constructor(readonly code: string) {
    super(code);
  }
}

export interface DiskFaults {
  /** Once in so many calls of the file system it fails; 0 never. */
  files: number;
  /** Once in so many requests of the ring one fails; 0 never. */
  requests: number;
  /** Once in so many reads of the ring one brings a wrong bit; 0 never. */
  flips: number;
}

export class SimulatedDisk implements LogDisk, FileSystem {
  #names = new Map<string, SimulatedFile>();
  #durableNames = new Map<string, SimulatedFile>();
  #changes: Change[] = [];
  readonly #open = new Map<number, SimulatedFile>();
  #nextFd = 3;
  readonly faults: DiskFaults = { files: 0, requests: 0, flips: 0 };
  /** Log files that the disk has room for. */
  room = Infinity;
  /** Counts up with every crash: what an earlier life asked for is not answered any more. */
  life = 0;
  /** Counts up with everything that lets a crash find something else. */
  version = 0;

  constructor(readonly world: World, readonly directory: string, readonly segmentBytes: number) {}

  file(fd: number): SimulatedFile {
    const file = this.#open.get(fd);
    if (file === undefined) throw new SimulatedError("EBADF");
    return file;
  }

  isOpen(fd: number): boolean {
    return this.#open.has(fd);
  }

  #change(change: Change): void {
    this.version++;
    applied(this.#names, change);
    this.#changes.push(change);
  }

  // What a volume's opening does at once.

  openAll(): OpenFile[] {
    const names = [...this.#names.keys()].filter((path) => this.#isLog(path));
    return names.map((path) => this.open(path));
  }

  cacheFiles(): string[] {
    return [...this.#names.keys()].filter((path) => this.#isCache(path)).sort();
  }

  open(path: string): OpenFile {
    const file = this.#names.get(path);
    if (file === undefined) throw new SimulatedError("ENOENT");
    const fd = this.#nextFd++;
    this.#open.set(fd, file);
    return { path, fd };
  }

  close(fd: number): void {
    this.#open.delete(fd);
  }

  remove(path: string): Promise<void> {
    if (this.#names.has(path)) this.#change({ kind: "unlink", path });
    return Promise.resolve();
  }

  read(fd: number, into: Memory, length: number, offset: number): number {
    const bytes = this.file(fd).bytes.subarray(offset, offset + length);
    into.bytes.set(bytes);
    return bytes.length;
  }

  written(fd: number, offset: number) {
    return writtenIn(this.file(fd).bytes, offset);
  }

  sync(fd: number): void {
    this.file(fd).sync();
  }

  checkpoint(): StoredBytes | undefined {
    const file = this.#names.get(`${this.directory}/${checkpointName}`);
    return file === undefined ? undefined : storedBytes(file.bytes.slice());
  }

  // What takes time, and may fail.

  async #takesTime(): Promise<void> {
    const life = this.life;
    await this.world.wait(this.world.chance.below(6));
    // The process that asked is no more: its call never returns.
    if (life !== this.life) await new Promise<never>(() => {});
    if (this.world.once(this.faults.files)) throw new SimulatedError("EIO");
  }

  async allocate(path: string, length: number): Promise<boolean> {
    await this.#takesTime();
    if (this.world.chance.below(2) === 0) return false;
    this.version++;
    this.#names.get(path)?.write(0, new Uint8Array(length));
    return true;
  }

  async create(path: string, fresh: boolean): Promise<FileHandle> {
    await this.#takesTime();
    if (fresh && this.#names.has(path)) throw new SimulatedError("EEXIST");
    const file = new SimulatedFile();
    this.#change({ kind: "link", path, file });
    return {
      write: async (bytes) => {
        const copy = bytes.slice();
        await this.#takesTime();
        this.version++;
        file.write(file.bytes.length, copy);
      },
      sync: async () => {
        const moment = file.moment();
        await this.#takesTime();
        this.version++;
        file.sync(moment);
      },
      close: () => {},
    };
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#takesTime();
    this.#change({ kind: "rename", from, to });
  }

  async syncDirectory(): Promise<void> {
    const count = this.#changes.length;
    await this.#takesTime();
    this.version++;
    for (const change of this.#changes.splice(0, count)) applied(this.#durableNames, change);
  }

  /** All that files hold, and what would be left of them without power. */
  contents(): Uint8Array<ArrayBuffer>[] {
    const files = new Set([...this.#names.values(), ...this.#durableNames.values()]);
    return [...files].flatMap((file) => file.contents);
  }

  /**
   * Damage to what is durable of a log file, by chance: a bit, or now and then a whole sector; undefined when chance
   * names a place that is not durable.
   */
  damageToLog(chance: Chance): (DamagedPlace & { readonly path: string }) | undefined {
    const logs = [...this.#names].filter(([path]) => this.#isLog(path));
    if (logs.length === 0) return undefined;
    const [path, file] = logs[chance.below(logs.length)] as [string, SimulatedFile];
    if (file.bytes.length === 0) return undefined;
    const at = chance.below(file.bytes.length);
    if (!file.isDurable(at)) return undefined;
    if (chance.below(4) > 0) return { path, at, count: 1, bits: 1 << chance.below(8) };
    return { path, at: at - at % sectorBytes, count: sectorBytes, bits: 0xff };
  }

  #isLog(path: string): boolean {
    return logFilePattern.test(path.slice(this.directory.length + 1));
  }

  #isCache(path: string): boolean {
    return cacheFilePattern.test(path.slice(this.directory.length + 1));
  }

  /** Whether the log is what is open there. */
  isLogFile(fd: number): boolean {
    const file = this.file(fd);
    for (const [path, each] of this.#names) if (each === file) return !this.#isCache(path);
    // It has been removed.
    return false;
  }

  /** Something of the chunk cache is not what was written: a bit, or a block that another is there instead of. */
  damageCache(chance: Chance): boolean {
    const [path] = this.cacheFiles().filter(() => chance.below(2) === 0);
    const file = path === undefined ? undefined : this.#names.get(path);
    const blocks = Math.floor((file?.bytes.length ?? 0) / blockBytes);
    if (file === undefined || blocks === 0) return false;
    const at = chance.below(blocks) * blockBytes;
    const from = chance.below(blocks) * blockBytes;
    const block = file.bytes.slice(from, from + blockBytes);
    if (chance.below(2) === 0) {
      const byte = chance.below(blockBytes);
      block.set(file.bytes.subarray(at, at + blockBytes));
      block[byte] = (block[byte] as number) ^ (1 << chance.below(8));
    }
    file.write(at, block);
    return true;
  }

  names(): string[] {
    return [...this.#names.keys()].map((path) => path.slice(this.directory.length + 1));
  }

  availableBytes(): number {
    const isLog = (name: string) => logFilePattern.test(name) || newLogFilePattern.test(name);
    const logs = this.names().filter(isLog).length;
    let cached = 0;
    for (const path of this.cacheFiles()) cached += this.#names.get(path)?.bytes.length ?? 0;
    return (this.room - logs) * this.segmentBytes - cached;
  }

  forgetCached(): void {}

  /** It is not asked whether a file is: whatever holds zeros may be taken as not written. */
  async markUntouched(): Promise<void> {
    await this.#takesTime();
  }

  // How it ends.

  /** The process is gone; the kernel and the disk go on. */
  processEnd(): void {
    this.life++;
    this.#open.clear();
  }

  powerCut(): void {
    this.life++;
    this.#open.clear();
    const kept = this.world.chance.below(this.#changes.length + 1);
    for (const change of this.#changes.splice(0, kept)) applied(this.#durableNames, change);
    this.#changes = [];
    this.#names = new Map(this.#durableNames);
    for (const file of new Set(this.#names.values())) file.powerCut(this.world);
  }

  /** The disk as a start would find it after a crash now; this one goes on. */
  found(
    kind: CrashKind,
    landed: (file: SimulatedFile) => readonly Landing[],
    chance: Chance,
  ): FoundDisk {
    let names = this.#names;
    if (kind === "power") {
      names = new Map(this.#durableNames);
      const kept = chance.below(this.#changes.length + 1);
      for (const change of this.#changes.slice(0, kept)) applied(names, change);
    }
    const files = new Map<string, Uint8Array<ArrayBuffer>>();
    for (const [path, file] of names) files.set(path, file.found(kind, landed(file), chance));
    return new FoundDisk(this.directory, files);
  }

  /** All is thrown away, as when a volume moves to another node; `content` becomes its checkpoint. */
  replaceAll(content: Uint8Array | undefined): void {
    this.#changes = [];
    this.#names = new Map();
    if (content !== undefined) {
      const file = new SimulatedFile();
      file.write(0, content);
      file.sync();
      this.#names.set(`${this.directory}/${checkpointName}`, file);
    }
    this.#durableNames = new Map(this.#names);
  }
}
