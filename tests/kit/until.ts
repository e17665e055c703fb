/**
 * Waits until something holds, and returns it. The bound is only there so that what never comes is a
 * failure with a name; it is long, since a busy machine is no error.
 *
 * @throws Error with `what` when it does not come, and whatever `holds` throws
 */
export async function until<T>(
  what: string,
  holds: () => Promise<T | undefined | false> | T | undefined | false,
  timeout_ms = 60_000,
): Promise<T> {
  const limit = performance.now() + timeout_ms;
  for (;;) {
    const found = await holds();
    if (found !== undefined && found !== false) return found;
    if (performance.now() > limit) throw new Error(`Waited ${timeout_ms} ms in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
