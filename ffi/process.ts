/**
 * Ends a process for certain, by a handle that a reused process id cannot fool.
 *
 * `pidfd_open` pins the process before its command line is looked at, so the signal reaches what was
 * looked at or nothing. Linux 5.3 or newer; the system call numbers are the same on every
 * architecture that Linux runs on since then. The command line is read through libc, since Deno
 * opens another process's /proc only to a program that may do everything.
 */

const SYS_pidfd_send_signal = 424n;
const SYS_pidfd_open = 434n;
const SIGKILL = 9n;
const O_RDONLY_CLOEXEC = 0o2000000;

const libc = Deno.dlopen("libc.so.6", {
  syscall: { parameters: ["i64", "i64", "i64", "i64", "i64"], result: "i64" },
  open: { parameters: ["buffer", "i32", "i32"], result: "i32" },
  read: { parameters: ["i32", "buffer", "usize"], result: "isize" },
  close: { parameters: ["i32"], result: "i32" },
}).symbols;

/** Words of a process's command line; none when it is gone (or was never there). */
function commandLine(pid: number): string[] {
  const path = new TextEncoder().encode(`/proc/${pid}/cmdline\0`);
  const file = libc.open(path, O_RDONLY_CLOEXEC, 0);
  if (file < 0) return [];
  try {
    const decoder = new TextDecoder();
    const buffer = new Uint8Array(65_536);
    let text = "";
    for (;;) {
      const got = Number(libc.read(file, buffer, BigInt(buffer.length)));
      // An error here is ESRCH: it ended between the opening and the reading.
      if (got <= 0) return text.split("\0");
      text += decoder.decode(buffer.subarray(0, got), { stream: true });
    }
  } finally {
    libc.close(file);
  }
}

/** Whether `pid` is a process whose command line has `argument` as one of its words. */
export function isProcessOf(pid: number, argument: string): boolean {
  return commandLine(pid).includes(argument);
}

/**
 * Sends SIGKILL to `pid` if its command line has `argument` as one of its words.
 * @returns whether there was such a process
 */
export function killProcessOf(pid: number, argument: string): boolean {
  const handle = libc.syscall(SYS_pidfd_open, BigInt(pid), 0n, 0n, 0n);
  if (handle < 0n) return false;
  try {
    if (!isProcessOf(pid, argument)) return false;
    return libc.syscall(SYS_pidfd_send_signal, handle, SIGKILL, 0n, 0n) === 0n;
  } finally {
    libc.close(Number(handle));
  }
}
