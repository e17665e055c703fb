/**
 * The parts of a mounted volume, made and joined: who writes, who reads, who tidies up, and whom each tells. Nothing goes
 * on here; `volume.ts` turns them.
 */
import type { Memory } from "../../../ffi/libc.ts";
import { BlockMap } from "../maps/block_map.ts";
import { CacheSeal } from "../encryption/cache_seal.ts";
import type { LogSeal } from "../encryption/log_seal.ts";
import { blockBytes, chunkHeaderBytes, standardGeometry } from "../format.ts";
import type { Machine } from "../machine/machine.ts";
import type { FromWorker } from "../mounts/mailbox.ts";
import { mapKey } from "../maps/map_objects.ts";
import { releaseSlotsAndCache, slotsAndCache } from "./read_memory.ts";
import type { ReadCache } from "./read_cache.ts";
import { Checkpointer } from "./checkpoint.ts";
import { Closing } from "./closing.ts";
import { Compactor, idlePauseMs } from "./compactor.ts";
import { VolumeCommands } from "./commands.ts";
import { ChunkCache } from "./chunk_cache.ts";
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
import type { Inside, VolumeOptions } from "./volume_options.ts";

export class Parts {
  readonly #machine: Machine;
  readonly #post: (message: FromWorker) => void;
  readonly clock: TurnClock;
  readonly latencies = new Latencies();
  readonly requests: Requests;
  readonly slots: Slots;
  readonly cache: ReadCache;
  readonly chunkCache: ChunkCache;
  readonly map: BlockMap;
  readonly places: Places;
  readonly log: LogWriter;
  readonly seal: LogSeal | undefined;
  readonly reader: Reader;
  readonly fetcher: Fetcher;
  readonly partial: PartialWrites;
  readonly drainer: Drainer;
  readonly checkpointer: Checkpointer;
  readonly maintenance: Maintenance;
  readonly snapshotter: Snapshotter;
  readonly compactor: Compactor;
  readonly holdings: Holdings;
  readonly commands: VolumeCommands;
  readonly door: Door;
  readonly throttle: Throttle;
  readonly closing: Closing;
  readonly ticker: Ticker;
  readonly replayed: number;
  #damageReports = 0;

