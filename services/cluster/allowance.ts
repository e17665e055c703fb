/**
 * How often something may be asked: a bucket of tokens for each asker and one for all together, so
 * that one asker cannot use up everybody's and many cannot use up the machine. Bounded in memory.
 */
interface Bucket {
  tokens: number;
  at_ms: number;
}

export interface AllowanceOptions {
  /** For one asker: how many at once, and how many a second after that. */
  readonly burst: number;
  readonly perSecond: number;
  /** For all together. */
  readonly allBurst: number;
  readonly allPerSecond: number;
}

const mostAskers = 1_024;

export class Allowance {
  readonly #askers = new Map<string, Bucket>();
  readonly #all: Bucket;

  constructor(readonly options: AllowanceOptions) {
    this.#all = { tokens: options.allBurst, at_ms: 0 };
  }

  /** Takes one; false when there is none left for this asker or for anybody. */
  take(asker: string, now_ms: number): boolean {
    const { burst, perSecond, allBurst, allPerSecond } = this.options;
    const own = this.#askers.get(asker) ?? { tokens: burst, at_ms: now_ms };
    refill(own, burst, perSecond, now_ms);
    refill(this.#all, allBurst, allPerSecond, now_ms);
    this.#askers.delete(asker);
    this.#askers.set(asker, own);
    const [oldest] = this.#askers.keys();
    if (this.#askers.size > mostAskers && oldest !== undefined) this.#askers.delete(oldest);
    // Asked in this order, a single loud asker leaves the common bucket alone.
    if (own.tokens < 1 || this.#all.tokens < 1) return false;
    own.tokens--;
    this.#all.tokens--;
    return true;
  }
}

function refill(bucket: Bucket, most: number, perSecond: number, now_ms: number): void {
  const passed_ms = Math.max(0, now_ms - bucket.at_ms);
  bucket.tokens = Math.min(most, bucket.tokens + passed_ms * perSecond / 1_000);
  bucket.at_ms = now_ms;
}
