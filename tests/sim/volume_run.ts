/**
 * One simulated history of one volume, all of it from one seed: guests write while requests are
 * reordered, torn and failed, the store is slow or away, files cannot be made; the process dies or the
 * power goes at any step; the volume is opened again, moved, and at last deleted.
 *
 * What must hold: what is found after a crash is a prefix of what was done with all that was
 * acknowledged (to a flush, when the power went); reads never bring anything but what was written; the
 * books agree with the map, and no place is owned twice; at the end no object is left that nobody needs.
 */
import { Random } from "../kit/random.ts";
import { mapMemory } from "../../ffi/libc.ts";
import type { Log } from "../../services/log/log.ts";
import { type Books, collect } from "../../services/viperblock/collector.ts";
import { audit } from "../../services/viperblock/engine/audit.ts";
import { windowBytes } from "../../services/viperblock/engine/fetcher.ts";
import { LogFailed } from "../../services/viperblock/engine/log_writer.ts";
import { Volume } from "../../services/viperblock/engine/volume.ts";
import {
  blockBytes,
  chunkBytes,
  chunkKey,
  type Geometry,
} from "../../services/viperblock/format.ts";
import {
  type SimulatedMachine,
  simulatedMachine,
} from "../../services/viperblock/machine/simulated.ts";
import { SimulatedDisk } from "../../services/viperblock/machine/simulated_disk.ts";
import { SimulatedStore } from "../../services/viperblock/machine/simulated_store.ts";
import { World } from "../../services/viperblock/machine/simulated_world.ts";
import type { FromWorker } from "../../services/viperblock/mailbox.ts";
import {
  mapChunks,
  mapKey,
  mapParts,
  type SavedMap,
} from "../../services/viperblock/map_objects.ts";
import { Orders } from "../../services/viperblock/orders.ts";
import type { SnapshotRow, VolumeRow } from "../../services/viperblock/records.ts";
import { LocalFiles } from "../../services/viperblock/volume_files.ts";
import { Guest } from "./guest.ts";
import { History } from "./history.ts";

const geometry: Geometry = { segmentBlocks: 24, batchBlocks: 5, chunkBlocks: 12 };
const volumeId = "vol-simulated";
const directory = "/volume";

/** The memory that every run passes its chunks through; there is one run at a time. */
const transfer = {
  windows: [mapMemory(windowBytes), mapMemory(windowBytes)],
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
  readonly requests: number;
  readonly trace: readonly string[];
}

interface Life {
  readonly volume: Volume;
  readonly machine: SimulatedMachine;
  readonly guest: Guest;
  ready: boolean;
  /** How it ended, as the worker says. */
  ended: "stopped" | "unmounted" | undefined;
  refused: boolean;
  map: SavedMap | undefined;
}

export class VolumeRun {
  readonly #random: Random;
  readonly #world: World;
  readonly #disk: SimulatedDisk;
  readonly #store: SimulatedStore;
  readonly #history: History;
  readonly #trace: string[] = [];
  readonly #log: Log;
  #row: VolumeRow;
  readonly #snapshots = new Map<string, SnapshotRow>();
  #stamp = 0;
  #lives = 0;
  #crashes = 0;
  #requests = 0;

