/** A disk that does not answer is as good as away: whoever waits for it is told so after a while, and goes on. */
import { IoError } from "../../../ffi/direct_io.ts";

/** Whether a call had no answer: nothing is known of what it was about. */
export const isUnanswered = (error: unknown) =>
  error instanceof IoError && error.code === "ETIMEDOUT";

/**
 * What `work` gives. A call that has no answer by then goes on by itself: nobody can end it.
 * @throws IoError ETIMEDOUT
 */
export async function answered<T>(
  work: Promise<T>,
  limit_ms: number,
  call: string,
  path: string,
): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => late.reject(new IoError("ETIMEDOUT", call, path)),
    limit_ms,
  );
  try {
    return await Promise.race([work, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
