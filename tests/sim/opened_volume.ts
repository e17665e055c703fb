/**
 * One life of a volume: the engine opened on the simulated machine, its guest, and the main thread's side, which
 * carries out what the engine orders. Ends when it is stopped, is unmounted, or when its process dies: then nothing
 * that is still on its way to or from it is heard.
 */
import { mapMemory } from "../../ffi/libc.ts";
import type { SyncMode } from "../../services/viperblock/contract.ts";
import { audit } from "../../services/viperblock/engine/audit.ts";
import { windowBytes } from "../../services/viperblock/engine/fetcher.ts";
import { Volume } from "../../services/viperblock/engine/volume.ts";
import { blockBytes, chunkBytes, type ChunkName } from "../../services/viperblock/format.ts";
import { LocalFiles } from "../../services/viperblock/log/volume_files.ts";
import {
  type SimulatedMachine,
  simulatedMachine,
} from "../../services/viperblock/machine/simulated.ts";
import type { SavedMap } from "../../services/viperblock/maps/map_objects.ts";
import type { FromWorker, HeldChunks } from "../../services/viperblock/mounts/mailbox.ts";
import { Orders } from "../../services/viperblock/mounts/orders.ts";
import type { VolumeRow } from "../../services/viperblock/records.ts";
import type { Random } from "../kit/random.ts";
import { Guest } from "./guest.ts";
import { type Promises, Violation } from "./promises.ts";
import { directory, geometry, type SimulatedCloud } from "./simulated_cloud.ts";

/** The memory that every life passes its chunks through; there is one life at a time. */
const transfer = {
  windows: [mapMemory(windowBytes), mapMemory(windowBytes), mapMemory(windowBytes)],
  chunk: mapMemory(chunkBytes),
  piece: mapMemory(16 << 10),
};

export interface Around {
  readonly cloud: SimulatedCloud;
  readonly promises: Promises;
  readonly random: Random;
  readonly sync: SyncMode;
  /** Of chunks that it keeps on the disk; undefined when it keeps none. */
  readonly cache?: { readonly slots: number; readonly files: number };
  /** All that the volume holds has room in memory. */
  readonly hasLargeCache: boolean;
  readonly stamp: () => number;
  /** Called whenever something may have changed of what a crash would leave. */
  readonly look: (opened: OpenedVolume) => void;
}

export class OpenedVolume {
  readonly machine: SimulatedMachine;
  readonly volume: Volume;
  readonly guest: Guest;
  readonly volumeId: string;
  readonly #around: Around;
  readonly #epoch: number;
  readonly #isAlive: () => boolean;
  readonly #orders: Orders;
  /** Snapshots under way, by the keys of their maps. */
  readonly #frozen = new Map<string, string>();
  readonly #asking: ((held: HeldChunks) => void)[] = [];
  readonly #unsharing: (() => void)[] = [];
  #heardAt = 0;
  /** Chunks that it had at once at most, or places in the table that it began with. */
  #mostChunks = 0;
  /** It serves. */
  ready = false;
  /** It was stopped, or is unmounted. */
  ended = false;
  /** It did not let itself be unmounted. */
  refused = false;
  /** What it was unmounted with. */
  map: SavedMap | undefined;

