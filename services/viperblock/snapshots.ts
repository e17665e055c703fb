/**
 * The life of snapshots as rows: frozen of volumes at rest or at work, copied, described and deleted, with maps and
 * chunks in the object store behind them. What is written block by block from outside is in `direct/`.
 */
import { AwsError, unavailable } from "../aws/errors.ts";
import { errorFields, type Log } from "../log/log.ts";
import { Conflict, type Row } from "../state/table.ts";
import { keptBy } from "./chunks/collector.ts";
import type { BlockSnapshot } from "./contract.ts";
import { type EncryptedCopies, encryptionOf } from "./encrypted_copies.ts";
import { newCopyEpoch } from "./encryption/reseal.ts";
import type { SavedMap } from "./maps/map_objects.ts";
import type { Mounts } from "./mounts/mounts.ts";
import {
  checkEncrypted,
  checkSnapshotId,
  checkVolumeId,
  describedSnapshot,
  isSnapshot,
  requireSound,
  snapshotNotFound,
  type SnapshotRow,
  type Tables,
  volumeNotFound,
  type VolumeRow,
} from "./records.ts";
import type { References } from "./references.ts";
import { untilDone } from "./retries.ts";

export interface SnapshotsOptions {
  readonly tables: Tables;
  readonly mounts: Mounts;
  readonly log: Log;
  readonly references: References;
  readonly copies: EncryptedCopies;
  readonly firstPauseMs?: number;
}

export class Snapshots {
  readonly #o: SnapshotsOptions;
  readonly #stopping = new AbortController();
  /** Snapshots that are being copied, and when that is over. */
  readonly #copying = new Map<string, Promise<unknown>>();
  /** Snapshots of mounted volumes that an engine is asked for, or that are not finished. */
  readonly #freezing = new Set<string>();

  constructor(options: SnapshotsOptions) {
    this.#o = options;
  }

  async freeze(volume: unknown, snapshot: unknown): Promise<BlockSnapshot> {
    const volumeId = checkVolumeId(volume);
    const snapshotId = checkSnapshotId(snapshot);
    // Neither mounted nor unmounted, there is nobody who could say what it holds at this moment.
    await this.#o.mounts.settled(volumeId);
    return await this.#o.references.alone(async () => {
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
    const row: SnapshotRow = {
      snapshot_id: snapshotId,
      volume_id: volume.volume_id,
      size_bytes: volume.size_bytes,
      state: "pending",
      epoch: mounted.epoch,
      owners: keptBy(volume.map),
      ...(volume.encrypted === true ? { encrypted: true } : {}),
    };
    const made = await snapshots.create(snapshotId, row).catch((error) => {
      if (!(error instanceof Conflict)) void this.#giveUp(row);
      throw error;
    });
    this.#freezing.add(snapshotId);
    try {
      const { size_bytes, stored } = await mounted.freeze();
      const sized = size_bytes === made.value.size_bytes
        ? made
        : await this.#sized(snapshotId, size_bytes);
      void this.#finishFreeze(snapshotId, stored);
      return describedSnapshot(sized.value);
    } catch (cause) {
      // What cannot be taken back must not wait for ever.
      await snapshots.delete(snapshotId).then(
        () => this.#freezing.delete(snapshotId),
        () => void this.#finishFreeze(snapshotId, Promise.reject(cause)),
      );
      throw unavailable(`The volume '${volume.volume_id}'`, cause);
    }
  }

