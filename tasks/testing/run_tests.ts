/**
 * Runs checks and tests, all of them even when one fails, and prints the one last line. Two run beside
 * each other, since most of them wait: for processes, guests and timers. Those that measure time have
 * the machine to themselves afterwards.
 */
import { lastLine, sum } from "./counts.ts";
import { busyPercent, processorTime } from "./processors.ts";
import { type Ended, runStep, type Step } from "./step.ts";

/**
 * How many run beside each other: more would need more memory than a small box has. `LANES=1` runs one
 * after the other, for who runs two suites at once.
 */
const lanes = Math.min(Number(Deno.env.get("LANES") ?? 2), navigator.hardwareConcurrency);

/** What the list of failures, which stands before the last line, begins with. */
export const whatFailed = "What failed:";

/** Runs all steps and prints the one last line. @returns the exit code */
export async function runSteps(steps: readonly Step[]): Promise<number> {
  const ended = new Map<Step, Ended>();
  const [started, before] = [performance.now(), processorTime()];
  const together = steps.filter((step) => step.alone !== true);
  const beside = lanes > 1 && together.length > 1;
  const waiting = together.values();
  const lane = async () => {
    for (const step of waiting) ended.set(step, await runStep(step, beside));
  };
  await Promise.all(Array.from({ length: beside ? lanes : 1 }, lane));
  for (const step of steps) {
    if (step.alone === true) ended.set(step, await runStep(step, false));
  }
  const all = steps.map((step) => ended.get(step)).filter((one) => one !== undefined);
  const total = sum(all.map(({ counts }) => counts));
  const seconds = ((performance.now() - started) / 1_000).toFixed(0);
  console.log(`\n${seconds} s, processors ${busyPercent(before, processorTime()) ?? 0} % busy`);
  const told = all.map(({ told }) => told).filter(Boolean);
  if (told.length > 0) console.log(`\n${whatFailed}\n${told.join("\n")}`);
  console.log(`\n${lastLine(total)}`);
  return total.failed === 0 && total.passed > 0 ? 0 : 1;
}
