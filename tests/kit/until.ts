/**
 * Waiting in tests: for a condition, never for a time. The bounds are only there so that what never comes is a failure
 * with a name; they are long, since a busy machine is no error. From one look to the next it takes a twentieth
 * of the time that was waited so far, so that short waits are told exactly and long ones cost nothing.
 */

const oftenest_ms = 10;
const seldomest_ms = 1_000;

async function pause(since_ms: number): Promise<void> {
  const waited_ms = performance.now() - since_ms;
  const pause_ms = Math.min(Math.max(waited_ms / 20, oftenest_ms), seldomest_ms);
  await new Promise((resolve) => setTimeout(resolve, pause_ms));
}

/**
 * Waits until something holds, and returns it.
 * @throws Error with `what` when it does not come, and whatever `holds` throws
 */
export async function until<T>(
  what: string,
  holds: () => Promise<T | undefined | false> | T | undefined | false,
  timeout_ms = 300_000,
): Promise<T> {
  const since_ms = performance.now();
  for (;;) {
    const found = await holds();
    if (found !== undefined && found !== false) return found;
    if (performance.now() - since_ms > timeout_ms) {
      throw new Error(`Waited ${timeout_ms} ms in vain: ${what}`);
    }
    await pause(since_ms);
  }
}

/**
 * Waits until something is done without an error and holds: for what fails while a thing starts or comes back.
 * @throws Error with `what`, and the last error as its cause
 */
export async function untilWorks<T>(
  what: string,
  attempt: () => Promise<T | undefined | false> | T | undefined | false,
  timeout_ms = 300_000,
): Promise<T> {
  let last: unknown;
  try {
    return await until(what, async () => {
      try {
        return await attempt();
      } catch (error) {
        last = error;
        return undefined;
      }
    }, timeout_ms);
  } catch (error) {
    throw new Error((error as Error).message, { cause: last });
  }
}
