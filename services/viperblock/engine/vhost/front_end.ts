/**
 * One front end (a guest's QEMU) and the disk that its guest sees: its connection, and the turn in which its queues are
 * served. What its messages set up is in `disk_setup.ts`.
 *
 * There is one at a time: the next one is served when nothing of the one before is under way any more, so
 * that a late answer can never reach memory that the guest has given to something else. A message that makes
 * no sense costs the front end its connection; a guest that breaks the rules of its rings, that queue.
 * When the connection ends what was not finished stays written down in the in-flight memory, and is done
 * again by whoever serves the guest next, in this process or another.
 */
import type { Memory } from "../../../../ffi/libc.ts";
import { backChannelBytes } from "./back_channel.ts";
import type { BlockQueue } from "./block_queue.ts";
import { ControlSocket, controlSocketBytes } from "./control_socket.ts";
import { type DiskParts, DiskSetup } from "./disk_setup.ts";
import { kickBytes, Kicks } from "./kicks.ts";

const kicksAt = controlSocketBytes;
const channelAt = kicksAt + kickBytes;
export const frontEndBytes = channelAt + backChannelBytes;

export class FrontEnd {
  readonly #p: DiskParts;
  readonly #socket: ControlSocket;
  readonly #kicks: Kicks;
  readonly #setup: DiskSetup;
  readonly #queues: readonly BlockQueue[];
  #closing = false;
  #broken = 0;

  constructor(parts: DiskParts, control: Memory) {
    this.#p = parts;
    const { ring } = parts;
    this.#socket = new ControlSocket({
      ring,
      memory: control,
      kinds: {
        header: ring.kind((_id, result) => this.#socket.headerReceived(result)),
        payload: ring.kind((_id, result) => this.#socket.payloadReceived(result)),
        sent: ring.kind((_id, result) => this.#socket.sent(result)),
      },
      take: (header, payload, fds) => this.#setup.take(header, payload, fds),
      ended: (why) => {
        if (why !== "") parts.say("front_end_refused", { reason: why });
        this.drop();
      },
    });
    this.#kicks = new Kicks(ring, control, kicksAt);
    const broke = (queue: number, why: string) => this.#broke(queue, why);
    this.#setup = new DiskSetup(parts, this.#kicks, control, channelAt, broke);
    this.#queues = this.#setup.queues;
  }

  get open(): boolean {
    return this.#socket.fd >= 0;
  }

  begin(fd: number): void {
    this.#closing = false;
    this.#broken = 0;
    this.#setup.begin();
    this.#socket.begin(fd);
  }

  /** Ends it as soon as nothing of it is under way; what is finished by then is told. */
  drop(): void {
    if (!this.open || this.#closing) return;
    this.#closing = true;
    this.#socket.shutdown();
    this.#setup.stop();
  }

  #broke(queue: number, why: string): void {
    // A guest may break it again after each reset.
    if (this.#broken++ < 10) this.#p.say("guest_queue_broken", { queue, reason: why });
    this.#setup.tellError(queue);
  }

  get stalled(): boolean {
    return this.#queues.some((queue) => queue.waits);
  }

  get throttled(): boolean {
    return this.#queues.some((queue) => queue.throttled);
  }

  /** Once each turn. */
  advance(full: boolean): void {
    if (!this.open) return;
    for (let i = 0; i < this.#queues.length; i++) {
      const queue = this.#queues[i] as BlockQueue;
      if (!queue.ring.active) continue;
      queue.advance(full);
      this.#setup.publish(i);
    }
    const answer = this.#setup.queueTakenBack();
    if (this.#closing) this.#close();
    else if (answer !== undefined) this.#socket.send(answer);
  }

  /** Asks for kicks; whether something is there already, or is to be published. */
  rest(): boolean {
    let more = false;
    for (let i = 0; i < this.#queues.length; i++) {
      const queue = this.#queues[i] as BlockQueue;
      if (!queue.ring.active) continue;
      if (queue.ring.unpublished) more = true;
      // What waits for room is not helped by more requests, and a broken ring by nothing.
      else if (queue.serving && !queue.stalled && queue.ring.listen()) more = true;
    }
    return more;
  }

  reply(id: number): void {
    (this.#queues[this.#p.requests.cookieB[id] as number] as BlockQueue).reply(id);
  }

  #close(): void {
    if (!this.#setup.stopped || this.#socket.pending || !this.#kicks.idle) return;
    this.#setup.end();
    this.#socket.close();
  }

  /** Lets go of it whatever is under way; the loop has ended. */
  abandon(): void {
    if (!this.open) return;
    this.#socket.shutdown();
    this.#socket.close();
    this.#setup.abandon();
  }

  resized(): void {
    if (this.open) this.#setup.sizeChanged();
  }
}
