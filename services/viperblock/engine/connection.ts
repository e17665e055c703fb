/**
 * One NBD client: bytes from its socket become requests, finished requests become replies.
 *
 * One receive is under way at a time. It takes whatever has come, often dozens of requests; what is
 * ready to be answered leaves through `replies.ts`. The payload of a write goes from the receive buffer
 * straight into the log, block by block as it arrives, so that a write of any length needs no buffer of
 * its own.
 *
 * A client that breaks the protocol loses its connection and nothing else. A connection is gone only
 * when none of its requests is under way any more.
 */
import { isLow } from "../../../ffi/copy.ts";
import { closeFile, mapMemory, type Memory, shutdownSocket, unmap } from "../../../ffi/libc.ts";
import { ringOperations } from "../../../ffi/liburing.ts";
import type { RequestQueue } from "../machine/machine.ts";
import { blockBytes } from "../format.ts";
import {
  commandFlag,
  type Export,
  maximumPayload,
  nbdCommand,
  nbdError,
  nbdMagic,
} from "./nbd_protocol.ts";
import { hello, Negotiation } from "./nbd_negotiation.ts";
import { mostExpected } from "./read_cache.ts";
import { Replies } from "./replies.ts";
import type { Requests } from "./requests.ts";
import type { Throttle } from "./throttle.ts";
import type { Slots } from "./slots.ts";

const receiveBytes = 512 << 10;
/** Room that a receive should find; what is left over is moved to the front when there is less. */
const receiveRoom = 64 << 10;
const requestHeaderBytes = 28;

/** What a connection asks of the volume. Each answers false when it has no room now. */
export interface Commands {
  /**
   * Answers a read from where its data is kept, and keeps it there until `letGo`; false when it is to be read into a slot.
   * The request's fields are set.
   */
  readInPlace?(request: number): boolean;
  /** A reply from there has been sent, or never will be. @param held what the request says is held for it */
  letGo?(held: number): void;
  /** The request's fields are set; its slot is not. */
  read(request: number): boolean;
  /** A whole block of a write. @param address where it lies, if that is below 4 GiB; otherwise 0 or nothing */
  writeBlock(block: number, from: Uint8Array, at: number, address?: number): boolean;
  /** A part of a block of write `request`. */
  writePart(request: number, offset: number, from: Uint8Array, at: number, length: number): boolean;
  /** All of the write's payload was taken. */
  writeTaken(request: number): void;
  flush(request: number): void;
  zero(request: number): boolean;
  blockStatus(request: number): boolean;
  /**
   * These are about to be asked for: what is known of them may be fetched from memory meanwhile.
   * @param anyRead one of them is to be read
   */
  expect?(blocks: Float64Array, count: number, anyRead: boolean): void;
}

export class Connection {
  readonly #ring: RequestQueue;
  readonly #requests: Requests;
  readonly #commands: Commands;
  readonly #throttle: Throttle;
  readonly #served: Export;
  readonly #input: Memory;
  readonly #inputView: DataView;
  readonly #isLow: boolean;
  readonly #receiveKind: number;
  readonly #replies: Replies;
  readonly #ahead = new Float64Array(mostExpected);

  fd = -1;
  #negotiation: Negotiation | undefined;
  #allocation = false;
  #start = 0;
  #end = 0;
  #receiving = false;
  #closing = false;
  #endAfterSend = false;
  #write = -1;
  #writeOffset = 0;
  #writeLeft = 0;
  #discard = false;
  /** It waits for room in the log, a slot or a request. */
  stalled = false;
  /** It waits for the volume's limits. */
  throttled = false;

