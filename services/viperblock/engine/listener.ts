/**
 * A Unix socket of the volume. At most one accept is under way; one that failed (a full table of files) is tried again
 * when its door asks the next time. Whoever still comes after `stop` is turned away.
 */
import { closeFile, listenUnix, shutdownSocket } from "../../../ffi/libc.ts";
import { ringOperations } from "../../../ffi/liburing.ts";
import type { RequestQueue } from "../machine/machine.ts";

const closeOnExec = 0o2000000;

export class Listener {
  readonly #ring: RequestQueue;
  readonly #path: string;
  readonly #backlog: number;
  readonly #kind: number;
  #fd = -1;
  #accepting = false;
  #refusing = false;

  /** @param came whoever has connected is the door's from now on */
  constructor(
    ring: RequestQueue,
    path: string,
    backlog: number,
    came: (client: number) => void,
  ) {
    this.#ring = ring;
    this.#path = path;
    this.#backlog = backlog;
    this.#kind = ring.kind((_id, result) => {
      this.#accepting = false;
      if (result < 0) return;
      if (this.#refusing) closeFile(result);
      else came(result);
    });
  }

  get listening(): boolean {
    return this.#fd >= 0;
  }

  get accepting(): boolean {
    return this.#accepting;
  }

  listen(): void {
    try {
      Deno.removeSync(this.#path);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
    this.#fd = listenUnix(this.#path, this.#backlog);
    Deno.chmodSync(this.#path, 0o660);
  }

  /** Waits for the next client, unless it does already or the socket is closed. */
  accept(): void {
    if (this.#accepting || this.#fd < 0) return;
    this.#accepting = true;
    this.#ring.queue(ringOperations.accept, this.#fd, 0, 0, 0, closeOnExec, this.#kind, 0);
  }

  /** Takes no more clients until `listenAgain`; those who are connected stay. */
  stop(): void {
    this.#refusing = true;
    if (this.#fd < 0) return;
    // Without this the accept under way would keep the old socket, and never end.
    shutdownSocket(this.#fd);
    closeFile(this.#fd);
    this.#fd = -1;
  }

  listenAgain(): void {
    this.#refusing = false;
    this.listen();
  }

  close(): void {
    if (this.#fd >= 0) closeFile(this.#fd);
  }
}
