/**
 * Waiting for a server on a Unix socket. The socket's file is there from `bind` on, and who connects before
 * `listen` is refused; and to try a connection would end a server that serves one client. So the kernel
 * is asked.
 */

/** SO_ACCEPTCON of the Flags column in /proc/net/unix. */
const accepting = 0x10000;

/** Whether some process listens on the socket at `path`. */
export async function listens(path: string): Promise<boolean> {
  const table = await Deno.readTextFile("/proc/net/unix");
  return table.split("\n").some((line) =>
    line.endsWith(` ${path}`) && (parseInt(line.trim().split(/\s+/)[3] ?? "", 16) & accepting) !== 0
  );
}

/** @throws Error when nobody listens there within the time */
export async function untilListening(path: string, timeout_ms = 60_000): Promise<void> {
  const limit = performance.now() + timeout_ms;
  while (!await listens(path)) {
    if (performance.now() > limit) throw new Error(`Nobody listens on ${path}.`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
