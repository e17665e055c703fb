/** Ports of this machine's loopback that are free, for what is chosen once and used for long. */

/** Below it are the ports of services that people know. */
const lowest = 10_000;

function givenAway(): string {
  try {
    return Deno.readTextFileSync("/proc/sys/net/ipv4/ip_local_port_range");
  } catch {
    return "";
  }
}

/** The first of the ports that the kernel gives to connections by itself. */
function firstGivenAway(): number {
  const first = Number(givenAway().split(/\s+/)[0]);
  return first > 0 ? first : 32_768;
}

/**
 * Ports that nobody listens on at this moment. Those that the kernel gives to any outgoing connection
 * are left out: one of these may be gone at the next start, or before the first.
 */
export function freePorts(count: number): number[] {
  const above = firstGivenAway() - lowest;
  const listeners: Deno.TcpListener[] = [];
  // All are held until all are found, so that none comes twice.
  try {
    for (let tries = 0; listeners.length < count; tries++) {
      // A kernel that gives nearly all away, or a machine with none left, chooses by itself.
      const own = above > 1_000 && tries < 1_000;
      const port = own ? lowest + Math.floor(Math.random() * above) : 0;
      try {
        listeners.push(Deno.listen({ hostname: "127.0.0.1", port }));
      } catch (error) {
        if (port === 0 || !(error instanceof Deno.errors.AddrInUse)) throw error;
      }
    }
    return listeners.map((listener) => listener.addr.port);
  } finally {
    for (const listener of listeners) listener.close();
  }
}
