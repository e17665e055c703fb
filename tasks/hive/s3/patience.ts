/**
 * Asks after work that goes on whether anybody asks or not: an answer that a busy node does not give in
 * time is asked for again, so that an hour's check is not given up for one late word.
 */
import { AwsError } from "../../../services/aws/errors.ts";

/** With the bus's own patience for each, some minutes. */
const mostTries = 20;

/** @throws what `ask` throws, once it has found nobody so often in a row */
export async function patiently<T>(
  ask: () => Promise<T>,
  pause: () => Promise<unknown>,
): Promise<T> {
  for (let tries = 1;; tries++) {
    try {
      return await ask();
    } catch (error) {
      const late = error instanceof AwsError && error.code === "ServiceUnavailable";
      if (!late || tries === mostTries) throw error;
    }
    await pause();
  }
}
