/**
 * How long requests took, from when the engine took them to when they were done: counted in buckets of an
 * eighth of a power of two, so that a percentile is right to about a tenth. Counting one allocates nothing; the
 * clock is read at most twice in a turn of the volume's loop, however many requests that moves.
 */
import { nbdCommand } from "./nbd_protocol.ts";

/** The time of this turn: read when somebody asks, and kept until `expire`. */
export class TurnClock {
  #at = 0;
  #isStale = true;

  constructor(readonly now: () => number) {}

  /** Time has passed: a turn begins, or has waited. */
  expire(): void {
    this.#isStale = true;
  }

  get at(): number {
    if (this.#isStale) {
      this.#at = this.now();
      this.#isStale = false;
    }
    return this.#at;
  }
}

const partsOfOctave = 8;
/** Up to 2^27 µs, two minutes; what takes longer counts as that. */
const octaves = 28;
const longest = 2 ** octaves - 1;

/** Which bucket a time counts in. */
function bucketOf(time_us: number): number {
  const whole = Math.min(longest, Math.max(1, Math.ceil(time_us)));
  const octave = 31 - Math.clz32(whole);
  // The three bits behind the highest one; a power by `**` costs as much as all the rest of this.
  return octave * partsOfOctave + (((whole << 3) >> octave) & (partsOfOctave - 1));
}

/** The longest time of a bucket, in µs. */
function endOf(bucket: number): number {
  const octave = Math.floor(bucket / partsOfOctave);
  const part = bucket % partsOfOctave;
  return Math.ceil(2 ** octave * (1 + (part + 1) / partsOfOctave)) - 1;
}

export class Histogram {
  readonly counts = new Float64Array(octaves * partsOfOctave);
  #total = 0;

  count(time_ms: number): void {
    const bucket = bucketOf(time_ms * 1000);
    this.counts[bucket] = (this.counts[bucket] as number) + 1;
    this.#total++;
  }

  /** The time within which a share of the requests were done; 0 when there were none. */
  percentile(share: number): number {
    let left = Math.ceil(this.#total * share);
    if (left === 0) return 0;
    for (let bucket = 0; bucket < this.counts.length; bucket++) {
      left -= this.counts[bucket] as number;
      if (left <= 0) return Math.max(1, endOf(bucket));
    }
    return endOf(this.counts.length - 1);
  }

  /** Requests by the power of two of microseconds that they took at most; powers without any are left out. */
  byOctave(): (readonly [at_most_us: number, count: number])[] {
    const found: (readonly [number, number])[] = [];
    for (let octave = 0; octave < octaves; octave++) {
      let count = 0;
      for (let part = 0; part < partsOfOctave; part++) {
        count += this.counts[octave * partsOfOctave + part] as number;
      }
      if (count > 0) found.push([2 ** (octave + 1) - 1, count]);
    }
    return found;
  }
}

const names = ["read", "write", "flush", "trim"] as const;

export class Latencies {
  readonly #of = [new Histogram(), new Histogram(), new Histogram(), new Histogram()] as const;

  /** @param type as NBD numbers commands; what is none of reading, writing, flushing and trimming is not counted */
  count(type: number, time_ms: number): void {
    switch (type) {
      case nbdCommand.read:
        return this.#of[0].count(time_ms);
      case nbdCommand.write:
        return this.#of[1].count(time_ms);
      case nbdCommand.flush:
        return this.#of[2].count(time_ms);
      case nbdCommand.trim:
      case nbdCommand.writeZeroes:
        return this.#of[3].count(time_ms);
    }
  }

  /** Percentiles and histograms as flat numbers: `read_p99_us`, `read_us_at_most_127`. */
  report(): Readonly<Record<string, number>> {
    const report: Record<string, number> = {};
    for (const [i, name] of names.entries()) {
      const histogram = this.#of[i] as Histogram;
      for (const [at_most_us, count] of histogram.byOctave()) {
        report[`${name}_us_at_most_${at_most_us}`] = count;
      }
      for (const [share, of] of [["p50", 0.5], ["p99", 0.99], ["p999", 0.999]] as const) {
        const time_us = histogram.percentile(of);
        if (time_us > 0) report[`${name}_${share}_us`] = time_us;
      }
    }
    return report;
  }
}
