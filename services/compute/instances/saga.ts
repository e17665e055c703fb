/**
 * Work of several steps that can be taken up again after any crash.
 *
 * Each step may be repeated, and its undo takes back whatever part of it was done. Before a step runs,
 * the ones before it are on record as done; a failure is on record before the first undo. Whoever
 * takes the work up again reads the record and goes on: forwards, or backwards once it has failed.
 * The step that failed is undone too, since nobody knows how far it came.
 */

export interface Step<Context> {
  readonly name: string;
  run(context: Context): Promise<void>;
  undo(context: Context): Promise<void>;
}

export interface SagaProgress<Failure> {
  readonly done: readonly string[];
  readonly failed?: Failure;
}

export interface SagaOptions<Context, Failure> {
  readonly steps: readonly Step<Context>[];
  readonly context: Context;
  readonly progress: SagaProgress<Failure>;
  /** Writes the progress down; what it throws ends the run where it is, to be taken up again. */
  record(progress: SagaProgress<Failure>): Promise<void>;
  /** What an error means: a failure to undo everything for, or undefined to throw and come back later. */
  failureOf(error: unknown, step: string): Failure | undefined;
  /** A failure, when the work is no longer wanted; asked before every step. */
  cancelled(): Failure | undefined;
}

/** @returns the failure that everything was undone for, or undefined when all steps are done */
export async function runSaga<Context, Failure>(
  options: SagaOptions<Context, Failure>,
): Promise<Failure | undefined> {
  const { steps, context } = options;
  let { done, failed } = options.progress as { done: readonly string[]; failed?: Failure };
  // A failure met by an earlier run may have happened in the step after the last one done.
  let reached = done.length;
  while (failed === undefined && done.length < steps.length) {
    const step = steps[done.length];
    if (step === undefined) break;
    failed = options.cancelled();
    if (failed === undefined) {
      reached = done.length;
      try {
        await step.run(context);
        done = [...done, step.name];
      } catch (error) {
        failed = options.failureOf(error, step.name);
        if (failed === undefined) throw error;
      }
    }
    await options.record(failed === undefined ? { done } : { done, failed });
  }
  if (failed === undefined) return undefined;
  for (let at = Math.min(Math.max(reached, done.length), steps.length - 1); at >= 0; at--) {
    await steps[at]?.undo(context);
    done = done.slice(0, at);
    await options.record({ done, failed });
  }
  return failed;
}
