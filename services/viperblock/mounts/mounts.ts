/**
 * The volumes that this node serves: mounts them, keeps them served, unmounts them.
 *
 * The row in the table is written before a worker starts and after it ended, so a crash at any point leaves
 * either a volume that is mounted here and has its local directory, or one that is not mounted. A worker
 * that fails is started again with a new epoch, on the same socket; other volumes do not notice. One
 * whose log or map is damaged is served for reading only, since writing could only make it worse. It cannot be moved
 * to the object store: unmounted, it is set aside where its log is, until it is mounted again or deleted. One whose
 * saved map is lost has no log anywhere: it is mounted and unmounted as any other, and each mount looks for its map anew.
 */
import { join } from "node:path";
import { AwsError, unavailable } from "../../aws/errors.ts";
import { ignoreMissing } from "../../config/missing_files.ts";
import { errorFields } from "../../log/log.ts";
import { Conflict, type Row } from "../../state/table.ts";
import type { MountReply } from "../contract.ts";
import type { ChunkName } from "../format.ts";
import { untilAborted } from "../maps/map_objects.ts";
import { Turns, volumeNotFound, type VolumeRow } from "../records.ts";
import { Beginnings } from "./beginnings.ts";
import { CacheShares } from "./cache_shares.ts";
import { Endings } from "./endings.ts";
import { LeftCaches } from "./left_caches.ts";
import type { HeldChunks } from "./mailbox.ts";
import { WorkerFailed } from "./mount_options.ts";
import type { MountedVolume } from "./mounted_volume.ts";
import type { MountsOptions } from "./mounts_options.ts";
import { systemTime } from "./orders.ts";
import { Reopenings } from "./reopenings.ts";
import { Restarts, soonMs } from "./restarts.ts";
import { metricsOf } from "./volume_metrics.ts";

/** Half of what the service has for its stop: a log is synced in far less, unless the disk beneath it answers nothing. */
const usualStopPatienceMs = 30_000;

/** Far above what opening any volume takes whose disk and store answer. */
const usualStartPatienceMs = 60_000;
const notBegun = "its engine has not begun yet";

/** Trying again brings nothing: what there is of the volume is not enough to serve it. */
const isFinal = (error: unknown) =>
  error instanceof WorkerFailed && error.damaged && !error.mayPass;

export class Mounts {
  readonly #o: MountsOptions;
  readonly #mounted = new Map<string, MountedVolume>();
  readonly #left: LeftCaches;
  readonly cacheShares: CacheShares;
  readonly #turns = new Turns();
  readonly #down = new Map<string, string>();
  /** Engines of volumes that somebody else has, which have not ended yet: they have their logs open. */
  readonly #lettingGo = new Map<string, Promise<void>>();
  readonly #stopping = new AbortController();
  readonly #reopenings: Reopenings;
  readonly #restarts = new Restarts();
  readonly #beginnings: Beginnings;
  readonly #endings: Endings;
  /** The row that an engine began with, until it was told what changed that meanwhile. */
  readonly #untold = new WeakMap<MountedVolume, Row<VolumeRow>>();
  readonly #unwatch: () => void;
  /** Rejects when a stop waits no longer. */
  readonly #givenUp = Promise.withResolvers<never>();

