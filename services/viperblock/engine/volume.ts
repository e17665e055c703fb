/**
 * One mounted volume, in its worker: the loop that blocks in the ring and everything that it turns.
 * There are no promises here: each turn reaps completions, moves every part on as far as it
 * goes, and waits for the next completion.
 *
 * A write is answered when it and all before it are in the log; a flush when the log is synced. A
 * failure of the log ends the loop by an exception: sockets are closed, the main thread starts a
 * new worker, and clients reconnect and repeat what they had no answer to.
 */
import type { Memory } from "../../../ffi/libc.ts";
import type { SyncMode, VolumeLimits } from "../contract.ts";
import type { Level } from "../../log/log.ts";
import { BlockMap } from "../maps/block_map.ts";
import { CacheSeal } from "../encryption/cache_seal.ts";
import type { LogSeal } from "../encryption/log_seal.ts";
import type { VolumeKey } from "../encryption/volume_key.ts";
import {
  blockBytes,
  chunkContainer,
  chunkHeaderBytes,
  type Geometry,
  standardGeometry,
} from "../format.ts";
import type { Machine } from "../machine/machine.ts";
import type { FromWorker, ToWorker, VolumeStatistics } from "../mounts/mailbox.ts";
import { mapKey } from "../maps/map_objects.ts";
import { releaseSlotsAndCache, slotsAndCache } from "./read_memory.ts";
import type { ReadCache } from "./read_cache.ts";
import { Audit } from "./audit.ts";
import { Checkpointer } from "./checkpoint.ts";
import { Closing } from "./closing.ts";
import { Compactor, idlePauseMs } from "./compactor.ts";
import { VolumeCommands } from "./commands.ts";
import { ChunkCache } from "./chunk_cache.ts";
import type { Commands } from "./connection.ts";
import type { Door } from "./door.ts";
import { Drainer } from "./drainer.ts";
import { Fetcher } from "./fetcher.ts";
import { Holdings } from "./holdings.ts";
import { Latencies, TurnClock } from "./latencies.ts";
import { LogWriter } from "./log_writer.ts";
import { Maintenance } from "./maintenance.ts";
import { partialRead, PartialWrites } from "./partial_writes.ts";
import { Places } from "./places.ts";
import { Reader } from "./reader.ts";
import { encryptionOf, recover } from "./recovery.ts";
import { Requests } from "./requests.ts";
import type { Slots } from "./slots.ts";
import { Snapshotter } from "./snapshotter.ts";
import { Throttle } from "./throttle.ts";
import { Ticker } from "./ticker.ts";

/** Of the map, in one part of an audit: guests wait for it. */
const auditedLeaves = 4;

export interface VolumeOptions {
  readonly volumeId: string;
  readonly sizeBytes: number;
  readonly limits?: VolumeLimits;
  /** When nothing is said, `flush`. */
  readonly sync?: SyncMode;
  readonly epoch: number;
  /** The epoch of the map in the object store; chunks of later epochs are this log's own. */
  readonly savedEpoch: number;
  readonly mapEpoch: number;
  /** The newest epoch whose chunks others may name. */
  readonly snapshotEpoch: number;
  readonly cacheBytes: number;
  /** Files that its chunks may be kept in on this node. */
  readonly cacheFiles?: number;
  /** Only the simulation has others than what is usual. */
  readonly cacheShape?: { readonly slots: number; readonly refusalPauseMs: number };
  /** Log segments that the volume may hold before writes wait for the drain. */
  readonly segmentBudget: number;
  /** How long writes wait for space before they fail with ENOSPC. */
  readonly spacePatienceMs: number;
  /** Of an encrypted volume. */
  readonly key?: VolumeKey;
  readonly geometry?: Geometry;
  /** How long nothing is looked for after nothing was found to tidy up. */
  readonly idlePauseMs?: number;
  /** Memory that chunks and map pieces pass through to and from the object store. */
  readonly transfer: {
    readonly windows: readonly Memory[];
    readonly chunk: Memory;
    readonly piece: Memory;
  };
}