  /** Whether the tables took the row after all nobody can tell; it must not wait for ever, unless somebody asked for it again. */
  async #giveUp({ snapshot_id, volume_id, epoch }: SnapshotRow): Promise<void> {
    const { log, tables } = this.#o;
    await untilDone(() =>
      this.#o.references.alone(async () => {
        const found = (await tables.snapshots.read(snapshot_id))?.value;
        const isIt = found?.state === "pending" && found.volume_id === volume_id &&
          found.epoch === epoch && !this.#freezing.has(snapshot_id);
        if (isIt) await this.#finished(snapshot_id, undefined);
      }), {
      signal: this.#stopping.signal,
      firstPauseMs: this.#o.firstPauseMs,
      failed: (error) => log.warn("snapshot_not_given_up", { snapshot_id, ...errorFields(error) }),
    });
  }

  /** @param map what the store has of it; without one it is an error's */
  async #finished(snapshotId: string, map: SavedMap | undefined): Promise<void> {
    await this.#o.tables.snapshots.modify(snapshotId, (row) => {
      if (row === undefined) throw snapshotNotFound(snapshotId);
      if (row.state !== "pending") return row;
      const { epoch: _, owners: __, ...rest } = row;
      return map === undefined ? { ...rest, state: "error" } : { ...rest, state: "ok", map };
    });
  }

  /** The volume grew between the writing of the row and the moment: what was written behind its old end is in the snapshot. */
  async #sized(snapshotId: string, size_bytes: number): Promise<Row<SnapshotRow>> {
    return await this.#o.tables.snapshots.modify(snapshotId, (row) => {
      if (row === undefined) throw snapshotNotFound(snapshotId);
      return { ...row, size_bytes };
    });
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
    const isDone = await untilDone(() =>
      this.#o.references.alone(async () => {
        // Deleted meanwhile, nobody waits for it.
        if (await tables.snapshots.read(snapshotId) === undefined) return;
        await this.#finished(snapshotId, map);
      }), {
      signal: this.#stopping.signal,
      firstPauseMs: this.#o.firstPauseMs,
      failed: (error) =>
        log.warn("snapshot_not_finished", { snapshot_id: snapshotId, ...errorFields(error) }),
    });
    this.#freezing.delete(snapshotId);
    const duration_ms = Math.round(performance.now() - started);
    if (isDone && map !== undefined) {
      log.info("snapshot_stored", { snapshot_id: snapshotId, duration_ms });
    }
  }

  /** What is not finished is left to the next start. */
  stop(): void {
    this.#stopping.abort();
  }

  /** Another name for the same frozen map, or a copy of all of it where only the copy is encrypted. */
  async copy(
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
    const made = await this.#o.references.alone(async () => {
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
      const encrypted = encryptionOf(wanted, row.value);
      const { fast_restore: _, ...content } = row.value;
      const copy = {
        ...content,
        snapshot_id: snapshotId,
        ...(encrypted ? { encrypted } : {}),
      };
      if (encrypted && row.value.encrypted !== true && row.value.map !== undefined) {
        return { copy, filling: await this.#beginCopy(copy), source: row.value };
      }
      return describedSnapshot((await snapshots.create(snapshotId, copy)).value);
    });
    if (!("copy" in made)) return made;
    const { copy, filling, source } = made;
    const named = await this.#o.copies.fill(
      filling,
      source,
      (map) =>
        this.#o.references.alone(async () => {
          const row = await this.#written({ ...copy, map });
          if (row === undefined) return undefined;
          // The snapshot keeps what the volume wrote; there is nothing to collect.
          await this.#o.tables.volumes.delete(filling.volume_id);
          return describedSnapshot(row);
        }),
    );
    if (named !== undefined) return named;
    throw new AwsError(
      "IdempotentParameterMismatch",
      `The snapshot '${snapshotId}' has been made of something else meanwhile.`,
    );
  }

  /**
   * Makes the row of a copy, unless a try that seemed to fail has made it.
   * @returns undefined when the id has become another snapshot's
   */
  async #written(row: SnapshotRow): Promise<SnapshotRow | undefined> {
    const { snapshots } = this.#o.tables;
    const existing = (await snapshots.read(row.snapshot_id))?.value;
    if (existing === undefined) return (await snapshots.create(row.snapshot_id, row)).value;
    return existing.map?.key === row.map?.key ? existing : undefined;
  }

  /** A volume that nobody sees, whose chunks an encrypted copy will name. */
  async #beginCopy({ snapshot_id, size_bytes }: SnapshotRow): Promise<VolumeRow> {
    const volume_id = `vol-copy-${snapshot_id.slice("snap-".length)}`;
    const { volumes } = this.#o.tables;
    if (await volumes.read(volume_id) !== undefined) {
      // Left half done by an engine that ended: it is removed first.
      throw unavailable(`The snapshot '${snapshot_id}', which is being made,`);
    }
    await this.#o.copies.makeKey(volume_id);
    const row: VolumeRow = {
      volume_id,
      size_bytes,
      epoch: newCopyEpoch(),
      state: "deleting",
      encrypted: true,
    };
    const made = await volumes.create(volume_id, row).catch((error) => {
      if (!(error instanceof Conflict)) void this.#o.references.giveUpUnheard(row);
      throw error;
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
      await this.#finished(key, undefined);
    }
  }

  async describe(id: unknown): Promise<BlockSnapshot> {
    const snapshotId = checkSnapshotId(id);
    const row = await this.#o.tables.snapshots.read(snapshotId);
    if (row === undefined || !isSnapshot(row.value)) throw snapshotNotFound(snapshotId);
    return describedSnapshot(row.value);
  }

  list(): BlockSnapshot[] {
    return this.#o.tables.snapshots.list()
      .filter(({ value }) => isSnapshot(value))
      .map(({ value }) => describedSnapshot(value));
  }

  /** Clones keep what they need: their own rows refer to the same map. */
  async delete(id: unknown): Promise<null> {
    const snapshotId = checkSnapshotId(id);
    const { snapshots } = this.#o.tables;
    await this.#copying.get(snapshotId)?.catch(() => {});
    if (await snapshots.read(snapshotId) === undefined) return null;
    await snapshots.modify(snapshotId, (row) => {
      if (row === undefined) throw snapshotNotFound(snapshotId);
      return row.state === "deleting" ? row : { ...row, state: "deleting" };
    });
    await this.#o.references.removeSnapshot(snapshotId);
    return null;
  }
}
