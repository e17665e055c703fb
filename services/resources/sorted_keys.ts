/**
 * Keys in order, in runs of bounded length: adding, removing and finding a place cost the logarithm
 * of the number of runs plus the copying of one run, also with 100,000 keys.
 *
 * An iteration finds its place again by key after every step, so that changes during it do no harm.
 */
const runLength = 512;

export class SortedKeys {
  readonly #runs: string[][] = [];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Index of the run that holds or would hold `key`. */
  #runOf(key: string): number {
    let low = 0;
    let high = this.#runs.length - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#runs[middle]?.at(-1) ?? "") < key) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  static #place(run: readonly string[], key: string): number {
    let low = 0;
    let high = run.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((run[middle] ?? "") < key) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  add(key: string): void {
    const index = this.#runOf(key);
    const run = this.#runs[index];
    if (run === undefined) {
      this.#runs.push([key]);
      this.#size = 1;
      return;
    }
    const place = SortedKeys.#place(run, key);
    if (run[place] === key) return;
    run.splice(place, 0, key);
    this.#size++;
    if (run.length > runLength) this.#runs.splice(index + 1, 0, run.splice(runLength >> 1));
  }

  remove(key: string): void {
    const index = this.#runOf(key);
    const run = this.#runs[index];
    if (run === undefined) return;
    const place = SortedKeys.#place(run, key);
    if (run[place] !== key) return;
    run.splice(place, 1);
    this.#size--;
    if (run.length === 0) this.#runs.splice(index, 1);
  }

  /** The first key that is greater than `key`. */
  #next(key: string): string | undefined {
    for (let index = this.#runOf(key); index < this.#runs.length; index++) {
      const run = this.#runs[index] ?? [];
      let place = SortedKeys.#place(run, key);
      if (run[place] === key) place++;
      if (place < run.length) return run[place];
    }
    return undefined;
  }

  /** The keys that begin with `prefix` and come after `after`, in order. */
  *after(prefix: string, after: string): Generator<string> {
    const first = after < prefix ? prefix : after;
    // A key that equals the prefix itself is none of ours: keys are longer than their prefix.
    let key = this.#next(first);
    while (key !== undefined && key.startsWith(prefix)) {
      yield key;
      key = this.#next(key);
    }
  }
}