/** What a door is made of: the engine as clients reach it. */
export interface Inside {
  readonly requests: Requests;
  readonly slots: Slots;
  readonly commands: Commands;
  readonly throttle: Throttle;
}

export class Volume {
  readonly #o: VolumeOptions;
  readonly #machine: Machine;
  readonly #post: (message: FromWorker) => void;
  readonly #clock: TurnClock;
  readonly #latencies = new Latencies();
  readonly #requests: Requests;
  readonly #slots: Slots;
  readonly #cache: ReadCache;
  readonly #chunkCache: ChunkCache;
  readonly #map: BlockMap;
  readonly #places: Places;
  readonly #log: LogWriter;
  readonly #seal: LogSeal | undefined;
  readonly #reader: Reader;
  readonly #fetcher: Fetcher;
  readonly #partial: PartialWrites;
  readonly #drainer: Drainer;
  readonly #checkpointer: Checkpointer;
  readonly #maintenance: Maintenance;
  readonly #snapshotter: Snapshotter;
  readonly #compactor: Compactor;
  readonly #holdings: Holdings;
  readonly #commands: VolumeCommands;
  readonly #door: Door;
  readonly #throttle: Throttle;
  readonly #closing: Closing;
  readonly #ticker: Ticker;
  readonly #replayed: number;
  #phase: "opening" | "marking" | "serving" = "opening";
  #checkpointsWanted = 0;
  #damageReports = 0;
  #audit: Audit | undefined;

