/**
 * The requests of one virtqueue: chains become requests of the volume, and what is done goes back into
 * the guest's memory.
 *
 * A write goes from the guest's memory straight into the log; while it waits for room it holds up its own
 * queue and no other. A request that the disk has no space for waits until there is some, however long:
 * virtio has no word for it, and a guest's file system takes an I/O error for a broken disk.
 *
 * A guest that breaks the rules loses its queue until its driver resets it: nothing of it is read or
 * written any more, and requests under way end without being told. What was under way when the queue is
 * stopped without an end stays marked, and is done again by whoever serves it next. Where the front end keeps no such
 * marks, what waits for space then ends with an I/O error, which is better than no answer ever.
 */
import { blockBytes } from "../../format.ts";
import type { Commands } from "../connection.ts";
import { commandFlag, type Export, maximumPayload, nbdCommand, nbdError } from "../nbd_protocol.ts";
import type { Requests } from "../requests.ts";
import type { Slots } from "../slots.ts";
import type { Throttle } from "../throttle.ts";
import { DescriptorChain } from "./descriptor_chain.ts";
import { maximumZeroSectors } from "./disk_config.ts";
import type { GuestMemory } from "./guest_memory.ts";
import type { InFlightQueue } from "./in_flight.ts";
import { maximumQueueSize } from "./protocol.ts";
import type { Segments } from "./segments.ts";
import { SplitRing } from "./split_ring.ts";

/** In `Requests.connection`: the request came through a ring. */
export const ringConnection = 1 << 16;

const diskRequest = { in: 0, out: 1, flush: 4, identity: 8, discard: 11, writeZeroes: 13 } as const;
const status = { ok: 0, ioError: 1, unsupported: 2 } as const;
const requestHeaderBytes = 16;
const identityBytes = 20;

/** What became of a chain. */
const done = 0;
const later = 1;
const broken = 2;

export interface QueueParts {
  readonly requests: Requests;
  readonly slots: Slots;
  readonly commands: Commands;
  readonly throttle: Throttle;
  readonly memory: GuestMemory;
  readonly segments: Segments;
  /** What the driver has agreed to; all queues have the same. */
  readonly agreed: { indirect: boolean; eventIndex: boolean; durableWrites: boolean };
  readonly served: Export;
  /** The guest has broken the rules. */
  readonly broke: (queue: number, why: string) => void;
}

// One thread serves all queues, and none of these outlives a call.
const chain = new DescriptorChain();
const header = new Uint8Array(requestHeaderBytes);
const headerView = new DataView(header.buffer);
const zeroRange = new Uint8Array(16);
const zeroRangeView = new DataView(zeroRange.buffer);
const scratch = new Uint8Array(blockBytes);

export class BlockQueue {
  readonly ring = new SplitRing();
  readonly #p: QueueParts;
  readonly #identity: Uint8Array;
  // By head: the data of its request, and where its status goes.
  readonly #data = new Int32Array(maximumQueueSize);
  readonly #statusRegion = new Int32Array(maximumQueueSize);
  readonly #statusAt = new Float64Array(maximumQueueSize);
  /** Heads that are to be done again: an engine before had begun them, or there was no space. */
  #again: number[] = [];
  #isBroken = false;
  #stopping = false;
  /** Requests of this queue that the volume has. */
  underWay = 0;
  /** The front end has switched it off for now. */
  paused = false;
  stalled = false;
  throttled = false;
  #admitted = false;
  // The write that is being put into the log.
  #write = -1;
  #writeHead = 0;
  #writeIsNew = false;
  #writePiece = -1;
  #writeSkip = 0;
  #writeOffset = 0;
  #writeLeft = 0;

  constructor(readonly number: number, parts: QueueParts) {
    this.#p = parts;
    this.#identity = new TextEncoder().encode(parts.served.name.replace("-", ""))
      .slice(0, identityBytes);
  }

  /** `ring.place` was called. */
  start(base: number, inFlight: InFlightQueue | undefined): void {
    this.#isBroken =
      this.#stopping =
      this.paused =
      this.stalled =
      this.#admitted =
        false;
    this.#again = this.ring.start(base, this.#p.agreed.eventIndex, inFlight);
  }

