/**
 * The socket at which a guest is let in to its own HTTP server, and a bound on how many connections it may have there.
 *
 * Each connection is a program on the node (`compute/machines/network.ts`), which a guest must not be able to start
 * without end, and `Deno.serve` tells of no connection before it brings a request. So they are counted here, for as long as
 * their programs run, and passed on to the server's own socket. Where they become too many, those on which
 * nothing has moved for longest are ended. A program whose guest closes nothing stays for some seconds all the same; where it comes to the
 * bound, nobody listens until one has gone, so that programs which come then end at once. A guest takes room from nobody but itself.
 */
import { ignoreMissing } from "../config/missing_files.ts";

/** A node's guests together have as many programs as compute's unit may. */
export const mostConnections = 64;
/** From here on the idle are ended. */
const crowded = mostConnections * 3 / 4;
const buffer_bytes = 16 * 1024;

interface Passed {
  readonly guest: Deno.UnixConn;
  readonly server: Deno.UnixConn;
}

export class GuestSocket implements AsyncDisposable {
  readonly #path: string;
  readonly #server: string;
  #listener: Deno.UnixListener | undefined;
  #accepting: Promise<void> | undefined;
  /** Those whose programs run. */
  #count = 0;
  /** Those that are served; the one on which nothing has moved for longest comes first. */
  readonly #passed = new Set<Passed>();
  readonly #guests = new Set<Deno.UnixConn>();
  #closed = false;

  private constructor(path: string, server: string) {
    this.#path = path;
    this.#server = server;
  }

  /** @param server path of the HTTP server's socket */
  static async listen(path: string, server: string): Promise<GuestSocket> {
    const socket = new GuestSocket(path, server);
    await Deno.remove(path).catch(ignoreMissing);
    socket.#listen();
    return socket;
  }

  #listen(): void {
    this.#listener = Deno.listen({ transport: "unix", path: this.#path });
    // QEMU runs as another user and connects by the group that both are in.
    Deno.chmodSync(this.#path, 0o660);
    this.#accepting = this.#accept(this.#listener);
  }

  async #accept(listener: Deno.UnixListener): Promise<void> {
    while (this.#count < mostConnections) {
      try {
        void this.#take(await listener.accept());
      } catch (error) {
        if (this.#closed) return;
        throw error;
      }
    }
    // Who waits there is refused with it, and the path goes.
    this.#listener = undefined;
    listener.close();
  }

  async #take(guest: Deno.UnixConn): Promise<void> {
    this.#count++;
    this.#guests.add(guest);
    const [idlest] = this.#passed;
    if (this.#count > crowded && idlest !== undefined) this.#end(idlest);
    await this.#pass(guest).catch(() => {});
    if (this.#guests.delete(guest)) guest.close();
    this.#count--;
    if (!this.#closed && this.#listener === undefined) this.#listen();
  }

  /** Returns when the guest's program has gone. */
  async #pass(guest: Deno.UnixConn): Promise<void> {
    const server = await Deno.connect({ transport: "unix", path: this.#server });
    const passed = { guest, server };
    this.#passed.add(passed);
    const answered = this.#copy(passed, server, guest)
      .catch(() => {})
      .then(() => this.#end(passed));
    try {
      await this.#copy(passed, guest, server);
      // A guest that half-closes still gets its answer.
      await server.closeWrite();
      await answered;
    } finally {
      this.#end(passed);
    }
  }

  /** @throws when either side is gone */
  async #copy(passed: Passed, from: Deno.UnixConn, to: Deno.UnixConn): Promise<void> {
    const buffer = new Uint8Array(buffer_bytes);
    for (let count; (count = await from.read(buffer)) !== null;) {
      if (this.#passed.delete(passed)) this.#passed.add(passed);
      // What a guest says after its connection was ended is not heard.
      else if (from === passed.guest) continue;
      for (let at = 0; at < count;) at += await to.write(buffer.subarray(at, count));
    }
  }

  /** The server hears no more of it, and the guest's program is told to go. */
  #end(passed: Passed): void {
    if (!this.#passed.delete(passed)) return;
    passed.server.close();
    // Gone already, perhaps.
    passed.guest.closeWrite().catch(() => {});
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    this.#listener?.close();
    for (const passed of [...this.#passed]) this.#end(passed);
    for (const guest of this.#guests) guest.close();
    this.#guests.clear();
    // The path goes with it.
    await this.#accepting;
  }
}
