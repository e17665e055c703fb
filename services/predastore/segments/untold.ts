/**
 * What directories have not been told: that something is gone, or that a record whose write failed is none.
 *
 * A directory that was away then, or failed, has the older records still. Were it the one of which the index is made
 * again, what they say would come back. So it is told as soon as it takes writes. What waits stands in the index;
 * what that does not take either waits in memory. Of one that stays away the list does not grow for ever: beyond a limit
 * the directory is behind, and is told what stands in the others when it is back (`catching_up.ts`).
 */
import type { ObjectIndex } from "../index/object_index.ts";
import type { BlobDirectory } from "./blob_directory.ts";
import { recordTypes, type SmallRecord } from "./record.ts";

/** Records that are told at once. */
const atOnce = 256;
const usualLimit = 100_000;

/** What a directory that is behind has not been told. */
export interface Behind {
  /** Nothing with a lower number. */
  readonly since: number;
  /** Directories with lower numbers were there when it was told. */
  readonly next: number;
}

/** What the index did not take. */
interface Kept {
  readonly record: SmallRecord;
  readonly isHeard: boolean;
}

/** Where the index says that a directory is behind. */
export const behindAt = (directory: number) => `directory_behind ${directory}`;

export class Untold {
  readonly #index: ObjectIndex;
  readonly #limit: number;
  readonly #configured: () => Iterable<number>;
  /** By directory. */
  readonly #inMemory = new Map<number, readonly Kept[]>();
  /** Of those that the index has not taken. */
  readonly #behindInMemory = new Map<number, number>();
  /** How many records wait, at least; rows that were told are counted out when it is asked for next. */
  readonly #counts = new Map<number, number>();
  /** Those that catch up now: what comes meanwhile is listed for them again. */
  readonly #catchingUp = new Set<number>();

  /** @param configured the numbers of the directories that there should be */
  constructor(
    index: ObjectIndex,
    configured: () => Iterable<number>,
    limit = usualLimit,
  ) {
    this.#index = index;
    this.#configured = configured;
    this.#limit = limit;
  }

