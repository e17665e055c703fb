/**
 * What a volume owes its guest: all that was acknowledged survives the end of the process, all that a flush
 * acknowledged survives the end of the power, and what was found after a crash is owed from then on.
 *
 * What an earlier life owes is owed until a later one has read everything (`settle`): an opening that ends before
 * it serves promises nothing of its own.
 */
import type { CrashKind } from "../../services/viperblock/machine/simulated_disk.ts";
import type { History } from "./history.ts";

/** A promise is broken, or another property does not hold. */
export class Violation extends Error {
  override readonly name = "Violation";
}

/** How many changes of the history survive each kind of crash. */
type Survivors = Readonly<Record<CrashKind, number>>;

export class Promises {
  #history: History;
  /** What an earlier life owes. */
  #owed: Survivors | undefined;
  /** Changes of which a write that has landed says that they are durable. */
  #marked = 0;
  /** Counts up whenever changes are counted from the start again. */
  #counting = 0;

  constructor(history: History) {
    this.#history = history;
  }

  get history(): History {
    return this.#history;
  }

  /** Another volume is worked with. */
  turnTo(history: History): void {
    this.#history = history;
    this.#owed = undefined;
  }

  /** What a crash of each kind must leave now. */
  get now(): Survivors {
    return this.#owed ??
      { process: this.#history.acknowledged, power: this.#history.durable };
  }

  /** Changes that the log itself says are durable: damage to it must not make them go without a word. */
  get marked(): number {
    return this.#marked;
  }

  /** @returns what to call when the write has landed */
  writeBegins(): () => void {
    const [counting, { durable }] = [this.#counting, this.#history];
    return () => {
      if (counting === this.#counting) this.#marked = Math.max(this.#marked, durable);
    };
  }

  /** Goes on from what was read of the whole volume. @returns what is wrong with it */
  settle(found: Uint32Array): string | undefined {
    const wrong = this.#history.settle(found, this.#owed?.process ?? 0);
    if (wrong !== undefined) return wrong;
    this.countAnew();
    this.#owed = undefined;
    return undefined;
  }

  /** A life ended in a crash. */
  crashed(kind: CrashKind): void {
    this.#owed = { ...this.now, process: this.now[kind] };
  }

  /** A life ended in order. */
  ended(): void {
    const { acknowledged } = this.#history;
    this.#owed = { process: acknowledged, power: acknowledged };
  }

  countAnew(): void {
    this.#counting++;
    this.#marked = 0;
  }
}
