/** What a volume's engine is opened with, and what of it a door for clients is made of. */
import type { Memory } from "../../../ffi/libc.ts";
import type { SyncMode, VolumeLimits } from "../contract.ts";
import type { VolumeKey } from "../encryption/volume_key.ts";
import type { Geometry } from "../format.ts";
import type { Commands } from "./connection.ts";
import type { Requests } from "./requests.ts";
import type { Slots } from "./slots.ts";
import type { Throttle } from "./throttle.ts";

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
