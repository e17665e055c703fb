/**
 * The volume's vhost-user-blk socket: local guests reach the volume through rings in their own memory.
 *
 * One front end is served at a time. Whoever connects meanwhile waits in the listener's queue, until the
 * one before and all that it asked for is over. Memory for it is mapped when the first one comes.
 */
import { mapMemory, type Memory, unmap } from "../../../../ffi/libc.ts";
import type { Door } from "../door.ts";
import { Listener } from "../listener.ts";
import type { DiskParts } from "./disk_setup.ts";
import { FrontEnd, frontEndBytes } from "./front_end.ts";

export interface VhostDoorParts extends DiskParts {
  /** The socket's path. */
  readonly socket: string;
}

export class VhostDoor implements Door {
  readonly #p: VhostDoorParts;
  readonly #listener: Listener;
  #control: Memory | undefined;
  #frontEnd: FrontEnd | undefined;

  constructor(parts: VhostDoorParts) {
    this.#p = parts;
    this.#listener = new Listener(parts.ring, parts.socket, 8, (fd) => this.#came(fd));
  }

  stalled = false;
  throttled = false;

  /** Nobody is waited for although somebody should be: the tick tries again. */
  get wantsTick(): boolean {
    return this.#listener.listening && !this.#listener.accepting && !this.anyOpen;
  }

  get anyOpen(): boolean {
    return this.#frontEnd?.open === true;
  }

  get connected(): number {
    return this.anyOpen ? 1 : 0;
  }

  /** Asked just before the loop waits: kicks are asked for, and what came meanwhile is told. */
  get hasReplies(): boolean {
    return this.#frontEnd?.open === true && this.#frontEnd.rest();
  }

  listen(): void {
    this.#listener.listen();
    this.#accept();
  }

  #accept(): void {
    if (!this.anyOpen) this.#listener.accept();
  }

  #came(fd: number): void {
    if (this.#frontEnd === undefined) {
      this.#control = mapMemory(frontEndBytes);
      this.#frontEnd = new FrontEnd(this.#p, this.#control);
    }
    this.#frontEnd.begin(fd);
  }

  advance(full: boolean): boolean {
    const frontEnd = this.#frontEnd;
    if (frontEnd?.open !== true) {
      this.stalled = this.throttled = false;
      this.#accept();
      return false;
    }
    const was = this.stalled;
    frontEnd.advance(full);
    this.stalled = frontEnd.open && frontEnd.stalled;
    this.throttled = frontEnd.open && frontEnd.throttled;
    this.#accept();
    return was && !this.stalled;
  }

  reply(request: number): void {
    this.#frontEnd?.reply(request);
  }

  dropClients(): void {
    this.#frontEnd?.drop();
  }

  /** The guest is told; nothing is disconnected. */
  resized(sizeBytes: number): void {
    this.#p.served.sizeBytes = sizeBytes;
    this.#frontEnd?.resized();
  }

  stopListening(): void {
    this.#listener.stop();
  }

  listenAgain(): void {
    this.#listener.listenAgain();
    this.#accept();
  }

  close(): void {
    this.#frontEnd?.abandon();
    this.#listener.close();
  }

  release(): void {
    if (this.#control !== undefined) unmap(this.#control);
  }
}
