/**
 * One simulated history of one volume, all of it from one seed: guests write while requests are
 * reordered, torn and failed, the store is slow or away, files cannot be made; the process dies or the
 * power goes at any step; the volume is opened again, moved, and at last deleted.
 *
 * What must hold: what is found after a crash is a prefix of what was done with all that was
 * acknowledged (to a flush, when the power went); damage to what was flushed never makes anything that was
 * acknowledged go without a word; reads never bring anything but what was written; the
 * books agree with the map, and no place is owned twice; at the end no object is left that nobody needs.
 *
 * A seed is the same history for ever as long as its draws come in the same order.
 */
import type { SyncMode } from "../../services/viperblock/contract.ts";
import { LogFailed } from "../../services/viperblock/engine/log_writer.ts";
import { blockBytes } from "../../services/viperblock/format.ts";
import type { CrashKind } from "../../services/viperblock/machine/simulated_disk.ts";
import type { SnapshotRow, VolumeRow } from "../../services/viperblock/records.ts";
import { Random } from "../kit/random.ts";
import { BesideHistory } from "./beside_history.ts";
import { History } from "./history.ts";
import { OpenedVolume } from "./opened_volume.ts";
import { Promises, Violation } from "./promises.ts";
import { SimulatedCloud } from "./simulated_cloud.ts";
import { SimulatedCollections } from "./simulated_collections.ts";

export type RunReport = BesideHistory["report"] & {
  readonly lives: number;
  readonly crashes: number;
  readonly requests: number;
  readonly compacted: number;
  /** Blocks of chunks that were read from the local disk, and that were wrong there. */
  readonly cached: number;
  readonly cachedWrong: number;
  readonly trace: readonly string[];
};

export class VolumeRun {
  readonly #random: Random;
  /** Of its own, so that looking beside the history does not change it. */
  readonly #branching: Random;
  readonly #cloud: SimulatedCloud;
  readonly #collections: SimulatedCollections;
  readonly #promises: Promises;
  readonly #beside: BesideHistory;
  readonly #sync: SyncMode;
  /** The volume that is worked with. */
  #volumeId = "vol-first";
  #stamp = 0;
  #lives = 0;
  #crashes = 0;
  #requests = 0;
  #compacted = 0;
  #cached = 0;
  #cachedWrong = 0;
  /** Of its own, so that a history without a chunk cache is what it was. */
  readonly #spoiling: Random;
  /** Of its own, for the same reason. */
  readonly #cloning: Random;
  readonly #rereading: Random;

  /**
   * @param endsWhileOpening whether openings, too, end now and then before they serve
   * @param keepsChunks whether the node's disk keeps chunks; the same seed is another history then
   */
  constructor(
    readonly seed: number,
    readonly endsWhileOpening = true,
    readonly keepsChunks = true,
  ) {
    this.#spoiling = new Random(seed ^ 0x165667b1);
    this.#random = new Random(seed);
    this.#branching = new Random(~seed);
    this.#cloning = new Random(seed ^ 0x27d4eb2f);
    this.#rereading = new Random(seed ^ 0x05ebca6b);
    this.#sync = seed % 7 === 2 ? "always" : seed % 7 === 3 ? "relaxed" : "flush";
    this.#cloud = new SimulatedCloud(seed, this.#random);
    this.#collections = new SimulatedCollections(this.#cloud);
    this.#promises = new Promises(new History(24 + this.#random.below(80)));
    this.#beside = new BesideHistory(seed, this.#branching, this.#cloud, this.#promises);
    this.#cloud.keys?.make(this.#volumeId);
    this.#cloud.rows.makeVolume(this.#volumeId, this.#history.sizeBlocks);
  }

