/**
 * One mounted volume, in its worker: the loop that blocks in the ring and everything that it turns.
 * There are no promises here: each turn reaps completions, moves every part on as far as it
 * goes, and waits for the next completion.
 *
 * A write is answered when it and all before it are in the log; a flush when the log is synced. A
 * failure of the log ends the loop by an exception: sockets are closed, the main thread starts a
 * new worker, and clients reconnect and repeat what they had no answer to.
 */
import {
  closeFile,
  enlargeSocketBuffers,
  listenUnix,
  mapMemory,
  type Memory,
  shutdownSocket,
  unmap,
  viewAddress,
} from "../../../ffi/libc.ts";
import { Ring, ringOperations } from "../../../ffi/liburing.ts";
import type { Level } from "../../log/log.ts";
import { BlockMap } from "../block_map.ts";
import { blockBytes, chunkBytes } from "../format.ts";
import { type FromWorker, Mailbox, type ToWorker, type WorkerInit } from "../mailbox.ts";
import { ReadCache } from "../read_cache.ts";
import { Checkpointer } from "./checkpoint.ts";
import { type Commands, Connection } from "./connection.ts";
import { Drainer } from "./drainer.ts";
import { Fetcher, windowBytes } from "./fetcher.ts";
import { LogWriter } from "./log_writer.ts";
import { Maintenance } from "./maintenance.ts";
import { commandFlag, nbdCommand, nbdError } from "./nbd_protocol.ts";
import { partialRead, PartialWrites } from "./partial_writes.ts";
import { Places } from "./places.ts";
import { Reader } from "./reader.ts";
import { openLogFile, recover } from "./recovery.ts";
import { Requests } from "./requests.ts";
import { Slots } from "./slots.ts";

const maximumConnections = 16;
const tickMs = 200;
/** Requests that are kept free for the parts of unaligned writes. */
const requestReserve = 64;

export class Volume {
  readonly #init: WorkerInit;
  readonly #post: (message: FromWorker) => void;
  readonly #ring = new Ring(512);
  readonly #requests = new Requests();
  readonly #slots = new Slots();
  readonly #cache: ReadCache;
  readonly #map: BlockMap;
  readonly #places: Places;
  readonly #log: LogWriter;
  readonly #reader: Reader;
  readonly #fetcher: Fetcher;
  readonly #partial: PartialWrites;
  readonly #drainer: Drainer;
  readonly #checkpointer: Checkpointer;
  readonly #maintenance: Maintenance;
  readonly #connections: Connection[] = [];
  readonly #connectionKinds: { receive: number; send: number };
  readonly #mailbox: Mailbox;
  readonly #control: Memory = mapMemory(4096, { populate: true });
  readonly #acceptKind: number;
  readonly #mailKind: number;
  readonly #tickKind: number;
  readonly #replayed: number;
  #listener = -1;
  #accepting = false;
  #ticking = false;
  #finished = false;
  #closing = false;
  #reads = 0;
  #writes = 0;
  #flushes = 0;
  #damageReports = 0;

