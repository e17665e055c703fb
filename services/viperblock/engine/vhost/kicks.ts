/**
 * Waits for the driver's kicks: one read of each queue's eventfd is in the ring. A kick only ends the
 * loop's wait, what has come is seen in the rings. A read whose queue has gone is cancelled and its
 * place used again when it is over.
 */
import type { Memory } from "../../../../ffi/libc.ts";
import { ringOperations } from "../../../../ffi/liburing.ts";
import type { RequestQueue } from "../../machine/machine.ts";

const places = 64;
export const kickBytes = places * 8;
const eagain = -11;
const pollIn = 1;

export class Kicks {
  readonly #ring: RequestQueue;
  readonly #kind: number;
  readonly #cancelKind: number;
  readonly #memory: Memory;
  readonly #at: number;
  /** By place: the descriptor that is read, or -1 when nobody wants to hear of it any more. */
  readonly #fd = new Int32Array(places).fill(-1);
  readonly #inRing = new Uint8Array(places);
  readonly #polled = new Uint8Array(places);

  constructor(ring: RequestQueue, memory: Memory, at: number) {
    this.#ring = ring;
    this.#memory = memory;
    this.#at = at;
    this.#kind = ring.kind((place, result) => this.#heard(place, result));
    this.#cancelKind = ring.kind(() => {});
  }

  /** @returns the place, or -1 when all are taken */
  watch(fd: number): number {
    for (let place = 0; place < places; place++) {
      if (this.#fd[place] !== -1 || this.#inRing[place] !== 0) continue;
      this.#fd[place] = fd;
      this.#polled[place] = 0;
      this.#read(place);
      return place;
    }
    return -1;
  }

  unwatch(place: number): void {
    if (place < 0 || this.#fd[place] === -1) return;
    this.#fd[place] = -1;
    // The request is named by its user data: the id below, the kind above.
    this.#ring.queue(
      ringOperations.cancel,
      -1,
      0,
      place + this.#kind * 4294967296,
      0,
      0,
      this.#cancelKind,
      0,
    );
  }

  get idle(): boolean {
    return this.#inRing.every((each) => each === 0);
  }

  #read(place: number): void {
    this.#inRing[place] = 1;
    const address = this.#memory.address + this.#at + place * 8;
    const fd = this.#fd[place] as number;
    this.#ring.queue(ringOperations.read, fd, 0, address, 8, 0, this.#kind, place);
  }

  #heard(place: number, result: number): void {
    this.#inRing[place] = 0;
    if (this.#fd[place] === -1) return;
    // Some kernels do not wait for an event that is not to be waited for; then it is polled first.
    if (result === eagain && this.#polled[place] === 0) {
      this.#polled[place] = 1;
      this.#inRing[place] = 1;
      const fd = this.#fd[place] as number;
      this.#ring.queue(ringOperations.poll, fd, 0, 0, 0, pollIn, this.#kind, place);
      return;
    }
    const wasPolled = this.#polled[place] === 1;
    this.#polled[place] = 0;
    // An eventfd has no other answers; one that fails for good must not keep the loop awake.
    if (result === 8 || (wasPolled && result > 0)) this.#read(place);
  }
}
