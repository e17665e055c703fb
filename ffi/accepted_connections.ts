/**
 * The TCP connections that this process has accepted on a port, as the kernel knows them: how many descriptors are open, and
 * an end for those connections on which nothing has moved for longest.
 *
 * Deno tells nobody of a connection before it brings a request, so one that stays silent can be closed in no other way.
 * A connection is shut down and not closed: whoever has its descriptor sees its end and closes it. The library is
 * opened once; what was opened works on when the process has given its FFI permission up, and can do no more
 * than what stands here.
 */

/** Linux's numbers, the same on x86-64 and arm64. */
const SOL_SOCKET = 1;
const SO_ACCEPTCONN = 30;
const SO_DOMAIN = 39;
const AF_INET = 2;
const AF_INET6 = 10;
const IPPROTO_TCP = 6;
const TCP_INFO = 11;
const RLIMIT_NOFILE = 7;
const SHUT_RDWR = 2;
const POLLNVAL = 0x20;
/** `struct pollfd`: the descriptor, and what is asked and answered in 16 bits each. */
const pollEntry_bytes = 8;
/** `struct tcp_info`: milliseconds since data was sent last and since data came last. */
const lastDataSent_at = 44;
const lastDataReceived_at = 52;
const tcpInfo_bytes = 56;
/** `struct sockaddr_in6`, the longer of the two; the port is where it is in the other. */
const address_bytes = 28;
const port_at = 2;
const ipv4_at = 4;
const ipv6_at = 8;
/** What an IPv4 address begins with where it stands as an IPv6 one: all but its last 4 bytes. */
const mappedIpv4 = "00000000000000000000ffff";
const ipv6Network_bytes = 8;
/** No more are looked at: the lowest are given out first, so more than that are open when these are. */
const mostDescriptors = 16_384;

const symbols = {
  poll: { parameters: ["buffer", "u64", "i32"], result: "i32" },
  getrlimit: { parameters: ["i32", "buffer"], result: "i32" },
  getsockopt: { parameters: ["i32", "i32", "i32", "buffer", "buffer"], result: "i32" },
  getsockname: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  getpeername: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  shutdown: { parameters: ["i32", "i32"], result: "i32" },
} as const;

export interface AcceptedConnection {
  readonly descriptor: number;
  /** The client's port. */
  readonly from: number;
  /** The client's IPv4 address, or the /64 of its IPv6 one, since who has one address has all of that. */
  readonly network: string;
  /** For how long nothing has come or gone. */
  readonly idle_ms: number;
}

export class AcceptedConnections {
  readonly #library = Deno.dlopen("libc.so.6", symbols);
  readonly #asked: DataView<ArrayBuffer>;
  readonly #value = new Int32Array(1);
  readonly #size = new Uint32Array(1);
  readonly #address = new DataView(new ArrayBuffer(address_bytes));
  readonly #info = new DataView(new ArrayBuffer(tcpInfo_bytes));
  /** Descriptors that the process may have. */
  readonly limit: number;

  /** @throws Error when the limit cannot be read */
  constructor() {
    const limits = new BigUint64Array(2);
    if (this.#library.symbols.getrlimit(RLIMIT_NOFILE, limits) !== 0) {
      throw new Error("the limit of descriptors cannot be read");
    }
    this.limit = Number(limits[0] ?? 0n);
    const looked = Math.min(this.limit, mostDescriptors);
    this.#asked = new DataView(new ArrayBuffer(looked * pollEntry_bytes));
    for (let descriptor = 0; descriptor < looked; descriptor++) {
      this.#asked.setInt32(descriptor * pollEntry_bytes, descriptor, true);
    }
  }

  /** The open descriptors. One call of the kernel: half a millisecond where all are looked at. */
  #open(): number[] {
    const looked = this.#asked.byteLength / pollEntry_bytes;
    if (this.#library.symbols.poll(this.#asked.buffer, BigInt(looked), 0) < 0) return [];
    const open: number[] = [];
    for (let descriptor = 0; descriptor < looked; descriptor++) {
      const answered = this.#asked.getInt16(descriptor * pollEntry_bytes + 6, true);
      if ((answered & POLLNVAL) === 0) open.push(descriptor);
    }
    return open;
  }

  count(): number {
    return this.#open().length;
  }

  #option(descriptor: number, name: number): number {
    this.#size[0] = 4;
    const { getsockopt } = this.#library.symbols;
    return getsockopt(descriptor, SOL_SOCKET, name, this.#value, this.#size) === 0
      ? this.#value[0] ?? -1
      : -1;
  }

  /** The port that it was accepted on. */
  #portOf(descriptor: number): number | undefined {
    const domain = this.#option(descriptor, SO_DOMAIN);
    if (domain !== AF_INET && domain !== AF_INET6) return undefined;
    if (this.#option(descriptor, SO_ACCEPTCONN) !== 0) return undefined;
    return this.#askAddress("getsockname", descriptor)
      ? this.#address.getUint16(port_at)
      : undefined;
  }

  /** @returns whether `#address` is that of the descriptor's socket, or of its peer */
  #askAddress(call: "getsockname" | "getpeername", descriptor: number): boolean {
    this.#size[0] = address_bytes;
    return this.#library.symbols[call](descriptor, this.#address.buffer, this.#size) === 0;
  }

  /** Of the address that was asked for last. */
  #network(): string {
    const hex = new Uint8Array(this.#address.buffer).toHex();
    const part = (at: number, bytes: number) => hex.slice(2 * at, 2 * (at + bytes));
    if (this.#address.getUint16(0, true) === AF_INET) return part(ipv4_at, 4);
    if (part(ipv6_at, 12) === mappedIpv4) return part(ipv6_at + 12, 4);
    return part(ipv6_at, ipv6Network_bytes);
  }

  /** Of who opened it; one that has ended on the client's side has no peer any more. */
  #peer(descriptor: number): Pick<AcceptedConnection, "from" | "network"> {
    if (!this.#askAddress("getpeername", descriptor)) return { from: 0, network: "" };
    return { from: this.#address.getUint16(port_at), network: this.#network() };
  }

  /** Those that were accepted on the port. */
  of(port: number): AcceptedConnection[] {
    const found: AcceptedConnection[] = [];
    const { getsockopt } = this.#library.symbols;
    for (const descriptor of this.#open()) {
      if (this.#portOf(descriptor) !== port) continue;
      this.#size[0] = tcpInfo_bytes;
      if (getsockopt(descriptor, IPPROTO_TCP, TCP_INFO, this.#info.buffer, this.#size) !== 0) {
        continue;
      }
      const idle_ms = Math.min(
        this.#info.getUint32(lastDataSent_at, true),
        this.#info.getUint32(lastDataReceived_at, true),
      );
      found.push({ descriptor, ...this.#peer(descriptor), idle_ms });
    }
    return found;
  }

  /** Its owner sees its end. One that has ended by itself is no error. */
  shut({ descriptor }: AcceptedConnection): void {
    this.#library.symbols.shutdown(descriptor, SHUT_RDWR);
  }
}
