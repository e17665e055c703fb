/**
 * Writes the tables of the chunk cache's files when what the files hold has changed, one at a time. How a write ends is
 * nobody's concern: what a table does not say is fetched again, and what it says wrongly is found by checksum.
 */
import type { Memory } from "../../../ffi/libc.ts";
import { ringOperations } from "../../../ffi/liburing.ts";
import { type CacheEntry, type CacheShape, writeCacheTable } from "../chunks/cache_table.ts";
import { blockBytes } from "../format.ts";
import type { Machine } from "../machine/machine.ts";

export interface CacheTablesOptions<File> {
  readonly machine: Pick<Machine, "ring" | "memory" | "release">;
  readonly shape: CacheShape;
  readonly entries: (file: File) => readonly (CacheEntry | undefined)[];
  /** A write of the file's table has begun, or is over. */
  readonly begins: (file: File) => void;
  readonly ended: (file: File) => void;
}

export class CacheTables<File extends { readonly fd: number }> {
  readonly #o: CacheTablesOptions<File>;
  readonly #kind: number;
  readonly #stale = new Set<File>();
  #memory: Memory | undefined;
  #writing: File | undefined;

  constructor(options: CacheTablesOptions<File>) {
    this.#o = options;
    this.#kind = options.machine.ring.kind(() => this.#written());
  }

  get idle(): boolean {
    return this.#writing === undefined && this.#stale.size === 0;
  }

  /** The file's table is not what it should be. */
  outdated(file: File): void {
    this.#stale.add(file);
  }

  /** The file is given back: its table does not matter any more. */
  forget(file: File): void {
    this.#stale.delete(file);
  }

  /** Once each turn. */
  advance(): void {
    if (this.#writing !== undefined || this.#stale.size === 0) return;
    for (const file of this.#stale) {
      this.#write(file);
      return;
    }
  }

  #write(file: File): void {
    const { machine, shape, entries, begins } = this.#o;
    const memory = this.#memory ??= machine.memory(blockBytes);
    writeCacheTable(memory.bytes, shape, entries(file));
    this.#stale.delete(file);
    this.#writing = file;
    begins(file);
    machine.ring.queue(
      ringOperations.write,
      file.fd,
      0,
      memory.address,
      blockBytes,
      0,
      this.#kind,
      0,
    );
  }

  #written(): void {
    const file = this.#writing;
    this.#writing = undefined;
    if (file !== undefined) this.#o.ended(file);
  }

  release(): void {
    if (this.#memory !== undefined) this.#o.machine.release(this.#memory);
  }
}
