/**
 * Snapshots whose volumes are to be fast from their first read: all that such a snapshot names (its map and its chunks) is
 * brought to this node's disk ahead, and a volume that is made of it reads it from there, whether or not the object
 * store answers.
 *
 * A snapshot's row says that it is wanted (`fast_restore`). What is there is brought to what is wanted whenever a row changes, a
 * copy is found wrong, or time has passed; a process that ends anywhere leaves copies that the next one takes up. Copies never
 * take the room that logs need: without room a snapshot waits for it, and when others fill the disk, copies go, those of the last
 * snapshot first.
 */
import { AwsError } from "../../aws/errors.ts";
import { errorFields, type Log } from "../../log/log.ts";
import { chunkKey, segmentBytes } from "../format.ts";
import { type BlockStore, mapChunks, mapPartKey, type SavedMap } from "../maps/map_objects.ts";
import type { FastRestore } from "../contract.ts";
import { systemTime } from "../mounts/orders.ts";
import {
  checkSnapshotId,
  isSnapshot,
  snapshotNotFound,
  type SnapshotRow,
  type Tables,
} from "../records.ts";
import type { KeptObjects } from "./kept_objects.ts";

/** Left free beside the reserve, for logs; what eats into it takes no copies away yet. */
const spareBytes = 8 * segmentBytes;

export interface FastRestoresOptions {
  readonly tables: Pick<Tables, "snapshots">;
  readonly objects: KeptObjects;
  /** The same objects as everybody reads them. */
  readonly store: BlockStore;
  /** Bytes of the disk that new data may take; less than none when the reserve is eaten into. */
  readonly availableBytes: () => number;
  readonly log: Log;
  /** How long a stop waits for a copy that is being made. */
  readonly stopPatienceMs?: number;
}

/** Half a copy is removed by the next start; what volumes there are is to be stopped meanwhile. */
const usualStopPatienceMs = 2000;

type Progress = Pick<FastRestore, "objects" | "kept_objects" | "kept_bytes" | "waits_for">;

export class FastRestores {
  readonly #o: FastRestoresOptions;
  /** Keys that a saved map stands for; maps do not change. */
  readonly #named = new Map<string, readonly string[]>();
  readonly #waits = new Map<string, NonNullable<FastRestore["waits_for"]>>();
  readonly #unwatch: () => void;
  #running: Promise<void> | undefined;
  #again = false;
  #stopped = false;

