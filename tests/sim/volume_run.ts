/**
 * One simulated history of one volume, all of it from one seed: guests write while requests are
 * reordered, torn and failed, the store is slow or away, files cannot be made; the process dies or the
 * power goes at any step; the volume is opened again, moved, and at last deleted.
 *
 * What must hold: what is found after a crash is a prefix of what was done with all that was
 * acknowledged (to a flush, when the power went); damage to what was flushed never makes anything that was
 * acknowledged go without a word; reads never bring anything but what was written; the
 * books agree with the map, and no place is owned twice; at the end no object is left that nobody needs.
 */
import { joined } from "../../services/aws/bytes.ts";
import { Random } from "../kit/random.ts";
import { mapMemory } from "../../ffi/libc.ts";
import type { Log } from "../../services/log/log.ts";
import { asCheckpointOf } from "../../services/viperblock/maps/checkpoint_copy.ts";
import {
  type Books,
  collect,
  keptBy,
  stillNeeded,
} from "../../services/viperblock/chunks/collector.ts";
import { SealedObjects } from "../../services/viperblock/encryption/sealed_objects.ts";
import type { SyncMode } from "../../services/viperblock/contract.ts";
import { audit } from "../../services/viperblock/engine/audit.ts";
import { windowBytes } from "../../services/viperblock/engine/fetcher.ts";
import { LogFailed } from "../../services/viperblock/engine/log_writer.ts";
import { Volume } from "../../services/viperblock/engine/volume.ts";
import {
  blockBytes,
  chunkBytes,
  chunkKey,
  type ChunkName,
  DamagedData,
  type Geometry,
} from "../../services/viperblock/format.ts";
import {
  type SimulatedMachine,
  simulatedMachine,
} from "../../services/viperblock/machine/simulated.ts";
import { type CrashKind, SimulatedDisk } from "../../services/viperblock/machine/simulated_disk.ts";
import { SimulatedStore } from "../../services/viperblock/machine/simulated_store.ts";
import { World } from "../../services/viperblock/machine/simulated_world.ts";
import type { FromWorker, HeldChunks } from "../../services/viperblock/mounts/mailbox.ts";
import {
  type BlockStore,
  frozenMapKey,
  mapChunks,
  mapKey,
  mapOwner,
  mapParts,
  type SavedMap,
} from "../../services/viperblock/maps/map_objects.ts";
import { Orders } from "../../services/viperblock/mounts/orders.ts";
import type { SnapshotRow, VolumeRow } from "../../services/viperblock/records.ts";
import { LocalFiles } from "../../services/viperblock/log/volume_files.ts";
import { openFound, salvageFound } from "./crash_branch.ts";
import { loseMap, type MapLosses, noMapLosses } from "./map_loss.ts";
import { plaintextIn } from "./plaintext.ts";
import { SimulatedKeys } from "./simulated_keys.ts";
import { Guest } from "./guest.ts";
import { History } from "./history.ts";

const geometry: Geometry = { segmentBlocks: 24, batchBlocks: 5, chunkBlocks: 12 };
const directory = "/volume";

/** The memory that every run passes its chunks through; there is one run at a time. */
const transfer = {
  windows: [mapMemory(windowBytes), mapMemory(windowBytes), mapMemory(windowBytes)],
  chunk: mapMemory(chunkBytes),
  piece: mapMemory(16 << 10),
};

/** A property does not hold. */
export class Violation extends Error {
  override readonly name = "Violation";
}

export interface RunReport {
  readonly lives: number;
  readonly crashes: number;
  /** Crashes beside the history, at moments at which it went on. */
  readonly branches: number;
  /** Bits and sectors that were damaged in the flushed log beside the history, and openings refused for that. */
  readonly damaged: number;
  readonly refused: number;
  /** Of those, volumes that could only be shown as they were before the damage. */
  readonly cut: number;
  /** Saved maps that were damaged beside the history, and how well they were made anew. */
  readonly maps: MapLosses;
  readonly requests: number;
  readonly compacted: number;
  readonly trace: readonly string[];
}

