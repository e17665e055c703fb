/**
 * What the state tables hold of volumes and snapshots, and the checks of what callers send.
 *
 * A row is the truth about who may write: mounting raises the epoch and names the node by
 * compare-and-set, so of two nodes that try, one fails. A row in state `deleting` is as good as gone to
 * every caller; the work of deleting it is taken up again after a crash.
 */
import { AwsError } from "../aws/errors.ts";
import type { Bus } from "../bus/bus.ts";
import type { Log } from "../log/log.ts";
import { Table } from "../state/table.ts";
import type { BlockSnapshot, BlockVolume, SyncMode, VolumeLimits } from "./contract.ts";
import type { SealedVolumeKey } from "./encryption/master_keys.ts";
import { blockBytes, maximumBlocks, volumeIdBytes } from "./format.ts";
import { mapOwner, type SavedMap } from "./maps/map_objects.ts";

export interface VolumeRow extends BlockVolume, VolumeLimits {
  /** `deleting` also while it is being filled: one that is cut off is removed at the next start. */
  readonly state: "ok" | "deleting";
  /** What the object store has of it; undefined while it is all holes. */
  readonly map?: SavedMap;
  /** It was unmounted while it was damaged: its log stays on `mounted_on`, and nobody is served. */
  readonly set_aside?: true;
  /** It is mounted for reading only, by a map made anew: nothing of it is on the node. */
  readonly map_lost?: true;
}

export interface SnapshotRow {
  readonly snapshot_id: string;
  readonly size_bytes: number;
  /** `pending`: frozen, and on its way to the object store; `error`: its engine ended before that. */
  readonly state: "ok" | "deleting" | "pending" | "error";
  readonly map?: SavedMap;
  readonly encrypted?: true;
  /** All that it names is to be on the nodes' own disks. */
  readonly fast_restore?: true;
  /** The volume that it was taken of. */
  readonly volume_id?: string;
  /** While it is pending: the epoch that froze it, and the owners of chunks that it may name. */
  readonly epoch?: number;
  readonly owners?: readonly string[];
}

/** Rows that a caller may see. */
export const isSnapshot = (row: SnapshotRow | undefined): row is SnapshotRow =>
  row !== undefined && row.state !== "deleting";

export interface Tables extends AsyncDisposable {
  /** Sealed data keys of encrypted volumes. */
  readonly keys: Table<SealedVolumeKey>;
  readonly volumes: Table<VolumeRow>;
  readonly snapshots: Table<SnapshotRow>;
}

export async function openTables(bus: Bus, log: Log): Promise<Tables> {
  const volumes = await Table.open<VolumeRow>(bus, "ebs_volumes", log);
  const snapshots = await Table.open<SnapshotRow>(bus, "ebs_snapshots", log);
  const keys = await Table.open<SealedVolumeKey>(bus, "ebs_keys", log);
  return {
    volumes,
    snapshots,
    keys,
    async [Symbol.asyncDispose]() {
      await keys[Symbol.asyncDispose]();
      await volumes[Symbol.asyncDispose]();
      await snapshots[Symbol.asyncDispose]();
    },
  };
}

/** The map that a map's writer began with: that of a snapshot, `unknown` when that cannot be told any more. */
export function inheritedBy(
  map: SavedMap,
  { volumes, snapshots }: {
    readonly volumes: Pick<Table<VolumeRow>, "get">;
    readonly snapshots: Pick<Table<SnapshotRow>, "get">;
  },
): SavedMap | "unknown" | undefined {
  const owner = mapOwner(map);
  const writer = volumes.get(owner)?.value;
  const others = map.owners.some((each) => each !== owner) ? "unknown" : undefined;
  if (writer === undefined) return others;
  if (writer.snapshot_id === undefined) return others;
  // What is encrypted was copied from what was not, and shares nothing with it.
  const snapshot = snapshots.get(writer.snapshot_id)?.value;
  if (snapshot?.state !== "ok") return "unknown";
  return writer.encrypted === true && snapshot.encrypted !== true ? undefined : snapshot.map;
}

function checkId(value: unknown, prefix: string, code: string): string {
  if (
    typeof value !== "string" || value.length > volumeIdBytes ||
    !new RegExp(`^${prefix}-[0-9a-zA-Z][0-9a-zA-Z-]*$`).test(value)
  ) {
    throw new AwsError(code, `Invalid id: "${String(value)}" (expecting "${prefix}-…")`);
  }
  return value;
}

