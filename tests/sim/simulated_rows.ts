/** The rows of the volumes and snapshots of one simulated cloud, and what each snapshot was taken of. */
import { blockBytes } from "../../services/viperblock/format.ts";
import { type Books, keptBy } from "../../services/viperblock/chunks/collector.ts";
import {
  frozenMapKey,
  mapOwner,
  type SavedMap,
} from "../../services/viperblock/maps/map_objects.ts";
import { ownEpoch, sharedEpoch } from "../../services/viperblock/mounts/shared_chunks.ts";
import type { SnapshotRow, VolumeRow } from "../../services/viperblock/records.ts";
import type { Random } from "../kit/random.ts";

export class SimulatedRows {
  readonly volumes = new Map<string, VolumeRow>();
  readonly snapshots = new Map<string, SnapshotRow>();
  /** The contents of the blocks that each snapshot was taken of. */
  readonly #contents = new Map<string, Uint32Array>();
  /** The snapshots that volumes began with. */
  readonly #origins = new Map<string, string>();
  #nextSnapshot = 1;

  makeVolume(volume_id: string, sizeBlocks: number, map?: SavedMap): void {
    this.volumes.set(volume_id, {
      volume_id,
      size_bytes: sizeBlocks * blockBytes,
      epoch: 0,
      state: "ok",
      ...(map === undefined ? {} : { map }),
    });
  }

  cloneOf(volumeId: string, snapshotId: string): void {
    this.#origins.set(volumeId, snapshotId);
  }

  contentsOf(snapshotId: string): Uint32Array {
    return this.#contents.get(snapshotId) as Uint32Array;
  }

  pickSnapshot(random: Random): string {
    const ids = [...this.snapshots.keys()];
    return ids[random.below(ids.length)] as string;
  }

  /** A snapshot of a volume that is being written to; its map follows. */
  beginSnapshot(volume: VolumeRow, contents: Uint32Array): { id: string; mapKey: string } {
    const id = `snap-${this.#nextSnapshot++}`;
    this.snapshots.set(id, {
      snapshot_id: id,
      volume_id: volume.volume_id,
      size_bytes: volume.size_bytes,
      state: "pending",
      epoch: volume.epoch,
      owners: keptBy(volume.map),
    });
    this.#contents.set(id, contents);
    return { id, mapKey: frozenMapKey(volume.volume_id, volume.epoch, this.#nextSnapshot) };
  }

  completeSnapshot({ epoch: _, owners: __, ...row }: SnapshotRow, map: SavedMap): void {
    this.snapshots.set(row.snapshot_id, { ...row, state: "ok", map });
  }

  /** Of a volume at rest. */
  takeSnapshot({ volume_id, size_bytes, map }: VolumeRow, contents: Uint32Array): string {
    const id = `snap-${this.#nextSnapshot++}`;
    this.snapshots.set(id, {
      snapshot_id: id,
      volume_id,
      size_bytes,
      state: "ok",
      ...(map === undefined ? {} : { map }),
    });
    this.#contents.set(id, contents);
    return id;
  }

  /** Whoever took them is gone. */
  dropPending(): void {
    for (const [id, { state }] of this.snapshots) {
      if (state === "pending") this.snapshots.delete(id);
    }
  }

  /** The map that whoever wrote this one began with. */
  inheritedBy(map: SavedMap): SavedMap | "unknown" | undefined {
    const origin = this.#origins.get(mapOwner(map));
    if (origin === undefined) return undefined;
    const snapshot = this.snapshots.get(origin);
    return snapshot?.state === "ok" ? snapshot.map : "unknown";
  }

  /** Up to which epochs its own chunks may be named by its saved map, and by others, as it is opened. */
  newestEpochs(volume: VolumeRow) {
    const mapEpoch = ownEpoch(volume.map, volume.volume_id);
    const snapshotEpoch = sharedEpoch({ ...volume, epoch: volume.epoch - 1 }, this.books);
    return { mapEpoch, snapshotEpoch, savedEpoch: Math.max(mapEpoch, snapshotEpoch) };
  }

  get books(): Books {
    return {
      volumes: {
        get: (key) => {
          const value = this.volumes.get(key);
          return value === undefined ? undefined : { value };
        },
        list: () => [...this.volumes.values()].map((value) => ({ value })),
      },
      snapshots: { list: () => [...this.snapshots.values()].map((value) => ({ value })) },
    };
  }
}
