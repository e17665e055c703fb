/**
 * Requests under way, as columns of typed arrays: a request is a number, and making one allocates
 * nothing. Whoever takes an id gives it back with `free` exactly once.
 */
import type { TurnClock } from "./latencies.ts";

export const requestCapacity = 4096;

export class Requests {
  readonly connection = new Int32Array(requestCapacity);
  /** The client's cookie, as it came: two words in the byte order of the wire. */
  readonly cookieA = new Int32Array(requestCapacity);
  readonly cookieB = new Int32Array(requestCapacity);
  readonly type = new Uint8Array(requestCapacity);
  readonly flags = new Uint16Array(requestCapacity);
  /** NBD error number that the reply will carry. */
  readonly error = new Int32Array(requestCapacity);
  /** The block that a failed read failed at. */
  readonly failedBlock = new Float64Array(requestCapacity);
  readonly offset = new Float64Array(requestCapacity);
  readonly length = new Float64Array(requestCapacity);
  /** Slot that holds the data of a read, or -1. */
  readonly slot = new Int32Array(requestCapacity);
  /** The entry of the read cache from whose place a read is answered, or -1. */
  readonly held = new Int32Array(requestCapacity);
  /** The address of that place. */
  readonly address = new Float64Array(requestCapacity);
  /** Parts that are still under way. */
  readonly left = new Int32Array(requestCapacity);
  /** For the internal read of a partial block: the request that it works for. */
  readonly parent = new Int32Array(requestCapacity);
  /** When it was taken, by the volume's clock. */
  readonly begun = new Float64Array(requestCapacity);
  readonly #free = new Int32Array(requestCapacity);
  #count = requestCapacity;

  constructor(readonly clock?: TurnClock) {
    for (let i = 0; i < requestCapacity; i++) this.#free[i] = requestCapacity - 1 - i;
  }

  get available(): number {
    return this.#count;
  }

  /** A fresh request, or -1 when all are taken. */
  take(): number {
    if (this.#count === 0) return -1;
    const id = this.#free[--this.#count] as number;
    this.error[id] = 0;
    this.failedBlock[id] = 0;
    this.slot[id] = -1;
    this.held[id] = -1;
    this.left[id] = 1;
    this.parent[id] = -1;
    if (this.clock !== undefined) this.begun[id] = this.clock.at;
    return id;
  }

  free(id: number): void {
    this.#free[this.#count++] = id;
  }
}
