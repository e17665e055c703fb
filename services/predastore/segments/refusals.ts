/**
 * Writes that a directory did not take a short while ago, although it is there: it had no room, whatever its disk says of that,
 * or no more files can be opened. Where others can do without it, it is left alone until the next look, and for longer when
 * it refuses again.
 */
import type { IoError } from "../../../ffi/direct_io.ts";

interface Refusal {
  readonly error: IoError;
  readonly at_ms: number;
  /** How often it refused one when it was tried again. */
  readonly times: number;
  /** It is tried again. */
  readonly isOver: boolean;
}

export class Refusals {
  readonly #now: () => number;
  readonly #limit_ms: number;
  #last: Refusal | undefined;

  /** @param limit_ms how long one that refuses again and again is left alone */
  constructor(now: () => number, limit_ms: number) {
    this.#now = now;
    this.#limit_ms = limit_ms;
  }

  /** Why it is left alone now. */
  get current(): IoError | undefined {
    const { isOver, error } = this.#last ?? {};
    return isOver === false && this.#age_ms() < this.#limit_ms ? error : undefined;
  }

  #age_ms(): number {
    return Math.abs(this.#now() - (this.#last?.at_ms ?? -Infinity));
  }

  note(error: IoError): void {
    const isRecent = this.#age_ms() < 2 * this.#limit_ms;
    const before = isRecent ? this.#last?.times ?? 0 : 0;
    const times = this.current === undefined ? before + 1 : before;
    this.#last = { error, at_ms: this.#now(), times, isOver: false };
  }

  /** It was looked at, and is there. */
  lookedAt(): void {
    if (this.#last?.times === 1) this.#last = { ...this.#last, isOver: true };
  }

  forget(): void {
    this.#last = undefined;
  }
}
