/**
 * A machine with a disk in memory for each blob directory: disks are pulled and put back, swapped, fail or rot one by one, and
 * crash together.
 *
 * Operations are counted over all disks; at the operation `crash_at` the machine stops. A file that was opened on a disk that
 * has been pulled fails from then on, also when another stands at its path.
 */
import { IoError, pageBytes } from "../../../ffi/direct_io.ts";
import type { Disk, DiskFile } from "../disk/disk.ts";
import { Crashed, type Random, SimulatedDisk, type Tearing } from "../disk/simulated_disk.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** What a disk that is there does not do. */
export interface Failing {
  readonly calls: "write" | "sync" | "both";
  readonly code: "EIO" | "ENOSPC";
  /** It does what it was asked all the same, or leaves it. */
  readonly done: () => boolean;
}

interface Mount {
  /** Undefined where it was pulled. */
  disk: SimulatedDisk | undefined;
  failing: Failing | undefined;
}

export class Machine implements Disk {
  readonly #mounts = new Map<string, Mount>();
  readonly #random: Random;
  /** Operations so far. */
  operations = 0;
  crash_at = Infinity;
  crashed = false;
  /** Called when an operation is begun and has not ended. */
  onBegun: (operation: number) => void = () => {};
  /** Called when it stops. */
  onCrash: () => void = () => {};

  constructor(random: Random) {
    this.#random = random;
  }

  /** Puts a disk there, an empty one unless given. */
  mount(path: string, disk = new SimulatedDisk(this.#random)): void {
    disk.onBegun = () => this.#begun();
    this.#mounts.set(path, { disk, failing: undefined });
  }

  #begun(): void {
    this.onBegun(++this.operations);
    if (this.operations >= this.crash_at) this.crash();
  }

