/**
 * The life of volumes and snapshots: made, described, frozen and deleted as rows of the tables, with
 * maps and chunks in the object store behind them.
 *
 * What refers to objects (making a clone, freezing a snapshot) and what deletes them takes turns, so that
 * the collector never misses a reference that is being made. A deletion first marks its row, then
 * removes objects, then the row: one that was cut off is taken up again at the next start.
 */
import { AwsError, unavailable } from "../aws/errors.ts";
import { errorFields, type Log } from "../log/log.ts";
import { Conflict } from "../state/table.ts";
import { collect, keptBy } from "./collector.ts";
import type {
  BlockSnapshot,
  BlockVolume,
  CheckReport,
  CreateVolumeRequest,
  ResizeVolumeRequest,
} from "./contract.ts";
import { checkMap } from "./fsck.ts";
import type { BlockStore, SavedMap } from "./map_objects.ts";
import type { Mounts } from "./mounts.ts";
import {
  checkLimits,
  checkSize,
  checkSnapshotId,
  checkVolumeId,
  describedSnapshot,
  describedVolume,
  isSnapshot,
  snapshotNotFound,
  type Tables,
  Turns,
  volumeNotFound,
  type VolumeRow,
} from "./records.ts";

export interface VolumesOptions {
  readonly tables: Tables;
  readonly store: BlockStore;
  readonly mounts: Mounts;
  readonly log: Log;
  /** Bytes that new data may still take here. */
  readonly availableBytes: () => number;
}

const references = "references";

export class Volumes {
  readonly #o: VolumesOptions;
  readonly #turns = new Turns();

  constructor(options: VolumesOptions) {
    this.#o = options;
  }

  async create(request: CreateVolumeRequest): Promise<BlockVolume> {
    const volumeId = checkVolumeId(request.volume_id);
    const size = checkSize(request.size_bytes);
    const limits = checkLimits(request);
    const snapshotId = request.snapshot_id === undefined
      ? undefined
      : checkSnapshotId(request.snapshot_id);
    return await this.#turns.take(references, async () => {
      const existing = await this.#o.tables.volumes.read(volumeId);
      if (existing !== undefined) return this.#same(existing.value, size, snapshotId);
      if (this.#o.availableBytes() <= 0) {
        throw new AwsError(
          "InsufficientVolumeCapacity",
          "There is not enough free disk on this node for another volume.",
        );
      }
      const row: VolumeRow = {
        volume_id: volumeId,
        size_bytes: size,
        epoch: 0,
        state: "ok",
        ...limits,
        ...(snapshotId === undefined ? {} : await this.#cloned(snapshotId, size)),
      };
      try {
        return describedVolume((await this.#o.tables.volumes.create(volumeId, row)).value);
      } catch (error) {
        if (!(error instanceof Conflict)) throw error;
        const winner = await this.#o.tables.volumes.read(volumeId);
        if (winner === undefined) throw error;
        return this.#same(winner.value, size, snapshotId);
      }
    });
  }

  #same(row: VolumeRow, size: number, snapshotId: string | undefined): BlockVolume {
    if (row.state !== "ok" || row.size_bytes !== size || row.snapshot_id !== snapshotId) {
      throw new AwsError(
        "IdempotentParameterMismatch",
        `The volume '${row.volume_id}' exists with other parameters.`,
      );
    }
    return describedVolume(row);
  }

