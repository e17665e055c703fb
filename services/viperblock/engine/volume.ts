/**
 * One mounted volume, in its worker: the loop that blocks in the ring and everything that it turns.
 * There are no promises here: each turn reaps completions, moves every part on as far as it
 * goes, and waits for the next completion.
 *
 * A write is answered when it and all before it are in the log; a flush when the log is synced. A
 * failure of the log ends the loop by an exception: sockets are closed, the main thread starts a
 * new worker, and clients reconnect and repeat what they had no answer to.
 */
import { closeFile, mapMemory, type Memory, unmap, viewAddress } from "../../../ffi/libc.ts";
import { Ring, ringOperations } from "../../../ffi/liburing.ts";
import type { Level } from "../../log/log.ts";
import { BlockMap } from "../block_map.ts";
import { blockBytes, chunkBytes } from "../format.ts";
import { type FromWorker, Mailbox, type ToWorker, type WorkerInit } from "../mailbox.ts";
import { ReadCache } from "../read_cache.ts";
import { Checkpointer } from "./checkpoint.ts";
import { Clients } from "./clients.ts";
import { Closing } from "./closing.ts";
import { VolumeCommands } from "./commands.ts";
import type { Connection } from "./connection.ts";
import { Drainer } from "./drainer.ts";
import { Fetcher, windowBytes } from "./fetcher.ts";
import { LogWriter } from "./log_writer.ts";
import { Maintenance } from "./maintenance.ts";
import { nbdError } from "./nbd_protocol.ts";
import { partialRead, PartialWrites } from "./partial_writes.ts";
import { Places } from "./places.ts";
import { Reader } from "./reader.ts";
import { openLogFile, recover } from "./recovery.ts";
import { Requests } from "./requests.ts";
import { Slots } from "./slots.ts";

const tickMs = 200;

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
  readonly #commands: VolumeCommands;
  readonly #clients: Clients;
  readonly #closing: Closing;
  readonly #mailbox: Mailbox;
  readonly #control: Memory = mapMemory(4096, { populate: true });
  readonly #mailKind: number;
  readonly #tickKind: number;
  readonly #replayed: number;
  #ticking = false;
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
      committed: (id) => this.#commands.committed(id),
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
      partDone: (id) => this.#commands.partDone(id),
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
    this.#commands = new VolumeCommands({
      requests: this.#requests,
      slots: this.#slots,
      log: this.#log,
      reader: this.#reader,
      partial: this.#partial,
      maintenance: this.#maintenance,
      reply: (id) => this.#reply(id),
    });
    this.#clients = new Clients({
      ring: this.#ring,
      requests: this.#requests,
      slots: this.#slots,
      commands: this.#commands,
      served: { name: init.volumeId, sizeBytes: init.sizeBytes },
      socket: init.socket,
    });
    this.#closing = new Closing({
      clients: this.#clients,
      partial: this.#partial,
      log: this.#log,
      drainer: this.#drainer,
      checkpointer: this.#checkpointer,
      map: this.#map,
      places: this.#places,
      post,
    });
    this.#mailKind = this.#ring.kind((_id, result) => this.#onMail(result));
    this.#tickKind = this.#ring.kind(() => this.#ticking = false);
  }

  /** Serves until told to stop or unmount. */
  run(): void {
    try {
      this.#waitForMail();
      this.#beginLog();
      this.#clients.listen();
      this.#post({ kind: "ready", replayed_batches: this.#replayed });
      while (!this.#closing.finished) this.#turn();
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
    for (const connection of this.#clients.connections) connection.unmap();
    unmap(this.#cache.memory);
    unmap(this.#log.memory);
    unmap(this.#slots.memory);
  }

  #close(): void {
    this.#clients.close();
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
      if (this.#closing.finished) return;
    }
    this.#log.mark();
    this.#log.flushThen(() => synced = true);
    while (!synced) {
      this.#log.advance();
      if (!synced) this.#ring.turn(1);
    }
  }

  #reply(id: number): void {
    this.#clients.connections[this.#requests.connection[id] as number]?.reply(id);
  }

  #turn(): void {
    this.#log.advance();
    let again = this.#partial.advance(this.#maintenance.full);
    let stalled = this.#partial.waiting;
    const connections = this.#clients.connections;
    for (let i = 0; i < connections.length; i++) {
      const connection = connections[i] as Connection;
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
    if (stalled || this.#maintenance.wantsTick || !this.#clients.accepting) this.#tick();
    this.#clients.accept();
    if (this.#closing.underWay) again = this.#closing.advance() || again;
    this.#ring.turn(again || this.#clients.hasReplies ? 0 : 1);
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
        this.#closing.begin("unmount");
        return;
      case "stop":
        this.#closing.begin("stop");
        return;
      case "report":
        this.#post({ kind: "report", statistics: this.#statistics() });
        return;
    }
  }

  #statistics() {
    return {
      connections: this.#clients.connections.filter((each) => each.open).length,
      mapped_blocks: this.#map.mappedBlocks,
      segments: this.#places.segments.size,
      chunks: this.#places.chunks.filter((each) => each !== undefined).length,
      reads: this.#commands.reads,
      writes: this.#commands.writes,
      flushes: this.#commands.flushes,
      cache_hits: this.#cache.hits,
      cache_misses: this.#cache.misses,
      log_written_bytes: this.#log.writtenBytes,
      windows_fetched: this.#fetcher.fetches,
      chunks_stored: this.#drainer.stored,
    };
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
