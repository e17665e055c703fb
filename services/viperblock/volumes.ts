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
import { collect, keptBy, stillNeeded } from "./chunks/collector.ts";
import type {
  BlockSnapshot,
  BlockVolume,
  CheckReport,
  CreateVolumeRequest,
  ResizeVolumeRequest,
  SyncMode,
} from "./contract.ts";
import type { KeyRing } from "./encryption/key_ring.ts";
import { copyBlocks, copyEpoch } from "./encryption/reseal.ts";
import { KeyGone } from "./encryption/sealed_objects.ts";
import { blockBytes, DamagedData } from "./format.ts";
import { checkMap, withLocalDamage } from "./fsck.ts";
import type { BlockStore, SavedMap } from "./maps/map_objects.ts";
import type { Mounts } from "./mounts/mounts.ts";
import {
  checkEncrypted,
  checkLimits,
  checkSize,
  checkSnapshotId,
  checkSync,
  checkVolumeId,
  describedSnapshot,
  describedVolume,
  inheritedBy,
  isSnapshot,
  snapshotNotFound,
  type SnapshotRow,
  type Tables,
  Turns,
  volumeNotFound,
  type VolumeRow,
} from "./records.ts";

export interface VolumesOptions {
  readonly tables: Tables;
  readonly store: BlockStore;
  readonly mounts: Mounts;
  readonly keys: KeyRing;
  readonly log: Log;
  /** Bytes that new data may still take here. */
  readonly availableBytes: () => number;
}

const references = "references";

/** @throws AwsError when it is served for reading only */
function requireSound({ volume_id, damage }: VolumeRow): void {
  if (damage === undefined) return;
  throw new AwsError(
    "IncorrectState",
    `The volume '${volume_id}' is damaged and can only be read: ${damage}. \`hive volume fsck ${volume_id}\` says what is.`,
  );
}

function damagedSource(snapshotId: string, cause: DamagedData): AwsError {
  return new AwsError(
    "IncorrectState",
    `The snapshot '${snapshotId}' is damaged: ${cause.message}. \`hive volume fsck ${snapshotId}\` says what is.`,
    { cause },
  );
}

export class Volumes {
  readonly #o: VolumesOptions;
  readonly #turns = new Turns();
  /** Volumes that are being filled, and when that is over. */
  readonly #filling = new Map<string, Promise<void>>();
  /** Snapshots that are being copied, and when that is over. */
  readonly #copying = new Map<string, Promise<unknown>>();

  constructor(options: VolumesOptions) {
    this.#o = options;
  }

