/** Random values that a printed seed brings back: `MULGA_TEST_SEED=…` repeats a failed run. */

/** Mulberry32: small, good enough to choose test cases by. */
export class Random {
  #state: number;

  constructor(readonly seed: number) {
    this.#state = seed >>> 0;
  }

  /** From 0 up to, not including, 1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  }

  /** A whole number from 0 up to, not including, `end`. */
  below(end: number): number {
    return Math.floor(this.next() * end);
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)] as T;
  }

  text(alphabet: string, longest: number): string {
    return Array.from({ length: this.below(longest + 1) }, () => this.pick([...alphabet])).join("");
  }
}

/** The seed in MULGA_TEST_SEED, or a new one. A test that takes one tells it, at the latest when it fails. */
export function testSeed(): number {
  const given = Deno.env.get("MULGA_TEST_SEED");
  return given === undefined ? crypto.getRandomValues(new Uint32Array(1))[0] ?? 0 : Number(given);
}

/** Runs `work` with a new seed, or the one in MULGA_TEST_SEED, and names it when the work fails. */
export function seeded<T>(work: (random: Random) => T): T {
  const seed = testSeed();
  const fail = (cause: unknown): never => {
    throw new Error(`failed with MULGA_TEST_SEED=${seed}`, { cause });
  };
  try {
    const result = work(new Random(seed));
    return result instanceof Promise ? result.catch(fail) as T : result;
  } catch (cause) {
    return fail(cause);
  }
}