  /** Recovers the volume from its directory. @throws DamagedData, RingUnavailable, SystemError */
  constructor(init: WorkerInit, post: (message: FromWorker) => void) {
    this.#init = init;
    this.#post = post;
    this.#mailbox = new Mailbox(init.mailbox, init.eventFd);
    this.#map = new BlockMap(init.sizeBytes / blockBytes);
    this.#places = new Places(this.#map);
    const recovered = recover(init.directory, init.volumeId, this.#map, this.#places);
    this.#replayed = recovered.batches;
    this.#cache = new ReadCache(mapMemory(Math.max(blockBytes, init.cacheBytes)));
    this.#log = new LogWriter(this.#ring, this.#places, {
      volumeId: init.volumeId,
      epoch: init.epoch,
      nextSegment: recovered.nextSegment,
      nextSequence: recovered.nextSequence,
      committed: (id) => this.#committed(id),
      flushed: (id) => this.#reply(id),
    });
    const damaged = (block: number, container: number, index: number) =>
      this.#damaged(block, container, index);
    this.#reader = new Reader({
      ring: this.#ring,
      places: this.#places,
      cache: this.#cache,
      requests: this.#requests,
      slots: this.#slots,
      log: this.#log,
      done: (id) => {
        if (this.#requests.type[id] === partialRead) this.#partial.readDone(id);
        else this.#reply(id);
      },
      damaged,
    });
    this.#fetcher = new Fetcher({
      places: this.#places,
      cache: this.#cache,
      buffers: init.transfer.windows.map((address) => viewAddress(address, windowBytes)),
      order: (order) => post({ kind: "fetch", ...order }),
      arrived: (piece, bytes, first) => this.#reader.arrived(piece, bytes, first),
    });
    this.#reader.useFetcher(this.#fetcher);
    this.#partial = new PartialWrites({
      requests: this.#requests,
      slots: this.#slots,
      places: this.#places,
      log: this.#log,
      reader: this.#reader,
      partDone: (id) => this.#partDone(id),
    });
    this.#drainer = new Drainer({
      ring: this.#ring,
      volumeId: init.volumeId,
      epoch: init.epoch,
      places: this.#places,
      log: this.#log,
      chunk: viewAddress(init.transfer.chunk, chunkBytes),
      post,
      damaged,
    });
    this.#checkpointer = new Checkpointer({
      volumeId: init.volumeId,
      epoch: init.epoch,
      savedEpoch: init.savedEpoch,
      map: this.#map,
      places: this.#places,
      log: this.#log,
      piece: viewAddress(init.transfer.piece, init.transfer.pieceBytes),
      post,
      chunkInUse: (chunk) => this.#fetcher.uses(chunk),
      freed: (segments) => this.#maintenance.retire(segments),
    });
    this.#maintenance = new Maintenance({
      places: this.#places,
      log: this.#log,
      drainer: this.#drainer,
      checkpointer: this.#checkpointer,
      segmentBudget: init.segmentBudget,
      spacePatienceMs: init.spacePatienceMs,
      post,
    });
    this.#acceptKind = this.#ring.kind((_id, result) => this.#accepted(result));
    this.#mailKind = this.#ring.kind((_id, result) => this.#onMail(result));
    this.#tickKind = this.#ring.kind(() => this.#ticking = false);
    this.#connectionKinds = {
      receive: this.#ring.kind((id, result) => this.#connections[id]?.received(result)),
      send: this.#ring.kind((id, result) => this.#connections[id]?.sent(result)),
    };
  }

  /** Serves until told to stop or unmount. */
  run(): void {
    try {
      this.#waitForMail();
      this.#beginLog();
      this.#listen();
      this.#post({ kind: "ready", replayed_batches: this.#replayed });
      while (!this.#finished) this.#turn();
      this.#close();
      this.#unmap();
    } catch (error) {
      // Memory stays mapped: the kernel may still be ending requests that use it.
      this.#close();
      throw error;
    }
  }

  /** Everything that was under way is over and was seen to be: only the mailbox is still waited for. */
  #unmap(): void {
    for (const connection of this.#connections) connection.unmap();
    unmap(this.#cache.memory);
    unmap(this.#log.memory);
    unmap(this.#slots.memory);
  }

  #close(): void {
    for (const connection of this.#connections) {
      if (!connection.open) continue;
      // Closing alone would leave the client waiting while the ring still holds the socket.
      shutdownSocket(connection.fd);
      closeFile(connection.fd);
    }
    if (this.#listener >= 0) closeFile(this.#listener);
    this.#ring.close();
    for (const file of this.#log.spares) closeFile(file.fd);
    this.#places.closeFiles();
  }

  /** Gets a segment and states in it, durably, where this epoch's log begins. */
  #beginLog(): void {
    let synced = false;
    this.#maintenance.wantSegment();
    while (this.#log.spares.length === 0) {
      if (this.#maintenance.full) throw new Error("there is no disk space for a log segment");
      this.#maintenance.tick();
      this.#tick();
      this.#ring.turn(1);
      if (this.#finished) return;
    }
    this.#log.mark();
    this.#log.flushThen(() => synced = true);
    while (!synced) {
      this.#log.advance();
      if (!synced) this.#ring.turn(1);
    }
  }

  #listen(): void {
    try {
      Deno.removeSync(this.#init.socket);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
    this.#listener = listenUnix(this.#init.socket, 64);
    Deno.chmodSync(this.#init.socket, 0o660);
    this.#accept();
  }

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
    if (this.#closing) {
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
        this.#requests,
        this.#slots,
        this.#commands,
        { name: this.#init.volumeId, sizeBytes: this.#init.sizeBytes },
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

  readonly #commands: Commands = {
    read: (id) => this.#read(id),
    writeBlock: (block, from, at) => this.#log.put(block, from, at),
    writePart: (id, offset, from, at, length) =>
      this.#requests.available > requestReserve / 2 &&
      this.#partial.start(id, offset, length, from, at),
    writeTaken: (id) => {
      this.#writes++;
      this.#partDone(id);
    },
    flush: (id) => {
      this.#flushes++;
      this.#log.flush(id);
    },
    zero: (id) => this.#zero(id),
  };

  #read(id: number): boolean {
    const offset = this.#requests.offset[id] as number;
    const end = offset + (this.#requests.length[id] as number);
    const blocks = Math.ceil(end / blockBytes) - Math.floor(offset / blockBytes);
    if (!this.#reader.hasRoom(blocks) || this.#requests.available < requestReserve) return false;
    const slot = this.#slots.take(blocks * blockBytes);
    if (slot < 0) return false;
    this.#requests.slot[id] = slot;
    this.#reads++;
    this.#reader.start(id);
    return true;
  }

  /** TRIM and WRITE_ZEROES: whole blocks become holes; zeroes also cover the parts at both ends. */
  #zero(id: number): boolean {
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
      if (this.#requests.available < requestReserve || !this.#reader.hasRoom(2)) return false;
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
    this.#partDone(id);
    return true;
  }

  #zeroPart(id: number, offset: number, length: number): void {
    if (!this.#partial.start(id, offset, length, undefined, 0)) {
      this.#requests.error[id] = nbdError.io;
    }
  }

  /** One part of a write is in the log. */
  #partDone(id: number): void {
    const left = (this.#requests.left[id] as number) - 1;
    this.#requests.left[id] = left;
    if (left === 0) this.#log.attach(id);
  }

  /** Everything of the request is written to the log. */
  #committed(id: number): void {
    if (
      ((this.#requests.flags[id] as number) & commandFlag.fua) !== 0 &&
      this.#requests.error[id] === 0
    ) this.#log.flush(id);
    else this.#reply(id);
  }

  #reply(id: number): void {
    this.#connections[this.#requests.connection[id] as number]?.reply(id);
  }

  #turn(): void {
    this.#log.advance();
    let again = this.#partial.advance(this.#maintenance.full);
    let stalled = this.#partial.waiting;
    for (let i = 0; i < this.#connections.length; i++) {
      const connection = this.#connections[i] as Connection;
      if (!connection.open) continue;
      const was = connection.stalled;
      if (was && this.#maintenance.full) connection.refuseWrite(nbdError.noSpace);
      connection.advance();
      if (connection.stalled) stalled = true;
      else if (was) again = true;
    }
    this.#fetcher.advance();
    this.#maintenance.advance(stalled);
    // What the stages after it have put into the log must not wait for an unrelated event.
    this.#log.advance();
    if (stalled || this.#maintenance.wantsTick || !this.#accepting) this.#tick();
    this.#accept();
    if (this.#closing) again = this.#continueClosing() || again;
    this.#ring.turn(again || this.#hasReplies() ? 0 : 1);
  }

  #hasReplies(): boolean {
    for (let i = 0; i < this.#connections.length; i++) {
      if ((this.#connections[i] as Connection).hasReplies) return true;
    }
    return false;
  }

  #tick(): void {
    if (this.#ticking) return;
    this.#ticking = true;
    // struct __kernel_timespec at the start of the control page.
    const words = new Int32Array(this.#control.buffer, 0, 4);
    words[0] = 0;
    words[2] = tickMs * 1_000_000;
    this.#ring.queue(
      ringOperations.timeout,
      -1,
      0,
      this.#control.address,
      1,
      0,
      this.#tickKind,
      0,
    );
  }

  #waitForMail(): void {
    this.#ring.queue(
      ringOperations.read,
      this.#init.eventFd,
      0,
      this.#control.address + 64,
      8,
      0,
      this.#mailKind,
      0,
    );
  }

  #onMail(result: number): void {
    if (result < 0) throw new Error(`the mailbox cannot be read: ${result}`);
    this.#waitForMail();
    for (const message of this.#mailbox.receive()) this.#handle(message);
  }

  #handle(message: ToWorker): void {
    switch (message.kind) {
      case "segment":
        this.#maintenance.segmentCame(openLogFile(message.path));
        return;
      case "segment_refused":
        this.#maintenance.segmentRefused();
        return;
      case "fetched":
        this.#fetcher.finished(message.id, message.ok);
        return;
      case "stored":
        this.#drainer.storedChunk(message.ok);
        return;
      case "piece_written":
        this.#checkpointer.pieceWritten(message.ok);
        return;
      case "unmount":
        this.#beginClosing("unmount");
        return;
      case "stop":
        this.#beginClosing("stop");
        return;
      case "report":
        this.#post({ kind: "report", statistics: this.#statistics() });
        return;
    }
  }

  #statistics() {
    return {
      connections: this.#connections.filter((each) => each.open).length,
      mapped_blocks: this.#map.mappedBlocks,
      segments: this.#places.segments.size,
      chunks: this.#places.chunks.filter((each) => each !== undefined).length,
      reads: this.#reads,
      writes: this.#writes,
      flushes: this.#flushes,
      cache_hits: this.#cache.hits,
      cache_misses: this.#cache.misses,
      log_written_bytes: this.#log.writtenBytes,
      windows_fetched: this.#fetcher.fetches,
      chunks_stored: this.#drainer.stored,
    };
  }

  #closingFor: "unmount" | "stop" = "stop";
  #closingStep: "connections" | "flush" | "drain" | "save" | "over" = "over";

  #beginClosing(how: "unmount" | "stop"): void {
    if (this.#closing && this.#closingFor === "unmount") return;
    this.#closing = true;
    this.#closingFor = how;
    this.#closingStep = "connections";
    if (this.#listener >= 0) {
      // Without this the accept under way would keep the old socket, and never end.
      shutdownSocket(this.#listener);
      closeFile(this.#listener);
      this.#listener = -1;
    }
  }

  /** Returns whether it moved on, so that the loop does not wait. */
  #continueClosing(): boolean {
    switch (this.#closingStep) {
      case "connections": {
        for (const connection of this.#connections) connection.drop();
        if (this.#connections.some((each) => each.open) || !this.#partial.idle) return false;
        if (this.#closingFor === "unmount") this.#log.sealSegment();
        this.#closingStep = "flush";
        let synced = false;
        this.#log.flushThen(() => {
          synced = true;
          this.#closingStep = this.#closingFor === "stop" ? "over" : "drain";
          if (this.#closingFor === "stop") {
            this.#finished = true;
            this.#post({ kind: "stopped" });
          }
        });
        this.#log.advance();
        return synced;
      }
      case "drain": {
        if (this.#drainer.running || this.#checkpointer.running) return false;
        const more = this.#drainer.start((ok) => {
          if (!ok) this.#endUnmount(false);
        });
        if (more) return true;
        this.#closingStep = "save";
        this.#checkpointer.start("map", (ok) => this.#endUnmount(ok));
        this.#log.advance();
        return true;
      }
      default:
        return false;
    }
  }

  #endUnmount(ok: boolean): void {
    const owners = new Set<string>();
    for (const chunk of this.#places.chunks) {
      if (chunk !== undefined && chunk.live > 0) owners.add(chunk.name.owner);
    }
    this.#post({
      kind: "unmounted",
      ok,
      mapped_blocks: this.#map.mappedBlocks,
      owners: [...owners],
    });
    this.#closingStep = "over";
    if (ok) {
      this.#finished = true;
      return;
    }
    // The store could not take it all: the volume is served again, and nothing is lost.
    this.#closing = false;
    this.#listen();
  }

  #damaged(block: number, container: number, index: number): void {
    // One line per block would fill the disk when a whole segment is bad.
    if (this.#damageReports++ > 100) return;
    this.#say("error", "block_damaged", { block, container, index });
  }

  #say(level: Level, event: string, fields: Record<string, unknown>): void {
    this.#post({ kind: "log", level, event, fields });
  }
}
