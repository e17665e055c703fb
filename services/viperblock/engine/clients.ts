/**
 * The volume's socket and who is connected to it.
 *
 * One accept is under way while the socket listens. Connections keep their numbers and buffers and are
 * used again; when all are taken, a client that has not finished negotiating makes room for the next
 * one who comes. A failed accept is tried again with the next tick.
 */
import { closeFile, enlargeSocketBuffers, listenUnix, shutdownSocket } from "../../../ffi/libc.ts";
import { ringOperations } from "../../../ffi/liburing.ts";
import type { RequestQueue } from "../machine/machine.ts";
import { type Commands, Connection } from "./connection.ts";
import type { Door } from "./door.ts";
import { type Export, nbdError } from "./nbd_protocol.ts";
import type { Requests } from "./requests.ts";
import type { Throttle } from "./throttle.ts";
import type { Slots } from "./slots.ts";

const maximumConnections = 16;

export interface ClientParts {
  readonly ring: RequestQueue;
  readonly requests: Requests;
  readonly slots: Slots;
  readonly commands: Commands;
  readonly throttle: Throttle;
  readonly served: Export;
  /** The socket's path. */
  readonly socket: string;
}

export class Clients implements Door {
  readonly #parts: ClientParts;
  readonly #ring: RequestQueue;
  readonly #acceptKind: number;
  readonly #connectionKinds: { receive: number; send: number };
  readonly #connections: Connection[] = [];
  #listener = -1;
  #accepting = false;
  /** Whoever still comes is turned away. */
  #refusing = false;

  constructor(parts: ClientParts) {
    this.#parts = parts;
    this.#ring = parts.ring;
    this.#acceptKind = this.#ring.kind((_id, result) => this.#accepted(result));
    this.#connectionKinds = {
      receive: this.#ring.kind((id, result) => this.#connections[id]?.received(result)),
      send: this.#ring.kind((id, result) => this.#connections[id]?.sent(result)),
    };
  }

  /** A request of some client waits for room. */
  stalled = false;
  throttled = false;

  /** Nobody is waited for although somebody should be: the tick tries again. */
  get wantsTick(): boolean {
    return !this.#accepting;
  }

  get connected(): number {
    let open = 0;
    for (const connection of this.#connections) if (connection.open) open++;
    return open;
  }

  get anyOpen(): boolean {
    return this.#connections.some((each) => each.open);
  }

  /** Replies are ready that could be sent now. */
  get hasReplies(): boolean {
    for (let i = 0; i < this.#connections.length; i++) {
      if ((this.#connections[i] as Connection).hasReplies) return true;
    }
    return false;
  }

  listen(): void {
    try {
      Deno.removeSync(this.#parts.socket);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
    this.#listener = listenUnix(this.#parts.socket, 64);
    Deno.chmodSync(this.#parts.socket, 0o660);
    this.#accept();
  }

  advance(full: boolean): boolean {
    let moved = false;
    this.stalled = this.throttled = false;
    for (let i = 0; i < this.#connections.length; i++) {
      const connection = this.#connections[i] as Connection;
      if (!connection.open) continue;
      const was = connection.stalled;
      if (was && full) connection.refuseWrite(nbdError.noSpace);
      connection.advance();
      if (connection.stalled) {
        this.stalled = true;
        this.throttled ||= connection.throttled;
      } else if (was) moved = true;
    }
    this.#accept();
    return moved;
  }

  reply(request: number): void {
    this.#connections[this.#parts.requests.connection[request] as number]?.reply(request);
  }

  dropClients(): void {
    for (const connection of this.#connections) connection.drop();
  }

  /** Clients learn a size when they connect; they come again. */
  resized(sizeBytes: number): void {
    if (this.#parts.served.sizeBytes === sizeBytes) return;
    this.#parts.served.sizeBytes = sizeBytes;
    this.dropClients();
  }

  release(): void {
    for (const connection of this.#connections) connection.unmap();
  }

  /** Waits for the next client, unless it does already or the socket is closed. */
  #accept(): void {
    if (this.#accepting || this.#listener < 0) return;
    this.#accepting = true;
    this.#ring.queue(
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
    // An error here is a full table of files or a listener that was closed; the tick tries again.
    if (result < 0) return;
    if (this.#refusing) {
      closeFile(result);
      return;
    }
    enlargeSocketBuffers(result, 4 << 20);
    this.#freeConnection(result);
    this.#accept();
  }

  #freeConnection(fd: number): void {
    let connection = this.#connections.find((each) => !each.open);
    if (connection === undefined && this.#connections.length < maximumConnections) {
      connection = new Connection(
        this.#connections.length,
        this.#ring,
        this.#connectionKinds,
        this.#parts.requests,
        this.#parts.slots,
        this.#parts.commands,
        this.#parts.throttle,
        this.#parts.served,
      );
      this.#connections.push(connection);
    }
    if (connection === undefined) {
      // Somebody who connects and says nothing must not keep others out.
      this.#connections.find((each) => each.negotiating)?.drop();
      closeFile(fd);
      return;
    }
    connection.begin(fd);
  }

  /** Takes no more clients until `listenAgain`; those who are connected stay. */
  stopListening(): void {
    this.#refusing = true;
    if (this.#listener < 0) return;
    // Without this the accept under way would keep the old socket, and never end.
    shutdownSocket(this.#listener);
    closeFile(this.#listener);
    this.#listener = -1;
  }

  listenAgain(): void {
    this.#refusing = false;
    this.listen();
  }

  /** Closes every socket, whatever is under way on it. */
  close(): void {
    for (const connection of this.#connections) {
      if (!connection.open) continue;
      // Closing alone would leave the client waiting while the ring still holds the socket.
      shutdownSocket(connection.fd);
      closeFile(connection.fd);
    }
    if (this.#listener >= 0) closeFile(this.#listener);
  }
}
