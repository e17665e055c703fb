/**
 * A mounted volume that is damaged, in its worker: served as `salvage.ts` finds it, for reading only. It has
 * no log, drains nothing and changes no file; writes are refused, and reads of what is damaged or not known
 * fail. Everything else is as with a whole volume (`volume.ts`).
 */
import { BlockMap } from "../maps/block_map.ts";
import { type BlockRange, firstWithin } from "../damage.ts";
import type { LogSeal } from "../encryption/log_seal.ts";
import { blockBytes } from "../format.ts";
import type { Machine } from "../machine/machine.ts";
import type { FromWorker, ToWorker, VolumeStatistics } from "../mounts/mailbox.ts";
import { releaseSlotsAndCache, slotsAndCache } from "./read_memory.ts";
import type { ReadCache } from "./read_cache.ts";
import type { Commands } from "./connection.ts";
import type { Door } from "./door.ts";
import { allAllocated, allAllocatedBytes } from "./extent_status.ts";
import { Fetcher } from "./fetcher.ts";
import { nbdError } from "./nbd_protocol.ts";
import { Places } from "./places.ts";
import { Reader } from "./reader.ts";
import { Requests } from "./requests.ts";
import { encryptionOf } from "./recovery.ts";
import { type Rescue, salvage } from "./salvage.ts";
import type { Slots } from "./slots.ts";
import { Throttle } from "./throttle.ts";
import { Ticker } from "./ticker.ts";
import type { Inside, VolumeOptions } from "./volume_options.ts";

/** Damaged blocks that are told when they are read; the report has all. */
const toldReads = 100;

export class DamagedVolume implements Commands {
  readonly #o: VolumeOptions;
  readonly #machine: Machine;
  readonly #post: (message: FromWorker) => void;
  readonly #requests = new Requests();
  readonly #slots: Slots;
  readonly #cache: ReadCache;
  readonly #map: BlockMap;
  readonly #places: Places;
  readonly #seal: LogSeal | undefined;
  readonly #reader: Reader;
  readonly #fetcher: Fetcher;
  readonly #ticker: Ticker;
  readonly #door: Door;
  readonly #throttle: Throttle;
  readonly #unknown: readonly BlockRange[];
  #reads = 0;
  #told = 0;
  #closing = false;
  #finished = false;