  constructor(readonly seed: number) {
    this.#random = new Random(seed);
    this.#world = new World(this.#random);
    this.#disk = new SimulatedDisk(this.#world, directory, geometry.segmentBlocks * blockBytes);
    this.#store = new SimulatedStore(this.#world);
    this.#history = new History(24 + this.#random.below(80));
    const say = (event: string, fields?: unknown) =>
      this.#note(`log: ${event} ${JSON.stringify(fields)?.slice(0, 200)}`);
    this.#log = { debug: say, info: say, warn: say, error: say, with: () => this.#log };
    this.#row = {
      volume_id: volumeId,
      size_bytes: this.#history.sizeBlocks * blockBytes,
      epoch: 0,
      state: "ok",
    };
  }

  get trace(): readonly string[] {
    return this.#trace;
  }

  #note(what: string): void {
    this.#trace.push(`${this.#world.now} ${what}`);
  }

  async run(): Promise<RunReport> {
    const lives = 2 + this.#random.below(4);
    let must = 0;
    for (let i = 0; i < lives; i++) {
      const life = await this.#open();
      await this.#inspect(life, must);
      must = await this.#live(life, i === lives - 1);
    }
    const last = await this.#open();
    await this.#inspect(last, must);
    await this.#unmount(last);
    const cold = await this.#open();
    await this.#inspect(cold, this.#history.length);
    await this.#unmount(cold);
    await this.#collect();
    await this.#checkStore();
    this.#row = { ...this.#row, state: "deleting" };
    await this.#collect();
    if (this.#store.objects.size > 0) {
      throw new Violation(`left over: ${[...this.#store.objects.keys()].join(", ")}`);
    }
    return {
      lives: this.#lives,
      crashes: this.#crashes,
      requests: this.#requests,
      trace: this.#trace,
    };
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
    const orders = new Orders({
      volumeId,
      epoch,
      store: this.#store,
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
      ...transfer,
      send: (message) =>
        world.after(1, () => {
          if (alive()) made.volume.deliver(message);
        }),
    });
    const hear = (message: FromWorker) => {
      if (!alive() || orders.take(message)) return;
      if (message.kind === "ready") made.ready = true;
      else if (message.kind === "stopped") made.ended = "stopped";
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
    let guest: Guest | undefined;
    let volume: Volume;
    try {
      volume = new Volume(
        {
          volumeId,
          sizeBytes: this.#row.size_bytes,
          epoch,
          savedEpoch: this.#row.map?.epoch ?? 0,
          cacheBytes: (1 + this.#random.below(30)) * blockBytes,
          segmentBudget: 4 + this.#random.below(6),
          spacePatienceMs: 1000,
          geometry,
          transfer,
        },
        machine,
        (message) => world.after(this.#random.below(3), () => hear(message)),
        (inside) => guest = new Guest(this.#random, this.#history, inside, () => ++this.#stamp),
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
    };
    await this.#until(made, () => made.ready);
    return made;
  }

  /** One turn of the engine, and the next thing that happens in the world. */
  async #turn(life: Life): Promise<void> {
    life.volume.turn();
    this.#world.step();
    for (let i = 0; i < 4; i++) await null;
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
  async #inspect(life: Life, must: number): Promise<void> {
    this.#audit(life);
    const { guest } = life;
    guest.inspect();
    await this.#until(life, () => guest.idle);
    if (guest.errors > 0) {
      throw new Violation(`${guest.errors} reads failed after the volume was opened`);
    }
    const wrong = this.#history.settle(guest.found, must);
    if (wrong !== undefined) throw new Violation(wrong);
  }

  /** Lets the guest work until something ends this life; returns how many changes must survive. */
  async #live(life: Life, last: boolean): Promise<number> {
    this.#faults(true);
    const random = this.#random;
    const steps = 50 + random.below(1500);
    const { guest } = life;
    try {
      for (let step = 0; step < steps && !guest.uncertain; step++) {
        if (random.below(3) > 0) guest.act();
        await this.#turn(life);
        if (guest.wrong.length > 0) throw new Violation(guest.wrong.join("; "));
        if (step % 64 === 0) this.#audit(life);
        if (step % 400 === 399) this.#faults(true);
      }
      if (!last && !guest.uncertain) {
        const how = random.below(6);
        if (how === 0) {
          await this.#stop(life);
          return this.#history.acknowledged;
        }
        if (how === 1) {
          this.#faults(false);
          await this.#unmount(life);
          return this.#history.acknowledged;
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
      return this.#crash(life, "process");
    }
    return this.#crash(life, random.below(2) === 0 ? "power" : "process");
  }

  #crash(life: Life, kind: "power" | "process"): number {
    this.#crashes++;
    this.#requests += life.guest.done;
    const history = this.#history;
    this.#note(
      `${kind} ends; ${history.length} changes, ${history.acknowledged} acknowledged, ${history.durable} durable`,
    );
    this.#store.life++;
    life.machine.ring.crash();
    if (kind === "power") this.#disk.powerCut();
    else this.#disk.processEnd();
    life.machine.releaseAll();
    return kind === "power" ? history.durable : history.acknowledged;
  }

  async #stop(life: Life): Promise<void> {
    this.#note("stops");
    life.volume.deliver({ kind: "stop" });
    await this.#until(life, () => life.ended !== undefined);
    this.#end(life);
  }

  #end(life: Life): void {
    this.#requests += life.guest.done;
    this.#store.life++;
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
    await this.#moveAway();
  }

  /** All that is local goes; what the next mount finds is what the store has. */
  async #moveAway(): Promise<void> {
    const { map } = this.#row;
    const parts: Uint8Array[] = [];
    if (map !== undefined) {
      const reading = (async () => {
        for await (const part of mapParts(this.#store, map)) parts.push(part);
      })();
      await this.#world_until(reading);
    }
    const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of parts) {
      whole.set(part, at);
      at += part.length;
    }
    this.#disk.replaceAll(map === undefined ? undefined : whole);
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

  #books(): Books {
    const rows = [{ key: volumeId, value: this.#row }];
    return {
      volumes: {
        get: (key) => rows.find((row) => row.key === key),
        list: () => rows,
      },
      snapshots: { list: () => [...this.#snapshots.values()].map((value) => ({ value })) },
    };
  }

  async #collect(): Promise<void> {
    this.#faults(false);
    // What a dead process sent is here by then, or never.
    this.#world.runFor(10_000);
    await this.#world_until(collect([volumeId], this.#books(), this.#store, this.#log));
  }

  /** Every object is one that a map needs, and every one that a map needs is there. */
  async #checkStore(): Promise<void> {
    const needed = new Set<string>();
    const maps = [this.#row.map, ...[...this.#snapshots.values()].map((row) => row.map)];
    for (const map of maps) {
      if (map === undefined) continue;
      for (let part = 0; part < map.parts; part++) {
        needed.add(`${map.key}/${part.toString().padStart(6, "0")}`);
      }
      for (const chunk of await this.#world_until(mapChunks(this.#store, map))) {
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
