/**
 * What refers to objects (making a clone, freezing a snapshot) and what deletes them takes turns, so that
 * the collector never misses a reference that is being made.
 *
 * A deletion first marks its row, then removes objects and keys, then the row: one that was cut off is taken up again
 * at the next start (`resume`), until it is done.
 */
import { errorFields, type Log } from "../log/log.ts";
import { collect, keptBy, stillNeeded } from "./chunks/collector.ts";
import type { KeyRing } from "./encryption/key_ring.ts";
import type { BlockStore } from "./maps/map_objects.ts";
import type { Mounts } from "./mounts/mounts.ts";
import { type Tables, Turns, type VolumeRow } from "./records.ts";
import { untilDone } from "./retries.ts";

export interface ReferencesOptions {
  readonly tables: Tables;
  readonly store: BlockStore;
  readonly mounts: Mounts;
  readonly keys: KeyRing;
  readonly log: Log;
  readonly firstPauseMs?: number;
}

/** Which row, and which writing of it. */
interface RowVersion {
  readonly key: string;
  readonly revision: number;
}

const all = "references";

export class References {
  readonly #o: ReferencesOptions;
  readonly #turns = new Turns();
  readonly #stopping = new AbortController();

  constructor(options: ReferencesOptions) {
    this.#o = options;
  }

  /** Runs the work while nobody else makes or deletes a reference. */
  async alone<T>(work: () => Promise<T>): Promise<T> {
    return await this.#turns.take(all, work);
  }

  /** Deletes objects of these volumes that nobody needs any more. */
  async collect(owners: Iterable<string>): Promise<void> {
    await this.alone(() => this.#collect(owners));
  }

  async #collect(owners: Iterable<string>): Promise<void> {
    const { tables, store, log, mounts } = this.#o;
    await collect(owners, tables, store, log, {
      heldBy: (volumeId) => mounts.held(volumeId),
      unshare: (volumeId, chunks, freezes) => mounts.unshare(volumeId, chunks, freezes),
    });
  }

  /** Removes a volume that is marked as `deleting`. */
  async removeVolume(volumeId: string): Promise<void> {
    await this.alone(async () => {
      const row = this.#o.tables.volumes.get(volumeId)?.value;
      const owners = new Set([volumeId, ...keptBy(row?.map)]);
      await this.#collect(owners);
      await this.#o.mounts.forget(volumeId);
      await this.#discardKeys(owners, [volumeId]);
      await this.#o.tables.volumes.delete(volumeId);
    });
  }

  /** Removes a volume that is marked as `deleting`, and that nobody asks to remove again, as soon as that can be. */
  async giveUp(volumeId: string): Promise<void> {
    const { volumes } = this.#o.tables;
    try {
      await this.removeVolume(volumeId);
    } catch {
      const row = volumes.get(volumeId);
      if (row === undefined) return;
      void this.#untilRemoved(row, () => volumes.get(volumeId), () => this.removeVolume(volumeId));
    }
  }

  /** Removes a volume that is to be filled unseen, if the tables took its row after all: its maker heard that they did not. */
  async giveUpUnheard({ volume_id, epoch }: VolumeRow): Promise<void> {
    await untilDone(async () => {
      const found = (await this.#o.tables.volumes.read(volume_id))?.value;
      if (found?.state === "deleting" && found.epoch === epoch) await this.removeVolume(volume_id);
    }, {
      signal: this.#stopping.signal,
      firstPauseMs: this.#o.firstPauseMs,
      failed: (error) =>
        this.#o.log.warn("deletion_waits", { id: volume_id, ...errorFields(error) }),
    });
  }

  /** Removes a snapshot that is marked as `deleting`. */
  async removeSnapshot(snapshotId: string): Promise<void> {
    await this.alone(async () => {
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

  /**
   * Takes up deletions that a crash cut off. What the store does not answer is tried again, and hinders no other. Only what
   * the crash left is meant: a row that was written since is somebody else's, maybe of a volume that is being filled unseen.
   */
  async resume(): Promise<void> {
    const { volumes, snapshots } = this.#o.tables;
    const cutOff = [
      ...volumes.list().map((row) => ({
        row,
        now: () => volumes.get(row.key),
        remove: () => this.removeVolume(row.key),
      })),
      ...snapshots.list().map((row) => ({
        row,
        now: () => snapshots.get(row.key),
        remove: () => this.removeSnapshot(row.key),
      })),
    ].filter(({ row }) => row.value.state === "deleting");
    await Promise.all(cutOff.map(({ row, now, remove }) => this.#untilRemoved(row, now, remove)));
  }

  /** Tries it again until it is done, or the row is another. */
  async #untilRemoved(
    row: RowVersion,
    now: () => RowVersion | undefined,
    remove: () => Promise<void>,
  ): Promise<void> {
    await untilDone(async () => {
      if (now()?.revision === row.revision) await remove();
    }, {
      signal: this.#stopping.signal,
      firstPauseMs: this.#o.firstPauseMs,
      failed: (error) => this.#o.log.warn("deletion_waits", { id: row.key, ...errorFields(error) }),
    });
  }

  /** What is still to be deleted is left to the next start. */
  stop(): void {
    this.#stopping.abort();
  }
}
