/**
 * A volume's engine begun as its row says: the directory is filled from the object store when nothing of the volume is here, the row
 * names this node and the next epoch, and only then is there an engine. One that the row could not be told of is ended again.
 */
import { join } from "node:path";
import { AwsError } from "../../aws/errors.ts";
import type { Row } from "../../state/table.ts";
import { KeyGone } from "../encryption/sealed_objects.ts";
import type { VolumeKey } from "../encryption/volume_key.ts";
import type { Rescue, SavedBase } from "../engine/salvage.ts";
import { type BlockStore, readMap, type SavedMap } from "../maps/map_objects.ts";
import { inheritedBy, volumeNotFound, type VolumeRow } from "../records.ts";
import type { CacheShares } from "./cache_shares.ts";
import type { LeftCaches } from "./left_caches.ts";
import { checkMark, fillDirectory } from "./local_directory.ts";
import type { MountedVolume } from "./mounted_volume.ts";
import type { MountsOptions } from "./mounts_options.ts";
import { openVolume } from "./open_volume.ts";
import { ownEpoch, sharedEpoch } from "./shared_chunks.ts";

export interface BeginningsParts {
  /** The object store, for what is given up when the service stops. */
  readonly store: BlockStore;
  readonly left: LeftCaches;
  readonly cacheShares: CacheShares;
  /** How many volumes are mounted. */
  readonly count: () => number;
  /** @throws AwsError when the service stops */
  readonly goOn: () => void;
  readonly signal: AbortSignal;
}

export class Beginnings {
  readonly #o: MountsOptions;
  readonly #p: BeginningsParts;

  constructor(options: MountsOptions, parts: BeginningsParts) {
    this.#o = options;
    this.#p = parts;
  }

  /** Takes the next epoch and starts a worker. @throws Conflict when the row is another by now */
  async begin(row: Row<VolumeRow>): Promise<MountedVolume> {
    const { value } = row;
    const directory = join(this.#o.directory, value.volume_id);
    const key = value.encrypted === true ? await this.#keyOf(value.volume_id) : undefined;
    const rescue = await this.#fill(value, directory, key);
    this.#p.goOn();
    const taken = await this.#take(row, rescue);
    const log = this.#o.log.with({ volume_id: value.volume_id });
    const started = performance.now();
    const volume = await this.#open(value, taken.epoch, directory, key, rescue);
    const { replayed_batches, damage } = await volume.ready;
    try {
      await this.#noteDamage(taken, damage?.reason);
      this.#p.goOn();
    } catch (error) {
      // Nobody would know of its engine, and the next try would start another on the same log.
      await volume.stop();
      throw error;
    }
    if (damage !== undefined) {
      const { reason, damaged_blocks } = damage;
      log.error("volume_damaged", { reason, damaged_blocks, served: "for reading only" });
    }
    log.info("volume_served", {
      epoch: taken.epoch,
      replayed_batches,
      duration_ms: Math.round(performance.now() - started),
    });
    return volume;
  }

  /** @returns how it is to be opened when its saved map is damaged */
  async #fill(
    row: VolumeRow,
    directory: string,
    key: VolumeKey | undefined,
  ): Promise<Rescue | undefined> {
    const { left, store } = this.#p;
    // Those that are left are not to be given up while the directory is filled.
    left.taken(row.volume_id);
    if (row.mounted_on !== undefined && row.map_lost !== true) {
      await checkMark(row, directory);
      return undefined;
    }
    try {
      return await fillDirectory(store, {
        row,
        directory,
        key,
        inherited: this.#inherited(row.map),
      });
    } catch (error) {
      if (row.mounted_on === undefined) await left.leave(row.volume_id);
      throw error;
    }
  }

  async #take({ value, revision }: Row<VolumeRow>, rescue: Rescue | undefined): Promise<VolumeRow> {
    const { map_lost: _, ...kept } = value;
    const taken = await this.#o.tables.volumes.update(
      value.volume_id,
      {
        ...kept,
        mounted_on: this.#o.nodeId,
        epoch: value.epoch + 1,
        ...(rescue === undefined ? {} : { map_lost: true }),
      },
      revision,
    );
    return taken.value;
  }

  async #open(
    row: VolumeRow,
    epoch: number,
    directory: string,
    key: VolumeKey | undefined,
    rescue: Rescue | undefined,
  ): Promise<MountedVolume> {
    const { volume_id } = row;
    const { cacheShares, count, goOn, signal } = this.#p;
    const { vhostSocket, readAgainMs, tables } = this.#o;
    const mapEpoch = ownEpoch(row.map, volume_id);
    const snapshotEpoch = sharedEpoch(row, tables);
    return await openVolume({
      volumeId: volume_id,
      sizeBytes: row.size_bytes,
      limits: row,
      sync: row.sync ?? "flush",
      ...(key === undefined ? {} : { key }),
      epoch,
      savedEpoch: Math.max(mapEpoch, snapshotEpoch),
      mapEpoch,
      snapshotEpoch,
      directory,
      socket: this.#o.socket(volume_id),
      ...(vhostSocket === undefined ? {} : { vhostSocket: vhostSocket(volume_id) }),
      store: this.#o.store,
      log: this.#o.log,
      cacheBytes: this.#o.cacheBytes(count()),
      cacheFiles: cacheShares.ofAnother,
      segmentBudget: this.#o.segmentBudget ?? 32,
      reserveBytes: this.#o.reserveBytes,
      spacePatienceMs: this.#o.spacePatienceMs ?? 30_000,
      ...(readAgainMs === undefined ? {} : { readAgainMs }),
      // Others' chunks give way to its log.
      noRoom: () => cacheShares.share(true),
      signal,
    }, rescue ?? (() => this.#savedBase(row))).catch((error) => {
      goOn();
      throw error;
    });
  }

  /** The row says why a volume is served for reading only, as long as it is. */
  async #noteDamage(row: VolumeRow, reason: string | undefined): Promise<void> {
    if (row.damage === reason && row.set_aside === undefined) return;
    await this.#o.tables.volumes.modify(row.volume_id, (value) => {
      // What was set aside may be deleted while its engine starts.
      if (value?.state !== "ok") throw volumeNotFound(row.volume_id);
      const { damage: _, set_aside: __, ...rest } = value;
      return reason === undefined ? rest : { ...rest, damage: reason };
    });
  }

  /** The map that the mount began with, for a volume whose checkpoint is lost. */
  async #savedBase({ map }: VolumeRow): Promise<SavedBase> {
    if (map === undefined) return { kind: "empty" };
    try {
      return { kind: "saved", bytes: await readMap(this.#p.store, map) };
    } catch (error) {
      return { kind: "unreachable", why: error instanceof Error ? error.message : String(error) };
    }
  }

  /** What a map's writer began with, as far as that is still known. */
  #inherited(map: SavedMap | undefined): SavedMap | "unknown" | undefined {
    return map === undefined ? undefined : inheritedBy(map, this.#o.tables);
  }

  async #keyOf(volumeId: string): Promise<VolumeKey> {
    try {
      return await this.#o.keyOf(volumeId);
    } catch (cause) {
      if (!(cause instanceof KeyGone)) throw cause;
      throw new AwsError("IncorrectState", `The volume cannot be opened: ${cause.message}`, {
        cause,
      });
    }
  }
}
