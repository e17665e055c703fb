/**
 * One split virtqueue in a guest's memory: what the driver has made available is taken from it, what is
 * done goes back, and both sides are told as seldom as they wish.
 *
 * Indices and heads are the guest's word and checked each time. Used entries are written as requests end
 * and published together once a turn. A full barrier lies between publishing and looking whether the driver
 * wants to be told, and between asking for kicks and the last look at what is available: without
 * it each side could miss the other.
 */
import type { GuestMemory } from "./guest_memory.ts";
import type { InFlightQueue } from "./in_flight.ts";
import { maximumQueueSize, type RingAddresses } from "./protocol.ts";

const barrierWord = new Int32Array(new SharedArrayBuffer(4));
const barrier = () => Atomics.add(barrierWord, 0, 0);

/** The driver says that it wants no call, the device that it wants no kick. */
const quiet = 1;

export class SplitRing {
  active = false;
  size = 0;
  lastAvailable = 0;
  /** Where the descriptors are. */
  table = { region: 0, word: 0, size: 0 };
  #memory: GuestMemory | undefined;
  #regions: number[] = [];
  #available: Uint16Array = new Uint16Array(0);
  #availableAt = 0;
  #usedHalves: Uint16Array = new Uint16Array(0);
  #usedWords: Uint32Array = new Uint32Array(0);
  #usedAt = 0;
  #eventIndex = false;
  #used = 0;
  #published = 0;
  #called = 0;
  #hasCalled = false;
  #inFlight: InFlightQueue | undefined;
  readonly #batch = new Uint16Array(maximumQueueSize);
  #batchCount = 0;
  /** Heads that were taken and not published again: no head is there twice, so a batch has an end. */
  readonly #busy = new Uint8Array(maximumQueueSize);

