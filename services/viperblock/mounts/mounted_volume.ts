/**
 * The main thread's side of one mounted volume: starts its worker, carries out what the worker
 * orders (object store, checkpoint file, log files), and passes on stop and unmount.
 *
 * Orders go one way and answers the other; every order is answered exactly once. A worker that fails is told to
 * `ended`; who mounted the volume decides what next.
 */
import { join } from "node:path";
import { beginXts } from "../../../ffi/aes_xts.ts";
import { errorFields, type Log } from "../../log/log.ts";
import type { SyncMode, VolumeLimits } from "../contract.ts";
import type { DamageReport } from "../damage.ts";
import { CheckpointSeal, openCheckpoint } from "../encryption/sealed_bytes.ts";
import { checkpointName, type ChunkName } from "../format.ts";
import { CheckedLog } from "../log/checked_log.ts";
import { BeingMade, LocalFiles } from "../log/volume_files.ts";
import { linuxFileSystem } from "../machine/file_system.ts";
import type { SavedMap } from "../maps/map_objects.ts";
import { rest } from "../rest.ts";
import { EngineThread, limitsOf } from "./engine_thread.ts";
import { Freezings, type Frozen } from "./freezings.ts";
import type { FromWorker, HeldChunks, ToWorker, VolumeStatistics } from "./mailbox.ts";
import { type Ending, type MountOptions, type Served, WorkerFailed } from "./mount_options.ts";
import { Orders, systemTime } from "./orders.ts";
import { Questions } from "./questions.ts";

/** By all volumes of this process. */
const beingMade = new BeingMade();
/** So many names are a small part of the worker's mailbox. */
const unsharedAtOnce = 2000;

export class MountedVolume {
  readonly #o: MountOptions;
  readonly #log: Log;
  readonly #thread: EngineThread;
  readonly #ready = Promise.withResolvers<Served>();
  readonly #ended = Promise.withResolvers<Ending>();
  readonly #orders: Orders;
  readonly #files: LocalFiles;
  readonly #questions = new Questions((question) => this.#send(question));
  readonly #freezings: Freezings;
  #cacheFiles: number;
  #unmounting: PromiseWithResolvers<boolean> | undefined;
  #over = false;
  /** How it ends, when the engine has said so and is not gone yet: it still has its files and its memory. */
  #ending: Ending | undefined;
  #damage: DamageReport | undefined;
  #lastAudit: Promise<unknown> = Promise.resolve();