  /** Takes nothing more; it is over when `stopped`. */
  stop(): void {
    if (!this.ring.active || this.#stopping) return;
    this.#stopping = true;
    this.stalled = this.throttled = false;
    const { keepsInFlight } = this.ring;
    if (this.#write >= 0) {
      const id = this.#write;
      this.#write = -1;
      // The head stays marked for the next engine; without marks it is as if it had not been taken.
      if (keepsInFlight || this.#writeIsNew) {
        if (!keepsInFlight) this.ring.untake(this.#writeHead);
      } else {
        this.ring.release(this.#writeHead);
        this.#again.push(this.#writeHead);
      }
      this.#forget(id);
      this.#p.commands.writeTaken(id);
    }
    // Nobody else would ever answer them: others that came after them may have been answered.
    if (!keepsInFlight) { for (const head of this.#again) this.#refuse(head); }
    this.#again = [];
  }

  /** Answers a request that waits to be done again. */
  #refuse(head: number): void {
    const { memory, agreed } = this.#p;
    if (this.#isBroken || !this.ring.takeAgain(head)) return;
    const wrong = chain.read(memory, this.ring.table, head, agreed.indirect);
    if (wrong !== "" || chain.writableBytes < 1) {
      this.#break(wrong === "" ? "a request without status" : wrong);
      return;
    }
    this.#findStatus(head);
    memory.use(this.#statusRegion[head] as number);
    this.#answer(head, status.ioError, 1);
  }

  /** Where the status of the request in `chain` goes. */
  #findStatus(head: number): void {
    const last = chain.count - 1;
    this.#statusRegion[head] = chain.region[last] as number;
    this.#statusAt[head] = (chain.at[last] as number) + (chain.length[last] as number) - 1;
  }

  /** Nothing of it is under way any more. */
  get stopped(): boolean {
    return this.underWay === 0;
  }

  /** After `stopped`. @returns where the next one goes on */
  end(): number {
    const at = this.ring.lastAvailable;
    this.ring.stop();
    return at;
  }

  /** Its end is of no interest to anybody: the request's data is given up. */
  #forget(id: number): void {
    const head = this.#p.requests.cookieA[id] as number;
    this.#p.segments.release(this.#data[head] as number);
    this.#p.memory.leave(this.#statusRegion[head] as number);
    this.#p.requests.cookieA[id] = -1;
  }

  #break(why: string): void {
    this.#isBroken = true;
    this.stalled = this.throttled = false;
    this.#p.broke(this.number, why);
  }

  get serving(): boolean {
    return this.ring.active && !this.paused && !this.#isBroken && !this.#stopping;
  }

  /** Takes what has come. @param full there is no space and none in sight */
  advance(full: boolean): void {
    this.stalled = this.throttled = false;
    if (!this.serving) return;
    if (this.#write >= 0 && !this.#feed()) return;
    if (this.#again.length > 0 && !this.#retry(full)) return;
    const waiting = this.ring.waiting();
    if (waiting < 0) return this.#break("more available than the ring has");
    if (waiting > 0) this.ring.quieten();
    for (let i = 0; i < waiting; i++) {
      const head = this.ring.peek();
      if (head < 0) return this.#break("a head that is no descriptor, or is under way");
      const outcome = this.#begin(head, true);
      if (outcome !== done) return;
    }
  }

  /** Something waits that only time will bring on. */
  get waits(): boolean {
    return this.stalled || (this.serving && this.#again.length > 0);
  }

  #retry(full: boolean): boolean {
    // Without space only those that write would wait again; all of them are few.
    if (full) return true;
    const again = this.#again;
    this.#again = [];
    for (let i = 0; i < again.length; i++) {
      const head = again[i] as number;
      if (!this.ring.takeAgain(head)) {
        this.#break("a head that is under way twice");
        return false;
      }
      const outcome = this.#begin(head, false);
      if (outcome === broken) return false;
      if (outcome === later) {
        // A write that waits in the middle has begun.
        const begun = this.#write >= 0;
        if (!begun) this.ring.release(head);
        this.#again.push(...again.slice(begun ? i + 1 : i));
        return false;
      }
    }
    return true;
  }

  #begin(head: number, isNew: boolean): number {
    const { memory, requests, segments, agreed, throttle, served } = this.#p;
    const wrong = chain.read(memory, this.ring.table, head, agreed.indirect);
    if (wrong !== "") return this.#broken(wrong);
    if (chain.readableBytes < requestHeaderBytes || chain.writableBytes < 1) {
      return this.#broken("a request without header or status");
    }
    chain.copyOut(memory, 0, header);
    const type = headerView.getUint32(0, true);
    const sectorHigh = headerView.getUint32(12, true);
    const sector = sectorHigh >= 1 << 20
      ? Infinity
      : sectorHigh * 4294967296 + headerView.getUint32(8, true);
    this.#findStatus(head);

    let offset = sector * 512;
    let length = 0;
    let command: number = nbdCommand.flush;
    let verdict: number = status.ok;
    switch (type) {
      case diskRequest.in:
        command = nbdCommand.read;
        length = chain.writableBytes - 1;
        break;
      case diskRequest.out:
        command = nbdCommand.write;
        length = chain.readableBytes - requestHeaderBytes;
        break;
      case diskRequest.flush:
        offset = 0;
        break;
      case diskRequest.identity:
        memory.use(this.#statusRegion[head] as number);
        if (isNew) this.ring.take(head);
        chain.copyIn(memory, this.#identity.subarray(0, chain.writableBytes - 1));
        this.#answer(head, status.ok, chain.writableBytes);
        return done;
      case diskRequest.discard:
      case diskRequest.writeZeroes: {
        const zeroes = type === diskRequest.writeZeroes;
        command = zeroes ? nbdCommand.writeZeroes : nbdCommand.trim;
        if (chain.readableBytes !== requestHeaderBytes + 16) {
          verdict = status.ioError;
          break;
        }
        chain.copyOut(memory, requestHeaderBytes, zeroRange);
        const high = zeroRangeView.getUint32(4, true);
        const sectors = zeroRangeView.getUint32(8, true);
        const flags = zeroRangeView.getUint32(12, true);
        offset = high >= 1 << 20 ? Infinity : (high * 4294967296 +
          zeroRangeView.getUint32(0, true)) * 512;
        length = sectors * 512;
        if ((flags & ~(zeroes ? 1 : 0)) !== 0) verdict = status.unsupported;
        else if (sectors === 0 || sectors > maximumZeroSectors) verdict = status.ioError;
        break;
      }
      default:
        verdict = status.unsupported;
    }
    if (verdict === status.ok && command !== nbdCommand.flush) {
      const tooLong = command === nbdCommand.read && length > maximumPayload;
      if (served.readOnly === true && command !== nbdCommand.read) verdict = status.ioError;
      if (length === 0 || length % 512 !== 0 || tooLong || offset + length > served.sizeBytes) {
        verdict = status.ioError;
      }
    }
    if (verdict !== status.ok) {
      memory.use(this.#statusRegion[head] as number);
      if (isNew) this.ring.take(head);
      this.#answer(head, verdict, 1);
      return done;
    }

    if (!segments.hasRoom(chain.count)) return this.#later();
    const moves = command === nbdCommand.read || command === nbdCommand.write;
    if (moves && !this.#admitted && !throttle.admit(length)) {
      this.throttled = true;
      return this.#later();
    }
    this.#admitted = moves;
    const id = requests.take();
    if (id < 0) return this.#later();
    requests.connection[id] = ringConnection;
    requests.type[id] = command;
    requests.flags[id] = agreed.durableWrites ? commandFlag.fua : 0;
    requests.cookieA[id] = head;
    requests.cookieB[id] = this.number;
    requests.offset[id] = offset;
    requests.length[id] = length;
    this.#data[head] = command === nbdCommand.read
      ? segments.keep(chain, chain.readable, chain.count, 0, length)
      : command === nbdCommand.write
      ? segments.keep(chain, 0, chain.readable, requestHeaderBytes, length)
      : -1;
    memory.use(this.#statusRegion[head] as number);
    // Before it is dispatched: it may be answered before that returns.
    if (isNew) this.ring.take(head);
    this.underWay++;
    if (!this.#dispatch(id, command, head, isNew)) {
      this.underWay--;
      this.#forget(id);
      requests.free(id);
      if (isNew) this.ring.untake(head);
      return this.#later();
    }
    this.#admitted = false;
    return this.#write >= 0 ? later : done;
  }

  #later(): number {
    this.stalled = true;
    return later;
  }

  #broken(why: string): number {
    this.#break(why);
    return broken;
  }

  #dispatch(id: number, command: number, head: number, isNew: boolean): boolean {
    const { commands, requests } = this.#p;
    switch (command) {
      case nbdCommand.read:
        return commands.read(id);
      case nbdCommand.flush:
        commands.flush(id);
        return true;
      case nbdCommand.write:
        this.#write = id;
        this.#writeHead = head;
        this.#writeIsNew = isNew;
        this.#writePiece = this.#data[head] as number;
        this.#writeSkip = 0;
        this.#writeOffset = requests.offset[id] as number;
        this.#writeLeft = requests.length[id] as number;
        this.#feed();
        return true;
      default:
        return commands.zero(id);
    }
  }

  /** Puts what is left of the write into the log; returns whether that was all of it. */
  #feed(): boolean {
    const { commands, segments, memory } = this.#p;
    const id = this.#write;
    while (this.#writeLeft > 0) {
      const inBlock = this.#writeOffset % blockBytes;
      const length = Math.min(blockBytes - inBlock, this.#writeLeft);
      const piece = this.#writePiece;
      let from: Uint8Array = scratch;
      let at = 0;
      if ((segments.length[piece] as number) - this.#writeSkip >= length) {
        from = memory.region(segments.region[piece] as number).bytes;
        at = (segments.at[piece] as number) + this.#writeSkip;
      } else segments.gather(piece, this.#writeSkip, scratch, length);
      const put = length === blockBytes
        ? commands.writeBlock(this.#writeOffset / blockBytes, from, at)
        : commands.writePart(id, this.#writeOffset, from, at, length);
      if (!put) {
        this.stalled = true;
        return false;
      }
      this.#pass(length);
    }
    this.#write = -1;
    commands.writeTaken(id);
    return true;
  }

  #pass(length: number): void {
    const { segments } = this.#p;
    this.#writeOffset += length;
    this.#writeLeft -= length;
    this.#writeSkip += length;
    while (this.#writePiece >= 0) {
      const here = segments.length[this.#writePiece] as number;
      if (this.#writeSkip < here) return;
      this.#writeSkip -= here;
      this.#writePiece = segments.next[this.#writePiece] as number;
    }
  }

  /** The request is done; its error, and for a read its slot, are set. */
  reply(id: number): void {
    const { requests, slots, segments, memory } = this.#p;
    const head = requests.cookieA[id] as number;
    const slot = requests.slot[id] as number;
    const error = requests.error[id] as number;
    this.underWay--;
    if (head >= 0) {
      const isRead = requests.type[id] === nbdCommand.read;
      const list = this.#data[head] as number;
      let written = 1;
      if (isRead && error === 0 && !this.#isBroken) {
        const skip = (requests.offset[id] as number) % blockBytes;
        segments.fill(list, slots.memory.bytes, (slots.start[slot] as number) + skip);
        written += requests.length[id] as number;
      }
      segments.release(list);
      if (error === nbdError.noSpace && !this.#isBroken && !this.#stopping) {
        memory.leave(this.#statusRegion[head] as number);
        this.ring.release(head);
        this.#again.push(head);
      } else if (error === nbdError.noSpace && this.#stopping && this.ring.keepsInFlight) {
        memory.leave(this.#statusRegion[head] as number);
      } else this.#answer(head, error === 0 ? status.ok : status.ioError, written);
    }
    if (slot >= 0) slots.free(slot);
    requests.free(id);
  }

  /** Tells the driver; the region of the status byte was kept for this. */
  #answer(head: number, verdict: number, written: number): void {
    const region = this.#statusRegion[head] as number;
    if (!this.#isBroken) {
      this.#p.memory.region(region).bytes[this.#statusAt[head] as number] = verdict;
      this.ring.push(head, written);
    }
    this.#p.memory.leave(region);
  }
}