  /**
   * Inside a transaction, which is what the record is about.
   * @param isHeard whether it stands in some directory
   */
  add(directories: readonly number[], record: SmallRecord, isHeard: boolean): void {
    if (record.type === recordTypes.refused) this.#index.refused.add(record);
    const listed = directories.filter((directory) => !this.#isLeftOut(directory));
    // What stands nowhere yet is listed for somebody.
    for (const directory of isHeard || listed.length > 0 ? listed : directories) {
      this.#index.untold.add(directory, record);
      let count = (this.#counts.get(directory) ?? this.#index.untold.count(directory)) + 1;
      if (count > this.#limit) count = this.#index.untold.count(directory);
      this.#counts.set(directory, count);
      if (count > this.#limit && this.#mayFallBehind(directory)) this.#fallBehind(directory);
    }
  }

  note(directories: readonly number[], record: SmallRecord, isHeard: boolean): void {
    if (directories.length === 0 && record.type !== recordTypes.refused) return;
    try {
      this.#index.transaction(() => this.add(directories, record, isHeard));
    } catch {
      for (const directory of directories) this.#keep(directory, [{ record, isHeard }]);
    }
  }

  #keep(directory: number, kept: readonly Kept[]): void {
    const all = [...this.#inMemory.get(directory) ?? [], ...kept];
    this.#inMemory.set(directory, all);
    if (all.length <= this.#limit || !this.#mayFallBehind(directory)) return;
    const heard = all.filter(({ isHeard }) => isHeard).map(({ record }) => record.sequence);
    this.#inMemory.set(directory, all.filter(({ isHeard }) => !isHeard));
    const since = heard.reduce((a, b) => Math.min(a, b), Infinity);
    const known = this.#behindInMemory.get(directory) ?? Infinity;
    this.#behindInMemory.set(directory, Math.min(known, since));
  }

  /** What it has not been told beyond what is listed; undefined when that is all. */
  behind(directory: number): Behind | undefined {
    const text = this.#index.value(behindAt(directory));
    return text === undefined ? undefined : JSON.parse(text) as Behind;
  }

  #isBehind(directory: number): boolean {
    return this.#behindInMemory.has(directory) || this.behind(directory) !== undefined;
  }

  #isLeftOut(directory: number): boolean {
    return !this.#catchingUp.has(directory) && this.#isBehind(directory);
  }

  /** Whether there is another from which it can hear all when it is back. */
  #mayFallBehind(directory: number): boolean {
    for (const other of this.#configured()) {
      if (other !== directory && !this.#isBehind(other)) return true;
    }
    return false;
  }

  #fallBehind(directory: number): void {
    const { untold } = this.#index;
    this.#setBehind(directory, untold.lowest(directory) ?? 0);
    untold.forgetTold(directory);
    this.#counts.delete(directory);
    // What was passed over by then is not all any more.
    this.#catchingUp.delete(directory);
  }

  #setBehind(directory: number, since: number): void {
    const known = this.behind(directory);
    const next = known?.next ?? Number(this.#index.value("next_directory") ?? 0);
    const behind: Behind = { since: Math.min(since, known?.since ?? Infinity), next };
    this.#index.setValue(behindAt(directory), JSON.stringify(behind));
  }

  /**
   * Inside a transaction: a new directory has nothing of what others were not told, which must be there when they are back,
   * whoever is gone by then, and however long their lists become. Nor has it what is refused, which it will have to say
   * when the others are gone.
   */
  added(directory: number): void {
    for (const record of this.#index.refused.all()) this.#index.untold.add(directory, record);
    const next = Number(this.#index.value("next_directory") ?? 0);
    for (let other = 0; other < next; other++) {
      if (other === directory) continue;
      this.#index.untold.copy(other, directory);
      const behind = this.behind(other);
      if (behind === undefined) continue;
      const known = this.behind(directory);
      const since = Math.min(behind.since, known?.since ?? Infinity);
      const before = Math.min(behind.next, known?.next ?? Infinity);
      this.#index.setValue(behindAt(directory), JSON.stringify({ since, next: before }));
    }
    this.#counts.delete(directory);
  }

  /** Inside a transaction: nobody waits for the directory any more. */
  forget(directory: number): void {
    this.#index.untold.forget(directory);
    this.#index.removeValue(behindAt(directory));
    this.#behindInMemory.delete(directory);
    this.#counts.delete(directory);
  }

  /** Whether a directory existed before another fell behind, and has heard of all that this was not told, or will. */
  wasThere(number: number, { next }: Behind): boolean {
    return number < next && !this.#isBehind(number);
  }

  /** Whether it has heard of all of it. */
  canTell({ number }: BlobDirectory, behind: Behind): boolean {
    return this.wasThere(number, behind) && !this.#inMemory.has(number) &&
      this.#index.untold.count(number) === 0;
  }

  /** From now on what comes is listed for it. */
  beginsToCatchUp(directory: number): void {
    this.#catchingUp.add(directory);
  }

  /** @param isDone whether it was told all that came before it began */
  endsToCatchUp(directory: number, isDone: boolean): void {
    // Not when the list has become too long meanwhile.
    const isCurrent = this.#catchingUp.delete(directory);
    if (!isDone || !isCurrent) return;
    this.#index.transaction(() => this.#index.removeValue(behindAt(directory)));
  }

  /** Tells a directory what waits for it. @throws IoError when it does not take it */
  async tell(directory: BlobDirectory): Promise<void> {
    const { number } = directory;
    const since = this.#behindInMemory.get(number);
    if (since !== undefined) {
      this.#index.transaction(() => this.#setBehind(number, since));
      this.#behindInMemory.delete(number);
      // One that catches up begins again.
      this.#catchingUp.delete(number);
    }
    const waiting = this.#inMemory.get(number);
    if (waiting !== undefined) {
      // What comes meanwhile waits for the next time.
      this.#inMemory.delete(number);
      try {
        await tellAll(directory, waiting.map(({ record }) => record));
      } catch (error) {
        this.#keep(number, waiting);
        throw error;
      }
    }
    const { untold } = this.#index;
    for (let records = untold.of(number, atOnce); records.length > 0;) {
      await tellAll(directory, records);
      this.#index.transaction(() => {
        for (const { sequence } of records) untold.remove(number, sequence);
      });
      this.#counts.delete(number);
      records = untold.of(number, atOnce);
    }
  }
}

/** Writes records into one directory. */
export async function tellAll(
  directory: BlobDirectory,
  records: readonly SmallRecord[],
): Promise<void> {
  const [first] = await directory.commit(records);
  if (first !== undefined) directory.applied(first);
}