  constructor(
    options: VolumeOptions,
    rescue: Rescue,
    machine: Machine,
    post: (message: FromWorker) => void,
    openDoor: (inside: Inside) => Door,
  ) {
    this.#o = options;
    this.#machine = machine;
    this.#post = post;
    this.#map = new BlockMap(options.sizeBytes / blockBytes);
    this.#places = new Places(this.#map, options.geometry?.segmentBlocks);
    const encryption = encryptionOf(options.key, machine);
    this.#seal = encryption?.log;
    const { report, unknown } = salvage(
      machine,
      options.volumeId,
      rescue,
      this.#map,
      this.#places,
      encryption,
    );
    this.#seal?.endReplay((memory) => machine.release(memory));
    this.#unknown = unknown;
    this.#ticker = new Ticker(machine);
    const cacheBytes = Math.max(blockBytes, options.cacheBytes);
    [this.#slots, this.#cache] = slotsAndCache(machine, cacheBytes, encryption !== undefined);
    this.#reader = new Reader({
      ring: machine.ring,
      places: this.#places,
      cache: this.#cache,
      requests: this.#requests,
      slots: this.#slots,
      ...(this.#seal === undefined ? {} : { seal: this.#seal }),
      log: { buffered: () => -1, memory: this.#cache.memory },
      done: (id) => this.#door.reply(id),
      damaged: (block, container, index) => {
        if (this.#told++ > toldReads) return;
        const fields = { block, container, index };
        post({ kind: "log", level: "error", event: "block_damaged", fields });
      },
    });
    this.#fetcher = new Fetcher({
      places: this.#places,
      cache: this.#cache,
      buffers: options.transfer.windows,
      order: (order) => post({ kind: "fetch", ...order }),
      arrived: (piece, bytes, first) => this.#reader.arrived(piece, bytes, first),
    });
    this.#reader.useFetcher(this.#fetcher);
    this.#throttle = new Throttle(options.limits ?? {}, machine.now);
    this.#door = openDoor({
      requests: this.#requests,
      slots: this.#slots,
      commands: this,
      throttle: this.#throttle,
    });
    this.#door.listen();
    post({ kind: "ready", replayed_batches: 0, damage: report });
  }

  get finished(): boolean {
    return this.#finished;
  }

  turn(): void {
    const again = this.#door.advance(false);
    this.#fetcher.advance();
    if (this.#door.stalled || this.#door.wantsTick) this.#ticker.start(this.#door.throttled);
    if (this.#closing) {
      this.#door.dropClients();
      if (!this.#door.anyOpen) {
        this.#finished = true;
        this.#post({ kind: "stopped" });
        return;
      }
    }
    this.#machine.ring.turn(again || this.#door.hasReplies ? 0 : 1);
  }

  deliver(message: ToWorker): void {
    switch (message.kind) {
      case "fetched":
        this.#fetcher.finished(message.id, message.ok);
        return;
      case "held":
        // What it cannot name any more may still be needed: nothing of its epochs is to be collected.
        this.#post({ kind: "held", keys: [], epoch: 0, sequence: 0, freezes: 0 });
        return;
      case "unshared":
        this.#post({ kind: "unshared" });
        return;
      case "checkpoint":
        this.#post({ kind: "checkpointed", ok: false });
        return;
      case "audit":
        this.#post({ kind: "audited", wrong: [] });
        return;
      case "resize":
        this.#throttle.set(message.limits);
        this.#post({ kind: "resized", size_bytes: this.#o.sizeBytes });
        return;
      case "sync_mode":
        this.#post({ kind: "sync_mode_set" });
        return;
      case "report":
        this.#post({ kind: "report", statistics: this.statistics() });
        return;
      case "unmount":
      case "stop":
        this.#closing = true;
        this.#door.stopListening();
        return;
      default:
        // The others answer orders that it does not give.
        return;
    }
  }

  read(id: number): boolean {
    const { offset, length } = this.#requests;
    const first = Math.floor((offset[id] as number) / blockBytes);
    const end = Math.ceil(((offset[id] as number) + (length[id] as number)) / blockBytes);
    const count = end - first;
    const lost = firstWithin(this.#unknown, { first, count });
    if (lost >= 0) {
      this.#refuse(id, nbdError.io, lost);
      return true;
    }
    if (!this.#reader.hasRoom(count)) return false;
    const slot = this.#slots.take(count * blockBytes);
    if (slot < 0) return false;
    this.#requests.slot[id] = slot;
    this.#reads++;
    this.#reader.start(id);
    return true;
  }

  /** Who copies must read all of it, to meet what is damaged; all of it is said to be there, and no hole is told. */
  blockStatus(id: number): boolean {
    const slot = this.#slots.take(allAllocatedBytes);
    if (slot < 0) return false;
    const requests = this.#requests;
    const { memory, start } = this.#slots;
    requests.slot[id] = slot;
    requests.length[id] = allAllocated(
      new DataView(memory.buffer),
      start[slot] as number,
      requests.length[id] as number,
    );
    this.#door.reply(id);
    return true;
  }

  #refuse(id: number, error: number, block = 0): void {
    this.#requests.error[id] = error;
    this.#requests.failedBlock[id] = block;
    this.#door.reply(id);
  }

  flush(id: number): void {
    this.#door.reply(id);
  }

  writeBlock(): boolean {
    return true;
  }

  writePart(): boolean {
    return true;
  }

  /** Whichever door let it in, nothing of it was taken. */
  writeTaken(id: number): void {
    this.#refuse(id, nbdError.notPermitted);
  }

  zero(id: number): boolean {
    this.#refuse(id, nbdError.notPermitted);
    return true;
  }

  statistics(): VolumeStatistics {
    return {
      connections: this.#door.connected,
      mapped_blocks: this.#map.mappedBlocks,
      segments: this.#places.segments.size,
      chunks: this.#places.chunks.filter((each) => each !== undefined).length,
      chunk_blocks: 0,
      live_chunk_blocks: 0,
      chunks_compacted: 0,
      blocks_compacted: 0,
      dirty_bytes: 0,
      guest_read_bytes: 0,
      guest_written_bytes: 0,
      throttle_waits: this.#throttle.waits,
      reads: this.#reads,
      writes: 0,
      flushes: 0,
      cache_hits: this.#cache.hits,
      cache_misses: this.#cache.misses,
      log_written_bytes: 0,
      windows_fetched: this.#fetcher.fetches,
      chunk_cache_hits: 0,
      chunk_cache_misses: 0,
      chunk_cache_wrong: 0,
      chunk_cache_bytes: 0,
      chunk_cache_files: 0,
      windows_kept: 0,
      windows_not_kept: 0,
      chunks_stored: 0,
      latencies: {},
    };
  }

  close(): void {
    this.#door.close();
    this.#seal?.[Symbol.dispose]();
    this.#machine.ring.close();
    for (const segment of this.#places.segments.values()) this.#machine.disk.close(segment.fd);
    this.#places.forgetSegments();
  }

  release(): void {
    this.#door.release();
    releaseSlotsAndCache(this.#slots, this.#cache);
  }
}