interface Life {
  readonly volume: Volume;
  readonly machine: SimulatedMachine;
  readonly guest: Guest;
  ready: boolean;
  /** How it ended, as the worker says. */
  ended: "stopped" | "unmounted" | undefined;
  /** Snapshots under way, by the keys of their maps. */
  readonly frozen: Map<string, string>;
  readonly asking: ((held: HeldChunks) => void)[];
  readonly unsharing: (() => void)[];
  refused: boolean;
  map: SavedMap | undefined;
}

/** What must survive a crash now. */
interface Promised {
  readonly process: number;
  readonly power: number;
}

export class VolumeRun {
  readonly #random: Random;
  /** Of its own, so that looking beside the history does not change it. */
  readonly #branching: Random;
  readonly #flipping: Random;
  readonly #losing: Random;
  readonly #maps = noMapLosses();
  /** What volumes began with. */
  readonly #origins = new Map<string, string>();
  readonly #world: World;
  readonly #disk: SimulatedDisk;
  readonly #store: SimulatedStore;
  /** The store as volumes see it. */
  readonly #objects: BlockStore;
  readonly #sync: SyncMode;
  /** Of a run whose volumes are encrypted. */
  readonly #keys: SimulatedKeys | undefined;
  #history: History;
  readonly #trace: string[] = [];
  readonly #log: Log;
  readonly #rows = new Map<string, VolumeRow>();
  /** The volume that is worked with. */
  #volumeId = "vol-first";
  readonly #snapshots = new Map<string, SnapshotRow>();
  /** What each snapshot was taken of. */
  readonly #contents = new Map<string, Uint32Array>();
  #nextSnapshot = 1;
  #collecting = false;
  #stamp = 0;
  #lives = 0;
  #crashes = 0;
  #branches = 0;
  #damaged = 0;
  #refused = 0;
  #cut = 0;
  /** Changes of which a write that has landed says that they are durable. */
  #marked = 0;
  /** Counts up whenever changes are counted from the start again. */
  #counting = 0;
  /** What an earlier life owes, until it has been seen to be there. */
  #owed: Promised | undefined;
  /** What the last look beside the history was at. */
  #looked = "";
  #requests = 0;
  #compacted = 0;

  /** @param endsWhileOpening whether openings, too, end now and then before they serve */
  constructor(readonly seed: number, readonly endsWhileOpening = true) {
    this.#random = new Random(seed);
    this.#branching = new Random(~seed);
    this.#flipping = new Random(seed ^ 0x5bd1e995);
    this.#losing = new Random(seed ^ 0x27d4eb2f);
    this.#world = new World(this.#random);
    this.#disk = new SimulatedDisk(this.#world, directory, geometry.segmentBlocks * blockBytes);
    this.#store = new SimulatedStore(this.#world);
    // A share of the runs, and by no draw: the others go on being what they were.
    this.#keys = seed % 3 === 1 ? new SimulatedKeys(seed) : undefined;
    this.#keys?.make(this.#volumeId);
    this.#sync = seed % 7 === 2 ? "always" : seed % 7 === 3 ? "relaxed" : "flush";
    this.#objects = this.#keys === undefined
      ? this.#store
      : new SealedObjects(this.#store, this.#keys);
    this.#history = new History(24 + this.#random.below(80));
    const say = (event: string, fields?: unknown) =>
      this.#note(`log: ${event} ${JSON.stringify(fields)?.slice(0, 200)}`);
    this.#log = { debug: say, info: say, warn: say, error: say, with: () => this.#log };
    this.#row = {
      volume_id: this.#volumeId,
      size_bytes: this.#history.sizeBlocks * blockBytes,
      epoch: 0,
      state: "ok",
    };
  }

