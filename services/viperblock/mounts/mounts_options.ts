/** What a node serves its volumes with. */
import type { Log } from "../../log/log.ts";
import type { VolumeKey } from "../encryption/volume_key.ts";
import type { BlockStore } from "../maps/map_objects.ts";
import type { Tables } from "../records.ts";

export interface MountsOptions {
  readonly nodeId: string;
  /** Directory of all volumes' directories. */
  readonly directory: string;
  readonly socket: (volumeId: string) => string;
  readonly vhostSocket?: (volumeId: string) => string;
  readonly tables: Tables;
  readonly store: BlockStore;
  /** The key of an encrypted volume. @throws KeyGone */
  readonly keyOf: (volumeId: string) => Promise<VolumeKey>;
  readonly log: Log;
  readonly reserveBytes: number;
  /** RAM for the read cache of the next volume. */
  readonly cacheBytes: (mounted: number) => number;
  /** Files that each of so many volumes' chunks may be kept in, when those there are take so many bytes; none unless given. */
  readonly cacheFiles?: (keptBytes: number, volumes: number) => number;
  /** Log files of 32 MiB that one volume may hold. */
  readonly segmentBudget?: number;
  readonly spacePatienceMs?: number;
  /** How long is waited each time before a log is read again that the disk could not read. */
  readonly readAgainMs?: readonly number[];
  /** How long a start waits for engines to begin. */
  readonly startPatienceMs?: number;
  /** How long a stop waits for engines to end. */
  readonly stopPatienceMs?: number;
}
