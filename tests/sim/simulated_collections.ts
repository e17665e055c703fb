/**
 * Deletes what nobody needs any more in a simulated cloud, as the service does: at rest, and while a volume is
 * mounted and written to. Afterwards every object is one that somebody needs, and none of those is missing.
 */
import { collect, keptBy, stillNeeded } from "../../services/viperblock/chunks/collector.ts";
import { chunkKey } from "../../services/viperblock/format.ts";
import { mapChunks, mapPartKey } from "../../services/viperblock/maps/map_objects.ts";
import type { SnapshotRow } from "../../services/viperblock/records.ts";
import type { OpenedVolume } from "./opened_volume.ts";
import { Violation } from "./promises.ts";
import type { SimulatedCloud } from "./simulated_cloud.ts";

export class SimulatedCollections {
  readonly #cloud: SimulatedCloud;
  /** There is one at a time beside a mounted volume. */
  #underWay = false;

  constructor(cloud: SimulatedCloud) {
    this.#cloud = cloud;
  }

  get underWay(): boolean {
    return this.#underWay;
  }

  /** The process that was at it has ended. */
  abandon(): void {
    this.#underWay = false;
  }

  /** @param more owners that have no row any more */
  async collect(more: readonly string[] = []): Promise<void> {
    const { rows, store, objects, log } = this.#cloud;
    this.#cloud.faults(false);
    const storing = [...store.objects.keys()].map((key) => key.split("/")[1] as string);
    const owners = new Set([...rows.volumes.keys(), ...storing, ...more]);
    await this.#cloud.settle();
    await this.#cloud.until(collect(owners, rows.books, objects, log));
    this.#cloud.keys?.keepOnly(stillNeeded(rows.books));
  }

  /** What only a deleted snapshot needed, while the volume goes on. */
  collectBeside(opened: OpenedVolume, { map }: SnapshotRow): void {
    const { rows, objects, log } = this.#cloud;
    const { volumeId } = opened;
    this.#underWay = true;
    const mounted = {
      heldBy: (owner: string) => owner === volumeId ? opened.held() : Promise.resolve(undefined),
      unshare: (owner: string, ...what: Parameters<OpenedVolume["unshare"]>) =>
        owner === volumeId ? opened.unshare(...what) : Promise.resolve(),
    };
    collect(new Set([...keptBy(map), volumeId]), rows.books, objects, log, mounted).catch((error) =>
      this.#cloud.note(`collecting failed: ${error}`)
    ).finally(() => this.#underWay = false);
  }

  /** Every object is one that a map needs, and every one that a map needs is there. */
  async check(): Promise<void> {
    const { rows, store, objects } = this.#cloud;
    const needed = new Set<string>();
    const maps = [...rows.volumes.values(), ...rows.snapshots.values()].map((row) => row.map);
    for (const map of maps) {
      if (map === undefined) continue;
      for (let part = 0; part < map.parts; part++) needed.add(mapPartKey(map.key, part));
      for (const chunk of await this.#cloud.until(mapChunks(objects, map))) {
        needed.add(chunkKey(chunk.name));
      }
    }
    for (const key of needed) {
      if (!store.objects.has(key)) throw new Violation(`${key} is needed and not there`);
    }
    for (const key of store.objects.keys()) {
      if (!needed.has(key)) throw new Violation(`${key} is there and nobody needs it`);
    }
  }
}
