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

export class Model {
  readonly #keys = new Map<string, { sure: number; open: Set<number> }>();
  /** Versions that were acknowledged and not deleted: by key, the ids with what they hold. */
  readonly versions = new Map<string, Map<string, number>>();

  /** Contents that were given another class, by key; another content begins with the usual one. */
  readonly moved = new Map<string, number>();

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
    await work();
    known.sure = to;
    known.open.delete(to);
  }

  /** Ends an upload. */
  async end(upload: string, work: () => Promise<unknown>): Promise<void> {
    this.uploads.set(upload, "ending");
    await work();
    this.uploads.set(upload, "ended");
  }

  /** What is known at this moment, for a crash beside a run that goes on. */
  copy(): Model {
    const copy = new Model();
    for (const [key, { sure, open }] of this.#keys) {
      copy.#keys.set(key, { sure, open: new Set(open) });
    }
    for (const [key, versions] of this.versions) copy.versions.set(key, new Map(versions));
    for (const [key, content] of this.moved) copy.moved.set(key, content);
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