  constructor(
    readonly number: number,
    ring: RequestQueue,
    kinds: { receive: number; send: number },
    requests: Requests,
    slots: Slots,
    commands: Commands,
    throttle: Throttle,
    served: Export,
  ) {
    this.#ring = ring;
    this.#receiveKind = kinds.receive;
    this.#replies = new Replies(ring, kinds.send, number, requests, slots, (held) => {
      commands.letGo?.(held);
    });
    this.#requests = requests;
    this.#commands = commands;
    this.#throttle = throttle;
    this.#served = served;
    this.#input = mapMemory(receiveBytes, { low: true });
    this.#isLow = isLow(this.#input.address + receiveBytes);
    this.#inputView = new DataView(this.#input.buffer);
  }

  get open(): boolean {
    return this.fd >= 0;
  }

  /** Still negotiating: the first to go when there are too many. */
  get negotiating(): boolean {
    return this.#negotiation !== undefined;
  }

  /** Replies are ready that could be sent now. */
  get hasReplies(): boolean {
    return this.fd >= 0 && !this.#replies.sending && !this.#closing && this.#replies.waiting;
  }

  begin(fd: number): void {
    this.fd = fd;
    this.#negotiation = new Negotiation(this.#served);
    this.#replies.begin(hello());
    this.#start = this.#end = 0;
    this.#closing = false;
    this.#endAfterSend = false;
    this.#write = -1;
    this.stalled = false;
  }

  /** Gives its buffers back; it must be closed, and is not used again. */
  unmap(): void {
    unmap(this.#input);
    this.#replies.unmap();
  }

  /** Ends the connection as soon as the kernel lets go of it. */
  drop(): void {
    if (this.fd < 0 || this.#closing) return;
    this.#closing = true;
    shutdownSocket(this.fd);
  }

  /** Once each turn: sends what is ready, receives if there is room, goes on after a stall. */
  advance(): void {
    if (this.fd < 0) return;
    if (this.stalled && !this.#closing) {
      this.stalled = false;
      this.#consume();
    }
    if (this.#closing) {
      this.#abandonWrite();
      this.#replies.discard();
      if (!this.#replies.sending && !this.#receiving && this.#replies.inFlight === 0) {
        closeFile(this.fd);
        this.fd = -1;
      }
      return;
    }
    this.#replies.send(this.fd);
    if (this.#endAfterSend && !this.#replies.sending && this.#replies.inFlight === 0) this.drop();
    this.#receive();
  }

  #abandonWrite(): void {
    if (this.#write < 0) return;
    const request = this.#write;
    this.#write = -1;
    // What was taken stays written, as with any write that was cut off.
    this.#commands.writeTaken(request);
  }

  #receive(): void {
    if (this.#receiving || this.stalled || this.#closing || this.#endAfterSend) return;
    if (this.#start === this.#end) this.#start = this.#end = 0;
    else if (this.#end > receiveBytes - receiveRoom) {
      this.#input.bytes.copyWithin(0, this.#start, this.#end);
      this.#end -= this.#start;
      this.#start = 0;
    }
    this.#receiving = true;
    this.#ring.queue(
      ringOperations.receive,
      this.fd,
      0,
      this.#input.address + this.#end,
      receiveBytes - this.#end,
      0,
      this.#receiveKind,
      this.number,
    );
  }

  received(result: number): void {
    this.#receiving = false;
    if (result <= 0) {
      this.drop();
      return;
    }
    this.#end += result;
    if (this.#closing) return;
    if (this.#negotiation === undefined) this.#lookAhead();
    this.#consume();
  }

  /** Says which blocks the requests that have come begin with. Nothing of it is believed: each is validated when it is taken. */
  #lookAhead(): void {
    const view = this.#inputView;
    const end = this.#end - requestHeaderBytes;
    let count = 0;
    let anyRead = false;
    for (let at = this.#start + this.#writeLeft; at <= end && count < mostExpected;) {
      const type = view.getUint16(at + 6);
      this.#ahead[count++] = (view.getUint32(at + 16) * 4294967296 + view.getUint32(at + 20)) /
        blockBytes;
      anyRead ||= type === nbdCommand.read;
      at += requestHeaderBytes + (type === nbdCommand.write ? view.getUint32(at + 24) : 0);
    }
    if (count > 1) this.#commands.expect?.(this.#ahead, count, anyRead);
  }

  #consume(): void {
    if (this.#negotiation !== undefined && !this.#negotiate(this.#negotiation)) return;
    while (!this.#endAfterSend) {
      if (this.#write >= 0) {
        if (!this.#takePayload()) return;
      } else if (!this.#takeRequest()) return;
    }
  }

  /** Returns whether requests follow. */
  #negotiate(negotiation: Negotiation): boolean {
    const { used, answers, next } = negotiation.feed(
      this.#input.bytes.subarray(this.#start, this.#end),
    );
    this.#start += used;
    const kept = this.#replies.answer(answers);
    if (next === "close") this.#endAfterSend = true;
    if (next === "transmit") {
      this.#negotiation = undefined;
      this.#replies.structured = negotiation.structured;
      this.#allocation = negotiation.allocation;
    }
    // A client that asks faster than it reads is not waited for.
    if (!kept) this.drop();
    return next === "transmit";
  }

  #takeRequest(): boolean {
    if (this.#end - this.#start < requestHeaderBytes) return false;
    const view = this.#inputView;
    const at = this.#start;
    if (view.getUint32(at) !== nbdMagic.request) {
      this.drop();
      return false;
    }
    const type = view.getUint16(at + 6);
    const length = view.getUint32(at + 24);
    if (type === nbdCommand.disconnect) {
      this.#endAfterSend = true;
      return false;
    }
    if (type === nbdCommand.write && length > maximumPayload) {
      // Nobody can tell whether that much follows, so nothing after it can be understood.
      this.drop();
      return false;
    }
    this.throttled = (type === nbdCommand.read || type === nbdCommand.write) &&
      !this.#throttle.admit(length);
    if (this.throttled) {
      this.stalled = true;
      return false;
    }
    const id = this.#requests.take();
    if (id < 0) {
      this.stalled = true;
      return false;
    }
    const requests = this.#requests;
    requests.connection[id] = this.number;
    requests.type[id] = type;
    requests.flags[id] = view.getUint16(at + 4);
    requests.cookieA[id] = view.getInt32(at + 8, true);
    requests.cookieB[id] = view.getInt32(at + 12, true);
    requests.length[id] = length;
    requests.offset[id] = view.getUint32(at + 16) * 4294967296 + view.getUint32(at + 20);
    requests.error[id] = this.#validate(id);
    this.#replies.inFlight++;
    if (!this.#dispatch(id)) {
      this.#replies.inFlight--;
      requests.free(id);
      this.stalled = true;
      return false;
    }
    this.#start = at + requestHeaderBytes;
    return true;
  }

  /** The error that a request deserves before anything is done for it. */
  #validate(id: number): number {
    const { type, flags, length, offset } = this.#requests;
    const kind = type[id] as number;
    if (((flags[id] as number) & ~this.#allowedFlags(kind)) !== 0) return nbdError.invalid;
    if (kind === nbdCommand.flush) {
      return length[id] === 0 && offset[id] === 0 ? 0 : nbdError.invalid;
    }
    const end = (offset[id] as number) + (length[id] as number);
    const outside = end > this.#served.sizeBytes;
    if (
      this.#served.readOnly === true &&
      (kind === nbdCommand.write || kind === nbdCommand.writeZeroes || kind === nbdCommand.trim)
    ) return nbdError.notPermitted;
    switch (kind) {
      case nbdCommand.read:
        if (length[id] === 0 || outside) return nbdError.invalid;
        return (length[id] as number) > maximumPayload ? nbdError.overflow : 0;
      case nbdCommand.write:
      case nbdCommand.writeZeroes:
        if (outside) return nbdError.noSpace;
        return length[id] === 0 ? nbdError.invalid : 0;
      case nbdCommand.trim:
        return outside || length[id] === 0 ? nbdError.invalid : 0;
      case nbdCommand.blockStatus:
        return !this.#allocation || outside || length[id] === 0 ? nbdError.invalid : 0;
      default:
        return nbdError.invalid;
    }
  }

  #allowedFlags(kind: number): number {
    switch (kind) {
      case nbdCommand.writeZeroes:
        return commandFlag.fua | commandFlag.noHole | commandFlag.fastZero;
      case nbdCommand.blockStatus:
        return commandFlag.fua | commandFlag.requestOne;
      case nbdCommand.read:
        return this.#replies.structured
          ? commandFlag.fua | commandFlag.dontFragment
          : commandFlag.fua;
      default:
        return commandFlag.fua;
    }
  }

  /** Returns false when there was no room; nothing was done then. */
  #dispatch(id: number): boolean {
    const requests = this.#requests;
    const kind = requests.type[id];
    if (kind === nbdCommand.write) {
      this.#write = id;
      this.#writeOffset = requests.offset[id] as number;
      this.#writeLeft = requests.length[id] as number;
      this.#discard = requests.error[id] !== 0;
      return true;
    }
    if (requests.error[id] !== 0) {
      this.reply(id);
      return true;
    }
    switch (kind) {
      case nbdCommand.read:
        return this.#commands.readInPlace?.(id) === true || this.#commands.read(id);
      case nbdCommand.flush:
        this.#commands.flush(id);
        return true;
      case nbdCommand.blockStatus:
        return this.#commands.blockStatus(id);
      default:
        return this.#commands.zero(id);
    }
  }

  /** Takes what has come of a write's payload; returns whether that was all of it. */
  #takePayload(): boolean {
    const request = this.#write;
    while (this.#writeLeft > 0) {
      const available = this.#end - this.#start;
      if (this.#discard) {
        const length = Math.min(available, this.#writeLeft);
        if (length === 0) return false;
        this.#taken(length);
        continue;
      }
      const inBlock = this.#writeOffset % blockBytes;
      const length = Math.min(blockBytes - inBlock, this.#writeLeft);
      if (available < length) return false;
      const done = length === blockBytes
        ? this.#commands.writeBlock(
          this.#writeOffset / blockBytes,
          this.#input.bytes,
          this.#start,
          this.#isLow ? this.#input.address + this.#start : 0,
        )
        : this.#commands.writePart(
          request,
          this.#writeOffset,
          this.#input.bytes,
          this.#start,
          length,
        );
      if (!done) {
        this.stalled = true;
        return false;
      }
      this.#taken(length);
    }
    this.#write = -1;
    this.#commands.writeTaken(request);
    return true;
  }

  #taken(length: number): void {
    this.#start += length;
    this.#writeOffset += length;
    this.#writeLeft -= length;
  }

  /** The write that waits for room fails; the rest of its payload is thrown away. */
  refuseWrite(error: number): void {
    if (this.#write < 0 || this.#discard) return;
    this.#requests.error[this.#write] = error;
    this.#discard = true;
  }

  /** The request is done; its error, and for a read its slot, are set. */
  reply(id: number): void {
    this.#replies.add(id);
  }

  sent(result: number): void {
    if (!this.#replies.sent(result)) this.drop();
  }
}
