/**
 * The life of volumes as rows: made empty or of snapshots, described, changed and deleted, with maps and chunks in the
 * object store behind them. Who serves them is in `mounts/`.
 */
import { AwsError, unavailable } from "../aws/errors.ts";
import { errorFields, type Log } from "../log/log.ts";
import { Conflict } from "../state/table.ts";
import type {
  BlockVolume,
  CreateVolumeRequest,
  ResizeVolumeRequest,
  SyncMode,
} from "./contract.ts";
import { type EncryptedCopies, encryptionOf } from "./encrypted_copies.ts";
import { newCopyEpoch } from "./encryption/reseal.ts";
import type { Mounts } from "./mounts/mounts.ts";
import {
  checkEncrypted,
  checkLimits,
  checkSize,
  checkSnapshotId,
  checkSync,
  checkVolumeId,
  describedVolume,
  isSnapshot,
  requireSound,
  snapshotNotFound,
  type SnapshotRow,
  type Tables,
  volumeNotFound,
  type VolumeRow,
} from "./records.ts";
import type { References } from "./references.ts";

export interface VolumesOptions {
  readonly tables: Tables;
  readonly mounts: Mounts;
  readonly log: Log;
  readonly references: References;
  readonly copies: EncryptedCopies;
  /** All that the snapshot names is on this node's disk. */
  readonly isFast: (snapshot: SnapshotRow) => boolean;
  /** Bytes that new data may still take here. */
  readonly availableBytes: () => number;
}

export class Volumes {
  readonly #o: VolumesOptions;

  constructor(options: VolumesOptions) {
    this.#o = options;
  }

