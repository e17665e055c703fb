/**
 * Files that were filled with zeros and not written to since. A file that is filled gets a time of change that no clock
 * shows; the kernel gives it the real one with the first write that it takes, before anything of that lands. So a file
 * that still has it holds zeros, and nobody need read them.
 *
 * A power cut may keep a write and lose its time. So the mark is different after each start of the kernel, and one of
 * an earlier start says nothing.
 */
import { crc32c } from "../../../ffi/crc32c.ts";

/** Times of a mark lie before any that a clock shows: within 1970 to 1986. */
const times_s = 2 ** 29;

/** Seconds since 1970; undefined where the kernel does not tell its starts apart. */
function markOf(boot = "/proc/sys/kernel/random/boot_id"): number | undefined {
  try {
    return crc32c(Deno.readFileSync(boot)) % times_s;
  } catch {
    return undefined;
  }
}

const mark_s = markOf();

/** Marks a file that holds nothing but zeros and that nobody writes to. */
export async function markUntouched(path: string): Promise<void> {
  if (mark_s !== undefined) await Deno.utime(path, mark_s, mark_s);
}

export function isUntouched(fd: number): boolean {
  if (mark_s === undefined) return false;
  try {
    return Deno.statSync(`/proc/self/fd/${fd}`).mtime?.getTime() === mark_s * 1000;
  } catch {
    return false;
  }
}