export const checkVolumeId = (value: unknown) => checkId(value, "vol", "InvalidVolumeID.Malformed");

export const checkSnapshotId = (value: unknown) =>
  checkId(value, "snap", "InvalidSnapshotID.Malformed");

/** Limits that a caller gives; each is a whole number from 1. */
export function checkLimits(of: VolumeLimits): VolumeLimits {
  const limit = (name: "iops" | "throughput_bytes") => {
    const value: unknown = of[name];
    if (value === undefined) return {};
    if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 1) {
      throw new AwsError("InvalidParameterValue", `${name} is not a whole number from 1 on.`);
    }
    return { [name]: value };
  };
  return { ...limit("iops"), ...limit("throughput_bytes") };
}

/** The size rounded up to whole blocks. */
export function checkSize(value: unknown): number {
  const size = typeof value === "number" ? Math.ceil(value / blockBytes) * blockBytes : NaN;
  if (!(size > 0 && size <= maximumBlocks * blockBytes)) {
    throw new AwsError(
      "InvalidParameterValue",
      `The volume size ${String(value)} is not between 1 byte and 16 TiB.`,
    );
  }
  return size;
}

export const volumeNotFound = (id: string) =>
  new AwsError("InvalidVolume.NotFound", `The volume '${id}' does not exist.`);

export const snapshotNotFound = (id: string) =>
  new AwsError("InvalidSnapshot.NotFound", `The snapshot '${id}' does not exist.`);

/** @throws AwsError when it is served for reading only */
export function requireSound({ volume_id, damage }: VolumeRow): void {
  if (damage === undefined) return;
  throw new AwsError(
    "IncorrectState",
    `The volume '${volume_id}' is damaged and can only be read: ${damage}. \`hive volume fsck ${volume_id}\` says what is.`,
  );
}

export function describedVolume(row: VolumeRow): BlockVolume {
  return {
    volume_id: row.volume_id,
    size_bytes: row.size_bytes,
    ...(row.snapshot_id === undefined ? {} : { snapshot_id: row.snapshot_id }),
    ...(row.mounted_on === undefined ? {} : { mounted_on: row.mounted_on }),
    epoch: row.epoch,
    ...(row.encrypted === true ? { encrypted: true } : {}),
    ...(row.fast_restored === true ? { fast_restored: true } : {}),
    ...(row.sync === undefined ? {} : { sync: row.sync }),
    ...(row.damage === undefined ? {} : { damage: row.damage }),
  };
}

export function describedSnapshot(row: SnapshotRow): BlockSnapshot {
  return {
    snapshot_id: row.snapshot_id,
    size_bytes: row.size_bytes,
    stored_bytes: (row.map?.mapped_blocks ?? 0) * blockBytes,
    state: row.state === "pending" ? "pending" : row.state === "error" ? "error" : "completed",
    ...(row.volume_id === undefined ? {} : { volume_id: row.volume_id }),
    ...(row.encrypted === true ? { encrypted: true } : {}),
  };
}

/** @throws AwsError */
export function checkSync(value: unknown): SyncMode | undefined {
  if (value === undefined || value === "always" || value === "flush" || value === "relaxed") {
    return value;
  }
  throw new AwsError("InvalidParameterValue", "sync is none of: always, flush, relaxed.");
}

/** Whether a caller wants encryption. @throws AwsError */
export function checkEncrypted(value: unknown): boolean | undefined {
  if (value === undefined || typeof value === "boolean") return value;
  throw new AwsError("InvalidParameterValue", "encrypted is neither true nor false.");
}

/** Runs work of one key one after the other. */
export class Turns {
  readonly #last = new Map<string, Promise<unknown>>();

  async take<T>(key: string, work: () => Promise<T>): Promise<T> {
    const before = this.#last.get(key) ?? Promise.resolve();
    const mine = before.then(work, work);
    this.#last.set(key, mine);
    try {
      return await mine;
    } finally {
      if (this.#last.get(key) === mine) this.#last.delete(key);
    }
  }

  /** When nothing is at work any more, nor waits for its turn. */
  async over(): Promise<void> {
    while (this.#last.size > 0) await Promise.allSettled(this.#last.values());
  }
}