  /** @param writer whose it is from the beginning, and nobody else's to mount; it has the epoch after that in which it was filled */
  async create(request: CreateVolumeRequest, writer?: string): Promise<BlockVolume> {
    const volumeId = checkVolumeId(request.volume_id);
    await this.#o.copies.filled(volumeId);
    const size = checkSize(request.size_bytes);
    const limits = checkLimits(request);
    const snapshotId = request.snapshot_id === undefined
      ? undefined
      : checkSnapshotId(request.snapshot_id);
    const wanted = checkEncrypted(request.encrypted);
    const sync = checkSync(request.sync);
    const taken = (row: VolumeRow): VolumeRow =>
      writer === undefined ? row : { ...row, mounted_on: writer, epoch: row.epoch + 1 };
    const made = await this.#o.references.alone(async () => {
      const existing = await this.#o.tables.volumes.read(volumeId);
      if (existing !== undefined) return this.#same(existing.value, size, snapshotId, wanted);
      if (this.#o.availableBytes() <= 0) {
        throw new AwsError(
          "InsufficientVolumeCapacity",
          "There is not enough free disk on this node for another volume.",
        );
      }
      const source = snapshotId === undefined ? undefined : await this.#source(snapshotId, size);
      const encrypted = encryptionOf(wanted, source);
      if (encrypted) await this.#o.copies.makeKey(volumeId);
      const row: VolumeRow = {
        volume_id: volumeId,
        size_bytes: size,
        epoch: 0,
        state: "ok",
        ...limits,
        ...(sync === undefined ? {} : { sync }),
        ...(snapshotId === undefined ? {} : { snapshot_id: snapshotId }),
        ...(encrypted ? { encrypted } : {}),
        ...(source !== undefined && this.#o.isFast(source) ? { fast_restored: true } : {}),
      };
      const mustCopy = encrypted && source?.map !== undefined && source.encrypted !== true;
      const { map } = source ?? {};
      const first: VolumeRow = mustCopy
        ? { ...row, state: "deleting", epoch: newCopyEpoch() }
        : taken({ ...row, ...(map === undefined ? {} : { map }) });
      try {
        const { value } = await this.#o.tables.volumes.create(volumeId, first);
        return mustCopy ? { row: value, source } : describedVolume(value);
      } catch (error) {
        if (!(error instanceof Conflict)) {
          if (mustCopy) void this.#o.references.giveUpUnheard(first);
          throw error;
        }
        const winner = await this.#o.tables.volumes.read(volumeId);
        if (winner === undefined) throw error;
        return this.#same(winner.value, size, snapshotId, wanted);
      }
    });
    if (!("row" in made)) return made;
    // Others need not wait for it; until it is done, nobody sees the volume.
    const { row: filling, source: copied } = made;
    const row = await this.#o.copies.fill(filling, copied, async (map) => {
      const { volumes } = this.#o.tables;
      if (await volumes.read(volumeId) === undefined) return undefined;
      return await volumes.modify(volumeId, (value) => {
        if (value === undefined) throw volumeNotFound(volumeId);
        // A try that seemed to fail may have been taken, and the volume may have been written to since.
        return value.state === "ok" ? value : taken({ ...value, state: "ok", map });
      });
    });
    if (row === undefined) throw volumeNotFound(volumeId);
    return describedVolume(row.value);
  }

  #same(
    row: VolumeRow,
    size: number,
    snapshotId: string | undefined,
    encrypted: boolean | undefined,
  ): BlockVolume {
    // Being deleted, or left half filled by an engine that ended: it is removed before it can be made.
    if (row.state !== "ok") {
      throw unavailable(`The volume '${row.volume_id}', which is being deleted,`);
    }
    const isOther = encrypted !== undefined && encrypted !== (row.encrypted === true);
    if (
      row.size_bytes !== size || row.snapshot_id !== snapshotId || isOther
    ) {
      throw new AwsError(
        "IdempotentParameterMismatch",
        `The volume '${row.volume_id}' exists with other parameters.`,
      );
    }
    return describedVolume(row);
  }

  async #source(snapshotId: string, size: number): Promise<SnapshotRow> {
    const snapshot = await this.#o.tables.snapshots.read(snapshotId);
    if (snapshot === undefined || !isSnapshot(snapshot.value)) throw snapshotNotFound(snapshotId);
    if (snapshot.value.state !== "ok") {
      throw new AwsError(
        "IncorrectState",
        `The snapshot '${snapshotId}' is ${snapshot.value.state}; a volume needs a completed one.`,
      );
    }
    if (size < snapshot.value.size_bytes) {
      throw new AwsError(
        "InvalidParameterValue",
        `The size of a volume must be at least that of its snapshot, ${snapshot.value.size_bytes} bytes.`,
      );
    }
    return snapshot.value;
  }

  async describe(id: unknown): Promise<BlockVolume> {
    const volumeId = checkVolumeId(id);
    const row = await this.#o.tables.volumes.read(volumeId);
    if (row === undefined || row.value.state !== "ok") throw volumeNotFound(volumeId);
    return describedVolume(row.value);
  }

  /** Logical bytes promised to all volumes. */
  get provisionedBytes(): number {
    return this.#o.tables.volumes.list().reduce((sum, { value }) => sum + value.size_bytes, 0);
  }

  /** Unmounts and gives back what the saved map made superfluous. */
  async unmount(id: unknown): Promise<null> {
    const volumeId = checkVolumeId(id);
    if (await this.#o.mounts.unmount(volumeId)) {
      try {
        await this.#o.references.collect([volumeId]);
      } catch (error) {
        // Space is given back by the next unmount or the deletion; the data is safe.
        this.#o.log.warn("collection_failed", { volume_id: volumeId, ...errorFields(error) });
      }
    }
    return null;
  }

  async delete(id: unknown): Promise<null> {
    const volumeId = checkVolumeId(id);
    const { volumes } = this.#o.tables;
    await this.#o.copies.filled(volumeId);
    if (await volumes.read(volumeId) === undefined) return null;
    await volumes.modify(volumeId, (row) => {
      if (row === undefined) throw volumeNotFound(volumeId);
      if (row.mounted_on !== undefined && row.set_aside === undefined) {
        throw new AwsError("VolumeInUse", `The volume '${volumeId}' is mounted.`);
      }
      return row.state === "deleting" ? row : { ...row, state: "deleting" };
    });
    await this.#o.references.removeVolume(volumeId);
    return null;
  }

  async metrics(value: unknown): Promise<Readonly<Record<string, number>>> {
    const id = checkVolumeId(value);
    const metrics = await this.#o.mounts.metrics(id);
    if (metrics === undefined) {
      throw new AwsError("IncorrectState", `The volume '${id}' is not mounted here.`);
    }
    return metrics;
  }

  /** Makes the volume larger; a mounted one at once. */
  async resize(request: ResizeVolumeRequest): Promise<BlockVolume> {
    const volumeId = checkVolumeId(request.volume_id);
    const size_bytes = checkSize(request.size_bytes);
    const limits = checkLimits(request);
    const { volumes } = this.#o.tables;
    const row = await volumes.modify(volumeId, (value) => {
      if (value === undefined || value.state !== "ok") throw volumeNotFound(volumeId);
      requireSound(value);
      if (size_bytes < value.size_bytes) {
        throw new AwsError(
          "InvalidParameterValue",
          `The volume '${volumeId}' has ${value.size_bytes} bytes and cannot become smaller.`,
        );
      }
      return { ...value, ...limits, size_bytes };
    });
    await this.#o.mounts.volumes.get(volumeId)?.resize(row.value);
    return describedVolume(row.value);
  }

  /** Sets when writes are on stable storage, or only tells. */
  async sync(id: unknown, wanted: unknown): Promise<{ volume_id: string; sync: SyncMode }> {
    const volume_id = checkVolumeId(id);
    const sync = checkSync(wanted);
    const row = await this.#o.tables.volumes.modify(volume_id, (value) => {
      if (value === undefined || value.state !== "ok") throw volumeNotFound(volume_id);
      return sync === undefined || sync === value.sync ? value : { ...value, sync };
    });
    const now = row.value.sync ?? "flush";
    if (sync !== undefined) await this.#o.mounts.volumes.get(volume_id)?.setSync(now);
    return { volume_id, sync: now };
  }
}
