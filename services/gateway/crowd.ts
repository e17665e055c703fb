/**
 * A bound on connections, since whoever can reach the port can open as many as he likes and say nothing.
 *
 * What is open is counted often enough for the time in which the rest of the descriptors could be taken. Where there are
 * more than there may be, those connections on which nothing has moved for longest are ended, until a third of the room is
 * free: whoever is being answered or sends something keeps his, and a client that is cut off in between connects anew.
 */
import { type AcceptedConnection, AcceptedConnections } from "../../ffi/accepted_connections.ts";
import { type Log } from "../log/log.ts";

/** An idle connection with TLS takes some 35 KB. */
const most = 10_000;
/** Of all descriptors. */
const mostShare = 3 / 4;
const leftShare = 2 / 3;
/** More than this process was ever seen to accept in a millisecond. */
const acceptedPerMillisecond = 20;
const oftenest_ms = 10;
const seldomest_ms = 1_000;

export class Crowd implements Disposable {
  readonly #connections = new AcceptedConnections();
  readonly #log: Log;
  readonly #port: number;
  readonly #most: number;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #ended = 0;

  constructor(log: Log, port: number) {
    this.#log = log;
    this.#port = port;
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
    const going = this.#longestIdle().slice(0, open - Math.floor(this.#most * leftShare));
    for (const connection of going) this.#connections.shut(connection);
    this.#ended += going.length;
    this.#log.warn("connections_ended", { open, ended: going.length, most: this.#most });
  }

  #longestIdle(): AcceptedConnection[] {
    return this.#connections.of(this.#port).sort((one, other) => other.idle_ms - one.idle_ms);
  }

  /** Ends every connection, whatever goes on there. */
  endAll(): void {
    for (const connection of this.#connections.of(this.#port)) this.#connections.shut(connection);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}
