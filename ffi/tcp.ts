/**
 * TCP_NODELAY for listening sockets, which Deno does not offer for TLS servers.
 *
 * Without it Nagle's algorithm and delayed acknowledgements hold every answer of a keep-alive
 * connection back for 40 ms. Accepted sockets inherit the option from the listening one, so it is
 * set once, right after `listen`; the caller may then give its FFI permission up for good. Listening
 * sockets are found by asking the kernel about each descriptor, so /proc is not needed.
 */

/** Linux's numbers, the same on x86-64 and arm64. */
const SOL_SOCKET = 1;
const SO_ACCEPTCONN = 30;
const SO_DOMAIN = 39;
const AF_INET = 2;
const AF_INET6 = 10;
const IPPROTO_TCP = 6;
const TCP_NODELAY = 1;
/** Descriptors are given out lowest first, and a service listens before it opens many. */
const highestDescriptor = 4_096;

/**
 * Sets TCP_NODELAY on every listening TCP socket of this process.
 * @returns how many there are
 * @throws Error when the kernel refuses it on one of them
 */
export function setNoDelayOnListeners(): number {
  const library = Deno.dlopen("libc.so.6", {
    getsockopt: { parameters: ["i32", "i32", "i32", "buffer", "buffer"], result: "i32" },
    setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
  });
  try {
    const { getsockopt, setsockopt } = library.symbols;
    const value = new Int32Array(1);
    const size = new Uint32Array(1);
    const option = (descriptor: number, name: number): number => {
      size[0] = 4;
      return getsockopt(descriptor, SOL_SOCKET, name, value, size) === 0 ? value[0] ?? -1 : -1;
    };
    let found = 0;
    for (let descriptor = 0; descriptor < highestDescriptor; descriptor++) {
      if (option(descriptor, SO_ACCEPTCONN) !== 1) continue;
      const domain = option(descriptor, SO_DOMAIN);
      if (domain !== AF_INET && domain !== AF_INET6) continue;
      value[0] = 1;
      if (setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, value, 4) !== 0) {
        throw new Error(`TCP_NODELAY cannot be set on the listening descriptor ${descriptor}`);
      }
      found++;
    }
    return found;
  } finally {
    library.close();
  }
}
