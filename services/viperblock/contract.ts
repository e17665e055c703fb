/**
 * What others may know of viperblock: volumes are made, mounted (served on a Unix socket over NBD),
 * unmounted (flushed to the object store) and deleted; snapshots freeze them.
 */
import { subject } from "../bus/subject.ts";

export interface BlockVolume {
  /** `vol-…` */
  readonly volume_id: string;
  /** A multiple of 4096. */
  readonly size_bytes: number;
  /** The snapshot that it was cloned from, if any. */
  readonly snapshot_id?: string;
  /** The node that has it mounted; undefined when it is not. */
  readonly mounted_on?: string;
  /** Grows with each mount: names the writer in every log segment and chunk. */
  readonly epoch: number;
  /** All that it stores is sealed by a key of its own. */
  readonly encrypted?: true;
  /** All that its snapshot held was on this node's disk when it was made. */
  readonly fast_restored?: true;
  /** `flush` when nothing is said. */
  readonly sync?: SyncMode;
  /** Why it is served for reading only, as far as it can be read; `checkVolume` says what is damaged. */
  readonly damage?: string;
}

export interface BlockSnapshot {
  readonly snapshot_id: string;
  readonly size_bytes: number;
  /** Bytes that are not zero. */
  readonly stored_bytes: number;
  /** `pending` until the store has all of it; `error` when its engine ended before that. */
  readonly state?: "pending" | "completed" | "error";
  /** The volume that it was taken of, when that is known. */
  readonly volume_id?: string;
  readonly encrypted?: true;
}

export interface CreateVolumeRequest extends VolumeLimits {
  readonly volume_id: string;
  /** Rounded up to 4096; at least the snapshot's size. */
  readonly size_bytes: number;
  readonly snapshot_id?: string;
  /** As the snapshot when nothing is said; what is encrypted stays so. */
  readonly encrypted?: boolean;
  readonly sync?: SyncMode;
}

export interface ResizeVolumeRequest extends VolumeLimits {
  readonly volume_id: string;
  /** At least what the volume has. */
  readonly size_bytes: number;
}

/**
 * When a volume's acknowledged writes are on stable storage: each of them with its answer (`always`), with the answer to a
 * flush or FUA (`flush`, as disks do), or some time later (`relaxed`: a power cut may lose the last of them,
 * never their order; the end of the engine's process loses nothing).
 */
export type SyncMode = "always" | "flush" | "relaxed";

/** How fast a volume may be used; as fast as its disk where nothing is said. */
export interface VolumeLimits {
  /** Reads and writes a second. */
  readonly iops?: number;
  /** Bytes read and written a second. */
  readonly throughput_bytes?: number;
}

export interface CheckedDamage {
  /** The block of the volume, where one is concerned, and how many from there on. */
  readonly block?: number;
  readonly blocks?: number;
  readonly why: string;
}

/** What a reading of all that is stored has found. */
export interface CheckReport {
  readonly id: string;
  readonly size_bytes: number;
  readonly mapped_bytes: number;
  /**
   * What was read: all that there is (`complete`), or of a mounted volume the map that it has `now`, or, where that was not to be
   * had, only the map with which the mount began (`last_unmount`).
   */
  readonly as_of: "complete" | "now" | "last_unmount";
  /** Of the mapped bytes those in a mounted volume's log. */
  readonly log_bytes: number;
  /** Chunks that it needs, and what they take in the object store. */
  readonly chunks: number;
  readonly chunk_bytes: number;
  readonly damaged_blocks: number;
  /** The first thousand of them, and what concerns no single block. */
  readonly damage: readonly CheckedDamage[];
  /** Where a mounted volume's counts do not agree with its map. */
  readonly books: readonly string[];
  readonly is_sound: boolean;
}

export interface MountReply {
  /** Path of the Unix socket. The export's name is the volume's id. */
  readonly socket: string;
  /** Path of the vhost-user-blk socket for guests of this node that share their memory. */
  readonly vhost_socket?: string;
  readonly size_bytes: number;
}

export interface BlockCapacity {
  /** Bytes that new data may still take on this node, the reserve already taken off. */
  readonly available_bytes: number;
  readonly total_bytes: number;
  /** Logical bytes promised to volumes (thin: may exceed the total). */
  readonly provisioned_bytes: number;
}

/** Every call may be repeated: making what is there with the same parameters is no error. */
export const createVolume = subject<CreateVolumeRequest, BlockVolume>(
  "ebs.volume.create",
  // Of a snapshot that is not encrypted all has to be copied for a volume that is.
  1_800_000,
);
export const describeVolume = subject<{ volume_id: string }, BlockVolume>("ebs.volume.describe");
/** Reads all that a volume or snapshot has in the object store, and of a mounted one the log; changes nothing. */
export const checkVolume = subject<{ id: string }, CheckReport>("ebs.volume.check", 600_000);
/** What a mounted volume has done since its engine began, and what it takes; `IncorrectState` otherwise. */
export const volumeMetrics = subject<
  { volume_id: string },
  Readonly<Record<string, number>>
>("ebs.volume.metrics");
/** Refused with `VolumeInUse` while mounted. Deleting what is not there is no error. */
export const deleteVolume = subject<{ volume_id: string }, null>("ebs.volume.delete", 120_000);
/** Serves the volume on this node. Mounting what is mounted answers the same socket. */
export const mountVolume = subject<{ volume_id: string }, MountReply>("ebs.mount", 60_000);
/** Flushes the log to the object store and stops serving; `ServiceUnavailable`, and served on, when the store is away. */
export const unmountVolume = subject<{ volume_id: string }, null>("ebs.unmount", 300_000);
/**
 * Freezes a volume's content at this moment, mounted or not. Of a mounted volume what the store lacks is
 * moved there afterwards: the snapshot is `pending` until then.
 */