  constructor(options: MountOptions) {
    this.#o = options;
    const { volumeId, epoch, directory, reserveBytes, key } = options;
    this.#log = options.log.with({ volume_id: volumeId, epoch });
    // A directory that cannot be listed is met before anything is taken that would have to be given back.
    this.#files = new LocalFiles({ system: linuxFileSystem, directory, reserveBytes, beingMade });
    if (key !== undefined) beginXts();
    this.#cacheFiles = options.cacheFiles ?? 0;
    this.#freezings = new Freezings(volumeId, epoch);
    this.#thread = new EngineThread(volumeId, {
      message: (message) => this.#handle(message),
      failed: (error) => this.#end(this.#ending ?? { kind: "failed", error, damaged: false }),
    });
    this.#orders = new Orders({
      store: options.store,
      files: this.#files,
      time: systemTime,
      log: this.#log,
      ...(key === undefined ? {} : { seal: new CheckpointSeal(key, volumeId) }),
      ...this.#thread.transfer,
      send: (message) => this.#send(message),
    });
    // A failure is told to whoever waits for `ended`; nobody need wait for `ready` any more then.
    this.#ready.promise.catch(() => {});
    this.#thread.begin(options);
  }

  /** What is wrong with it, when it is served for reading only. */
  get damage(): DamageReport | undefined {
    return this.#damage;
  }

  /** It is served for reading only because its disk did not give all of it. */
  get waitsForDisk(): boolean {
    return this.#damage !== undefined && this.#o.rescue?.mayPass === true;
  }

  get epoch(): number {
    return this.#o.epoch;
  }

  get socket(): string {
    return this.#o.socket;
  }

  /** Settles when the volume is served. @throws WorkerFailed */
  get ready(): Promise<Served> {
    return this.#ready.promise;
  }

  /** Settles when the worker is gone. */
  get ended(): Promise<Ending> {
    return this.#ended.promise;
  }

  #send(message: ToWorker): void {
    if (!this.#over && this.#ending === undefined) this.#thread.send(message);
    if (message.kind === "segment_refused") this.#o.noRoom?.();
  }

  /** Bytes of this node's disk that its chunks are kept in. */
  get keptBytes(): number {
    return this.#files.cacheBytes;
  }

  /**
   * So many files its chunks may be kept in from now on.
   * @param exactly a little less than now is no reason to give anything up, unless somebody needs the room
   */
  allowCache(files: number, exactly: boolean): void {
    const before = this.#cacheFiles;
    if (files === before) return;
    if (!exactly && files < before && before - files < before / 8) return;
    this.#cacheFiles = files;
    this.#send({ kind: "cache_allowed", files });
  }

  /** Flushes the log and ends the worker; the local files stay. */
  async stop(): Promise<void> {
    this.#send({ kind: "stop" });
    await this.#ended.promise;
  }

  /**
   * Moves everything to the object store and ends the worker.
   * @returns the saved map, or undefined when the store could not take it all and the volume is served on
   * @throws WorkerFailed
   */
  async unmount(): Promise<SavedMap | undefined> {
    this.#unmounting ??= Promise.withResolvers();
    const unmounting = this.#unmounting;
    this.#send({ kind: "unmount" });
    const first = await Promise.race([this.#ended.promise, unmounting.promise]);
    if (first === false) return undefined;
    const ending = await this.#ended.promise;
    if (ending.kind === "unmounted") return ending.map;
    throw new WorkerFailed(
      ending.kind === "failed" ? ending.error : "the engine was stopped",
      ending.kind === "failed" && ending.damaged,
    );
  }

  /**
   * Freezes what the volume holds. The moment has passed when this returns.
   * @returns how large it was then, and the frozen map, when the store has it
   * @throws WorkerFailed when the engine ends first
   */
  async freeze(): Promise<Frozen> {
    if (this.#over || this.#unmounting !== undefined) {
      throw new WorkerFailed("the volume is being unmounted", false);
    }
    // Its engine knows of no moment.
    if (this.#damage !== undefined) throw new WorkerFailed("the volume can only be read", false);
    return await this.#freezings.begin((key) => this.#send({ kind: "freeze", key }));
  }

  /** The volume is larger from now on; its clients have to connect again. */
  async resize(row: VolumeLimits & { readonly size_bytes: number }): Promise<void> {
    if (this.#over) return;
    const { size_bytes } = row;
    await this.#questions.ask("resized", { kind: "resize", size_bytes, limits: limitsOf(row) });
  }

  /** Whatever is asked from now on is acknowledged in that manner. */
  async setSync(sync: SyncMode): Promise<void> {
    if (this.#over) return;
    await this.#questions.ask("sync_mode_set", { kind: "sync_mode", sync });
  }

  /** What it needs in the store; undefined when the worker is gone. */
  async held(): Promise<HeldChunks | undefined> {
    if (this.#over) return undefined;
    return await this.#questions.ask("held", { kind: "held" });
  }

  /** The map as it is now, as its local checkpoint; undefined when there is none of this moment. */
  async liveMap(): Promise<Uint8Array<ArrayBuffer> | undefined> {
    if (this.#over || this.#damage !== undefined) return undefined;
    if (await this.#questions.ask("checkpointed", { kind: "checkpoint" }) !== true) {
      return undefined;
    }
    // One that has taken its place by now is newer still; none is there when it has been unmounted since.
    const bytes = await Deno.readFile(join(this.#o.directory, checkpointName)).catch((error) => {
      if (this.#over && error instanceof Deno.errors.NotFound) return undefined;
      throw error;
    });
    if (bytes === undefined) return undefined;
    const { key, volumeId } = this.#o;
    return key === undefined ? bytes : openCheckpoint(key, volumeId, bytes);
  }

  /** Its log's files, to be read beside the engine; undefined when that has ended. */
  openLog(): CheckedLog | undefined {
    const { directory, volumeId, key } = this.#o;
    return this.#over ? undefined : new CheckedLog({ directory, volumeId, key });
  }

  /** No saved map but its own names these chunks of it any more: they may be compacted. */
  async unshare(chunks: readonly ChunkName[], freezes: number): Promise<void> {
    for (let at = 0; at < chunks.length && !this.#over; at += unsharedAtOnce) {
      const some = chunks.slice(at, at + unsharedAtOnce);
      await this.#questions.ask("unshared", {
        kind: "unshared",
        freezes,
        chunks: some.map(({ epoch, sequence }) => [epoch, sequence] as const),
      });
    }
  }

  /** Where its books do not agree with its map, in sentences; one audit after the other. */
  async audit(): Promise<readonly string[]> {
    const mine = this.#lastAudit.then(() => this.#auditInParts());
    this.#lastAudit = mine;
    return await mine;
  }

  /** The engine serves its guests between two parts. */
  async #auditInParts(): Promise<readonly string[]> {
    for (let begins = true; !this.#over; begins = false) {
      const began = performance.now();
      const found = await this.#questions.ask("audited", { kind: "audit", begins });
      if (found === undefined) return [];
      if (found.wrong !== undefined) return found.wrong;
      await rest(began);
    }
    return [];
  }

  async statistics(): Promise<VolumeStatistics | undefined> {
    if (this.#over) return undefined;
    return await this.#questions.ask("report", { kind: "report" });
  }

  #handle(message: FromWorker): void {
    if (this.#orders.take(message) || this.#questions.take(message)) return;
    switch (message.kind) {
      case "ready":
        this.#damage = message.damage;
        this.#ready.resolve(message);
        return;
      case "captured":
        this.#freezings.captured(message);
        return;
      case "frozen":
        this.#freezings.frozen(message, this.#orders.mapParts);
        return;
      case "unmounted":
        this.#unmounted(message);
        return;
      case "stopped":
        this.#ending = { kind: "stopped" };
        return;
      case "gone":
        if (this.#ending !== undefined) this.#end(this.#ending, true);
        return;
      case "failed":
        this.#failed(message);
        return;
      case "log":
        this.#log[message.level](message.event, message.fields);
        return;
    }
  }

  #unmounted(message: FromWorker & { kind: "unmounted" }): void {
    if (!message.ok) {
      this.#unmounting?.resolve(false);
      this.#unmounting = undefined;
      return;
    }
    const { key, mapped_blocks, owners } = message;
    const { epoch } = this.#o;
    const map = { key, parts: this.#orders.mapParts, epoch, mapped_blocks, owners };
    this.#ending = { kind: "unmounted", map };
  }

  #failed({ error, damaged, mayPass }: FromWorker & { kind: "failed" }): void {
    if (this.#ending !== undefined) this.#log.error("engine_not_closed", { error });
    const also = mayPass === undefined ? {} : { mayPass };
    this.#end(this.#ending ?? { kind: "failed", error, damaged, ...also });
  }

  /** @param isGone nothing of the worker's refers to the memory that it was lent */
  #end(ending: Ending, isGone = false): void {
    if (this.#over) return;
    this.#over = true;
    if (ending.kind === "failed") {
      this.#ready.reject(new WorkerFailed(ending.error, ending.damaged, ending.mayPass));
    }
    this.#freezings.end();
    void this.#release(isGone).catch((error) =>
      // What was not given back is lost; whoever waits for the end is not to wait for ever.
      this.#log.error("engine_not_released", errorFields(error))
    ).finally(() => {
      this.#thread.terminate();
      this.#questions.end();
      this.#ended.resolve(ending);
    });
  }

  async #release(isGone: boolean): Promise<void> {
    await this.#orders.end();
    this.#thread.release(isGone);
  }
}