  get #row(): VolumeRow {
    return this.#rows.get(this.#volumeId) as VolumeRow;
  }

  set #row(row: VolumeRow) {
    this.#rows.set(row.volume_id, row);
  }

  get trace(): readonly string[] {
    return this.#trace;
  }

  #note(what: string): void {
    this.#trace.push(`${this.#world.now} ${what}`);
  }

  async run(): Promise<RunReport> {
    await this.#life();
    // Volumes go before, between and after the snapshots that stand on them.
    for (let clones = this.#random.below(3); clones > 0 && this.#snapshots.size > 0; clones--) {
      if (this.#random.below(2) === 0) await this.#deleteVolume();
      await this.#clone(this.#pickSnapshot(), clones);
    }
    while (this.#snapshots.size > 0) {
      const snapshot = this.#pickSnapshot();
      await this.#checkSnapshot(snapshot);
      this.#snapshots.delete(snapshot);
      await this.#collect();
      await this.#checkStore();
    }
    for (const id of [...this.#rows.keys()]) {
      this.#volumeId = id;
      await this.#deleteVolume();
    }
    if (this.#keys !== undefined && this.#keys.count > 0) {
      throw new Violation(`${this.#keys.count} keys are left over`);
    }
    this.#keys?.end();
    if (this.#store.objects.size > 0) {
      throw new Violation(`left over: ${[...this.#store.objects.keys()].join(", ")}`);
    }
    return {
      lives: this.#lives,
      crashes: this.#crashes,
      branches: this.#branches,
      damaged: this.#damaged,
      refused: this.#refused,
      cut: this.#cut,
      maps: this.#maps,
      requests: this.#requests,
      compacted: this.#compacted,
      trace: this.#trace,
    };
  }

  /** The volume is opened and ends a few times, the last time in order. */
  async #life(): Promise<void> {
    const lives = 2 + this.#random.below(4);
    for (let i = 0; i < lives; i++) {
      const life = await this.#open();
      await this.#inspect(life);
      await this.#live(life, i === lives - 1);
    }
    const last = await this.#open();
    await this.#inspect(last);
    await this.#unmount(last);
    const cold = await this.#open();
    await this.#inspect(cold);
    await this.#unmount(cold);
    await this.#collect();
    await this.#checkStore();
  }

  #pickSnapshot(): string {
    const ids = [...this.#snapshots.keys()];
    return ids[this.#random.below(ids.length)] as string;
  }

  async #deleteVolume(): Promise<void> {
    if (this.#row === undefined) return;
    this.#note(`deletes ${this.#volumeId}`);
    this.#row = { ...this.#row, state: "deleting" };
    const { map } = this.#row;
    await this.#collect(map === undefined ? [] : map.owners);
    this.#rows.delete(this.#volumeId);
    await this.#checkStore();
  }

  /** A volume of its own that begins with what the snapshot holds. */
  async #clone(snapshotId: string, number: number): Promise<void> {
    const { map, size_bytes } = this.#snapshots.get(snapshotId) as SnapshotRow;
    this.#volumeId = `vol-clone${number}`;
    this.#origins.set(this.#volumeId, snapshotId);
    this.#keys?.make(this.#volumeId);
    this.#owed = undefined;
    this.#note(`makes ${this.#volumeId} of ${snapshotId}`);
    const blocks = size_bytes / blockBytes + this.#random.below(20);
    this.#history = new History(blocks, {
      history: this.#history,
      state: this.#contents.get(snapshotId) as Uint32Array,
    });
    this.#row = {
      volume_id: this.#volumeId,
      size_bytes: blocks * blockBytes,
      epoch: 0,
      state: "ok",
      ...(map === undefined ? {} : { map }),
    };
    await this.#moveAway();
    if (this.#random.below(2) === 0) {
      // The snapshot is not needed for the clone to live.
      this.#snapshots.delete(snapshotId);
      await this.#collect();
    }
    await this.#life();
  }

  /** What a snapshot holds is what the volume held when it was taken. */
  async #checkSnapshot(snapshotId: string): Promise<void> {
    const { map, size_bytes } = this.#snapshots.get(snapshotId) as SnapshotRow;
    const before = { history: this.#history, volumeId: this.#volumeId };
    const state = this.#contents.get(snapshotId) as Uint32Array;
    this.#volumeId = "vol-check";
    this.#keys?.make(this.#volumeId);
    this.#owed = undefined;
    this.#history = new History(size_bytes / blockBytes, { history: this.#history, state });
    this.#row = {
      volume_id: this.#volumeId,
      size_bytes,
      epoch: 0,
      state: "ok",
      ...(map === undefined ? {} : { map }),
    };
    await this.#loseMap();
    await this.#moveAway();
    const life = await this.#open();
    this.#note(`looks at ${snapshotId}`);
    await this.#inspect(life);
    await this.#stop(life);
    await this.#deleteVolume();
    this.#history = before.history;
    this.#volumeId = before.volumeId;
  }

  /** Freezes the volume while it is being written to. */
  #freeze(life: Life): void {
    const id = `snap-${this.#nextSnapshot++}`;
    const { epoch, size_bytes, map } = this.#row;
    const key = frozenMapKey(this.#volumeId, epoch, this.#nextSnapshot);
    this.#note(`freezes ${id}`);
    this.#snapshots.set(id, {
      snapshot_id: id,
      volume_id: this.#volumeId,
      size_bytes,
      state: "pending",
      epoch,
      owners: keptBy(map),
    });
    this.#contents.set(id, this.#history.now.slice());
    life.frozen.set(key, id);
    life.volume.deliver({ kind: "freeze", key });
  }

  #grow(life: Life): void {
    const blocks = this.#history.sizeBlocks + 1 + this.#random.below(30);
    this.#note(`grows to ${blocks} blocks`);
    this.#row = { ...this.#row, size_bytes: blocks * blockBytes };
    this.#history.grow(blocks);
    life.volume.deliver({ kind: "resize", size_bytes: blocks * blockBytes, limits: {} });
  }

  /** Deletes a snapshot, and what nobody needs any more, while the volume is being written to. */
  #deleteSnapshot(life: Life): void {
    if (this.#snapshots.size === 0 || this.#collecting) return;
    const id = this.#pickSnapshot();
    this.#note(`deletes ${id}`);
    const row = this.#snapshots.get(id) as SnapshotRow;
    this.#snapshots.delete(id);
    this.#collecting = true;
    const heldBy = (volumeId: string): Promise<HeldChunks | undefined> => {
      if (volumeId !== this.#volumeId) return Promise.resolve(undefined);
      return new Promise((resolve) => {
        life.asking.push(resolve);
        life.volume.deliver({ kind: "held" });
      });
    };
    const owners = new Set([...keptBy(row.map), this.#volumeId]);
    const unshare = (volumeId: string, chunks: readonly ChunkName[], freezes: number) => {
      if (volumeId !== this.#volumeId) return Promise.resolve();
      return new Promise<void>((resolve) => {
        life.unsharing.push(resolve);
        const names = chunks.map(({ epoch, sequence }) => [epoch, sequence] as const);
        life.volume.deliver({ kind: "unshared", chunks: names, freezes });
      });
    };
    const mounted = { heldBy, unshare };
    collect(owners, this.#books(), this.#objects, this.#log, mounted).catch((error) =>
      this.#note(`collecting failed: ${error}`)
    ).finally(() => this.#collecting = false);
  }

  #faults(on: boolean): void {
    const random = this.#random;
    const sometimes = (n: number) => on && random.below(3) === 0 ? n : 0;
    this.#disk.faults.files = sometimes(30);
    this.#disk.faults.requests = sometimes(2000);
    this.#disk.faults.flips = sometimes(200);
    this.#disk.room = on && random.below(3) === 0 ? 3 + random.below(6) : Infinity;
    this.#store.faults = sometimes(10);
    this.#store.awayUntil = on && random.below(4) === 0 ? this.#world.now + random.below(4000) : 0;
  }

  /** Opens the volume with the next epoch; waits until it serves. */
  async #open(): Promise<Life> {
    this.#faults(false);
    this.#lives++;
    this.#row = { ...this.#row, epoch: this.#row.epoch + 1, mounted_on: "here" };
    const { epoch } = this.#row;
    this.#note(`opens with epoch ${epoch}`);
    const world = this.#world;
    const life = this.#disk.life;
    const alive = () => life === this.#disk.life;
    const machine = simulatedMachine(world, this.#disk);
    machine.ring.onWrite = () => {
      const [counting, { durable }] = [this.#counting, this.#history];
      return () => {
        if (counting === this.#counting) this.#marked = Math.max(this.#marked, durable);
      };
    };
    const volumeId = this.#volumeId;
    const orders = new Orders({
      store: this.#objects,
      files: new LocalFiles({
        system: this.#disk,
        directory,
        reserveBytes: 0,
        segmentBytes: geometry.segmentBlocks * blockBytes,
      }),
      time: {
        now: () => world.now,
        pause: async (ms) => {
          await world.wait(ms);
          if (!alive()) await new Promise<never>(() => {});
        },
      },
      log: this.#log,
      ...(this.#keys === undefined ? {} : { seal: this.#keys.checkpoint(volumeId) }),
      ...transfer,
      send: (message) =>
        world.after(1, () => {
          if (alive()) made.volume.deliver(message);
        }),
    });
    const hear = (message: FromWorker) => {
      if (!alive() || orders.take(message)) return;
      if (message.kind === "ready") made.ready = true;
      else if (message.kind === "held") made.asking.shift()?.(message);
      else if (message.kind === "unshared") made.unsharing.shift()?.();
      else if (message.kind === "frozen") {
        const id = made.frozen.get(message.key) ?? "";
        const row = this.#snapshots.get(id);
        if (row === undefined) return;
        this.#note(`has frozen ${id}`);
        const { epoch: _, owners: __, ...rest } = row;
        this.#snapshots.set(id, {
          ...rest,
          state: "ok",
          map: {
            key: message.key,
            parts: orders.mapParts,
            epoch,
            mapped_blocks: message.mapped_blocks,
            sequence: message.sequence,
            owners: message.owners,
          },
        });
      } else if (message.kind === "stopped") made.ended = "stopped";
      else if (message.kind === "unmounted") {
        if (message.ok) made.ended = "unmounted";
        else made.refused = true;
        made.map = {
          key: mapKey(volumeId, epoch),
          parts: orders.mapParts,
          epoch,
          mapped_blocks: message.mapped_blocks,
          owners: message.owners,
        };
      } else if (message.kind === "log") this.#log[message.level](message.event, message.fields);
    };
    let heardAt = 0;
    let guest: Guest | undefined;
    let volume: Volume;
    try {
      volume = new Volume(
        {
          volumeId,
          sizeBytes: this.#row.size_bytes,
          epoch,
          savedEpoch: this.#newestEpoch([this.#row, ...this.#snapshots.values()]),
          mapEpoch: this.#newestEpoch([this.#row]),
          snapshotEpoch: this.#newestEpoch(this.#snapshots.values()),
          cacheBytes: (1 + this.#random.below(30)) * blockBytes,
          segmentBudget: 4 + this.#random.below(6),
          spacePatienceMs: 1000,
          idlePauseMs: 20,
          sync: this.#sync,
          ...(this.#keys === undefined ? {} : { key: this.#keys.encryption(volumeId).key }),
          geometry,
          transfer,
        },
        machine,
        (message) => {
          // Messages take time, and come in order.
          heardAt = Math.max(heardAt, world.now + this.#random.below(3));
          world.after(heardAt - world.now, () => hear(message));
        },
        (inside) =>
          guest = new Guest(
            this.#random,
            this.#history,
            inside,
            () => ++this.#stamp,
            this.#sync,
          ),
      );
    } catch (cause) {
      throw new Violation(`the volume was not opened: ${cause}`, { cause });
    }
    const made: Life = {
      volume,
      machine,
      guest: guest as unknown as Guest,
      ready: false,
      ended: undefined,
      refused: false,
      map: undefined,
      frozen: new Map(),
      asking: [],
      unsharing: [],
    };
    const ends = this.endsWhileOpening && this.#branching.below(8) === 0;
    const turns = ends ? this.#branching.below(30) : Infinity;
    for (let i = 0; i < turns; i++) {
      if (made.ready) return made;
      if (i > 20_000) throw new Violation("it does not come to serve");
      await this.#turn(made);
    }
    if (made.ready) return made;
    this.#crash(made, this.#branching.below(2) === 0 ? "power" : "process");
    return await this.#open();
  }

  /** Of the maps that this volume wrote itself. */
  #newestEpoch(rows: Iterable<{ readonly map?: SavedMap }>): number {
    const maps = [...rows].map((row) => row.map);
    return Math.max(
      0,
      ...maps.map((map) => map !== undefined && mapOwner(map) === this.#volumeId ? map.epoch : 0),
    );
  }

  /** One turn of the engine, and the next thing that happens in the world. */
  async #turn(life: Life): Promise<void> {
    life.volume.turn();
    this.#look(life);
    this.#world.step();
    for (let i = 0; i < 4; i++) await null;
    this.#look(life);
  }

  /** Looks at what a crash would leave, whenever that or what was promised has changed. */
  #look(life: Life): void {
    const { acknowledged, durable } = this.#history;
    const now = `${this.#disk.version} ${acknowledged} ${durable}`;
    if (now === this.#looked || life.ended !== undefined) return;
    this.#looked = now;
    const promised = this.#owed ?? { process: acknowledged, power: durable };
    this.#branch(life, "process", promised.process);
    this.#branch(life, "power", promised.power);
    if (this.#flipping.below(3) === 0) this.#damage(life);
  }

  /** The process ends, and something of what was flushed is not what was written. */
  #damage(life: Life): void {
    const damage = this.#disk.damageToLog(this.#flipping);
    if (damage === undefined) return;
    this.#damaged++;
    const told = `with ${JSON.stringify(damage)} damaged`;
    const disk = life.machine.ring.found("process", this.#flipping);
    disk.damage(damage.path, damage);
    let found: ReturnType<typeof openFound>;
    try {
      found = openFound(disk, ...this.#foundAs());
    } catch (cause) {
      if (!(cause instanceof DamagedData)) throw new Violation(`${told}: ${cause}`, { cause });
      this.#refused++;
      const salvaged = salvageFound(disk, ...this.#foundAs());
      found = salvaged;
      if (salvaged.isCut) {
        this.#cut++;
        // It is as it was before the damage, which may be before this history begins.
        const garbage = found.contents.findIndex((content) => !this.#history.knows(content));
        if (garbage >= 0) throw new Violation(`${told}: block ${garbage} was never written so`);
        if (found.wrong.length > 0) throw new Violation(`${told}: ${found.wrong[0]}`);
        return;
      }
    }
    // What came after the last flush that any batch names may end there, as it may in a torn write.
    const wrong = found.wrong[0] ?? this.#history.judge(found.contents, this.#marked);
    if (wrong !== undefined) throw new Violation(`${told}, ${this.#world.now}: ${wrong}`);
  }

  #foundAs() {
    return [
      this.#volumeId,
      this.#history.sizeBlocks,
      geometry,
      (key: string) => this.#chunk(key),
      this.#history.zero,
      this.#keys?.encryption(this.#volumeId),
    ] as const;
  }

  #branch(life: Life, kind: CrashKind, must: number): void {
    this.#branches++;
    const history = this.#history;
    const told = `in branch ${this.#branches} (${kind} ends at ${this.#world.now})`;
    let found: ReturnType<typeof openFound>;
    try {
      found = openFound(life.machine.ring.found(kind, this.#branching), ...this.#foundAs());
    } catch (cause) {
      throw new Violation(`${told} the volume was not opened: ${cause}`, { cause });
    }
    const [unreadable] = found.unreadable;
    if (unreadable !== undefined) {
      throw new Violation(`${told} block ${unreadable} does not match its checksum`);
    }
    const wrong = found.wrong[0] ?? history.judge(found.contents, must);
    if (wrong !== undefined) throw new Violation(`${told} ${wrong}`);
  }

  async #until(life: Life, done: () => boolean): Promise<void> {
    for (let i = 0; !done(); i++) {
      if (i > 20_000) throw new Violation("it does not go on");
      await this.#turn(life);
    }
  }

  #audit(life: Life): void {
    const wrong = audit(life.volume.places);
    if (wrong.length > 0) throw new Violation(wrong.join("; "));
  }

  /** Reads everything and holds it against what may be there. */
  async #inspect(life: Life): Promise<void> {
    this.#audit(life);
    const { guest } = life;
    guest.inspect();
    await this.#until(life, () => guest.idle);
    if (guest.errors > 0) {
      throw new Violation(`${guest.errors} reads failed after the volume was opened`);
    }
    const wrong = this.#history.settle(guest.found, this.#owed?.process ?? 0);
    if (wrong !== undefined) throw new Violation(wrong);
    this.#countAnew();
    this.#owed = undefined;
  }

  /** Lets the guest work until something ends this life. */
  async #live(life: Life, last: boolean): Promise<void> {
    this.#faults(true);
    const random = this.#random;
    const steps = 50 + random.below(1500);
    const { guest } = life;
    try {
      for (let step = 0; step < steps && !guest.uncertain; step++) {
        if (random.below(3) > 0) guest.act();
        const event = random.below(400);
        if (event === 0 && !guest.blurred) this.#freeze(life);
        else if (event === 1) this.#deleteSnapshot(life);
        else if (event === 2 && random.below(3) === 0) this.#grow(life);
        await this.#turn(life);
        if (guest.wrong.length > 0) throw new Violation(guest.wrong.join("; "));
        if (step % 64 === 0) this.#audit(life);
        if (step % 400 === 399) this.#faults(true);
      }
      if (!last && !guest.uncertain) {
        const how = random.below(6);
        if (how === 0) {
          await this.#stop(life);
          return;
        }
        if (how === 1) {
          this.#faults(false);
          await this.#unmount(life);
          return;
        }
        if (how === 2) {
          // It dies while it is unmounting.
          this.#note("begins to unmount");
          life.volume.deliver({ kind: "unmount" });
          const longest = random.below(300);
          for (let i = 0; i < longest && life.ended === undefined; i++) await this.#turn(life);
        }
      }
    } catch (error) {
      if (!(error instanceof LogFailed)) throw error;
      this.#note(`the log failed: ${error.message}`);
      this.#crash(life, "process");
      return;
    }
    this.#crash(life, random.below(2) === 0 ? "power" : "process");
  }

  #countAnew(): void {
    this.#counting++;
    this.#marked = 0;
  }

  #crash(life: Life, kind: CrashKind): void {
    this.#crashes++;
    this.#requests += life.guest.done;
    this.#compacted += life.volume.statistics().chunks_compacted;
    const history = this.#history;
    this.#note(
      `${kind} ends; ${history.length} changes, ${history.acknowledged} acknowledged, ${history.durable} durable`,
    );
    this.#endLife();
    life.machine.ring.crash();
    if (kind === "power") this.#disk.powerCut();
    else this.#disk.processEnd();
    life.machine.releaseAll();
    const { acknowledged, durable } = history;
    // What a life that did not come to serve had found, it promised no more of than the one before.
    const promised = this.#owed ?? { process: acknowledged, power: durable };
    this.#owed = { ...promised, process: promised[kind] };
  }

  /** What an encrypted volume wrote is nowhere to be read. */
  #lookForPlaintext(): void {
    if (this.#keys === undefined) return;
    for (const bytes of [...this.#disk.contents(), ...this.#store.objects.values()]) {
      const word = plaintextIn(bytes);
      if (word !== undefined) {
        throw new Violation(`the guest's stamp ${word} lies there in the clear`);
      }
    }
  }

  /** A chunk as it was before it was sealed. */
  #chunk(key: string): Uint8Array<ArrayBuffer> | undefined {
    const stored = this.#store.objects.get(key);
    return stored === undefined ? undefined : this.#keys?.opened(key, stored) ?? stored;
  }

  /** Nobody carries on what the process had begun. */
  #endLife(): void {
    this.#countAnew();
    this.#lookForPlaintext();
    this.#store.life++;
    this.#collecting = false;
    for (const [id, { state }] of this.#snapshots) {
      if (state === "pending") this.#snapshots.delete(id);
    }
  }

  async #stop(life: Life): Promise<void> {
    this.#note("stops");
    life.volume.deliver({ kind: "stop" });
    await this.#until(life, () => life.ended !== undefined);
    this.#end(life);
  }

  #end(life: Life): void {
    const { acknowledged } = this.#history;
    this.#owed = { process: acknowledged, power: acknowledged };
    this.#requests += life.guest.done;
    this.#compacted += life.volume.statistics().chunks_compacted;
    this.#endLife();
    life.volume.close();
    this.#disk.processEnd();
    life.machine.releaseAll();
  }

  async #unmount(life: Life): Promise<void> {
    this.#note("unmounts");
    this.#faults(false);
    for (life.refused = true; life.refused;) {
      life.refused = false;
      life.volume.deliver({ kind: "unmount" });
      await this.#until(life, () => life.ended !== undefined || life.refused);
    }
    this.#audit(life);
    this.#end(life);
    const { mounted_on: _, ...rest } = this.#row;
    this.#row = { ...rest, ...(life.map === undefined ? {} : { map: life.map }) };
    if (this.#random.below(3) === 0) {
      const id = `snap-${this.#nextSnapshot++}`;
      const { map, size_bytes } = this.#row;
      this.#note(`takes ${id} at rest`);
      this.#snapshots.set(id, {
        snapshot_id: id,
        volume_id: this.#volumeId,
        size_bytes,
        state: "ok",
        ...(map === undefined ? {} : { map }),
      });
      this.#contents.set(id, this.#history.now.slice());
    }
    await this.#loseMap();
    await this.#moveAway();
  }

  /** Beside the history the volume's saved map is damaged, and made anew. */
  async #loseMap(): Promise<void> {
    const { map, size_bytes } = this.#row;
    if (map === undefined) return;
    const origin = this.#origins.get(mapOwner(map));
    const snapshot = origin === undefined ? undefined : this.#snapshots.get(origin);
    const wrong = await loseMap(
      this.#store.objects,
      (store) => this.#keys === undefined ? store : new SealedObjects(store, this.#keys),
      map,
      size_bytes / blockBytes,
      origin === undefined ? undefined : snapshot?.state === "ok" ? snapshot.map : "unknown",
      this.#losing,
      this.#maps,
    );
    if (wrong !== undefined) throw new Violation(wrong);
  }

  /** All that is local goes; what the next mount finds is what the store has. */
  async #moveAway(): Promise<void> {
    const { map } = this.#row;
    const parts: Uint8Array[] = [];
    if (map !== undefined) {
      const reading = (async () => {
        const stored = asCheckpointOf(this.#volumeId, mapParts(this.#objects, map));
        for await (const part of stored) parts.push(part);
      })();
      await this.#world_until(reading);
    }
    const whole = joined(parts);
    const sealed = this.#keys?.checkpoint(this.#volumeId).next(whole, true) ?? whole;
    this.#disk.replaceAll(map === undefined ? undefined : sealed);
  }

  /** Lets the world go on until the work is done. */
  async #world_until<T>(work: Promise<T>): Promise<T> {
    let over = false;
    const done = work.finally(() => over = true);
    done.catch(() => {});
    for (let i = 0; !over; i++) {
      if (i > 100_000) throw new Violation("the work does not end");
      for (let tick = 0; tick < 8; tick++) await null;
      this.#world.step();
    }
    return await done;
  }

  /** Everybody who has objects in the store. */
  #owners(): string[] {
    return [...this.#store.objects.keys()].map((key) => key.split("/")[1] as string);
  }

  #books(): Books {
    return {
      volumes: {
        get: (key) => {
          const value = this.#rows.get(key);
          return value === undefined ? undefined : { value };
        },
        list: () => [...this.#rows.values()].map((value) => ({ value })),
      },
      snapshots: { list: () => [...this.#snapshots.values()].map((value) => ({ value })) },
    };
  }

  async #collect(more: readonly string[] = []): Promise<void> {
    this.#faults(false);
    const owners = new Set([...this.#rows.keys(), ...this.#owners(), ...more]);
    // What a dead process sent is here by then, or never.
    const until = this.#world.now + 10_000;
    while (this.#world.now < until && this.#world.step()) {
      for (let tick = 0; tick < 8; tick++) await null;
    }
    await this.#world_until(collect(owners, this.#books(), this.#objects, this.#log));
    this.#keys?.keepOnly(stillNeeded(this.#books()));
  }

  /** Every object is one that a map needs, and every one that a map needs is there. */
  async #checkStore(): Promise<void> {
    const needed = new Set<string>();
    const maps = [...this.#rows.values(), ...this.#snapshots.values()].map((row) => row.map);
    for (const map of maps) {
      if (map === undefined) continue;
      for (let part = 0; part < map.parts; part++) {
        needed.add(`${map.key}/${part.toString().padStart(6, "0")}`);
      }
      for (const chunk of await this.#world_until(mapChunks(this.#objects, map))) {
        needed.add(chunkKey(chunk.name));
      }
    }
    for (const key of needed) {
      if (!this.#store.objects.has(key)) throw new Violation(`${key} is needed and not there`);
    }
    for (const key of this.#store.objects.keys()) {
      if (!needed.has(key)) throw new Violation(`${key} is there and nobody needs it`);
    }
  }
}
