/**
 * Several doors to one volume: whatever comes through any of them goes into the same map and log, so they
 * see each other's writes as soon as these are answered.
 */
import type { Door } from "./door.ts";

export class Doors implements Door {
  readonly #all: readonly Door[];
  readonly #of: (request: number) => Door;

  /** @param of the door through which a request came */
  constructor(all: readonly Door[], of: (request: number) => Door) {
    this.#all = all;
    this.#of = of;
  }

  listen(): void {
    for (const door of this.#all) door.listen();
  }

  stopListening(): void {
    for (const door of this.#all) door.stopListening();
  }

  listenAgain(): void {
    for (const door of this.#all) door.listenAgain();
  }

  dropClients(): void {
    for (const door of this.#all) door.dropClients();
  }

  get anyOpen(): boolean {
    return this.#all.some((door) => door.anyOpen);
  }

  advance(full: boolean): boolean {
    let moved = false;
    for (let i = 0; i < this.#all.length; i++) {
      moved = (this.#all[i] as Door).advance(full) || moved;
    }
    return moved;
  }

  get stalled(): boolean {
    return this.#all.some((door) => door.stalled);
  }

  get throttled(): boolean {
    return this.#all.some((door) => door.throttled);
  }

  get wantsTick(): boolean {
    return this.#all.some((door) => door.wantsTick);
  }

  get hasReplies(): boolean {
    let any = false;
    // Each is asked: a door may have to prepare for the wait.
    for (let i = 0; i < this.#all.length; i++) any = (this.#all[i] as Door).hasReplies || any;
    return any;
  }

  reply(request: number): void {
    this.#of(request).reply(request);
  }

  resized(sizeBytes: number): void {
    for (const door of this.#all) door.resized(sizeBytes);
  }

  get connected(): number {
    return this.#all.reduce((sum, door) => sum + door.connected, 0);
  }

  close(): void {
    for (const door of this.#all) door.close();
  }

  release(): void {
    for (const door of this.#all) door.release();
  }
}
