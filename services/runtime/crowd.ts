/**
 * A bound on a door's connections, since whoever can reach the port can open as many as he likes and say nothing.
 *
 * What is open is counted often enough for the time in which the rest of the descriptors could be taken. Where there are
 * more than there may be, those of whoever has most and on which nothing has moved for longest are ended, until a third of the
 * room is free (`crowd_choice.ts`): a client that is cut off in between connects anew. A connection with a
 * request under way is ended only when there is no other left, and no more of those than must be.
 */
import { type AcceptedConnection, AcceptedConnections } from "../../ffi/accepted_connections.ts";
import type { Log } from "../log/log.ts";
import { whoseEnd } from "./crowd_choice.ts";
import type { RequestsUnderWay } from "./requests_under_way.ts";

/** An idle connection with TLS takes some 35 KB. */
const most = 10_000;
/** Of all descriptors. */
const mostShare = 3 / 4;
const leftShare = 2 / 3;
/** Of the room, what connections have also where the process has many files open. */
const ownShare = 1 / 4;
/** More than a process was ever seen to accept in a millisecond. */
const acceptedPerMillisecond = 20;
const oftenest_ms = 10;
const seldomest_ms = 1_000;

export interface CrowdOptions {
  readonly log: Log;
  readonly port: number;
  readonly underWay: Pick<RequestsUnderWay, "onPort">;
}

export class Crowd implements Disposable {
  readonly #connections = new AcceptedConnections();
  readonly #options: CrowdOptions;
  readonly #most: number;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #ended = 0;

  constructor(options: CrowdOptions) {
    this.#options = options;
    this.#most = Math.min(most, Math.floor(this.#connections.limit * mostShare));
    this.#look();
  }

  /** Connections that were ended since the start. */
  get ended(): number {
    return this.#ended;
  }

  #look(): void {
    const open = this.#connections.count();
    if (open > this.#most) this.#thin(open);
    const room = Math.max(0, this.#connections.limit - Math.min(open, this.#most));
    const pause_ms = Math.min(Math.max(room / acceptedPerMillisecond, oftenest_ms), seldomest_ms);
    this.#timer = setTimeout(() => this.#look(), pause_ms);
  }

  #thin(open: number): void {
    const { log, port, underWay } = this.#options;
    const connections = this.#connections.of(port);
    const files = open - connections.length;
    const may = Math.max(this.#most - files, Math.floor(this.#most * ownShare));
    const isBusy = ({ from }: AcceptedConnection) => underWay.onPort(from);
    const left = Math.floor(may * leftShare);
    const going = whoseEnd(connections, isBusy, { may, left });
    if (going.length === 0) return;
    for (const connection of going) this.#connections.shut(connection);
    this.#ended += going.length;
    log.warn("connections_ended", { open, ended: going.length, most: this.#most });
  }

  /** Ends every connection, whatever goes on there. */
  endAll(): void {
    for (const connection of this.#connections.of(this.#options.port)) {
      this.#connections.shut(connection);
    }
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}
