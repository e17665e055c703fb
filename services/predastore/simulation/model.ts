import { sequenceOf } from "../objects/version_id.ts";

/**
 * What clients of a simulated store know: of each key what was acknowledged last, and what may have
 * happened besides, because it was on its way when the machine stopped.
 *
 * A content is named by the seed of its bytes; 0 is no object.
 */
export interface KnownKey {
  /** What stands if nothing on its way came through. */
  readonly sure: number;
  /** What may stand instead. */
  readonly open: ReadonlySet<number>;
}

/** An upload that was acknowledged; one that was on its way to its end has ended or not. */
export type KnownUpload = "waiting" | "ending" | "ended";

const sequence = (id: string) => sequenceOf(id) ?? 0;

export class Model {
  readonly #keys = new Map<string, { sure: number; open: Set<number> }>();
  /** Versions that were acknowledged and not deleted: by key, the ids with what they hold. */
  readonly versions = new Map<string, Map<string, number>>();

  /** Contents that were given another class, by key; another content begins with the usual one. */
  readonly moved = new Map<string, number>();

  /** Whether what failed is known to be none; a machine that stopped leaves it open. */
  failedIsNone: () => boolean = () => false;

  /** A machine that has stopped answers nobody: what comes to its end in the process after that is not acknowledged. */
  hasStopped: () => boolean = () => false;

  /** Versions that were deleted, or are on their way to it. */
  readonly deleted = new Map<string, "going" | "gone">();

  /** Uploads by their ids. */
  readonly uploads = new Map<string, KnownUpload>();

  #at(key: string): { sure: number; open: Set<number> } {
    let known = this.#keys.get(key);
    if (known === undefined) this.#keys.set(key, known = { sure: 0, open: new Set() });
    return known;
  }

  get keys(): ReadonlyMap<string, KnownKey> {
    return this.#keys;
  }

  /** Runs a change of one key; nobody else changes the key meanwhile. */
  async change(key: string, to: number, work: () => Promise<unknown>): Promise<void> {
    const known = this.#at(key);
    known.open.add(to);
    try {
      await work();
    } catch (error) {
      if (this.failedIsNone()) known.open.delete(to);
      throw error;
    }
    if (this.hasStopped()) return;
    known.sure = to;
    known.open.delete(to);
  }

  /** Ends an upload. */
  async end(upload: string, work: () => Promise<unknown>): Promise<void> {
    this.uploads.set(upload, "ending");
    try {
      await work();
    } catch (error) {
      if (this.failedIsNone()) this.uploads.set(upload, "waiting");
      throw error;
    }
    if (!this.hasStopped()) this.uploads.set(upload, "ended");
  }

  /** Deletes a version for good. */
  async deleteVersion(key: string, id: string, work: () => Promise<unknown>): Promise<void> {
    const versions = this.versions.get(key);
    const seed = versions?.get(id);
    if (versions === undefined || seed === undefined) throw new Error(`no version ${id} of ${key}`);
    versions.delete(id);
    this.deleted.set(id, "going");
    try {
      await this.change(key, [...versions.values()].at(-1) ?? 0, work);
      if (!this.hasStopped()) this.deleted.set(id, "gone");
    } catch (error) {
      if (this.failedIsNone()) {
        this.deleted.delete(id);
        this.#insert(key, id, seed);
      }
      throw error;
    }
  }

  /** Puts a version where its number says: ids are in the order in which they were given. */
  #insert(key: string, id: string, seed: number): void {
    const all = [...this.versions.get(key) ?? [], [id, seed] as const];
    this.versions.set(key, new Map(all.sort(([a], [b]) => sequence(a) - sequence(b))));
  }

  /** A version was found that was not known to be there. @throws Error where it may not be */
  found(key: string, id: string, seed: number): void {
    const deleted = this.deleted.get(id);
    if (deleted === "gone") throw new Error(`version ${id} of ${key} was deleted`);
    if (deleted === undefined && !this.#at(key).open.has(seed)) {
      throw new Error(`nobody has put ${seed} as version ${id} of ${key}`);
    }
    this.deleted.delete(id);
    this.#insert(key, id, seed);
  }

  /** Versions that were on their way to be deleted and were not found are. */
  settleDeleted(): void {
    for (const id of this.deleted.keys()) this.deleted.set(id, "gone");
  }

  /** What is known at this moment, for a crash beside a run that goes on. */
  copy(): Model {
    const copy = new Model();
    for (const [key, { sure, open }] of this.#keys) {
      copy.#keys.set(key, { sure, open: new Set(open) });
    }
    for (const [key, versions] of this.versions) copy.versions.set(key, new Map(versions));
    for (const [key, content] of this.moved) copy.moved.set(key, content);
    for (const [id, known] of this.deleted) copy.deleted.set(id, known);
    for (const [id, known] of this.uploads) copy.uploads.set(id, known);
    return copy;
  }

  /** The machine came up with this content: nothing is open any more. */
  settle(key: string, found: number): void {
    const known = this.#at(key);
    known.sure = found;
    known.open.clear();
  }
}
