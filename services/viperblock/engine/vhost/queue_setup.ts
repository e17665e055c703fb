/**
 * What a front end has said of one queue, with the events that it passed for it: kicks come from the guest, calls go
 * to it. The queue is served once all is there that it takes.
 */
import { closeFile, signalEvent } from "../../../../ffi/libc.ts";
import { neverWait } from "../../../../ffi/passed_memory.ts";
import type { Kicks } from "./kicks.ts";
import { ProtocolBroken, type RingAddresses } from "./protocol.ts";

export class QueueSetup {
  readonly #kicks: Kicks;
  size = 0;
  base = 0;
  addresses: RingAddresses | undefined;
  enabled = false;
  #kick = -1;
  #kickPlace = -1;
  #call = -1;
  #error = -1;

  constructor(kicks: Kicks) {
    this.#kicks = kicks;
  }

  get hasKicks(): boolean {
    return this.#kick >= 0;
  }

  /** @throws ProtocolBroken */
  setKick(fd: number): void {
    if (fd < 0) throw new ProtocolBroken("a queue without kicks");
    this.endKicks();
    this.#kick = fd;
    this.#kickPlace = this.#kicks.watch(fd);
    if (this.#kickPlace < 0) throw new ProtocolBroken("kicks that are changed without end");
  }

  /** Nobody hears them any more. */
  unwatch(): void {
    this.#kicks.unwatch(this.#kickPlace);
    this.#kickPlace = -1;
  }

  endKicks(): void {
    this.unwatch();
    if (this.#kick >= 0) closeFile(this.#kick);
    this.#kick = -1;
  }

  /** @param fd -1 for none */
  setCall(fd: number): void {
    if (fd >= 0) neverWait(fd);
    if (this.#call >= 0) closeFile(this.#call);
    this.#call = fd;
    // The call before may have gone to nobody; one too many does no harm.
    this.call();
  }

  /** @param fd -1 for none */
  setError(fd: number): void {
    if (fd >= 0) neverWait(fd);
    if (this.#error >= 0) closeFile(this.#error);
    this.#error = fd;
  }

  call(): void {
    if (this.#call >= 0) signalEvent(this.#call);
  }

  tellError(): void {
    if (this.#error >= 0) signalEvent(this.#error);
  }

  close(): void {
    for (const fd of [this.#kick, this.#call, this.#error]) if (fd >= 0) closeFile(fd);
  }
}