  /** Nothing answers any more. */
  crash(): void {
    if (!this.crashed) this.onCrash();
    this.crashed = true;
    for (const { disk } of this.#mounts.values()) stop(disk);
  }

  /** The machine as the next start finds it. */
  afterCrash(tearing: Tearing): Machine {
    const found = new Machine(this.#random);
    found.operations = this.operations;
    for (const [path, { disk }] of this.#mounts) {
      found.mount(path, disk?.afterCrash(tearing, this.#random));
      if (disk === undefined) found.#at(path).disk = undefined;
    }
    return found;
  }

  /** Takes a disk out, which keeps of what was not synced as much as it may. */
  pull(path: string, tearing: Tearing): SimulatedDisk {
    const mount = this.#at(path);
    const { disk } = mount;
    if (disk === undefined) throw new Error(`nothing is at ${path}`);
    mount.disk = undefined;
    const left = disk.afterCrash(tearing, this.#random);
    stop(disk);
    return left;
  }

  /** A copy of what a disk has now. */
  snapshot(path: string): SimulatedDisk {
    const { disk } = this.#at(path);
    if (disk === undefined) throw new Error(`nothing is at ${path}`);
    return disk.afterCrash("everything", this.#random);
  }

  fail(path: string, failing: Failing | undefined): void {
    this.#at(path).failing = failing;
  }

  /** Flips a bit in some pages of the segments. */
  async rot(path: string, pages: number): Promise<void> {
    const { disk } = this.#at(path);
    const paths = await segmentsOf(disk, path);
    for (let at = 0; at < pages && paths.length > 0; at++) {
      const name = paths[this.#random(paths.length)] ?? "";
      const bytes = await disk?.readWhole(name) ?? new Uint8Array(0);
      const page = this.#random(Math.ceil(bytes.length / pageBytes)) * pageBytes;
      const part = bytes.slice(page, page + pageBytes);
      if (part.length < pageBytes || disk === undefined) continue;
      const bit = this.#random(8 * (this.#random(2) === 0 ? 512 : pageBytes));
      part[bit >> 3] = (part[bit >> 3] ?? 0) ^ 1 << (bit & 7);
      using file = await disk.open(name, { write: true });
      await this.#aside(disk, async () => {
        await file.write(part, page);
        await file.sync();
      });
    }
  }

  /** Cuts the newest segment somewhere. */
  async cut(path: string): Promise<void> {
    const { disk } = this.#at(path);
    const name = (await segmentsOf(disk, path)).at(-1);
    if (disk === undefined || name === undefined) return;
    const bytes = await disk.readWhole(name);
    await this.#aside(
      disk,
      () => disk.writeWhole(name, bytes.slice(0, this.#random(bytes.length + 1))),
    );
  }

  /** What happens to a disk is no operation of the machine's. */
  async #aside(disk: SimulatedDisk, work: () => Promise<void>): Promise<void> {
    disk.onBegun = () => {};
    await work();
    disk.onBegun = () => this.#begun();
  }

  #at(path: string): Mount {
    for (const [root, mount] of this.#mounts) {
      if (path === root || path.startsWith(`${root}/`)) return mount;
    }
    throw new IoError("ENOENT", "open", path);
  }

  #disk(call: string, path: string): SimulatedDisk {
    if (this.crashed) throw new Crashed();
    const { disk } = this.#at(path);
    if (disk === undefined) throw new IoError("EIO", call, path);
    return disk;
  }

  /** Fails where it is to fail. @param work what may be done all the same */
  async #failing(
    call: "write" | "sync",
    path: string,
    disk: SimulatedDisk,
    work: () => Promise<void>,
  ): Promise<void> {
    if (this.#disk(call, path) !== disk) throw new IoError("EIO", call, path);
    const { failing } = this.#at(path);
    if (failing === undefined || failing.calls !== "both" && failing.calls !== call) {
      return await work();
    }
    if (failing.done()) await work();
    throw new IoError(failing.code, call, path);
  }

  async open(
    path: string,
    options: { readonly write: boolean; readonly create?: boolean },
  ): Promise<DiskFile> {
    const disk = this.#disk("open", path);
    const file = await disk.open(path, options);
    return {
      write: (bytes, offset) => this.#failing("write", path, disk, () => file.write(bytes, offset)),
      read: async (bytes, offset) => {
        if (this.#disk("read", path) !== disk) throw new IoError("EIO", "read", path);
        return await file.read(bytes, offset);
      },
      sync: () => this.#failing("sync", path, disk, () => file.sync()),
      [Symbol.dispose]: () => file[Symbol.dispose](),
    };
  }

  async makeFolder(path: string): Promise<void> {
    await this.#disk("mkdir", path).makeFolder(path);
  }

  async names(folder: string): Promise<string[]> {
    return await this.#disk("readdir", folder).names(folder);
  }

  async syncFolder(folder: string): Promise<void> {
    await this.#disk("fsync", folder).syncFolder(folder);
  }

  async size(path: string): Promise<number> {
    return await this.#disk("stat", path).size(path);
  }

  async remove(path: string): Promise<void> {
    await this.#disk("unlink", path).remove(path);
  }

  async readWhole(path: string): Promise<Bytes> {
    return await this.#disk("read", path).readWhole(path);
  }

  async writeWhole(path: string, bytes: Bytes): Promise<void> {
    const disk = this.#disk("write", path);
    await this.#failing("write", path, disk, () => disk.writeWhole(path, bytes));
  }

  async space(path: string): Promise<{ readonly free: number; readonly total: number }> {
    return await this.#disk("statfs", path).space();
  }
}

function stop(disk: SimulatedDisk | undefined): void {
  if (disk !== undefined) disk.crash_at = disk.operations;
}

async function segmentsOf(disk: SimulatedDisk | undefined, path: string): Promise<string[]> {
  const names = await disk?.names(`${path}/segments`).catch(() => []) ?? [];
  return names.sort().map((name) => `${path}/segments/${name}`);
}
