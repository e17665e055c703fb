/** What must be done sooner or later is tried again, with longer and longer pauses, for as long as the engine runs. */
import { systemTime } from "./mounts/orders.ts";

const longestPauseMs = 60_000;

export interface Retried {
  readonly signal: AbortSignal;
  readonly firstPauseMs?: number | undefined;
  /** Hears of the first failure; what follows is the same again. */
  readonly failed: (error: unknown) => void;
}

/** @returns whether it was done; otherwise the engine stops, and the next one takes it up */
export async function untilDone(
  work: () => Promise<void>,
  { signal, firstPauseMs = 1000, failed }: Retried,
): Promise<boolean> {
  for (let pause = firstPauseMs; !signal.aborted; pause = Math.min(2 * pause, longestPauseMs)) {
    try {
      await work();
      return true;
    } catch (error) {
      if (pause === firstPauseMs) failed(error);
    }
    if (!signal.aborted) await systemTime.pause(pause, signal);
  }
  return false;
}
