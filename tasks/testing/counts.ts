/**
 * Counting tests honestly. Deno ends a run with one summary line; a run that never printed one died,
 * and a run that failed without a failed test (a file that does not load) did fail: both count as one
 * failure, so that the sum can never look better than what happened.
 */
export interface Counts {
  readonly passed: number;
  readonly failed: number;
}

export const sum = (all: readonly Counts[]): Counts => ({
  passed: all.reduce((total, one) => total + one.passed, 0),
  failed: all.reduce((total, one) => total + one.failed, 0),
});

/** `ok | 12 passed (3 steps) | 0 failed | 1 ignored (5s)`, with or without colours. */
const summary = /^(?:ok|FAILED) \| (\d+) passed(?: \(.*?\))? \| (\d+) failed/;

/** The counts of one `deno test` run from what it printed and how it ended. */
export function countsOf(output: string, exitCode: number): Counts {
  // deno-lint-ignore no-control-regex
  const plain = output.replaceAll(/\x1b\[[\d;]*m/g, "");
  const matches = plain.split("\n").map((line) => summary.exec(line)).filter((one) => one !== null);
  const last = matches.at(-1);
  if (last === undefined) {
    return exitCode === 0 ? { passed: 0, failed: 0 } : { passed: 0, failed: 1 };
  }
  const counts = { passed: Number(last[1]), failed: Number(last[2]) };
  return exitCode !== 0 && counts.failed === 0 ? { ...counts, failed: 1 } : counts;
}

/** The last line of a suite, which continuous integration reads. */
export const lastLine = ({ passed, failed }: Counts) => `${passed} passed, ${failed} failed`;
