/**
 * The budget of a check of a mounted volume: after each part of it, its guests have the store, the disk and the processor for
 * several times as long as the check had them. A part is small (a window of a chunk, 512 KiB of the log, a few leaves of
 * the map), since guests may have to wait for one.
 */
const restsFor = 4;

/** @param began when the part began, by the monotonic clock */
export const rest = (began: number) =>
  new Promise<void>((resolve) => setTimeout(resolve, (performance.now() - began) * restsFor));