  constructor(options: MountsOptions) {
    this.#o = options;
    this.#givenUp.promise.catch(() => {});
    this.#left = new LeftCaches(options.directory);
    this.cacheShares = new CacheShares({
      mounted: this.#mounted,
      left: this.#left,
      files: options.cacheFiles,
      log: options.log,
    });
    this.#reopenings = new Reopenings({
      directory: (volumeId) => this.#directory(volumeId),
      reserveBytes: options.reserveBytes,
      isServed: (volumeId, volume) => this.#mounted.get(volumeId) === volume,
      reopen: (volumeId, volume) => this.#reopen(volumeId, volume),
      log: options.log,
      signal: this.#stopping.signal,
    });
    this.#beginnings = new Beginnings(options, {
      store: untilAborted(options.store, this.#stopping.signal),
      left: this.#left,
      cacheShares: this.cacheShares,
      count: () => this.#mounted.size,
      goOn: () => this.#goOn(),
      signal: this.#stopping.signal,
    });
    this.#endings = new Endings(options, {
      left: this.#left,
      cacheShares: this.cacheShares,
      ended: (volumeId) => void this.#mounted.delete(volumeId),
      setAside: (volumeId) => this.#forget(volumeId),
      remove: (volumeId) => this.forget(volumeId),
      serveOn: (volumeId) => void this.#revive(volumeId),
    });
    this.#unwatch = options.tables.volumes.watch(({ key, row }) => this.#hold(key, row?.value));
  }

  /**
   * The row says who may write. A volume that somebody else has taken over, with a later epoch, is let
   * go of at once: its clients lose their connections, and what its engine still stores carries an epoch
   * that no map will ever name.
   */
  #hold(volumeId: string, row: VolumeRow | undefined): void {
    const volume = this.#mounted.get(volumeId);
    if (volume === undefined || row === undefined || this.#isStopping) return;
    if (row.epoch <= volume.epoch) return;
    this.#o.log.error("volume_fenced", {
      volume_id: volumeId,
      epoch: volume.epoch,
      taken_by: row.mounted_on,
      taken_epoch: row.epoch,
    });
    this.#mounted.delete(volumeId);
    const ended = volume.stop()
      .catch((error) =>
        this.#o.log.error("volume_not_stopped", { volume_id: volumeId, ...errorFields(error) })
      )
      .finally(() => this.#lettingGo.delete(volumeId));
    this.#lettingGo.set(volumeId, ended);
  }

  get nodeId(): string {
    return this.#o.nodeId;
  }

  get #isStopping(): boolean {
    return this.#stopping.signal.aborted;
  }

  /** @throws AwsError when the service stops: no engine begins any more */
  #goOn(): void {
    if (this.#isStopping) throw unavailable(`The node '${this.#o.nodeId}', which stops,`);
  }

  get count(): number {
    return this.#mounted.size;
  }

  /** Volumes that should be served and are not, with the reason. */
  get down(): ReadonlyMap<string, string> {
    return this.#down;
  }

  /** Volumes that are served for reading only, with the reason. */
  get damaged(): ReadonlyMap<string, string> {
    const found = new Map<string, string>();
    for (const [id, { damage, waitsForDisk }] of this.#mounted) {
      if (damage === undefined) continue;
      const also = waitsForDisk ? "; it is opened for writing as soon as its disk gives that" : "";
      found.set(id, `${damage.reason}${also}`);
    }
    return found;
  }

  get volumes(): ReadonlyMap<string, MountedVolume> {
    return this.#mounted;
  }

  #directory(volumeId: string): string {
    return join(this.#o.directory, volumeId);
  }

  /** When the mount or unmount that is under way, if any, is over. */
  async settled(volumeId: string): Promise<void> {
    await this.#turns.take(volumeId, () => Promise.resolve());
  }

  async mount(volumeId: string): Promise<MountReply> {
    return await this.#inTurn(volumeId, () => this.#mount(volumeId));
  }

  /** What somebody asked for; who waits is told when a stop waits no longer. */
  async #inTurn<T>(volumeId: string, work: () => Promise<T>): Promise<T> {
    return await Promise.race([this.#turns.take(volumeId, work), this.#givenUp.promise]);
  }

  async #mount(volumeId: string): Promise<MountReply> {
    const { value } = await this.#serve(volumeId);
    return {
      socket: this.#o.socket(volumeId),
      ...(this.#o.vhostSocket === undefined ? {} : { vhost_socket: this.#o.vhostSocket(volumeId) }),
      size_bytes: value.size_bytes,
    };
  }

  /**
   * Serves the volume as its row says; what changes the row meanwhile is seen.
   * @param isWanted whether it still is to be served, by the row that it has then
   */
  async #serve(
    volumeId: string,
    isWanted: (row: VolumeRow) => boolean = () => true,
  ): Promise<Row<VolumeRow>> {
    for (;;) {
      const row = await this.#row(volumeId);
      if (!isWanted(row.value)) return row;
      const mounted = this.#mounted.get(volumeId);
      const began = mounted === undefined ? undefined : this.#untold.get(mounted);
      if (mounted !== undefined && began === undefined) return row;
      try {
        return await this.#catchUp(mounted ?? await this.#start(row), began ?? row);
      } catch (error) {
        if (!(error instanceof Conflict)) throw error;
      }
    }
  }

  /**
   * A volume that grew, or got other limits, while its engine was starting: whoever wrote that found nobody to tell.
   */
  async #catchUp(volume: MountedVolume, began: Row<VolumeRow>): Promise<Row<VolumeRow>> {
    this.#untold.set(volume, began);
    const row = await this.#row(began.value.volume_id);
    const [now, then] = [row.value, began.value];
    const isOther = now.size_bytes !== then.size_bytes || now.iops !== then.iops ||
      now.throughput_bytes !== then.throughput_bytes;
    if (isOther) await volume.resize(now);
    if (now.sync !== then.sync) await volume.setSync(now.sync ?? "flush");
    this.#untold.delete(volume);
    return row;
  }

  async #row(volumeId: string): Promise<Row<VolumeRow>> {
    const row = await this.#o.tables.volumes.read(volumeId);
    if (row === undefined || row.value.state !== "ok") throw volumeNotFound(volumeId);
    const { mounted_on } = row.value;
    if (mounted_on !== undefined && mounted_on !== this.#o.nodeId) {
      throw new AwsError("VolumeInUse", `The volume '${volumeId}' is in use on ${mounted_on}.`);
    }
    return row;
  }

  /** Takes the next epoch and starts a worker. */
  async #start(row: Row<VolumeRow>): Promise<MountedVolume> {
    const { volume_id } = row.value;
    await this.#lettingGo.get(volume_id);
    this.#goOn();
    const volume = await this.#beginnings.begin(row);
    this.#mounted.set(volume_id, volume);
    this.#down.delete(volume_id);
    // Whoever took it over while its engine was starting found nobody here to let go of it.
    this.#hold(volume_id, this.#o.tables.volumes.get(volume_id)?.value);
    void this.#watch(volume_id, volume);
    if (volume.waitsForDisk) void this.#reopenings.ask(volume_id, volume);
    this.cacheShares.share();
    return volume;
  }

  /** Ends an engine that serves for reading only, and begins an ordinary one. */
  async #reopen(volumeId: string, volume: MountedVolume): Promise<void> {
    await this.#turns.take(volumeId, async () => {
      // It may have been unmounted or taken over while its turn was waited for.
      if (this.#mounted.get(volumeId) !== volume || this.#isStopping) return;
      await volume.stop();
      this.#mounted.delete(volumeId);
    });
    await this.#revive(volumeId);
  }

  /** Counters of a volume that is mounted here. */
  async metrics(volumeId: string): Promise<Readonly<Record<string, number>> | undefined> {
    const volume = this.#mounted.get(volumeId);
    return volume === undefined ? undefined : await metricsOf(volume);
  }

  /** What a volume that is mounted here needs in the store. */
  async held(volumeId: string): Promise<HeldChunks | undefined> {
    return await this.#mounted.get(volumeId)?.held();
  }

  /** What nobody but the volume named when it had begun so many snapshots. */
  async unshare(volumeId: string, chunks: readonly ChunkName[], freezes: number): Promise<void> {
    await this.#mounted.get(volumeId)?.unshare(chunks, freezes);
  }

  /** Starts the worker again when it fails. */
  async #watch(volumeId: string, volume: MountedVolume): Promise<void> {
    const began = performance.now();
    const ending = await volume.ended;
    if (this.#mounted.get(volumeId) === volume) this.#mounted.delete(volumeId);
    const served_ms = performance.now() - began;
    const isFailed = ending.kind === "failed" && !this.#isStopping;
    // One that could only be read says nothing of those that write.
    if (volume.damage === undefined && (!isFailed || served_ms >= soonMs)) this.#forget(volumeId);
    if (!isFailed) return;
    const pause_ms = this.#restarts.pauseAfter(volumeId);
    const { error } = ending;
    this.#o.log.error("volume_worker_failed", { volume_id: volumeId, error, pause_ms });
    if (pause_ms > 0) {
      this.#down.set(volumeId, `its engine fails again and again: ${error.split("\n")[0]}`);
      await systemTime.pause(pause_ms, this.#stopping.signal);
    }
    await this.#revive(volumeId);
  }

  /** It was served for writing for a while, or is not to be served here: nothing of what it suffered counts any more. */
  #forget(volumeId: string): void {
    this.#restarts.forget(volumeId);
    this.#reopenings.forget(volumeId);
  }

  async #revive(volumeId: string): Promise<void> {
    for (let pause = 100; !this.#isStopping; pause *= 2) {
      try {
        await this.#turns.take(volumeId, async () => {
          const row = await this.#o.tables.volumes.read(volumeId);
          const isOurs = (row: VolumeRow | undefined) => this.#isOurs(row);
          if (isOurs(row?.value)) await this.#serve(volumeId, isOurs);
          this.#down.delete(volumeId);
        });
        return;
      } catch (error) {
        if (this.#isStopping) return;
        this.#o.log.error("volume_not_served", { volume_id: volumeId, ...errorFields(error) });
        this.#down.set(volumeId, error instanceof Error ? error.message : String(error));
        if (isFinal(error)) return;
      }
      await systemTime.pause(Math.min(pause, 10_000), this.#stopping.signal);
    }
  }

  /** Whether it is still to be served here: meanwhile it may have been unmounted, deleted or taken over. */
  #isOurs(row: VolumeRow | undefined): boolean {
    return row?.state === "ok" && row.mounted_on === this.#o.nodeId && row.set_aside === undefined;
  }

  /** What volumes that are not mounted here have on this disk: chunks that were kept, and what an end amid an unmount did not remove. */
  async #findLeft(): Promise<void> {
    for (const { key, value } of this.#o.tables.volumes.list()) {
      if (value.mounted_on !== undefined || value.state !== "ok") continue;
      try {
        await this.#left.leave(key);
      } catch (error) {
        this.#o.log.warn("directory_not_cleared", { volume_id: key, ...errorFields(error) });
      }
    }
    this.cacheShares.share();
  }

  /**
   * Serves again, after a restart, what the table says is mounted here. What takes longer than others should wait for is served
   * when it can be.
   */
  async restore(): Promise<void> {
    await this.#findLeft();
    const mine = this.#o.tables.volumes.list()
      .filter(({ value }) =>
        value.mounted_on === this.#o.nodeId && value.state === "ok" && value.set_aside === undefined
      );
    const waiting = new Set(mine.map(({ key }) => key));
    const over = new AbortController();
    const all = Promise.all(mine.map(async ({ key }) => {
      try {
        await this.mount(key);
      } catch (error) {
        if (this.#isStopping) return;
        this.#o.log.error("volume_not_served", { volume_id: key, ...errorFields(error) });
        this.#down.set(key, error instanceof Error ? error.message : String(error));
        if (!isFinal(error)) void this.#revive(key);
      } finally {
        waiting.delete(key);
      }
    })).finally(() => over.abort());
    const patience = this.#o.startPatienceMs ?? usualStartPatienceMs;
    await Promise.race([all, systemTime.pause(patience, over.signal)]);
    for (const key of waiting) {
      if (this.#mounted.has(key)) continue;
      this.#o.log.error("volume_not_served", { volume_id: key, error: notBegun });
      this.#down.set(key, notBegun);
    }
  }

  /**
   * Moves everything to the object store and stops serving. Repeating it is no error.
   * @returns whether it was mounted
   */
  async unmount(volumeId: string): Promise<boolean> {
    return await this.#inTurn(volumeId, async () => {
      const row = await this.#row(volumeId);
      if (row.value.mounted_on === undefined || row.value.set_aside === true) return false;
      const volume = this.#mounted.get(volumeId) ?? await this.#start(row);
      return await this.#endings.end(volumeId, volume);
    });
  }

  /** Removes what a volume that is not mounted may have left here. */
  async forget(volumeId: string): Promise<void> {
    this.#left.taken(volumeId);
    await this.#lettingGo.get(volumeId);
    await Deno.remove(this.#directory(volumeId), { recursive: true }).catch(ignoreMissing);
  }

  /**
   * Stops serving without unmounting: the logs are flushed and stay. Engines that are starting are gone too when this returns,
   * unless a disk answers nothing: the others' guests need not wait for it, and what it does not take is nobody's loss but its own, as
   * with the end of the process.
   */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#unwatch();
    const over = new AbortController();
    const ended = this.#ended().finally(() => over.abort());
    const patience = this.#o.stopPatienceMs ?? usualStopPatienceMs;
    await Promise.race([ended, systemTime.pause(patience, over.signal)]);
    if (over.signal.aborted) return;
    this.#o.log.error("engines_not_ended", { volume_ids: [...this.#mounted.keys()] });
    this.#givenUp.reject(unavailable(`The node '${this.#o.nodeId}', which stops,`));
  }

  async #ended(): Promise<void> {
    await Promise.all([...this.#mounted.values()].map((volume) => volume.stop()));
    await this.#turns.over();
    await Promise.all(this.#lettingGo.values());
  }
}
