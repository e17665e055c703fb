/**
 * Ends a process for certain, by a handle that a reused process id cannot fool.
 *
 * `pidfd_open` pins the process before its command line is looked at, so the signal reaches what was
 * looked at or nothing. Linux 5.3 or newer; the system call numbers are the same on every
 * architecture that Linux runs on since then.
 */

const SYS_pidfd_send_signal = 424n;
const SYS_pidfd_open = 434n;
const SIGKILL = 9n;

const symbols = {
  syscall: { parameters: ["i64", "i64", "i64", "i64", "i64"], result: "i64" },
  close: { parameters: ["i32"], result: "i32" },
} as const;

/** Whether `pid` is a process whose command line has `argument` as one of its words. */
export function isProcessOf(pid: number, argument: string): boolean {
  try {
    return Deno.readTextFileSync(`/proc/${pid}/cmdline`).split("\0").includes(argument);
  } catch (error) {
    // ESRCH: it ended between the opening and the reading.
    const gone = error instanceof Deno.errors.NotFound ||
      (error as { code?: string }).code === "ESRCH";
    if (gone) return false;
    throw error;
  }
}

/**
 * Sends SIGKILL to `pid` if its command line has `argument` as one of its words.
 * @returns whether there was such a process
 */
export function killProcessOf(pid: number, argument: string): boolean {
  const libc = Deno.dlopen("libc.so.6", symbols);
  let handle = -1n;
  try {
    handle = libc.symbols.syscall(SYS_pidfd_open, BigInt(pid), 0n, 0n, 0n);
    if (handle < 0n) return false;
    if (!isProcessOf(pid, argument)) return false;
    return libc.symbols.syscall(SYS_pidfd_send_signal, handle, SIGKILL, 0n, 0n) === 0n;
  } finally {
    if (handle >= 0n) libc.symbols.close(Number(handle));
    libc.close();
  }
}
