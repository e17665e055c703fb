/** What a volume is mounted with on the main thread, and how its worker may end. */
import type { Log } from "../../log/log.ts";
import type { SyncMode, VolumeLimits } from "../contract.ts";
import type { DamageReport } from "../damage.ts";
import type { VolumeKey } from "../encryption/volume_key.ts";
import type { Rescue } from "../engine/salvage.ts";
import type { BlockStore, SavedMap } from "../maps/map_objects.ts";

export interface MountOptions {
  readonly volumeId: string;
  readonly sizeBytes: number;
  readonly limits?: VolumeLimits;
  readonly sync?: SyncMode;
  /** Of an encrypted volume. */
  readonly key?: VolumeKey;
  readonly epoch: number;
  /** The epoch of the map in the object store; 0 when there is none of this volume's own. */
  readonly savedEpoch: number;
  /** The epoch of the map that the mount began with, if the volume wrote it itself; as `savedEpoch` unless given. */
  readonly mapEpoch?: number;
  /** The newest epoch whose chunks others may name; as `savedEpoch` unless given. */
  readonly snapshotEpoch?: number;
  /** The volume's own directory; exists. */
  readonly directory: string;
  readonly socket: string;
  readonly vhostSocket?: string;
  readonly store: BlockStore;
  readonly log: Log;
  readonly cacheBytes: number;
  /** Files that its chunks may be kept in on this node; none unless given. */
  readonly cacheFiles?: number;
  readonly segmentBudget: number;
  readonly reserveBytes: number;
  readonly spacePatienceMs: number;
  /** Called when there was no room for a log file. */
  readonly noRoom?: () => void;
  /** It was refused because it is damaged: serve what can be read of it. */
  readonly rescue?: Rescue;
  /** How long is waited each time before a log is read again that the disk could not read. */
  readonly readAgainMs?: readonly number[];
  /** Nothing is tried again once it has come. */
  readonly signal?: AbortSignal;
}

export interface Served {
  readonly replayed_batches: number;
  /** It is served for reading only. */
  readonly damage?: DamageReport;
}

/** Why a worker ended. */
export type Ending =
  | { readonly kind: "stopped" }
  | { readonly kind: "unmounted"; readonly map: SavedMap }
  | {
    readonly kind: "failed";
    readonly error: string;
    readonly damaged: boolean;
    readonly mayPass?: boolean;
  };

/** The worker ended before it did what it was asked to. */
export class WorkerFailed extends Error {
  override readonly name = "WorkerFailed";
  constructor(message: string, readonly damaged: boolean, readonly mayPass = false) {
    super(message);
  }
}
