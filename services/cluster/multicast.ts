/**
 * Datagrams to everybody on this machine's networks, and from them: one socket that hears the group
 * on every interface, and one for each address to speak from.
 *
 * A socket that is bound to an address of an interface sends multicast out of that interface, and
 * joining names the address for the same reason: without a default route the kernel knows no other
 * way. Datagrams do not leave the local network (their time to live is 1).
 */
import { errorFields, type Log } from "../log/log.ts";

export interface MulticastOptions {
  readonly group: string;
  readonly port: number;
  readonly log: Log;
  /** Longest datagram that is handed on whole; longer ones are cut one byte behind it. */
  readonly longest_bytes: number;
  hear(datagram: Uint8Array, from: string): void;
}

export class Multicast implements Disposable {
  readonly #options: MulticastOptions;
  readonly #ear: Deno.DatagramConn;
  readonly #mouths = new Map<string, Deno.DatagramConn>();
  #closed = false;

  /** @throws Deno.errors.AddrInUse when a program that does not share holds the port */
  constructor(options: MulticastOptions) {
    this.#options = options;
    this.#ear = Deno.listenDatagram({
      transport: "udp",
      hostname: "0.0.0.0",
      port: options.port,
      // Several nodes may run on one machine.
      reuseAddress: true,
    });
    void this.#listen();
  }

  async #listen(): Promise<void> {
    const { log, longest_bytes, hear } = this.#options;
    const buffer = new Uint8Array(longest_bytes + 1);
    while (!this.#closed) {
      try {
        const [datagram, from] = await this.#ear.receive(buffer);
        if (this.#closed) return;
        hear(datagram.slice(), "hostname" in from ? from.hostname : "");
      } catch (error) {
        if (this.#closed) return;
        // An ICMP error of an earlier send is told here; the socket still works.
        log.debug("multicast_receive_failed", errorFields(error));
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
  }

  /** Speaks and hears on exactly these IPv4 addresses from now on. */
  async use(addresses: readonly string[]): Promise<void> {
    const { group, log } = this.#options;
    for (const [address, mouth] of this.#mouths) {
      if (addresses.includes(address)) continue;
      // The kernel leaves a group by itself when the address goes.
      mouth.close();
      this.#mouths.delete(address);
    }
    for (const address of addresses) {
      if (this.#mouths.has(address) || this.#closed) continue;
      try {
        const mouth = Deno.listenDatagram({ transport: "udp", hostname: address, port: 0 });
        this.#mouths.set(address, mouth);
        await this.#ear.joinMulticastV4(group, address);
        log.info("multicast_joined", { address, group });
      } catch (error) {
        // The address may have gone again, or come back: still a member then.
        log.debug("multicast_join_failed", { address, ...errorFields(error) });
      }
    }
  }

  get addresses(): readonly string[] {
    return [...this.#mouths.keys()];
  }

  /** Sends from one of the addresses. A network that is down is no error of ours. */
  async send(address: string, datagram: Uint8Array): Promise<boolean> {
    const { group, port, log } = this.#options;
    try {
      const sent = await this.#mouths.get(address)?.send(datagram, {
        transport: "udp",
        hostname: group,
        port,
      });
      return sent === datagram.length;
    } catch (error) {
      log.debug("multicast_send_failed", { address, ...errorFields(error) });
      return false;
    }
  }

  [Symbol.dispose](): void {
    this.#closed = true;
    this.#ear.close();
    for (const mouth of this.#mouths.values()) mouth.close();
    this.#mouths.clear();
  }
}