  /** Where the three parts lie. @returns false when they do not lie in the guest's memory */
  place(memory: GuestMemory, addresses: RingAddresses, size: number): boolean {
    const { descriptors, available, used } = addresses;
    const table = memory.findUser(descriptors, size * 16);
    const ours = memory.findUser(available, 6 + size * 2);
    const theirs = memory.findUser(used, 6 + size * 8);
    if (table < 0 || ours < 0 || theirs < 0) return false;
    const tableAt = descriptors - memory.region(table).user;
    const availableAt = available - memory.region(ours).user;
    const usedAt = used - memory.region(theirs).user;
    if (tableAt % 16 !== 0 || availableAt % 2 !== 0 || usedAt % 4 !== 0) return false;
    const before = this.#regions;
    this.#regions = [table, ours, theirs];
    for (const region of this.#regions) memory.use(region);
    for (const region of before) memory.leave(region);
    this.#memory = memory;
    this.size = size;
    this.table = { region: table, word: tableAt / 4, size };
    this.#available = memory.region(ours).halves;
    this.#availableAt = availableAt / 2;
    this.#usedHalves = memory.region(theirs).halves;
    this.#usedWords = memory.region(theirs).words;
    this.#usedAt = usedAt;
    return true;
  }

  /**
   * Begins to serve; `place` was called.
   * @param base where the front end says that it goes on
   * @returns requests that an engine before has left under way
   */
  start(base: number, eventIndex: boolean, inFlight: InFlightQueue | undefined): number[] {
    this.#eventIndex = eventIndex;
    this.#used = this.#published = Atomics.load(this.#usedHalves, this.#usedAt / 2 + 1);
    this.#hasCalled = false;
    this.#batchCount = 0;
    this.#busy.fill(0);
    this.#inFlight = inFlight !== undefined && inFlight.size >= this.size ? inFlight : undefined;
    const again = this.#inFlight?.recover(this.#used) ?? [];
    this.lastAvailable = this.#inFlight === undefined ? base : (this.#used + again.length) & 0xffff;
    this.active = true;
    this.quieten();
    return again;
  }

  stop(): void {
    this.active = false;
    for (const region of this.#regions) this.#memory?.leave(region);
    this.#regions = [];
    this.#inFlight = undefined;
    this.#available = this.#usedHalves = new Uint16Array(0);
    this.#usedWords = new Uint32Array(0);
  }

  /** How many heads wait to be taken; more than the ring has is a lie, and -1. */
  waiting(): number {
    const count = (Atomics.load(this.#available, this.#availableAt + 1) - this.lastAvailable) &
      0xffff;
    return count > this.size ? -1 : count;
  }

  /** The next head; there must be one. -1 when it is no descriptor, or one that is under way. */
  peek(): number {
    const at = this.#availableAt + 2 + (this.lastAvailable & (this.size - 1));
    const head = this.#available[at] as number;
    return head >= this.size || this.#busy[head] === 1 ? -1 : head;
  }

  /** What `peek` has shown is under way. */
  take(head: number): void {
    this.lastAvailable = (this.lastAvailable + 1) & 0xffff;
    this.#busy[head] = 1;
    this.#inFlight?.begin(head);
  }

  /** What was taken last is not begun. */
  untake(head: number): void {
    this.#busy[head] = 0;
    this.#inFlight?.undo(head);
    this.lastAvailable = (this.lastAvailable - 1) & 0xffff;
  }

  /** As `take`, of a head that waits to be done again. @returns false when it is under way */
  takeAgain(head: number): boolean {
    if (head >= this.size || this.#busy[head] === 1) return false;
    this.#busy[head] = 1;
    return true;
  }

  /** It waits to be done again, and stays marked. */
  release(head: number): void {
    this.#busy[head] = 0;
  }

  get keepsInFlight(): boolean {
    return this.#inFlight !== undefined;
  }

  /** Gives a head back; it is seen with the next `publish`. */
  push(head: number, written: number): void {
    const word = (this.#usedAt + 4) / 4 + (this.#used & (this.size - 1)) * 2;
    this.#usedWords[word] = head;
    this.#usedWords[word + 1] = written;
    this.#used = (this.#used + 1) & 0xffff;
    this.#batch[this.#batchCount++] = head;
  }

  get unpublished(): boolean {
    return this.#batchCount > 0;
  }

  /** Shows the driver what was given back. @returns whether it wants to be called */
  publish(): boolean {
    if (this.#batchCount === 0) return false;
    this.#inFlight?.link(this.#batch, this.#batchCount);
    Atomics.store(this.#usedHalves, this.#usedAt / 2 + 1, this.#used);
    this.#inFlight?.unmark(this.#batch, this.#batchCount, this.#used);
    for (let i = 0; i < this.#batchCount; i++) this.#busy[this.#batch[i] as number] = 0;
    this.#batchCount = 0;
    this.#published = this.#used;
    barrier();
    return this.#wantsCall();
  }

  #wantsCall(): boolean {
    if (!this.#eventIndex) {
      return ((this.#available[this.#availableAt] as number) & quiet) === 0;
    }
    const event = this.#available[this.#availableAt + 2 + this.size] as number;
    const since = (this.#published - this.#called) & 0xffff;
    const wants = !this.#hasCalled || ((this.#published - event - 1) & 0xffff) < since;
    this.#called = this.#published;
    this.#hasCalled = true;
    return wants;
  }

  /** The driver need not kick: its ring is looked at anyway. */
  quieten(): void {
    if (!this.#eventIndex) this.#usedHalves[this.#usedAt / 2] = quiet;
  }

  /** Asks for a kick. @returns whether something has come meanwhile, which no kick will tell of */
  listen(): boolean {
    const flags = this.#usedAt / 2;
    if (this.#eventIndex) this.#usedHalves[flags + 2 + this.size * 4] = this.lastAvailable;
    else this.#usedHalves[flags] = 0;
    barrier();
    return this.waiting() !== 0;
  }
}