  constructor(options: FastRestoresOptions) {
    this.#o = options;
    const known = new Map<string, boolean>();
    this.#unwatch = options.tables.snapshots.watch(({ key, row }) => {
      const isWanted = row?.value.fast_restore === true;
      if (isWanted || known.get(key) === true) this.look();
      if (isWanted) known.set(key, true);
      else known.delete(key);
    });
    options.objects.lost = () => this.look();
  }

  /** Brings what is there to what is wanted, in the background. */
  look(): void {
    if (this.#stopped) return;
    this.#again = true;
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
      if (this.#again) this.look();
    });
  }

  async #run(): Promise<void> {
    while (this.#again && !this.#stopped) {
      this.#again = false;
      try {
        await this.#settle();
      } catch (error) {
        this.#o.log.warn("fast_restore_delayed", errorFields(error));
      }
    }
  }

  #wanted(): SnapshotRow[] {
    return this.#o.tables.snapshots.list().map(({ value }) => value)
      .filter((row) => row.fast_restore === true && row.state === "ok");
  }

  async #settle(): Promise<void> {
    const { objects, log } = this.#o;
    const wanted = this.#wanted();
    const needed = new Set<string>();
    const plans: { readonly id: string; readonly keys: readonly string[] }[] = [];
    let isComplete = true;
    for (const { snapshot_id, map } of wanted) {
      try {
        const keys = await this.#keysOf(map);
        for (const key of keys) needed.add(key);
        plans.push({ id: snapshot_id, keys });
      } catch (error) {
        isComplete = false;
        this.#waits.set(snapshot_id, "object_store");
        log.warn("fast_restore_waits", { snapshot_id, ...errorFields(error) });
      }
    }
    const maps = new Set(wanted.map(({ map }) => map?.key));
    for (const key of this.#named.keys()) if (!maps.has(key)) this.#named.delete(key);
    // Whose keys are not known keeps what there is.
    if (isComplete) {
      for (const key of objects.keys()) if (!needed.has(key)) await objects.drop(key);
    }
    await this.#makeRoom(plans.map(({ keys }) => keys));
    for (const { id, keys } of plans) await this.#bring(id, keys);
  }

  /** The last snapshot's copies go first. */
  async #makeRoom(plans: readonly (readonly string[])[]): Promise<void> {
    for (const keys of plans.toReversed()) {
      for (const key of keys) {
        if (this.#o.availableBytes() >= 0) return;
        await this.#o.objects.drop(key);
      }
    }
  }

  async #bring(snapshot_id: string, keys: readonly string[]): Promise<void> {
    const { objects, log, tables } = this.#o;
    this.#waits.delete(snapshot_id);
    const started = performance.now();
    let brought = 0;
    for (const key of keys) {
      if (objects.has(key)) continue;
      if (this.#stopped || tables.snapshots.get(snapshot_id)?.value.fast_restore !== true) return;
      if (this.#o.availableBytes() < spareBytes) {
        this.#waits.set(snapshot_id, "disk_space");
        log.warn("fast_restore_waits", {
          snapshot_id,
          for: "room on this node's disk: delete volumes or snapshots, or add a disk",
        });
        return;
      }
      try {
        await objects.keep(key);
        brought++;
      } catch (error) {
        this.#waits.set(snapshot_id, "object_store");
        log.warn("fast_restore_waits", { snapshot_id, key, ...errorFields(error) });
        return;
      }
    }
    if (brought === 0) return;
    const duration_ms = Math.round(performance.now() - started);
    log.info("fast_restore_ready", { snapshot_id, objects: keys.length, brought, duration_ms });
  }

  /** All objects that a volume with this map reads. */
  async #keysOf(map: SavedMap | undefined): Promise<readonly string[]> {
    if (map === undefined) return [];
    const known = this.#named.get(map.key);
    if (known !== undefined) return known;
    const chunks = await mapChunks(this.#o.store, map);
    const keys = [
      ...Array.from({ length: map.parts }, (_, part) => mapPartKey(map.key, part)),
      ...chunks.map(({ name }) => chunkKey(name)),
    ];
    this.#named.set(map.key, keys);
    return keys;
  }

  /** Says whether a snapshot is wanted; repeating it is no error. */
  async set(id: unknown, wanted: unknown): Promise<FastRestore> {
    const snapshotId = checkSnapshotId(id);
    if (typeof wanted !== "boolean") {
      throw new AwsError("InvalidParameterValue", "wanted is neither true nor false.");
    }
    const { snapshots } = this.#o.tables;
    if (!isSnapshot((await snapshots.read(snapshotId))?.value)) throw snapshotNotFound(snapshotId);
    await snapshots.modify(snapshotId, (row) => {
      if (!isSnapshot(row)) throw snapshotNotFound(snapshotId);
      const { fast_restore: _, ...rest } = row;
      return wanted ? { ...rest, fast_restore: true } : rest;
    });
    this.look();
    return await this.describe(snapshotId);
  }

  /** All that a volume of it would read is here. */
  isReady({ fast_restore, state, map }: SnapshotRow): boolean {
    if (fast_restore !== true || state !== "ok") return false;
    if (map === undefined) return true;
    return this.#named.get(map.key)?.every((key) => this.#o.objects.has(key)) === true;
  }

  async describe(id: unknown): Promise<FastRestore> {
    const snapshot_id = checkSnapshotId(id);
    const row = (await this.#o.tables.snapshots.read(snapshot_id))?.value;
    if (!isSnapshot(row)) throw snapshotNotFound(snapshot_id);
    const wanted = row.fast_restore === true;
    const keys = row.map === undefined ? [] : this.#named.get(row.map.key);
    const kept = keys?.filter((key) => this.#o.objects.has(key)).length ?? 0;
    const progress: Progress = {
      ...(keys === undefined ? {} : { objects: keys.length }),
      kept_objects: kept,
      kept_bytes: this.#o.objects.bytesOf(keys ?? []),
      ...(this.#waits.has(snapshot_id) && wanted
        ? { waits_for: this.#waits.get(snapshot_id) }
        : {}),
    };
    const state = !wanted ? "off" : this.isReady(row) ? "ready" : "coming";
    return { snapshot_id, state, ...progress };
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#unwatch();
    const over = new AbortController();
    const running = Promise.resolve(this.#running).finally(() => over.abort());
    const patience = this.#o.stopPatienceMs ?? usualStopPatienceMs;
    await Promise.race([running, systemTime.pause(patience, over.signal)]);
  }
}
