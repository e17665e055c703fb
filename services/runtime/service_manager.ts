/**
 * What a service tells systemd: that it is ready, that it stops, and every so often that its event
 * loop still turns, so that one that hangs is started again. The protocol is one datagram a word
 * (`sd_notify(3)`); the sender needs an address of its own, below its runtime directory.
 *
 * Nothing is told where nobody asked (`NOTIFY_SOCKET` is not set: the supervisor of a checkout, a
 * test). A word that cannot be sent ends the service: systemd would end it later for its silence,
 * and with a worse reason.
 */

/** How long a start that gets on may be silent. */
const getsOn_us = 300_000_000;

export class ServiceManager {
  readonly #socket: Deno.DatagramConn;
  readonly #to: Deno.UnixAddr;
  readonly #watchdog_ms: number | undefined;
  #pulse: ReturnType<typeof setInterval> | undefined;

  private constructor(own: string, manager: string, watchdog_ms: number | undefined) {
    try {
      Deno.removeSync(own);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
    this.#socket = Deno.listenDatagram({ transport: "unixpacket", path: own });
    this.#to = { transport: "unixpacket", path: manager };
    this.#watchdog_ms = watchdog_ms;
  }

  /** The manager that started this process; undefined when none wants to hear from it. */
  static ofEnvironment(): ServiceManager | undefined {
    const get = (name: string): string | undefined => {
      // Reading is granted only by the units: elsewhere the variables are nobody's business.
      const { state } = Deno.permissions.querySync({ name: "env", variable: name });
      return state === "granted" ? Deno.env.get(name) : undefined;
    };
    const [manager, directory] = [get("NOTIFY_SOCKET"), get("RUNTIME_DIRECTORY")];
    if (manager === undefined || directory === undefined) return undefined;
    const watchdog_us = Number(get("WATCHDOG_USEC"));
    return new ServiceManager(
      `${directory}/notify`,
      manager,
      watchdog_us > 0 ? watchdog_us / 1_000 : undefined,
    );
  }

  /** Everything stands; from now on silence means that the service hangs. */
  async ready(): Promise<void> {
    await this.#say("READY=1");
    if (this.#watchdog_ms === undefined) return;
    // Three words in the time of one: a machine under load may lose two.
    this.#pulse = setInterval(() => void this.#say("WATCHDOG=1"), this.#watchdog_ms / 3);
  }

  /** The start takes longer than the unit gives it, and is getting on. */
  async getsOn(): Promise<void> {
    await this.#say(`EXTEND_TIMEOUT_USEC=${getsOn_us}`);
  }

  /** The stop is on its way and has its own bound. */
  async stopping(): Promise<void> {
    await this.#say("STOPPING=1");
  }

  async #say(word: string): Promise<void> {
    await this.#socket.send(new TextEncoder().encode(word), this.#to);
  }

  /** Says nothing any more. */
  [Symbol.dispose](): void {
    clearInterval(this.#pulse);
    this.#socket.close();
  }
}
