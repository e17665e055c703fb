/**
 * Directories of which another has taken the place: they may be put back for a while, with records of what is deleted
 * meanwhile, and are told of it then.
 */
import type { ObjectIndex } from "../index/object_index.ts";

/** How long one may be put back. */
const mayReturn_ms = 30 * 86_400_000;

export class Departed {
  readonly #index: ObjectIndex;
  readonly #isOurs: (number: number) => boolean;
  readonly #forget: (number: number) => void;
  /** Those that were given, and are of none of ours now. */
  readonly #numbers = new Set<number>();

  /** @param forget what waits for one that will not come back any more; inside a transaction */
  constructor(
    index: ObjectIndex,
    isOurs: (number: number) => boolean,
    forget: (number: number) => void,
  ) {
    this.#index = index;
    this.#isOurs = isOurs;
    this.#forget = forget;
    const next = Number(index.value("next_directory") ?? 0);
    for (let number = 0; number < next; number++) {
      if (!isOurs(number)) this.#numbers.add(number);
    }
  }

  get numbers(): Iterable<number> {
    return this.#numbers;
  }

  add(number: number): void {
    this.#numbers.add(number);
  }

  /** Whether one may still be put back. Since when it is gone stands in the index; where that is lost it counts from now on. */
  mayReturn(now_ms: number): boolean {
    const next = Number(this.#index.value("next_directory") ?? 0);
    let may = false;
    this.#index.transaction(() => {
      for (let number = 0; number < next; number++) {
        const name = `directory_gone ${number}`;
        const since = this.#index.value(name);
        if (this.#isOurs(number)) {
          if (since !== undefined) this.#index.removeValue(name);
          continue;
        }
        if (since === undefined) this.#index.setValue(name, String(now_ms));
        if (now_ms - Number(since ?? now_ms) < mayReturn_ms) may = true;
        else {
          this.#numbers.delete(number);
          this.#forget(number);
        }
      }
    });
    return may;
  }
}
