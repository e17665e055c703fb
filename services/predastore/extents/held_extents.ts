/**
 * Extents that running reads will come to. An object of many parts is read one extent after the other; what is dropped
 * from the index meanwhile, because the object was overwritten or deleted, is still found by those who began before.
 */
import type { ExtentRow } from "../index/rows.ts";

export class HeldExtents {
  /** By extent, how many reads name it. */
  readonly #readers = new Map<number, number>();
  readonly #dropped = new Map<number, ExtentRow>();

  /** Until it is disposed of, what is dropped of these is kept. */
  hold(ids: readonly number[]): Disposable {
    for (const id of ids) this.#readers.set(id, (this.#readers.get(id) ?? 0) + 1);
    return {
      [Symbol.dispose]: () => {
        for (const id of ids) {
          const left = (this.#readers.get(id) ?? 1) - 1;
          if (left > 0) this.#readers.set(id, left);
          else {
            this.#readers.delete(id);
            this.#dropped.delete(id);
          }
        }
      },
    };
  }

  dropped(extent: ExtentRow): void {
    if (this.#readers.has(extent.id)) this.#dropped.set(extent.id, extent);
  }

  /** What was dropped, if a read holds it. */
  find(id: number): ExtentRow | undefined {
    return this.#dropped.get(id);
  }
}
