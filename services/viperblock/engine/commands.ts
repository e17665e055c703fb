/**
 * What clients ask of the volume, turned into work for the log, the reader and the partial writes.
 *
 * A write, trim or zeroing is done in parts: whole blocks go into the log, the parts of blocks at both
 * ends are merged first. When the last part is in the log the request is attached to it, and answered
 * once it is written, or synced for FUA. What finds no room changes nothing and is asked again.
 */
import type { BlockMap } from "../maps/block_map.ts";
import { blockBytes } from "../format.ts";
import type { SyncMode } from "../contract.ts";
import type { Commands } from "./connection.ts";
import type { LogWriter } from "./log_writer.ts";
import type { Maintenance } from "./maintenance.ts";
import { extentStatus, statusBytes } from "./extent_status.ts";
import { commandFlag, nbdCommand, nbdError } from "./nbd_protocol.ts";
import type { PartialWrites } from "./partial_writes.ts";
import type { Reader } from "./reader.ts";
import type { Requests } from "./requests.ts";
import type { Slots } from "./slots.ts";

/** Requests that are kept free for the parts of unaligned writes. */
const requestReserve = 64;

export interface CommandParts {
  readonly requests: Requests;
  readonly slots: Slots;
  readonly map: BlockMap;
  readonly log: LogWriter;
  readonly reader: Reader;
  readonly partial: PartialWrites;
  readonly maintenance: Maintenance;
  readonly sync: SyncMode;
  /** The request is done. */
  reply(request: number): void;
}

export class VolumeCommands implements Commands {
  readonly #requests: Requests;
  readonly #slots: Slots;
  readonly #map: BlockMap;
  #statusView: DataView | undefined;
  readonly #log: LogWriter;
  readonly #reader: Reader;
  readonly #partial: PartialWrites;
  readonly #maintenance: Maintenance;
  readonly #reply: (request: number) => void;
  /** When it is on stable storage what has been acknowledged. */
  sync: SyncMode;
  /** Since the mount. */
  reads = 0;
  readBytes = 0;
  writes = 0;
  flushes = 0;

  constructor(parts: CommandParts) {
    this.#requests = parts.requests;
    this.#slots = parts.slots;
    this.#map = parts.map;
    this.#log = parts.log;
    this.#reader = parts.reader;
    this.#partial = parts.partial;
    this.#maintenance = parts.maintenance;
    this.#reply = parts.reply;
    this.sync = parts.sync;
  }

  expect(blocks: Float64Array, count: number, anyRead: boolean): void {
    this.#reader.expect(blocks, count, anyRead);
  }

  /** One block that is in the read cache, as most small reads are that hit it: nothing is copied, and no slot is needed. */
  readInPlace(id: number): boolean {
    const requests = this.#requests;
    const offset = requests.offset[id] as number;
    if (requests.length[id] !== blockBytes || offset % blockBytes !== 0) return false;
    if (!this.#reader.hold(id, offset / blockBytes)) return false;
    this.reads++;
    this.readBytes += blockBytes;
    this.#reply(id);
    return true;
  }

  letGo(held: number): void {
    this.#reader.letGo(held);
  }

  read(id: number): boolean {
    const offset = this.#requests.offset[id] as number;
    const end = offset + (this.#requests.length[id] as number);
    const blocks = Math.ceil(end / blockBytes) - Math.floor(offset / blockBytes);
    if (!this.#reader.hasRoom(blocks) || this.#requests.available < requestReserve) return false;
    const slot = this.#slots.take(blocks * blockBytes);
    if (slot < 0) return false;
    this.#requests.slot[id] = slot;
    this.reads++;
    this.readBytes += end - offset;
    this.#reader.start(id);
    return true;
  }

  /** Answers from the map alone; the request's length becomes that of the answer. */
  blockStatus(id: number): boolean {
    const slot = this.#slots.take(statusBytes);
    if (slot < 0) return false;
    const requests = this.#requests;
    requests.slot[id] = slot;
    const { memory, start } = this.#slots;
    this.#statusView ??= new DataView(memory.buffer);
    requests.length[id] = extentStatus(
      this.#map,
      this.#statusView,
      start[slot] as number,
      {
        offset: requests.offset[id] as number,
        length: requests.length[id] as number,
        one: ((requests.flags[id] as number) & commandFlag.requestOne) !== 0,
      },
    );
    this.#reply(id);
    return true;
  }

  writeBlock(block: number, from: Uint8Array, at: number, address?: number): boolean {
    return this.#log.put(block, from, at, address);
  }

  writePart(id: number, offset: number, from: Uint8Array, at: number, length: number): boolean {
    return this.#requests.available > requestReserve / 2 &&
      this.#partial.start(id, offset, length, from, at);
  }

  writeTaken(id: number): void {
    this.writes++;
    this.partDone(id);
  }

  flush(id: number): void {
    this.flushes++;
    if (this.sync === "relaxed") this.#log.attach(id);
    else this.#log.flush(id);
  }

  /** TRIM and WRITE_ZEROES: whole blocks become holes; zeroes also cover the parts at both ends. */
  zero(id: number): boolean {
    const offset = this.#requests.offset[id] as number;
    const end = offset + (this.#requests.length[id] as number);
    const first = Math.ceil(offset / blockBytes);
    const last = Math.floor(end / blockBytes);
    if (this.#maintenance.full) {
      this.#requests.error[id] = nbdError.noSpace;
      this.#reply(id);
      return true;
    }
    const parts = this.#requests.type[id] === nbdCommand.writeZeroes;
    if (parts && (offset % blockBytes !== 0 || end % blockBytes !== 0)) {
      // Before anything is done: what is begun must not fail for want of room.
      if (this.#requests.available < requestReserve || !this.#partial.hasRoom(2)) return false;
    }
    if (last > first && !this.#log.hole(first, last - first)) return false;
    if (parts) {
      if (last < first) {
        this.#zeroPart(id, offset, end - offset);
      } else {
        if (offset % blockBytes !== 0) this.#zeroPart(id, offset, first * blockBytes - offset);
        if (end % blockBytes !== 0) this.#zeroPart(id, last * blockBytes, end - last * blockBytes);
      }
    }
    this.partDone(id);
    return true;
  }

  #zeroPart(id: number, offset: number, length: number): void {
    if (!this.#partial.start(id, offset, length, undefined, 0)) {
      this.#requests.error[id] = nbdError.io;
    }
  }

  /** One part of a write is in the log. */
  partDone(id: number): void {
    const left = (this.#requests.left[id] as number) - 1;
    this.#requests.left[id] = left;
    if (left === 0) this.#log.attach(id);
  }

  /** Everything of the request is written to the log. */
  committed(id: number): void {
    const fua = ((this.#requests.flags[id] as number) & commandFlag.fua) !== 0;
    const mustSync = this.sync === "always" || (this.sync === "flush" && fua);
    if (mustSync && this.#requests.error[id] === 0) this.#log.flush(id);
    else this.#reply(id);
  }
}
