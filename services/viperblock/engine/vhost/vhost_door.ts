/**
 * The volume's vhost-user-blk socket: local guests reach the volume through rings in their own memory.
 *
 * One front end is served at a time. Whoever connects meanwhile waits in the listener's queue, until the
 * one before and all that it asked for is over. Memory for it is mapped when the first one comes.
 */
import {
  closeFile,
  listenUnix,
  mapMemory,
  type Memory,
  shutdownSocket,
  unmap,
} from "../../../../ffi/libc.ts";
import { ringOperations } from "../../../../ffi/liburing.ts";
import type { Door } from "../door.ts";
import { FrontEnd, frontEndBytes, type FrontEndParts } from "./front_end.ts";

export interface VhostDoorParts extends FrontEndParts {
  /** The socket's path. */
  readonly socket: string;
}

export class VhostDoor implements Door {
  readonly #p: VhostDoorParts;
  readonly #acceptKind: number;
  #control: Memory | undefined;
  #frontEnd: FrontEnd | undefined;
  #listener = -1;
  #accepting = false;
  #refusing = false;

  constructor(parts: VhostDoorParts) {
    this.#p = parts;
    this.#acceptKind = parts.ring.kind((_id, result) => this.#accepted(result));
  }

  stalled = false;
  throttled = false;

  /** Nobody is waited for although somebody should be: the tick tries again. */
  get wantsTick(): boolean {
    return this.#listener >= 0 && !this.#accepting && !this.anyOpen;
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
    try {
      Deno.removeSync(this.#p.socket);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
    this.#listener = listenUnix(this.#p.socket, 8);
    Deno.chmodSync(this.#p.socket, 0o660);
    this.#accept();
  }

  #accept(): void {
    if (this.#accepting || this.#listener < 0 || this.anyOpen) return;
    this.#accepting = true;
    this.#p.ring.queue(
      ringOperations.accept,
      this.#listener,
      0,
      0,
      0,
      0o2000000,
      this.#acceptKind,
      0,
    );
  }

  #accepted(result: number): void {
    this.#accepting = false;
    if (result < 0) return;
    if (this.#refusing) {
      closeFile(result);
      return;
    }
    if (this.#frontEnd === undefined) {
      this.#control = mapMemory(frontEndBytes);
      this.#frontEnd = new FrontEnd(this.#p, this.#control);
    }
    this.#frontEnd.begin(result);
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
    this.#refusing = true;
    if (this.#listener < 0) return;
    shutdownSocket(this.#listener);
    closeFile(this.#listener);
    this.#listener = -1;
  }

  listenAgain(): void {
    this.#refusing = false;
    this.listen();
  }

  close(): void {
    this.#frontEnd?.abandon();
    if (this.#listener >= 0) closeFile(this.#listener);
  }

  release(): void {
    if (this.#control !== undefined) unmap(this.#control);
  }
}