  async #cloned(snapshotId: string, size: number) {
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
    const { map } = snapshot.value;
    return { snapshot_id: snapshotId, ...(map === undefined ? {} : { map }) };
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
        await this.#turns.take(references, () => this.#collect([volumeId]));
      } catch (error) {
        // Space is given back by the next unmount or the deletion; the data is safe.
        this.#o.log.warn("collection_failed", { volume_id: volumeId, ...errorFields(error) });
      }
    }
    return null;
  }

  async #collect(owners: Iterable<string>): Promise<void> {
    const { tables, store, log, mounts } = this.#o;
    await collect(owners, tables, store, log, (volumeId) => mounts.held(volumeId));
  }

  async delete(id: unknown): Promise<null> {
    const volumeId = checkVolumeId(id);
    const { volumes } = this.#o.tables;
    if (await volumes.read(volumeId) === undefined) return null;
    await volumes.modify(volumeId, (row) => {
      if (row === undefined) throw volumeNotFound(volumeId);
      if (row.mounted_on !== undefined) {
        throw new AwsError("VolumeInUse", `The volume '${volumeId}' is mounted.`);
      }
      return row.state === "deleting" ? row : { ...row, state: "deleting" };
    });
    await this.#finishVolume(volumeId);
    return null;
  }

  async #finishVolume(volumeId: string): Promise<void> {
    await this.#turns.take(references, async () => {
      const row = this.#o.tables.volumes.get(volumeId)?.value;
      await this.#collect(new Set([volumeId, ...keptBy(row?.map)]));
      await this.#o.mounts.forget(volumeId);
      await this.#o.tables.volumes.delete(volumeId);
    });
  }

  async freeze(volume: unknown, snapshot: unknown): Promise<BlockSnapshot> {
    const volumeId = checkVolumeId(volume);
    const snapshotId = checkSnapshotId(snapshot);
    return await this.#turns.take(references, async () => {
      const existing = await this.#o.tables.snapshots.read(snapshotId);
      if (existing !== undefined) {
        if (!isSnapshot(existing.value)) throw snapshotNotFound(snapshotId);
        return describedSnapshot(existing.value);
      }
      const row = await this.#o.tables.volumes.read(volumeId);
      if (row === undefined || row.value.state !== "ok") throw volumeNotFound(volumeId);
      if (row.value.mounted_on !== undefined) {
        return await this.#freezeMounted(row.value, snapshotId);
      }
      const { map, size_bytes } = row.value;
      const made = await this.#o.tables.snapshots.create(snapshotId, {
        snapshot_id: snapshotId,
        volume_id: volumeId,
        size_bytes,
        state: "ok",
        ...(map === undefined ? {} : { map }),
      });
      return describedSnapshot(made.value);
    });
  }

  /** The row stands before the moment is fixed, so that the collector keeps what it will name. */
  async #freezeMounted(volume: VolumeRow, snapshotId: string): Promise<BlockSnapshot> {
    const { snapshots } = this.#o.tables;
    const mounted = this.#o.mounts.volumes.get(volume.volume_id);
    if (mounted === undefined) {
      throw unavailable(
        `The volume '${volume.volume_id}', which is mounted elsewhere or starting,`,
      );
    }
    const made = await snapshots.create(snapshotId, {
      snapshot_id: snapshotId,
      volume_id: volume.volume_id,
      size_bytes: volume.size_bytes,
      state: "pending",
      epoch: mounted.epoch,
      owners: keptBy(volume.map),
    });
    try {
      const { stored } = await mounted.freeze();
      void this.#finishFreeze(snapshotId, stored);
      return describedSnapshot(made.value);
    } catch (cause) {
      await snapshots.delete(snapshotId);
      throw unavailable(`The volume '${volume.volume_id}'`, cause);
    }
  }

  async #finishFreeze(snapshotId: string, stored: Promise<SavedMap>): Promise<void> {
    const { log, tables } = this.#o;
    const started = performance.now();
    let map: SavedMap | undefined;
    try {
      map = await stored;
    } catch (error) {
      log.error("snapshot_lost", { snapshot_id: snapshotId, ...errorFields(error) });
    }
    try {
      await this.#turns.take(references, async () => {
        await tables.snapshots.modify(snapshotId, (row) => {
          if (row === undefined) throw snapshotNotFound(snapshotId);
          if (row.state !== "pending") return row;
          const { epoch: _, owners: __, ...rest } = row;
          return map === undefined ? { ...rest, state: "error" } : { ...rest, state: "ok", map };
        });
      });
      const duration_ms = Math.round(performance.now() - started);
      if (map !== undefined) log.info("snapshot_stored", { snapshot_id: snapshotId, duration_ms });
    } catch (error) {
      log.warn("snapshot_not_finished", { snapshot_id: snapshotId, ...errorFields(error) });
    }
  }

  /** Reads all that a volume or snapshot has stored. */
  async check(value: unknown): Promise<CheckReport> {
    const { tables, mounts, store } = this.#o;
    if (typeof value === "string" && value.startsWith("snap-")) {
      const id = checkSnapshotId(value);
      const row = await tables.snapshots.read(id);
      if (row === undefined || !isSnapshot(row.value)) throw snapshotNotFound(id);
      return await checkMap(store, id, row.value.map, row.value.size_bytes, []);
    }
    const id = checkVolumeId(value);
    const row = await tables.volumes.read(id);
    if (row === undefined || row.value.state !== "ok") throw volumeNotFound(id);
    const books = await mounts.volumes.get(id)?.audit() ?? [];
    return await checkMap(store, id, row.value.map, row.value.size_bytes, books);
  }

  async metrics(value: unknown): Promise<Readonly<Record<string, number>>> {
    const id = checkVolumeId(value);
    const metrics = await this.#o.mounts.metrics(id);
    if (metrics === undefined) {
      throw new AwsError("IncorrectState", `The volume '${id}' is not mounted here.`);
    }
    return metrics;
  }

  /** Another name for the same frozen map. */
  async copySnapshot(source: unknown, target: unknown): Promise<BlockSnapshot> {
    const sourceId = checkSnapshotId(source);
    const snapshotId = checkSnapshotId(target);
    return await this.#turns.take(references, async () => {
      const { snapshots } = this.#o.tables;
      const existing = await snapshots.read(snapshotId);
      if (existing !== undefined && isSnapshot(existing.value)) {
        return describedSnapshot(existing.value);
      }
      const row = await snapshots.read(sourceId);
      if (row === undefined || !isSnapshot(row.value)) throw snapshotNotFound(sourceId);
      if (row.value.state !== "ok") {
        throw new AwsError("IncorrectState", `The snapshot '${sourceId}' is ${row.value.state}.`);
      }
      const copy = { ...row.value, snapshot_id: snapshotId };
      return describedSnapshot((await snapshots.create(snapshotId, copy)).value);
    });
  }

  /** Snapshots whose engine ended before they were stored. */
  async abandonPending(): Promise<void> {
    const { snapshots, volumes } = this.#o.tables;
    for (const { key, value } of snapshots.list()) {
      if (value.state !== "pending") continue;
      const volume = volumes.get(value.volume_id ?? "")?.value;
      if (volume?.mounted_on !== undefined && volume.mounted_on !== this.#o.mounts.nodeId) continue;
      await snapshots.modify(key, (row) => {
        if (row === undefined) throw snapshotNotFound(key);
        const { epoch: _, owners: __, ...rest } = row;
        return row.state === "pending" ? { ...rest, state: "error" } : row;
      });
    }
  }

  /** Makes the volume larger; a mounted one at once. */
  async resize(request: ResizeVolumeRequest): Promise<BlockVolume> {
    const volumeId = checkVolumeId(request.volume_id);
    const size_bytes = checkSize(request.size_bytes);
    const limits = checkLimits(request);
    const { volumes } = this.#o.tables;
    const row = await volumes.modify(volumeId, (value) => {
      if (value === undefined || value.state !== "ok") throw volumeNotFound(volumeId);
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

  async describeSnapshot(id: unknown): Promise<BlockSnapshot> {
    const snapshotId = checkSnapshotId(id);
    const row = await this.#o.tables.snapshots.read(snapshotId);
    if (row === undefined || !isSnapshot(row.value)) throw snapshotNotFound(snapshotId);
    return describedSnapshot(row.value);
  }

  listSnapshots(): BlockSnapshot[] {
    return this.#o.tables.snapshots.list()
      .filter(({ value }) => isSnapshot(value))
      .map(({ value }) => describedSnapshot(value));
  }

  /** Clones keep what they need: their own rows refer to the same map. */
  async deleteSnapshot(id: unknown): Promise<null> {
    const snapshotId = checkSnapshotId(id);
    const { snapshots } = this.#o.tables;
    if (await snapshots.read(snapshotId) === undefined) return null;
    await snapshots.modify(snapshotId, (row) => {
      if (row === undefined) throw snapshotNotFound(snapshotId);
      return row.state === "deleting" ? row : { ...row, state: "deleting" };
    });
    await this.#finishSnapshot(snapshotId);
    return null;
  }

  async #finishSnapshot(snapshotId: string): Promise<void> {
    await this.#turns.take(references, async () => {
      const row = this.#o.tables.snapshots.get(snapshotId)?.value;
      await this.#collect(
        new Set([...keptBy(row?.map), ...(row?.volume_id === undefined ? [] : [row.volume_id])]),
      );
      await this.#o.tables.snapshots.delete(snapshotId);
    });
  }

  /** Takes up deletions that a crash cut off. */
  async resume(): Promise<void> {
    const { volumes, snapshots } = this.#o.tables;
    for (const { key, value } of volumes.list()) {
      if (value.state === "deleting") await this.#finishVolume(key);
    }
    for (const { key, value } of snapshots.list()) {
      if (value.state === "deleting") await this.#finishSnapshot(key);
    }
  }
}
