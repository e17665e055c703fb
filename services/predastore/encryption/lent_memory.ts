/**
 * Memory that a body is read in, and partly opened in: it goes back when the reader is done with what he was given of it.
 */
type Bytes = Uint8Array<ArrayBuffer>;

export class LentMemory {
  readonly #give: (bytes: Bytes) => void;
  readonly #distance: number;
  /** Bytes that the reader was given: in all, and when he had got the last of those that stand in lent memory. */
  #given = 0;
  #givenInPlace = 0;
  readonly #waiting: { readonly bytes: Bytes; readonly end: number }[] = [];

  /** @param distance the reader is done with what he got when he has got so many bytes after it */
  constructor(give: (bytes: Bytes) => void, distance = 0) {
    this.#give = give;
    this.#distance = distance;
  }

  /**
   * The reader gets so many bytes next, which stand in lent memory or elsewhere.
   * @param done what nothing else will be opened from
   */
  next(bytes: number, inPlace: boolean, done: readonly Bytes[]): void {
    if (inPlace) this.#givenInPlace = this.#given + bytes;
    for (const one of done) this.#waiting.push({ bytes: one, end: this.#givenInPlace });
    this.giveBack();
    this.#given += bytes;
  }

  /** What the reader is done with goes back. */
  giveBack(): void {
    for (let first; (first = this.#waiting[0]) !== undefined;) {
      if (first.end > 0 && this.#given - first.end < this.#distance) return;
      this.#give(first.bytes);
      this.#waiting.shift();
    }
  }
}
