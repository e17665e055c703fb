/**
 * The channel on which a front end is told that the disk has another size. It looks when it is told, and only while it
 * serves its guest; what it could not be told yet, it is told then.
 */
import { closeFile, type Memory } from "../../../../ffi/libc.ts";
import { ringOperations } from "../../../../ffi/liburing.ts";
import type { RequestQueue } from "../../machine/machine.ts";
import { configChanged, encode } from "./protocol.ts";

export const backChannelBytes = 64;
/** MSG_DONTWAIT and MSG_NOSIGNAL. */
const flags = 0x40 | 0x4000;

export class BackChannel {
  readonly #ring: RequestQueue;
  readonly #memory: Memory;
  readonly #at: number;
  readonly #kind: number;
  readonly #isServing: () => boolean;
  #fd = -1;
  #busy = false;
  #mustTell = false;

  /** @param isServing whether the front end serves its guest, and goes on with it */
  constructor(ring: RequestQueue, memory: Memory, at: number, isServing: () => boolean) {
    this.#ring = ring;
    this.#memory = memory;
    this.#at = at;
    this.#isServing = isServing;
    this.#kind = ring.kind(() => {
      this.#busy = false;
      this.tell();
    });
  }

  get busy(): boolean {
    return this.#busy;
  }

  /** Only while it is not busy. @param fd -1 for none */
  set(fd: number): void {
    if (this.#fd >= 0) closeFile(this.#fd);
    this.#fd = fd;
    this.tell();
  }

  /** The front end does not know the size yet. */
  sizeChanged(): void {
    this.#mustTell = true;
    this.tell();
  }

  /** Tells what is to be told, as soon as it can be. */
  tell(): void {
    if (!this.#mustTell || this.#fd < 0 || this.#busy || !this.#isServing()) return;
    this.#mustTell = false;
    this.#busy = true;
    this.#memory.bytes.set(encode(configChanged, new Uint8Array(0), false), this.#at);
    const address = this.#memory.address + this.#at;
    this.#ring.queue(ringOperations.send, this.#fd, 0, address, 12, flags, this.#kind, 0);
  }

  close(): void {
    if (this.#fd >= 0) closeFile(this.#fd);
    this.#fd = -1;
  }
}