  /** Recovers the volume from its directory. @throws DamagedData, RingUnavailable, SystemError */
  constructor(
    options: VolumeOptions,
    machine: Machine,
    post: (message: FromWorker) => void,
    openDoor: (inside: Inside) => Door,
  ) {
    this.#machine = machine;
    this.#post = post;
    const { ring } = machine;
    this.clock = new TurnClock(machine.now);
    this.requests = new Requests(this.clock);
    const geometry = options.geometry ?? standardGeometry;
    this.map = new BlockMap(options.sizeBytes / blockBytes);
    this.places = new Places(this.map, geometry.segmentBlocks);
    const encryption = encryptionOf(options.key, machine);
    const log = encryption?.log;
    const recovered = recover(machine, options.volumeId, this.map, this.places, encryption);
    log?.endReplay((memory) => machine.release(memory));
    const sealed = log === undefined ? {} : { seal: log };
    this.seal = log;
    this.replayed = recovered.batches;
    this.ticker = new Ticker(machine, () => this.log.markWhenQuiet());
    const cacheBytes = Math.max(blockBytes, options.cacheBytes);
    [this.slots, this.cache] = slotsAndCache(machine, cacheBytes, options.key !== undefined);
    this.log = new LogWriter(machine, this.places, {
      volumeId: options.volumeId,
      epoch: options.epoch,
      geometry,
      nextSegment: recovered.nextSegment,
      nextSequence: recovered.nextSequence,
      ...sealed,
      committed: (id) => this.commands.committed(id),
      flushed: (id) => this.#done(id),
    });
    this.chunkCache = new ChunkCache({
      machine,
      volumeId: options.volumeId,
      places: this.places,
      files: options.cacheFiles ?? 0,
      ...options.cacheShape,
      slotBlocks: geometry.chunkBlocks,
      ...(options.key === undefined ? {} : { seal: new CacheSeal(options.key) }),
      post,
    });
    const damaged = (block: number, container: number, index: number) =>
      this.#damaged(block, container, index);
    this.reader = new Reader({
      ring,
      ...sealed,
      places: this.places,
      cache: this.cache,
      chunkCache: this.chunkCache,
      requests: this.requests,
      slots: this.slots,
      log: this.log,
      done: (id) => {
        if (this.requests.type[id] === partialRead) this.partial.readDone(id);
        else this.#done(id);
      },
      damaged,
    });
    this.fetcher = new Fetcher({
      places: this.places,
      cache: this.cache,
      // The last one is the compactor's.
      buffers: options.transfer.windows.slice(0, -1),
      order: (order) => post({ kind: "fetch", ...order }),
      isKept: (chunk, window) => this.chunkCache.has(chunk, window),
      came: (chunk, window, bytes) => this.chunkCache.keep(chunk, window, bytes, 0),
      arrived: (piece, bytes, first) => this.reader.arrived(piece, bytes, first),
    });
    this.reader.useFetcher(this.fetcher);
    this.partial = new PartialWrites({
      requests: this.requests,
      slots: this.slots,
      places: this.places,
      log: this.log,
      reader: this.reader,
      partDone: (id) => this.commands.partDone(id),
    });
    this.drainer = new Drainer({
      ring,
      ...sealed,
      volumeId: options.volumeId,
      epoch: options.epoch,
      chunkBlocks: geometry.chunkBlocks,
      began: recovered.nextSequence,
      places: this.places,
      log: this.log,
      chunk: options.transfer.chunk,
      post,
      damaged,
      storedAs: (chunk) => this.chunkCache.keepAll(chunk, options.transfer.chunk, chunkHeaderBytes),
    });
    this.checkpointer = new Checkpointer({
      volumeId: options.volumeId,
      epoch: options.epoch,
      savedEpoch: options.savedEpoch,
      mapEpoch: options.mapEpoch,
      map: this.map,
      places: this.places,
      log: this.log,
      piece: options.transfer.piece,
      post,
      chunkInUse: (chunk) =>
        this.fetcher.uses(chunk) || this.snapshotter.holds(chunk) ||
        this.compactor.uses(chunk) || this.chunkCache.uses(chunk),
      gaveUp: (chunks) => {
        this.cache.forget(chunks);
        for (const chunk of chunks) {
          this.chunkCache.forget(chunk);
          this.compactor.forget(chunk);
        }
      },
      freed: (segments) => this.maintenance.retire(segments),
    });
    this.checkpointer.lastAtBytes = -recovered.blocks * blockBytes;
    this.snapshotter = new Snapshotter({
      volumeId: options.volumeId,
      epoch: options.epoch,
      map: this.map,
      places: this.places,
      log: this.log,
      drainer: this.drainer,
      checkpointer: this.checkpointer,
      post,
      now: machine.now,
      chunkBlocks: geometry.chunkBlocks,
    });
    this.holdings = new Holdings({
      volumeId: options.volumeId,
      epoch: options.epoch,
      places: this.places,
      drainer: this.drainer,
      snapshotter: this.snapshotter,
    });
    this.compactor = new Compactor({
      volumeId: options.volumeId,
      snapshotEpoch: options.snapshotEpoch,
      chunkBlocks: geometry.chunkBlocks,
      places: this.places,
      drainer: this.drainer,
      checkpointer: this.checkpointer,
      chunk: options.transfer.chunk,
      window: options.transfer.windows.at(-1) as Memory,
      idlePauseMs: options.idlePauseMs ?? idlePauseMs,
      post,
      now: machine.now,
      damaged,
    });
    this.maintenance = new Maintenance({
      machine,
      places: this.places,
      log: this.log,
      drainer: this.drainer,
      checkpointer: this.checkpointer,
      segmentBudget: options.segmentBudget,
      spacePatienceMs: options.spacePatienceMs,
      post,
    });
    this.commands = new VolumeCommands({
      requests: this.requests,
      slots: this.slots,
      map: this.map,
      log: this.log,
      reader: this.reader,
      partial: this.partial,
      maintenance: this.maintenance,
      sync: options.sync ?? "flush",
      reply: (id) => this.#done(id),
    });
    this.throttle = new Throttle(options.limits ?? {}, machine.now);
    this.door = openDoor({
      requests: this.requests,
      slots: this.slots,
      commands: this.commands,
      throttle: this.throttle,
    });
    this.closing = new Closing({
      door: this.door,
      partial: this.partial,
      log: this.log,
      drainer: this.drainer,
      checkpointer: this.checkpointer,
      map: this.map,
      places: this.places,
      snapshotter: this.snapshotter,
      chunkCache: this.chunkCache,
      maintenance: this.maintenance,
      mapKey: (attempt) => mapKey(options.volumeId, options.epoch, attempt),
      post,
    });
  }

  #done(id: number): void {
    const requests = this.requests;
    if (requests.error[id] === 0) {
      const time_ms = this.clock.at - (requests.begun[id] as number);
      this.latencies.count(requests.type[id] as number, time_ms);
    }
    this.door.reply(id);
  }

  #damaged(block: number, container: number, index: number): void {
    // One line per block would fill the disk when a whole segment is bad.
    if (this.#damageReports++ > 100) return;
    const fields = { block, container, index };
    this.#post({ kind: "log", level: "error", event: "block_damaged", fields });
  }

  /** Everything that was under way is over and was seen to be. */
  release(): void {
    this.door.release();
    const { machine } = this.slots;
    for (const memory of this.log.memories) machine.release(memory);
    releaseSlotsAndCache(this.slots, this.cache);
    this.chunkCache.release();
  }

  /** Lets go of files, sockets and the ring. Memory stays: the kernel may still be using it. */
  close(): void {
    this.door.close();
    const { ring, disk } = this.#machine;
    this.seal?.[Symbol.dispose]();
    ring.close();
    for (const file of this.log.spares) disk.close(file.fd);
    for (const segment of this.places.segments.values()) disk.close(segment.fd);
    this.places.forgetSegments();
    this.chunkCache.close();
  }
}