  async create(request: CreateVolumeRequest): Promise<BlockVolume> {
    const volumeId = checkVolumeId(request.volume_id);
    const filling = this.#filling.get(volumeId);
    if (filling !== undefined) await filling;
    const size = checkSize(request.size_bytes);
    const limits = checkLimits(request);
    const snapshotId = request.snapshot_id === undefined
      ? undefined
      : checkSnapshotId(request.snapshot_id);
    const wanted = checkEncrypted(request.encrypted);
    const sync = checkSync(request.sync);
    const made = await this.#turns.take(references, async () => {
      const existing = await this.#o.tables.volumes.read(volumeId);
      if (existing !== undefined) return this.#same(existing.value, size, snapshotId, wanted);
      if (this.#o.availableBytes() <= 0) {
        throw new AwsError(
          "InsufficientVolumeCapacity",
          "There is not enough free disk on this node for another volume.",
        );
      }
      const source = snapshotId === undefined ? undefined : await this.#source(snapshotId, size);
      const encrypted = this.#encryption(wanted, source);
      if (encrypted) await this.#makeKey(volumeId);
      const row: VolumeRow = {
        volume_id: volumeId,
        size_bytes: size,
        epoch: 0,
        state: "ok",
        ...limits,
        ...(sync === undefined ? {} : { sync }),
        ...(snapshotId === undefined ? {} : { snapshot_id: snapshotId }),
        ...(encrypted ? { encrypted } : {}),
      };
      const mustCopy = encrypted && source?.map !== undefined && source.encrypted !== true;
      const { map } = source ?? {};
      const first: VolumeRow = mustCopy
        ? { ...row, state: "deleting", epoch: copyEpoch }
        : { ...row, ...(map === undefined ? {} : { map }) };
      try {
        const { value } = await this.#o.tables.volumes.create(volumeId, first);
        return mustCopy ? { row: value, source } : describedVolume(value);
      } catch (error) {
        if (!(error instanceof Conflict)) throw error;
        const winner = await this.#o.tables.volumes.read(volumeId);
        if (winner === undefined) throw error;
        return this.#same(winner.value, size, snapshotId, wanted);
      }
    });
    if (!("row" in made)) return made;
    // Others need not wait for it; until it is done, nobody sees the volume.
    const map = await this.#fill(made.row, made.source);
    const row = await this.#o.tables.volumes.modify(volumeId, (value) => {
      if (value === undefined) throw volumeNotFound(volumeId);
      return { ...value, state: "ok", map };
    });
    return describedVolume(row.value);
  }

  /** Whether what is made of a source is encrypted. @throws AwsError */
  #encryption(wanted: boolean | undefined, source: SnapshotRow | undefined): boolean {
    if (source?.encrypted === true && wanted === false) {
      throw new AwsError(
        "InvalidParameterCombination",
        `The snapshot '${source.snapshot_id}' is encrypted, and so is all that is made of it.`,
      );
    }
    return wanted ?? source?.encrypted === true;
  }

  async #makeKey(volumeId: string): Promise<void> {
    try {
      await this.#o.keys.make(volumeId);
    } catch (cause) {
      throw cause instanceof KeyGone ? unavailable("The node's key for volumes", cause) : cause;
    }
  }

  /** Copies a snapshot that is not encrypted for a volume that is; what came of it goes when that fails. */
  async #fill({ volume_id }: VolumeRow, source: SnapshotRow): Promise<SavedMap> {
    const over = Promise.withResolvers<void>();
    this.#filling.set(volume_id, over.promise);
    try {
      const sizeBlocks = source.size_bytes / blockBytes;
      return await copyBlocks(this.#o.store, source.map, sizeBlocks, volume_id);
    } catch (error) {
      this.#o.log.error("volume_not_filled", { volume_id, ...errorFields(error) });
      await this.#finishVolume(volume_id);
      throw error instanceof DamagedData ? damagedSource(source.snapshot_id, error) : error;
    } finally {
      this.#filling.delete(volume_id);
      over.resolve();
    }
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
    await collect(owners, tables, store, log, {
      heldBy: (volumeId) => mounts.held(volumeId),
      unshare: (volumeId, chunks, freezes) => mounts.unshare(volumeId, chunks, freezes),
    });
  }

  async delete(id: unknown): Promise<null> {
    const volumeId = checkVolumeId(id);
    const { volumes } = this.#o.tables;
    await this.#filling.get(volumeId);
    if (await volumes.read(volumeId) === undefined) return null;
    await volumes.modify(volumeId, (row) => {
      if (row === undefined) throw volumeNotFound(volumeId);
      if (row.mounted_on !== undefined && row.set_aside === undefined) {
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
      const owners = new Set([volumeId, ...keptBy(row?.map)]);
      await this.#collect(owners);
      await this.#o.mounts.forget(volumeId);
      await this.#discardKeys(owners, [volumeId]);
      await this.#o.tables.volumes.delete(volumeId);
    });
  }

  /** What nobody needs of these any more, nobody shall be able to read again. */
  async #discardKeys(owners: ReadonlySet<string>, going: readonly string[]): Promise<void> {
    const { volumes, snapshots } = this.#o.tables;
    const stays = ({ key }: { readonly key: string }) => !going.includes(key);
    const needed = stillNeeded({
      volumes: { list: () => volumes.list().filter(stays) },
      snapshots: { list: () => snapshots.list().filter(stays) },
    });
    await this.#o.keys.discard(owners, needed);
  }

  async freeze(volume: unknown, snapshot: unknown): Promise<BlockSnapshot> {
    const volumeId = checkVolumeId(volume);
    const snapshotId = checkSnapshotId(snapshot);
    // Neither mounted nor unmounted, there is nobody who could say what it holds at this moment.
    await this.#o.mounts.settled(volumeId);
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
      requireSound(row.value);
      const { map, size_bytes } = row.value;
      const made = await this.#o.tables.snapshots.create(snapshotId, {
        snapshot_id: snapshotId,
        volume_id: volumeId,
        size_bytes,
        state: "ok",
        ...(map === undefined ? {} : { map }),
        ...(row.value.encrypted === true ? { encrypted: true } : {}),
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
    requireSound(volume);
    const made = await snapshots.create(snapshotId, {
      snapshot_id: snapshotId,
      volume_id: volume.volume_id,
      size_bytes: volume.size_bytes,
      state: "pending",
      epoch: mounted.epoch,
      owners: keptBy(volume.map),
      ...(volume.encrypted === true ? { encrypted: true } : {}),
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
      const { map, size_bytes } = row.value;
      const inherited = map && inheritedBy(map, tables);
      return await checkMap(store, { id, size_bytes, map, inherited, isMounted: false, books: [] });
    }
    const id = checkVolumeId(value);
    const row = await tables.volumes.read(id);
    if (row === undefined || row.value.state !== "ok") throw volumeNotFound(id);
    const mounted = mounts.volumes.get(id);
    const { map, size_bytes, damage, map_lost, mounted_on } = row.value;
    const inherited = map && inheritedBy(map, tables);
    const isMounted = mounted_on !== undefined && map_lost === undefined;
    const report = await checkMap(store, {
      id,
      size_bytes,
      map,
      inherited,
      isMounted,
      live: await mounted?.liveMap(),
      held: async () => {
        const held = await mounted?.held();
        return held === undefined ? undefined : new Set(held.keys);
      },
      books: await mounted?.audit() ?? [],
    });
    // Of a volume whose map is lost the report says the same already.
    return withLocalDamage(report, damage, map_lost === true ? undefined : mounted?.damage);
  }

  async metrics(value: unknown): Promise<Readonly<Record<string, number>>> {
    const id = checkVolumeId(value);
    const metrics = await this.#o.mounts.metrics(id);
    if (metrics === undefined) {
      throw new AwsError("IncorrectState", `The volume '${id}' is not mounted here.`);
    }
    return metrics;
  }

  /** Another name for the same frozen map, or a copy of all of it where only the copy is encrypted. */
  async copySnapshot(
    source: unknown,
    target: unknown,
    encryption?: unknown,
  ): Promise<BlockSnapshot> {
    const sourceId = checkSnapshotId(source);
    const snapshotId = checkSnapshotId(target);
    const wanted = checkEncrypted(encryption);
    // Whoever asks again while it is being copied waits for the same copy.
    await this.#copying.get(snapshotId)?.catch(() => {});
    const copying = this.#copy(sourceId, snapshotId, wanted);
    this.#copying.set(snapshotId, copying);
    try {
      return await copying;
    } finally {
      if (this.#copying.get(snapshotId) === copying) this.#copying.delete(snapshotId);
    }
  }

  async #copy(
    sourceId: string,
    snapshotId: string,
    wanted: boolean | undefined,
  ): Promise<BlockSnapshot> {
    const made = await this.#turns.take(references, async () => {
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
      const encrypted = this.#encryption(wanted, row.value);
      const copy = {
        ...row.value,
        snapshot_id: snapshotId,
        ...(encrypted ? { encrypted } : {}),
      };
      if (encrypted && row.value.encrypted !== true && row.value.map !== undefined) {
        return { copy, filling: await this.#beginCopy(copy), source: row.value };
      }
      return describedSnapshot((await snapshots.create(snapshotId, copy)).value);
    });
    if (!("copy" in made)) return made;
    const map = await this.#fill(made.filling, made.source);
    return await this.#turns.take(references, async () => {
      const { snapshots, volumes } = this.#o.tables;
      const row = await snapshots.create(snapshotId, { ...made.copy, map });
      // The snapshot keeps what the volume wrote; there is nothing to collect.
      await volumes.delete(made.filling.volume_id);
      return describedSnapshot(row.value);
    });
  }

  /** A volume that nobody sees, whose chunks an encrypted copy will name. */
  async #beginCopy({ snapshot_id, size_bytes }: SnapshotRow): Promise<VolumeRow> {
    const volume_id = `vol-copy-${snapshot_id.slice("snap-".length)}`;
    const { volumes } = this.#o.tables;
    if (await volumes.read(volume_id) !== undefined) {
      // Left half done by an engine that ended: it is removed first.
      throw unavailable(`The snapshot '${snapshot_id}', which is being made,`);
    }
    await this.#makeKey(volume_id);
    const made = await volumes.create(volume_id, {
      volume_id,
      size_bytes,
      epoch: copyEpoch,
      state: "deleting",
      encrypted: true,
    });
    return made.value;
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
    await this.#copying.get(snapshotId)?.catch(() => {});
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
      const owners = new Set([
        ...keptBy(row?.map),
        ...(row?.volume_id === undefined ? [] : [row.volume_id]),
      ]);
      await this.#collect(owners);
      await this.#discardKeys(owners, [snapshotId]);
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