  get #history(): History {
    return this.#promises.history;
  }

  get #row(): VolumeRow {
    return this.#cloud.rows.volumes.get(this.#volumeId) as VolumeRow;
  }

  set #row(row: VolumeRow) {
    this.#cloud.rows.volumes.set(row.volume_id, row);
  }

  get trace(): readonly string[] {
    return this.#cloud.trace;
  }

  async run(): Promise<RunReport> {
    const { volumes, snapshots } = this.#cloud.rows;
    await this.#workWithVolume();
    // Volumes go before, between and after the snapshots that stand on them.
    for (let clones = this.#random.below(3); clones > 0 && snapshots.size > 0; clones--) {
      if (this.#random.below(2) === 0) await this.#deleteVolume();
      await this.#workWithClone(this.#cloud.rows.pickSnapshot(this.#random), clones);
    }
    while (snapshots.size > 0) {
      const snapshot = this.#cloud.rows.pickSnapshot(this.#random);
      await this.#checkSnapshot(snapshot);
      snapshots.delete(snapshot);
      await this.#collections.collect();
      await this.#collections.check();
    }
    for (const id of [...volumes.keys()]) {
      this.#volumeId = id;
      await this.#deleteVolume();
    }
    this.#cloud.end();
    return {
      ...this.#beside.report,
      lives: this.#lives,
      crashes: this.#crashes,
      requests: this.#requests,
      compacted: this.#compacted,
      cached: this.#cached,
      cachedWrong: this.#cachedWrong,
      trace: this.trace,
    };
  }

  /** The volume is opened and ends a few times, the last time in order. */
  async #workWithVolume(): Promise<void> {
    const lives = 2 + this.#random.below(4);
    for (let i = 0; i < lives; i++) {
      const opened = await this.#open();
      await opened.inspect();
      await this.#live(opened, i === lives - 1);
    }
    const last = await this.#open();
    await last.inspect();
    await this.#unmount(last);
    const cold = await this.#open();
    await cold.inspect();
    await this.#unmount(cold);
    await this.#collections.collect();
    await this.#collections.check();
  }

  /** Turns to a new volume that begins with what the snapshot holds. */
  #turnToVolumeOf(snapshotId: string, volumeId: string, sizeBlocks: number): void {
    const { rows, keys } = this.#cloud;
    const state = rows.contentsOf(snapshotId);
    this.#volumeId = volumeId;
    keys?.make(volumeId);
    this.#promises.turnTo(new History(sizeBlocks, { history: this.#history, state }));
    rows.makeVolume(volumeId, sizeBlocks, rows.snapshots.get(snapshotId)?.map);
  }

  async #workWithClone(snapshotId: string, number: number): Promise<void> {
    const { rows } = this.#cloud;
    const { size_bytes } = rows.snapshots.get(snapshotId) as SnapshotRow;
    const volumeId = `vol-clone${number}`;
    this.#cloud.note(`makes ${volumeId} of ${snapshotId}`);
    rows.cloneOf(volumeId, snapshotId);
    const blocks = size_bytes / blockBytes + this.#random.below(20);
    this.#turnToVolumeOf(snapshotId, volumeId, blocks);
    await this.#cloud.moveAway(this.#row);
    if (this.#random.below(2) === 0) {
      // The snapshot is not needed for the clone to live.
      rows.snapshots.delete(snapshotId);
      await this.#collections.collect();
    }
    await this.#workWithVolume();
  }

  /** What a snapshot holds is what the volume held when it was taken. */
  async #checkSnapshot(snapshotId: string): Promise<void> {
    const { size_bytes } = this.#cloud.rows.snapshots.get(snapshotId) as SnapshotRow;
    const [volumeId, history] = [this.#volumeId, this.#history];
    this.#turnToVolumeOf(snapshotId, "vol-check", size_bytes / blockBytes);
    await this.#beside.loseMap(this.#row);
    await this.#cloud.moveAway(this.#row);
    const opened = await this.#open();
    this.#cloud.note(`looks at ${snapshotId}`);
    await opened.inspect();
    await this.#stop(opened);
    await this.#deleteVolume();
    this.#promises.turnTo(history);
    this.#volumeId = volumeId;
  }

  async #deleteVolume(): Promise<void> {
    if (this.#row === undefined) return;
    this.#cloud.note(`deletes ${this.#volumeId}`);
    this.#row = { ...this.#row, state: "deleting" };
    await this.#collections.collect(this.#row.map?.owners);
    this.#cloud.rows.volumes.delete(this.#volumeId);
    await this.#collections.check();
  }

  /** Opens the volume with the next epoch; waits until it serves. */
  async #open(): Promise<OpenedVolume> {
    this.#cloud.faults(false);
    this.#lives++;
    this.#row = { ...this.#row, epoch: this.#row.epoch + 1, mounted_on: "here" };
    this.#cloud.note(`opens with epoch ${this.#row.epoch}`);
    const opened = new OpenedVolume({
      cloud: this.#cloud,
      promises: this.#promises,
      random: this.#random,
      sync: this.#sync,
      ...(this.keepsChunks ? { cache: { slots: 3, files: this.#spoiling.below(5) } } : {}),
      hasLargeCache: this.#rereading.below(2) === 0,
      stamp: () => ++this.#stamp,
      look: (opened) => this.#beside.look(opened),
    }, this.#row);
    const ends = this.endsWhileOpening && this.#branching.below(8) === 0;
    const turns = ends ? this.#branching.below(30) : Infinity;
    for (let i = 0; i < turns; i++) {
      if (opened.ready) return opened;
      if (i > 20_000) throw new Violation("it does not come to serve");
      await opened.turn();
    }
    if (opened.ready) return opened;
    this.#crash(opened, this.#branching.below(2) === 0 ? "power" : "process");
    return await this.#open();
  }

  /** Lets the guest work until something ends this life. */
  async #live(opened: OpenedVolume, last: boolean): Promise<void> {
    this.#cloud.faults(true);
    const random = this.#random;
    const steps = 50 + random.below(1500);
    const { guest, volume } = opened;
    try {
      for (let step = 0; step < steps && !guest.uncertain; step++) {
        if (random.below(3) > 0) guest.act();
        const event = random.below(400);
        if (event === 0 && !guest.blurred) opened.freeze(this.#row);
        else if (event === 1) this.#deleteSnapshot(opened);
        else if (event === 2 && random.below(3) === 0) this.#grow(opened);
        await opened.turn();
        if (this.keepsChunks && this.#spoiling.below(40) === 0) {
          this.#cloud.disk.damageCache(this.#spoiling);
        }
        if (guest.wrong.length > 0) throw new Violation(guest.wrong.join("; "));
        if (step % 64 === 0) opened.audit();
        if (step % 400 === 399) this.#cloud.faults(true);
      }
      if (!guest.uncertain && this.#rereading.below(2) === 0) {
        this.#cloud.faults(false);
        await opened.reread();
      }
      if (!last && !guest.uncertain) {
        const how = random.below(6);
        if (how === 0) {
          await this.#stop(opened);
          return;
        }
        if (how === 1) {
          this.#cloud.faults(false);
          await this.#unmount(opened);
          return;
        }
        if (how === 2 && this.#rereading.below(2) === 0) {
          await this.#endTwice(opened);
          return;
        }
        if (how === 2) {
          // It dies while it is unmounting.
          this.#cloud.note("begins to unmount");
          volume.deliver({ kind: "unmount" });
          const longest = random.below(300);
          for (let i = 0; i < longest && !opened.ended; i++) await opened.turn();
        }
      }
    } catch (error) {
      if (!(error instanceof LogFailed)) throw error;
      this.#cloud.note(`the log failed: ${error.message}`);
      this.#crash(opened, "process");
      return;
    }
    this.#crash(opened, random.below(2) === 0 ? "power" : "process");
  }

  /** Deletes a snapshot, and what nobody needs any more, while the volume is being written to. */
  #deleteSnapshot(opened: OpenedVolume): void {
    const { snapshots } = this.#cloud.rows;
    if (snapshots.size === 0 || this.#collections.underWay) return;
    const id = this.#cloud.rows.pickSnapshot(this.#random);
    this.#cloud.note(`deletes ${id}`);
    const row = snapshots.get(id) as SnapshotRow;
    if (row.state === "ok" && this.#cloning.below(2) === 0) this.#keepClone(row);
    snapshots.delete(id);
    this.#collections.collectBeside(opened, row);
  }

  /** A clone that nobody uses: what it needs is there as long as it is, whoever else gives it up. */
  #keepClone({ snapshot_id, size_bytes, map }: SnapshotRow): void {
    const { rows, keys } = this.#cloud;
    const id = `vol-kept-${snapshot_id}`;
    this.#cloud.note(`makes ${id}`);
    keys?.make(id);
    rows.makeVolume(id, size_bytes / blockBytes, map);
  }

  #grow({ volume }: OpenedVolume): void {
    const blocks = this.#history.sizeBlocks + 1 + this.#random.below(30);
    const size_bytes = blocks * blockBytes;
    this.#cloud.note(`grows to ${blocks} blocks`);
    this.#row = { ...this.#row, size_bytes };
    this.#history.grow(blocks);
    volume.deliver({ kind: "resize", size_bytes, limits: {} });
  }

  #crash(opened: OpenedVolume, kind: CrashKind): void {
    this.#crashes++;
    const { length, acknowledged, durable } = this.#history;
    this.#cloud.note(
      `${kind} ends; ${length} changes, ${acknowledged} acknowledged, ${durable} durable`,
    );
    this.#endLife(opened);
    opened.machine.ring.crash();
    if (kind === "power") this.#cloud.disk.powerCut();
    else this.#cloud.disk.processEnd();
    opened.machine.releaseAll();
    this.#promises.crashed(kind);
  }

  /** Nobody carries on what the process had begun. */
  #endLife({ guest, volume }: OpenedVolume): void {
    this.#requests += guest.done;
    const { chunks_compacted, chunk_cache_hits, chunk_cache_wrong } = volume.statistics();
    this.#compacted += chunks_compacted;
    this.#cached += chunk_cache_hits;
    this.#cachedWrong += chunk_cache_wrong;
    this.#promises.countAnew();
    this.#cloud.lookForPlaintext();
    this.#cloud.store.life++;
    this.#collections.abandon();
    this.#cloud.rows.dropPending();
  }

  #endInOrder(opened: OpenedVolume): void {
    this.#promises.ended();
    this.#endLife(opened);
    opened.volume.close();
    const { underWay } = opened.machine.ring;
    if (underWay > 0) throw new Violation(`it ended with ${underWay} requests under way`);
    this.#cloud.disk.processEnd();
    opened.machine.releaseAll();
  }

  async #stop(opened: OpenedVolume): Promise<void> {
    this.#cloud.note("stops");
    opened.volume.deliver({ kind: "stop" });
    await opened.until(() => opened.ended);
    this.#endInOrder(opened);
  }

  async #unmount(opened: OpenedVolume): Promise<void> {
    this.#cloud.note("unmounts");
    this.#cloud.faults(false);
    for (opened.refused = true; opened.refused;) {
      opened.refused = false;
      opened.volume.deliver({ kind: "unmount" });
      await opened.until(() => opened.ended || opened.refused);
    }
    opened.audit();
    await this.#putAway(opened);
  }

  /** It is told to stop while it unmounts, or the other way round, and ends in one manner or the other. */
  async #endTwice(opened: OpenedVolume): Promise<void> {
    const { store, world } = this.#cloud;
    const random = this.#rereading;
    const [first, then] = random.below(2) === 0
      ? ["unmount", "stop"] as const
      : ["stop", "unmount"] as const;
    this.#cloud.note(`begins to ${first}, then to ${then}`);
    // For longer than the engine tries.
    if (random.below(2) === 0) store.awayUntil = world.now + 60_000;
    opened.volume.deliver({ kind: first });
    for (let turns = random.below(30); turns > 0 && !opened.ended; turns--) await opened.turn();
    if (!opened.ended) opened.volume.deliver({ kind: then });
    await opened.until(() => opened.ended);
    if (opened.refused || opened.map === undefined) this.#endInOrder(opened);
    else await this.#putAway(opened);
  }

  /** It is unmounted. */
  async #putAway(opened: OpenedVolume): Promise<void> {
    this.#endInOrder(opened);
    const { mounted_on: _, ...rest } = this.#row;
    this.#row = { ...rest, ...(opened.map === undefined ? {} : { map: opened.map }) };
    if (this.#random.below(3) === 0) {
      const id = this.#cloud.rows.takeSnapshot(this.#row, this.#history.now.slice());
      this.#cloud.note(`takes ${id} at rest`);
    }
    await this.#beside.loseMap(this.#row);
    await this.#cloud.moveAway(this.#row);
  }
}
