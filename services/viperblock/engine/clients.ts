/**
 * The volume's NBD socket and who is connected to it.
 *
 * One accept is under way while the socket listens. Connections keep their numbers and buffers and are
 * used again; when all are taken, a client that has not finished negotiating makes room for the next
 * one who comes.
 */
import { closeFile, enlargeSocketBuffers, shutdownSocket } from "../../../ffi/libc.ts";
import type { RequestQueue } from "../machine/machine.ts";
import { type Commands, Connection } from "./connection.ts";
import type { Door } from "./door.ts";
import { Listener } from "./listener.ts";
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
  readonly #listener: Listener;
  readonly #connectionKinds: { receive: number; send: number };
  readonly #connections: Connection[] = [];

  constructor(parts: ClientParts) {
    this.#parts = parts;
    this.#ring = parts.ring;
    this.#listener = new Listener(parts.ring, parts.socket, 64, (fd) => this.#came(fd));
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
    return !this.#listener.accepting;
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
    this.#listener.listen();
    this.#listener.accept();
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
    this.#listener.accept();
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

  #came(fd: number): void {
    enlargeSocketBuffers(fd, 4 << 20);
    this.#freeConnection(fd);
    this.#listener.accept();
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
    this.#listener.stop();
  }

  listenAgain(): void {
    this.#listener.listenAgain();
    this.#listener.accept();
  }

  /** Closes every socket, whatever is under way on it. */
  close(): void {
    for (const connection of this.#connections) {
      if (!connection.open) continue;
      // Closing alone would leave the client waiting while the ring still holds the socket.
      shutdownSocket(connection.fd);
      closeFile(connection.fd);
    }
    this.#listener.close();
  }
}
