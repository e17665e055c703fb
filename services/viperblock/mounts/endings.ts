/**
 * The end of a mount: everything is in the object store and the row names nobody, or what cannot be moved there is set aside
 * where it is. An engine whose end the tables did not take is followed by another, from what is on the disk.
 */
import { join } from "node:path";
import { AwsError, unavailable } from "../../aws/errors.ts";
import { volumeNotFound, type VolumeRow } from "../records.ts";
import type { CacheShares } from "./cache_shares.ts";
import type { LeftCaches } from "./left_caches.ts";
import type { MountedVolume } from "./mounted_volume.ts";
import type { MountsOptions } from "./mounts_options.ts";

export interface EndingsParts {
  readonly left: LeftCaches;
  readonly cacheShares: CacheShares;
  /** Its engine is no more, whatever its row says. */
  readonly ended: (volumeId: string) => void;
  /** Nobody is served, and its log stays. */
  readonly setAside: (volumeId: string) => void;
  /** Removes what is here of it. */
  readonly remove: (volumeId: string) => Promise<void>;
  /** Begins another engine for as long as its row says that it is mounted here. */
  readonly serveOn: (volumeId: string) => void;
}

export class Endings {
  readonly #o: MountsOptions;
  readonly #p: EndingsParts;

  constructor(options: MountsOptions, parts: EndingsParts) {
    this.#o = options;
    this.#p = parts;
  }

  /** @returns whether all of it is in the object store */
  async end(volumeId: string, volume: MountedVolume): Promise<boolean> {
    const servedOn = (error: unknown): never => {
      this.#p.serveOn(volumeId);
      throw error;
    };
    if (volume.damage !== undefined) {
      await this.#leave(volumeId, volume).catch(servedOn);
      return false;
    }
    const map = await volume.unmount();
    if (map === undefined) throw unavailable(`The object store, which is to keep '${volumeId}',`);
    await this.#changed(volumeId, map.epoch, ({ mounted_on: _, ...rest }) => ({ ...rest, map }))
      .catch(servedOn);
    await this.#p.left.leave(volumeId);
    this.#p.cacheShares.share();
    this.#o.log.info("volume_unmounted", {
      volume_id: volumeId,
      mapped_blocks: map.mapped_blocks,
    });
    return true;
  }

  async #leave(volumeId: string, volume: MountedVolume): Promise<void> {
    const row = (await this.#o.tables.volumes.read(volumeId))?.value;
    this.#mustBeOurs(volumeId, volume.epoch, row);
    await volume.stop();
    this.#p.ended(volumeId);
    if (row?.map_lost === true) await this.#giveUp(volumeId, volume.epoch);
    else await this.#setAside(volumeId, volume.epoch);
  }

  /** Nothing of it is here: all that there is lies in the object store. */
  async #giveUp(volumeId: string, epoch: number): Promise<void> {
    await this.#changed(volumeId, epoch, ({ mounted_on: _, map_lost: __, ...rest }) => rest);
    await this.#p.remove(volumeId);
  }

  async #setAside(volumeId: string, epoch: number): Promise<void> {
    await this.#changed(volumeId, epoch, (value) => ({ ...value, set_aside: true }));
    this.#p.setAside(volumeId);
    this.#o.log.warn("damaged_volume_set_aside", {
      volume_id: volumeId,
      directory: join(this.#o.directory, volumeId),
    });
  }

  async #changed(
    volumeId: string,
    epoch: number,
    change: (value: VolumeRow) => VolumeRow,
  ): Promise<void> {
    await this.#o.tables.volumes.modify(volumeId, (value) => {
      return change(this.#mustBeOurs(volumeId, epoch, value));
    });
  }

  /** Whoever took the volume over in the meantime has a newer epoch, and a map of its own. */
  #mustBeOurs(volumeId: string, epoch: number, row: VolumeRow | undefined): VolumeRow {
    if (row === undefined) throw volumeNotFound(volumeId);
    if (row.epoch === epoch && row.mounted_on === this.#o.nodeId) return row;
    throw new AwsError("IncorrectState", `The volume '${volumeId}' was taken over.`);
  }
}