export const createSnapshot = subject<
  { volume_id: string; snapshot_id: string },
  BlockSnapshot
>("ebs.snapshot.create", 300_000);
export const describeSnapshot = subject<{ snapshot_id: string }, BlockSnapshot>(
  "ebs.snapshot.describe",
);
/** Sets when writes are on stable storage, of a mounted volume at once; without `sync` it only tells. */
export const volumeSync = subject<
  { volume_id: string; sync?: SyncMode },
  { readonly volume_id: string; readonly sync: SyncMode }
>("ebs.volume.sync");
/** Makes a volume larger, mounted or not; clients of a mounted one are disconnected and see it then. */
export const resizeVolume = subject<ResizeVolumeRequest, BlockVolume>("ebs.volume.resize");
/**
 * Another snapshot of the same content, in constant time, or as long as it takes to copy all of it for one that
 * is `encrypted` where its source is not; each may be deleted without the other.
 */
export const copySnapshot = subject<
  { source_id: string; snapshot_id: string; encrypted?: boolean },
  BlockSnapshot
>("ebs.snapshot.copy", 1_800_000);
export interface RewrappedKeys {
  /** Keys that there are. */
  readonly keys: number;
  /** Sealed by the current master key only now. */
  readonly rewrapped: number;
  /** Volumes whose keys are sealed by a master key that is not at hand, or were altered. */
  readonly unreadable: readonly string[];
}
/** Reads the node's file of master keys again and seals every volume's key by its first. */
export const rewrapKeys = subject<null, RewrappedKeys>("ebs.keys.rewrap", 300_000);
/** Never refused for clones: each keeps what it needs of the snapshot's chunks by itself. */
export const deleteSnapshot = subject<{ snapshot_id: string }, null>(
  "ebs.snapshot.delete",
  120_000,
);
export interface FastRestore {
  readonly snapshot_id: string;
  /** `ready`: all that a volume of it reads is on this node's disk. */
  readonly state: "off" | "coming" | "ready";
  /** Objects that it consists of, when that is known, and those that are here. */
  readonly objects?: number;
  readonly kept_objects: number;
  readonly kept_bytes: number;
  /** What keeps the rest from coming; it comes by itself once that is there. */
  readonly waits_for?: "disk_space" | "object_store" | undefined;
}
/**
 * Whether a snapshot's content is kept on the node's own disk, so that volumes that are made of it are as fast from their
 * first read on as they ever are. It is `coming` until all of it is there.
 */
export const setFastRestore = subject<{ snapshot_id: string; wanted: boolean }, FastRestore>(
  "ebs.fast_restore.set",
);
export const describeFastRestore = subject<{ snapshot_id: string }, FastRestore>(
  "ebs.fast_restore.describe",
);
/** Every snapshot there is. */
export const listSnapshots = subject<null, readonly BlockSnapshot[]>("ebs.snapshot.list");
export const blockCapacity = subject<null, BlockCapacity>("ebs.capacity", 5_000);

/** Blocks in which snapshots are read and written from outside: 512 KiB, as the EBS direct APIs have them. */
export const directBlockBytes = 524_288;

export interface OpenSnapshotRequest {
  readonly snapshot_id: string;
  readonly size_bytes: number;
  /** The snapshot that it begins with. */
  readonly parent_id?: string;
  /** As the parent when nothing is said. */
  readonly encrypted?: boolean;
}

/** Begins a snapshot that is written block by block; it is `pending` until it is sealed. */
export const openSnapshot = subject<OpenSnapshotRequest, BlockSnapshot>("ebs.snapshot.open");
/** Writes one block (base64, 512 KiB); durable when answered, and a later write of it wins. */
export const writeSnapshotBlock = subject<
  { snapshot_id: string; block_index: number; data: string },
  null
>("ebs.snapshot.write");
export interface SealSnapshotRequest {
  readonly snapshot_id: string;
  /** How many different blocks were written, where the writer knows. */
  readonly changed_blocks?: number;
  /** SHA-256 (base64) of the SHA-256 of every written block, in the order of their indexes. */
  readonly checksum?: string;
}
/**
 * Ends the writing; sealing what is sealed is no error.
 * @throws AwsError `InvalidParameterValue` when what was written is not what the writer says
 */
export const sealSnapshot = subject<SealSnapshotRequest, BlockSnapshot>(
  "ebs.snapshot.seal",
  120_000,
);
/** Gives up a snapshot that is being written; giving up what is not there is no error. */
export const abandonSnapshot = subject<{ snapshot_id: string }, null>(
  "ebs.snapshot.abandon",
  120_000,
);

export interface DirectBlocksQuestion {
  readonly snapshot_id: string;
  /** Compares with this one instead of listing what there is. */
  readonly first_id?: string;
  /** The first index that may be in the answer. */
  readonly from: number;
  readonly most: number;
}
export interface ChangedBlock {
  readonly index: number;
  /** Whether the first (compared) and the second snapshot have data there. */
  readonly first: boolean;
  readonly second: boolean;
}
export interface DirectBlocks {
  readonly size_bytes: number;
  readonly blocks: readonly ChangedBlock[];
  /** Where the next question begins; absent when there is no more. */
  readonly next?: number;
}
export const listSnapshotBlocks = subject<DirectBlocksQuestion, DirectBlocks>(
  "ebs.snapshot.blocks",
);
/** One block of a completed snapshot, base64. */
export const readSnapshotBlock = subject<
  { snapshot_id: string; block_index: number },
  { readonly data: string }
>("ebs.snapshot.read");
