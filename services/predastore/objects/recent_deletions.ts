/**
 * Which keys were deleted last, where no versions are kept and so nothing is left of them: an upload in parts
 * that began before must hear of it when it asks that no object be there. Kept in memory for so many keys: what is
 * forgotten, also at a restart, makes such an upload succeed, as one that began after the deletion would.
 */
const mostKeys = 10_000;

export class RecentDeletions {
  /** The newest last. */
  readonly #sequences = new Map<string, number>();

  note(bucket: number, key: string, sequence: number): void {
    const name = `${bucket}/${key}`;
    this.#sequences.delete(name);
    this.#sequences.set(name, sequence);
    if (this.#sequences.size <= mostKeys) return;
    const [oldest] = this.#sequences.keys();
    if (oldest !== undefined) this.#sequences.delete(oldest);
  }

  /** Whether the key was deleted after what has this sequence. */
  isDeletedSince(bucket: number, key: string, sequence: number): boolean {
    return (this.#sequences.get(`${bucket}/${key}`) ?? 0) > sequence;
  }
}