  /** Recovers the volume from its directory. @throws DamagedData, RingUnavailable, SystemError */
  constructor(
    options: VolumeOptions,
    machine: Machine,
    post: (message: FromWorker) => void,
    openDoor: (inside: Inside) => Door,
  ) {
    this.#o = options;
    this.#machine = machine;
    this.#post = post;
    const { ring } = machine;
    this.#clock = new TurnClock(machine.now);
    this.#requests = new Requests(this.#clock);
    const geometry = options.geometry ?? standardGeometry;
    this.#map = new BlockMap(options.sizeBytes / blockBytes);
    this.#places = new Places(this.#map, geometry.segmentBlocks);
    const encryption = encryptionOf(options.key, machine);
    const log = encryption?.log;
    const recovered = recover(machine, options.volumeId, this.#map, this.#places, encryption);
    log?.endReplay((memory) => machine.release(memory));
    const sealed = log === undefined ? {} : { seal: log };
    this.#seal = log;
    this.#replayed = recovered.batches;
    this.#ticker = new Ticker(machine, () => this.#log.markWhenQuiet());
    const cacheBytes = Math.max(blockBytes, options.cacheBytes);
    [this.#slots, this.#cache] = slotsAndCache(machine, cacheBytes, options.key !== undefined);
    this.#log = new LogWriter(machine, this.#places, {
      volumeId: options.volumeId,
      epoch: options.epoch,
      geometry,
      nextSegment: recovered.nextSegment,
      nextSequence: recovered.nextSequence,
      ...sealed,
      committed: (id) => this.#commands.committed(id),
      flushed: (id) => this.#done(id),
    });
    this.#chunkCache = new ChunkCache({
      machine,
      volumeId: options.volumeId,
      places: this.#places,
      files: options.cacheFiles ?? 0,
      ...options.cacheShape,
      slotBlocks: geometry.chunkBlocks,
      ...(options.key === undefined ? {} : { seal: new CacheSeal(options.key) }),
      post,
    });
    const damaged = (block: number, container: number, index: number) =>
      this.#damaged(block, container, index);
    this.#reader = new Reader({
      ring,
      ...sealed,
      places: this.#places,
      cache: this.#cache,
      chunkCache: this.#chunkCache,
      requests: this.#requests,
      slots: this.#slots,
      log: this.#log,
      done: (id) => {
        if (this.#requests.type[id] === partialRead) this.#partial.readDone(id);
        else this.#done(id);
      },
      damaged,
    });
    this.#fetcher = new Fetcher({
      places: this.#places,
      cache: this.#cache,
      // The last one is the compactor's.
      buffers: options.transfer.windows.slice(0, -1),
      order: (order) => post({ kind: "fetch", ...order }),
      isKept: (chunk, window) => this.#chunkCache.has(chunk, window),
      came: (chunk, window, bytes) => this.#chunkCache.keep(chunk, window, bytes, 0),
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
      ring,
      ...sealed,
      volumeId: options.volumeId,
      epoch: options.epoch,
      chunkBlocks: geometry.chunkBlocks,
      began: recovered.nextSequence,
      places: this.#places,
      log: this.#log,
      chunk: options.transfer.chunk,
      post,
      damaged,
      storedAs: (chunk) =>
        this.#chunkCache.keepAll(chunk, options.transfer.chunk, chunkHeaderBytes),
    });
    this.#checkpointer = new Checkpointer({
      volumeId: options.volumeId,
      epoch: options.epoch,
      savedEpoch: options.savedEpoch,
      mapEpoch: options.mapEpoch,
      map: this.#map,
      places: this.#places,
      log: this.#log,
      piece: options.transfer.piece,
      post,
      chunkInUse: (chunk) =>
        this.#fetcher.uses(chunk) || this.#snapshotter.holds(chunk) ||
        this.#compactor.uses(chunk) || this.#chunkCache.uses(chunk),
      gaveUp: (chunks) => {
        this.#cache.forget(new Set(chunks.map(chunkContainer)));
        for (const chunk of chunks) {
          this.#chunkCache.forget(chunk);
          this.#compactor.forget(chunk);
        }
      },
      freed: (segments) => this.#maintenance.retire(segments),
    });
    this.#checkpointer.lastAtBytes = -recovered.blocks * blockBytes;
    this.#snapshotter = new Snapshotter({
      volumeId: options.volumeId,
      epoch: options.epoch,
      map: this.#map,
      places: this.#places,
      log: this.#log,
      drainer: this.#drainer,
      checkpointer: this.#checkpointer,
      post,
      now: machine.now,
      chunkBlocks: geometry.chunkBlocks,
    });
    this.#holdings = new Holdings({
      volumeId: options.volumeId,
      epoch: options.epoch,
      places: this.#places,
      drainer: this.#drainer,
      snapshotter: this.#snapshotter,
    });
    this.#compactor = new Compactor({
      volumeId: options.volumeId,
      snapshotEpoch: options.snapshotEpoch,
      chunkBlocks: geometry.chunkBlocks,
      places: this.#places,
      drainer: this.#drainer,
      checkpointer: this.#checkpointer,
      chunk: options.transfer.chunk,
      window: options.transfer.windows.at(-1) as Memory,
      idlePauseMs: options.idlePauseMs ?? idlePauseMs,
      post,
      now: machine.now,
      damaged,
    });
    this.#maintenance = new Maintenance({
      machine,
      places: this.#places,
      log: this.#log,
      drainer: this.#drainer,
      checkpointer: this.#checkpointer,
      segmentBudget: options.segmentBudget,
      spacePatienceMs: options.spacePatienceMs,
      post,
    });
    this.#commands = new VolumeCommands({
      requests: this.#requests,
      slots: this.#slots,
      map: this.#map,
      log: this.#log,
      reader: this.#reader,
      partial: this.#partial,
      maintenance: this.#maintenance,
      sync: options.sync ?? "flush",
      reply: (id) => this.#done(id),
    });
    this.#throttle = new Throttle(options.limits ?? {}, machine.now);
    this.#door = openDoor({
      requests: this.#requests,
      slots: this.#slots,
      commands: this.#commands,
      throttle: this.#throttle,
    });
    this.#closing = new Closing({
      door: this.#door,
      partial: this.#partial,
      log: this.#log,
      drainer: this.#drainer,
      checkpointer: this.#checkpointer,
      map: this.#map,
      places: this.#places,
      snapshotter: this.#snapshotter,
      chunkCache: this.#chunkCache,
      maintenance: this.#maintenance,
      mapKey: (attempt) => mapKey(options.volumeId, options.epoch, attempt),
      post,
    });
    this.#maintenance.wantSegment();
  }

  /** Told to stop or unmount, and done with it. */
  get finished(): boolean {
    return this.#closing.finished;
  }

  /** What each container holds, for whoever checks the books. */
  get places(): Places {
    return this.#places;
  }

  /** Everything that was under way is over and was seen to be. */
  release(): void {
    this.#door.release();
    const { machine } = this.#slots;
    for (const memory of this.#log.memories) machine.release(memory);
    releaseSlotsAndCache(this.#slots, this.#cache);
    this.#chunkCache.release();
  }

  /** Lets go of files, sockets and the ring. Memory stays: the kernel may still be using it. */
  close(): void {
    this.#door.close();
    const { ring, disk } = this.#machine;
    this.#seal?.[Symbol.dispose]();
    ring.close();
    for (const file of this.#log.spares) disk.close(file.fd);
    for (const segment of this.#places.segments.values()) disk.close(segment.fd);
    this.#places.forgetSegments();
    this.#chunkCache.close();
  }

  #done(id: number): void {
    const requests = this.#requests;
    if (requests.error[id] === 0) {
      const time_ms = this.#clock.at - (requests.begun[id] as number);
      this.#latencies.count(requests.type[id] as number, time_ms);
    }
    this.#door.reply(id);
  }

  /** Moves everything on as far as it goes, then waits for a completion if nothing else is to do. */
  turn(): void {
    if (this.#phase !== "serving") {
      this.#begin();
      return;
    }
    this.#clock.expire();
    this.#log.advance();
    let again = this.#partial.advance(this.#maintenance.full);
    again = this.#door.advance(this.#maintenance.full) || again;
    const stalled = this.#partial.waiting || this.#door.stalled;
    this.#fetcher.advance();
    this.#chunkCache.paused = this.#closing.underWay;
    if (this.#drainer.running) this.#chunkCache.prepare();
    this.#chunkCache.advance();
    this.#snapshotter.advance();
    if (this.#checkpointsWanted > 0) this.#checkpoint();
    this.#maintenance.advance(stalled);
    if (!this.#closing.underWay) this.#compactor.advance();
    // What the stages after it have put into the log must not wait for an unrelated event.
    this.#log.advance();
    if (
      stalled || this.#log.unmarked || this.#maintenance.wantsTick || this.#door.wantsTick ||
      this.#snapshotter.wantsTick || this.#compactor.wantsTick
    ) this.#ticker.start(this.#door.throttled);
    if (this.#closing.underWay) again = this.#closing.advance() || again;
    // Its memory is given back now: nothing may be begun in it any more.
    if (this.#closing.finished) return;
    this.#reader.advance();
    const mayWait = !again && !this.#door.hasReplies;
    // What the wait brings is done when it is over.
    this.#clock.expire();
    this.#machine.ring.turn(mayWait ? 1 : 0);
  }

  /** Gets a segment and states in it, durably, where this epoch's log begins; then serves. */
  #begin(): void {
    if (this.#phase === "opening" && this.#log.spares.length > 0) {
      this.#phase = "marking";
      this.#log.mark();
      this.#log.flushThen(() => {
        this.#phase = "serving";
        this.#door.listen();
        this.#post({ kind: "ready", replayed_batches: this.#replayed });
      });
    }
    if (this.#phase === "opening") {
      if (this.#maintenance.full) throw new Error("there is no disk space for a log segment");
      this.#maintenance.tick();
      this.#ticker.start(this.#door.throttled);
    }
    this.#log.advance();
    this.#machine.ring.turn((this.#phase as string) === "serving" ? 0 : 1);
  }

  /** A message of the main thread. */
  deliver(message: ToWorker): void {
    if (this.#closing.finished) return;
    switch (message.kind) {
      case "segment":
        this.#maintenance.segmentCame(this.#machine.disk.open(message.path));
        return;
      case "segment_refused":
        this.#maintenance.segmentRefused();
        this.#chunkCache.giveWay();
        return;
      case "cache_file":
        this.#chunkCache.fileCame(message.path);
        return;
      case "cache_refused":
        this.#chunkCache.fileRefused();
        return;
      case "cache_allowed":
        this.#chunkCache.allow(message.files);
        return;
      case "fetched":
        if (message.id < 0) this.#compactor.fetched(message.id, message.ok);
        else this.#fetcher.finished(message.id, message.ok);
        return;
      case "stored":
        this.#drainer.storedChunk(message.ok);
        return;
      case "piece_written":
        this.#checkpointer.pieceWritten(message.ok);
        return;
      case "freeze":
        this.#snapshotter.freeze(message.key);
        return;
      case "resize":
        this.#map.sizeBlocks = message.size_bytes / blockBytes;
        this.#throttle.set(message.limits);
        this.#door.resized(message.size_bytes);
        this.#post({ kind: "resized", size_bytes: message.size_bytes });
        return;
      case "sync_mode":
        this.#commands.sync = message.sync;
        this.#post({ kind: "sync_mode_set" });
        return;
      case "checkpoint":
        this.#checkpointsWanted++;
        return;
      case "audit":
        this.#auditPart(message.begins);
        return;
      case "held":
        this.#post({ kind: "held", ...this.#holdings.held() });
        return;
      case "unshared":
        this.#holdings.unshare(message.chunks, message.freezes);
        this.#post({ kind: "unshared" });
        return;
      case "unmount":
        this.#closing.begin("unmount");
        return;
      case "stop":
        this.#closing.begin("stop");
        return;
      case "report":
        this.#post({ kind: "report", statistics: this.statistics() });
        return;
    }
  }

  /** For whoever asked by now, when none is under way; at the end of a mount there is none to be had. */
  #checkpoint(): void {
    if (this.#checkpointer.running && !this.#closing.underWay) return;
    const asked = this.#checkpointsWanted;
    this.#checkpointsWanted = 0;
    const answer = (ok: boolean) => {
      for (let i = 0; i < asked; i++) this.#post({ kind: "checkpointed", ok });
    };
    if (this.#closing.underWay) answer(false);
    else this.#checkpointer.start(undefined, answer);
  }

  #auditPart(begins: boolean): void {
    const audit = begins ? new Audit(this.#places) : this.#audit;
    const isDone = audit?.step(auditedLeaves) ?? true;
    this.#audit = isDone ? undefined : audit;
    this.#post({ kind: "audited", wrong: isDone ? audit?.wrong ?? [] : undefined });
  }

  statistics(): VolumeStatistics {
    return {
      connections: this.#door.connected,
      mapped_blocks: this.#map.mappedBlocks,
      segments: this.#places.segments.size,
      ...this.#holdings.occupied(),
      chunks_compacted: this.#compactor.compacted,
      blocks_compacted: this.#compactor.moved,
      guest_read_bytes: this.#commands.readBytes,
      guest_written_bytes: this.#log.putBytes,
      throttle_waits: this.#throttle.waits,
      reads: this.#commands.reads,
      writes: this.#commands.writes,
      flushes: this.#commands.flushes,
      cache_hits: this.#cache.hits,
      cache_misses: this.#cache.misses,
      log_written_bytes: this.#log.writtenBytes,
      windows_fetched: this.#fetcher.fetches,
      ...this.#chunkCache.statistics(),
      chunks_stored: this.#drainer.stored,
      latencies: this.#latencies.report(),
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