  /** @throws Violation when the engine does not open it */
  constructor(around: Around, row: VolumeRow) {
    const { cloud, random, promises, sync, stamp, cache } = around;
    const { world, disk, keys } = cloud;
    this.#around = around;
    this.volumeId = row.volume_id;
    this.#epoch = row.epoch;
    const life = disk.life;
    this.#isAlive = () => life === disk.life;
    this.machine = simulatedMachine(world, disk);
    this.machine.ring.onWrite = () => promises.writeBegins();
    this.#orders = this.#carryOut();
    let guest: Guest | undefined;
    try {
      this.volume = new Volume(
        {
          volumeId: this.volumeId,
          sizeBytes: row.size_bytes,
          epoch: row.epoch,
          ...cloud.rows.newestEpochs(row),
          cacheBytes: (1 + random.below(30)) * blockBytes * (around.hasLargeCache ? 8 : 1),
          segmentBudget: 4 + random.below(6),
          ...(cache === undefined ? {} : {
            cacheFiles: cache.files,
            cacheShape: { slots: cache.slots, refusalPauseMs: 100 },
          }),
          spacePatienceMs: 1000,
          idlePauseMs: 20,
          sync,
          ...(keys === undefined ? {} : { key: keys.encryption(this.volumeId).key }),
          geometry,
          transfer,
        },
        this.machine,
        (message) => {
          // Messages take time, and come in order.
          this.#heardAt = Math.max(this.#heardAt, world.now + random.below(3));
          world.after(this.#heardAt - world.now, () => this.#hear(message));
        },
        (inside) => guest = new Guest(random, promises.history, inside, stamp, sync),
      );
    } catch (cause) {
      throw new Violation(`the volume was not opened: ${cause}`, { cause });
    }
    this.guest = guest as unknown as Guest;
    this.#mostChunks = this.volume.places.chunks.length;
  }

  #carryOut(): Orders {
    const { cache } = this.#around;
    const { world, disk, objects, keys, log } = this.#around.cloud;
    return new Orders({
      store: objects,
      files: new LocalFiles({
        system: disk,
        directory,
        reserveBytes: 0,
        segmentBytes: geometry.segmentBlocks * blockBytes,
        cacheFileBytes: (1 + (cache?.slots ?? 1) * geometry.chunkBlocks) * blockBytes,
      }),
      time: {
        now: () => world.now,
        pause: async (ms) => {
          await world.wait(ms);
          if (!this.#isAlive()) await new Promise<never>(() => {});
        },
      },
      log,
      ...(keys === undefined ? {} : { seal: keys.checkpoint(this.volumeId) }),
      ...transfer,
      send: (message) =>
        world.after(1, () => {
          if (this.#isAlive()) this.volume.deliver(message);
        }),
    });
  }

  #hear(message: FromWorker): void {
    if (!this.#isAlive() || this.#orders.take(message)) return;
    switch (message.kind) {
      case "ready":
        this.ready = true;
        break;
      case "held":
        this.#asking.shift()?.(message);
        break;
      case "unshared":
        this.#unsharing.shift()?.();
        break;
      case "frozen":
        this.#completeSnapshot(message);
        break;
      case "stopped":
        this.ended = true;
        break;
      case "unmounted":
        if (message.ok) this.ended = true;
        else this.refused = true;
        this.map = this.#savedMap(message.key, message);
        break;
      case "log":
        this.#around.cloud.log[message.level](message.event, message.fields);
    }
  }

  #savedMap(
    key: string,
    { mapped_blocks, owners }: Pick<SavedMap, "mapped_blocks" | "owners">,
  ): SavedMap {
    return { key, parts: this.#orders.mapParts, epoch: this.#epoch, mapped_blocks, owners };
  }

  #completeSnapshot(message: FromWorker & { kind: "frozen" }): void {
    const { cloud } = this.#around;
    const id = this.#frozen.get(message.key) ?? "";
    const row = cloud.rows.snapshots.get(id);
    if (row === undefined) return;
    cloud.note(`has frozen ${id}`);
    const { sequence } = message;
    cloud.rows.completeSnapshot(row, { ...this.#savedMap(message.key, message), sequence });
  }

  /** Takes a snapshot while the volume is being written to. */
  freeze(row: VolumeRow): void {
    const { cloud, promises } = this.#around;
    const { id, mapKey } = cloud.rows.beginSnapshot(row, promises.history.now.slice());
    cloud.note(`freezes ${id}`);
    this.#frozen.set(mapKey, id);
    this.volume.deliver({ kind: "freeze", key: mapKey });
  }

  /** The chunks that it holds now. */
  held(): Promise<HeldChunks> {
    return new Promise((resolve) => {
      this.#asking.push(resolve);
      this.volume.deliver({ kind: "held" });
    });
  }

  unshare(chunks: readonly ChunkName[], freezes: number): Promise<void> {
    return new Promise((resolve) => {
      this.#unsharing.push(resolve);
      const names = chunks.map(({ epoch, sequence }) => [epoch, sequence] as const);
      this.volume.deliver({ kind: "unshared", chunks: names, freezes });
    });
  }

  /** One turn of the engine, and the next thing that happens in the world. */
  async turn(): Promise<void> {
    const { cloud, look } = this.#around;
    if (!this.volume.finished) this.volume.turn();
    this.#measureTable();
    look(this);
    cloud.world.step();
    for (let i = 0; i < 4; i++) await null;
    look(this);
  }

  /** What was ever written does not make its table longer, nor its checkpoints. */
  #measureTable(): void {
    const { chunks } = this.volume.places;
    let count = 0;
    for (const chunk of chunks) if (chunk !== undefined) count++;
    // One may have come and another gone in the same turn.
    this.#mostChunks = Math.max(this.#mostChunks, count + 1);
    if (chunks.length <= this.#mostChunks) return;
    throw new Violation(`its table has ${chunks.length} places for ${this.#mostChunks} chunks`);
  }

  async until(done: () => boolean): Promise<void> {
    for (let i = 0; !done(); i++) {
      if (i > 20_000) throw new Violation("it does not go on");
      await this.turn();
    }
  }

  /** The books agree with the map. */
  audit(): void {
    const wrong = audit(this.volume.places);
    if (wrong.length > 0) throw new Violation(wrong.join("; "));
  }

  /** Reads everything while it is in use and nothing fails any more: what it has in memory and on the disk is all sound. */
  async reread(): Promise<void> {
    const { guest } = this;
    await this.until(() => guest.idle);
    if (guest.uncertain) return;
    const before = guest.errors;
    guest.inspect();
    await this.until(() => guest.idle);
    if (guest.errors > before) throw new Violation("what was written cannot be read any more");
    const { now } = this.#around.promises.history;
    const wrong = guest.found.findIndex((content, block) => content !== now[block]);
    if (wrong >= 0) throw new Violation(`block ${wrong} is not what was written`);
  }

  /** Reads everything and holds it against what may be there. */
  async inspect(): Promise<void> {
    this.audit();
    const { guest } = this;
    guest.inspect();
    await this.until(() => guest.idle);
    if (guest.errors > 0) {
      throw new Violation(`${guest.errors} reads failed after the volume was opened`);
    }
    const wrong = this.#around.promises.settle(guest.found);
    if (wrong !== undefined) throw new Violation(wrong);
  }
}
