/**
 * What directories have not been told: that something is gone, or that a record whose write failed is none.
 *
 * A directory that was away then, or failed, has the older records still. Were it the one of which the index is made
 * again, what they say would come back. So it is told as soon as it takes writes. What waits stands in the index;
 * what that does not take either waits in memory.
 */
import type { ObjectIndex } from "../index/object_index.ts";
import type { BlobDirectory } from "./blob_directory.ts";
import type { SmallRecord } from "./record.ts";

/** Records that are told at once. */
const atOnce = 256;

export class Untold {
  readonly #index: ObjectIndex;
  /** By directory: what the index did not take. */
  readonly #inMemory = new Map<number, readonly SmallRecord[]>();

  constructor(index: ObjectIndex) {
    this.#index = index;
  }

  /** Inside a transaction, which is what the record is about. */
  add(directories: readonly number[], record: SmallRecord): void {
    for (const directory of directories) this.#index.untold.add(directory, record);
  }

  note(directories: readonly number[], record: SmallRecord): void {
    if (directories.length === 0) return;
    try {
      this.#index.transaction(() => this.add(directories, record));
    } catch {
      for (const directory of directories) this.#keep(directory, [record]);
    }
  }

  #keep(directory: number, records: readonly SmallRecord[]): void {
    this.#inMemory.set(directory, [...this.#inMemory.get(directory) ?? [], ...records]);
  }

  /** Tells a directory what waits for it. @throws IoError when it does not take it */
  async tell(directory: BlobDirectory): Promise<void> {
    const { number } = directory;
    const waiting = this.#inMemory.get(number);
    if (waiting !== undefined) {
      // What comes meanwhile waits for the next time.
      this.#inMemory.delete(number);
      try {
        await write(directory, waiting);
      } catch (error) {
        this.#keep(number, waiting);
        throw error;
      }
    }
    const { untold } = this.#index;
    for (let records = untold.of(number, atOnce); records.length > 0;) {
      await write(directory, records);
      this.#index.transaction(() => {
        for (const { sequence } of records) untold.remove(number, sequence);
      });
      records = untold.of(number, atOnce);
    }
  }
}

async function write(directory: BlobDirectory, records: readonly SmallRecord[]): Promise<void> {
  const [first] = await directory.commit(records);
  if (first !== undefined) directory.applied(first);
}
