/**
 * What is around the volumes of one run: a world in which time passes only when it is told to, one node's disk,
 * the object store, the keys, the rows, and a trace of what happened.
 */
import { joined } from "../../services/aws/bytes.ts";
import type { Log } from "../../services/log/log.ts";
import { SealedObjects } from "../../services/viperblock/encryption/sealed_objects.ts";
import { blockBytes, type Geometry } from "../../services/viperblock/format.ts";
import { SimulatedDisk } from "../../services/viperblock/machine/simulated_disk.ts";
import { SimulatedStore } from "../../services/viperblock/machine/simulated_store.ts";
import { World } from "../../services/viperblock/machine/simulated_world.ts";
import { asCheckpointOf } from "../../services/viperblock/maps/checkpoint_copy.ts";
import { type BlockStore, mapParts } from "../../services/viperblock/maps/map_objects.ts";
import type { VolumeRow } from "../../services/viperblock/records.ts";
import type { Random } from "../kit/random.ts";
import { plaintextIn } from "./plaintext.ts";
import { Violation } from "./promises.ts";
import { SimulatedKeys } from "./simulated_keys.ts";
import { SimulatedRows } from "./simulated_rows.ts";

/** Small, so that a short history fills segments and chunks. */
export const geometry: Geometry = { segmentBlocks: 24, batchBlocks: 5, chunkBlocks: 12 };
export const directory = "/volume";

export class SimulatedCloud {
  readonly world: World;
  readonly disk: SimulatedDisk;
  readonly store: SimulatedStore;
  /** The store as volumes see it. */
  readonly objects: BlockStore;
  /** Of a run whose volumes are encrypted. */
  readonly keys: SimulatedKeys | undefined;
  readonly rows = new SimulatedRows();
  readonly log: Log;
  readonly trace: string[] = [];
  readonly #random: Random;

  constructor(seed: number, random: Random) {
    this.#random = random;
    this.world = new World(random);
    this.disk = new SimulatedDisk(this.world, directory, geometry.segmentBlocks * blockBytes);
    this.store = new SimulatedStore(this.world);
    // A share of the runs, and by no draw: the others go on being what they were.
    this.keys = seed % 3 === 1 ? new SimulatedKeys(seed) : undefined;
    this.objects = this.sealed(this.store);
    const say = (event: string, fields?: unknown) =>
      this.note(`log: ${event} ${JSON.stringify(fields)?.slice(0, 200)}`);
    this.log = { debug: say, info: say, warn: say, error: say, with: () => this.log };
  }

  note(what: string): void {
    this.trace.push(`${this.world.now} ${what}`);
  }

  /** Disk and store begin to fail as chance has it, or stop failing. */
  faults(on: boolean): void {
    const random = this.#random;
    const sometimes = (n: number) => on && random.below(3) === 0 ? n : 0;
    this.disk.faults.files = sometimes(30);
    this.disk.faults.requests = sometimes(2000);
    this.disk.faults.flips = sometimes(200);
    this.disk.room = on && random.below(3) === 0 ? 3 + random.below(6) : Infinity;
    this.store.faults = sometimes(10);
    this.store.awayUntil = on && random.below(4) === 0 ? this.world.now + random.below(4000) : 0;
  }

  /** Lets the world go on until the work is done. */
  async until<T>(work: Promise<T>): Promise<T> {
    let over = false;
    const done = work.finally(() => over = true);
    done.catch(() => {});
    for (let i = 0; !over; i++) {
      if (i > 100_000) throw new Violation("the work does not end");
      for (let tick = 0; tick < 8; tick++) await null;
      this.world.step();
    }
    return await done;
  }

  /** Lets what a dead process sent arrive: it is here by then, or never. */
  async settle(): Promise<void> {
    const until = this.world.now + 10_000;
    while (this.world.now < until && this.world.step()) {
      for (let tick = 0; tick < 8; tick++) await null;
    }
  }

  /** All that is local goes; what the next mount finds is what the store has. */
  async moveAway({ volume_id, map }: VolumeRow): Promise<void> {
    const parts: Uint8Array[] = [];
    if (map !== undefined) {
      const reading = (async () => {
        const stored = asCheckpointOf(volume_id, mapParts(this.objects, map));
        for await (const part of stored) parts.push(part);
      })();
      await this.until(reading);
    }
    const whole = joined(parts);
    const sealed = this.keys?.checkpoint(volume_id).next(whole, true) ?? whole;
    this.disk.replaceAll(map === undefined ? undefined : sealed);
  }

  /** A store as volumes see it. */
  sealed(store: BlockStore): BlockStore {
    return this.keys === undefined ? store : new SealedObjects(store, this.keys);
  }

  /** A chunk as it was before it was sealed. */
  chunk(key: string): Uint8Array<ArrayBuffer> | undefined {
    const stored = this.store.objects.get(key);
    return stored === undefined ? undefined : this.keys?.opened(key, stored) ?? stored;
  }

  /** What an encrypted volume wrote is nowhere to be read. */
  lookForPlaintext(): void {
    if (this.keys === undefined) return;
    for (const bytes of [...this.disk.contents(), ...this.store.objects.values()]) {
      const word = plaintextIn(bytes);
      if (word !== undefined) {
        throw new Violation(`the guest's stamp ${word} lies there in the clear`);
      }
    }
  }

  /** All volumes and snapshots are deleted: nothing is left over. */
  end(): void {
    if (this.keys !== undefined && this.keys.count > 0) {
      throw new Violation(`${this.keys.count} keys are left over`);
    }
    this.keys?.end();
    if (this.store.objects.size > 0) {
      throw new Violation(`left over: ${[...this.store.objects.keys()].join(", ")}`);
    }
  }
}
