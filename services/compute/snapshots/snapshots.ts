/**
 * The life of snapshots after they were asked for: `pending` until the block store has all of them. Those that wait for a
 * reboot are in `awaited_reboots.ts`, their end is in `snapshot_end.ts`; all of it is looked after from here.
 */
import { AwsError, unavailable } from "../../aws/errors.ts";
import type { Bus } from "../../bus/bus.ts";
import { errorFields, type Log } from "../../log/log.ts";
import { type BlockSnapshot, copySnapshot, describeSnapshot } from "../../viperblock/contract.ts";
import type { InstanceRecord, SnapshotRecord } from "../contract.ts";
import type { Resources } from "../../resources/resource.ts";
import { Background } from "../background.ts";
import { delay } from "../delay.ts";
import { removeLeftImages, settleImages } from "../images/image_making.ts";
import type { ComputeState } from "../state.ts";
import { isSnapshotGone } from "../volumes/volume_type.ts";
import { AwaitedReboots } from "./awaited_reboots.ts";
import {
  frozenSize,
  isMakersTime,
  makingContext,
  makingUntil,
  withoutMaker,
} from "./snapshot_making.ts";
import { SnapshotEnd } from "./snapshot_end.ts";

const sweep_ms = 60_000;
const firstLook_ms = 100;
const lastLook_ms = 5000;

const stateOf = (frozen: BlockSnapshot | undefined) =>
  frozen === undefined ? undefined : frozen.state ?? "completed";

export class SnapshotKeeper {
  readonly #background: Background;
  readonly #end: SnapshotEnd;
  readonly #reboots: AwaitedReboots;
  #timer: ReturnType<typeof setInterval> | undefined;
  readonly #stop = new AbortController();
  readonly #stopped = Promise.withResolvers<void>();
  readonly #watched = new Set<string>();
  /** Milliseconds since 1970. */
  clock: () => number = Date.now;

  constructor(
    readonly bus: Bus,
    readonly log: Log,
    readonly state: ComputeState,
    readonly instances: Resources<InstanceRecord>,
  ) {
    this.#background = new Background(log);
    const clock = () => this.clock();
    const care = { bus, log, state, instances, background: this.#background, clock };
    this.#end = new SnapshotEnd(care);
    this.#reboots = new AwaitedReboots(care, this.#end, (snapshot) => this.#watch(snapshot));
  }

  /** Takes up deletions that an earlier run left, and goes on looking for them. */
  start(): void {
    this.sweep();
    this.#timer = setInterval(() => this.sweep(), sweep_ms);
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#stop.abort();
    this.#stopped.resolve();
    await this.#background.settled();
  }

  sweep(): void {
    for (const snapshot of this.state.snapshots.all()) {
      if (snapshot.state === "deleting") this.#endOrKeep(snapshot);
      else if (snapshot.awaits_reboot_of !== undefined) this.#reboots.miss(snapshot);
      else if (snapshot.state === "pending") this.#watch(snapshot);
    }
    this.#background.begin("images_not_settled", {}, async () => {
      await removeLeftImages(this);
      await settleImages(this.state);
    });
  }

  #endOrKeep(snapshot: SnapshotRecord): void {
    const { snapshot_id } = snapshot;
    if (this.userOf(snapshot_id) === undefined) return this.#end.finishLater(snapshot);
    this.#background.begin("snapshot_not_kept", { snapshot_id }, async () => {
      const kept = await this.#end.keep(snapshot);
      if (kept !== undefined) this.#watch(kept);
    });
  }

  /**
   * Puts a snapshot on record that its caller is about to ask of the block store. Repeating it is no error.
   * @throws AwsError while an earlier one of this id is on its way out
   */
  async begin(wanted: Omit<SnapshotRecord, "state" | "start_time">): Promise<SnapshotRecord> {
    const { snapshots } = this.state;
    const making_until = makingUntil(this.clock());
    const start_time = new Date().toISOString();
    const record = await snapshots.ensure({
      ...wanted,
      making_until,
      state: "pending",
      start_time,
    });
    if (record.making_until === making_until) return record;
    const { account_id, snapshot_id } = record;
    if (record.state === "deleting") {
      throw unavailable(`The snapshot ${snapshot_id}, which is removed,`);
    }
    return await snapshots.modify(
      account_id,
      snapshot_id,
      (now) => now.making_until === undefined ? now : { ...now, making_until },
    );
  }

  /**
   * The block store has it: from now on it is its caller's.
   * @throws AwsError when it was removed meanwhile, and leaves nothing
   */
  async made(record: SnapshotRecord): Promise<SnapshotRecord> {
    const frozen = await this.#frozen(record.snapshot_id);
    let made: SnapshotRecord;
    try {
      made = await this.#settled(record, stateOf(frozen) ?? "error", frozen);
    } catch (error) {
      if (isSnapshotGone(error)) await this.#end.removeAgain(record);
      throw error;
    }
    if (made.state === "pending" && made.written === undefined) this.#watch(made);
    return made;
  }

  async #settled(
    { account_id, snapshot_id, copy_of }: SnapshotRecord,
    state: "pending" | "completed" | "error",
    frozen: BlockSnapshot | undefined,
  ): Promise<SnapshotRecord> {
    const settled = await this.state.snapshots.modify(account_id, snapshot_id, (now) => {
      if (now.state !== "pending") return now;
      const size_gib = frozenSize(now, frozen);
      if (state === "pending") {
        return now.making_until === undefined ? now : { ...withoutMaker(now), size_gib };
      }
      const { copy_of: _, ...rest } = withoutMaker(now);
      return { ...rest, size_gib, state, completion_time: new Date().toISOString() };
    });
    if (settled.state !== "pending") {
      if (copy_of !== undefined) this.#end.finishSource(copy_of);
      await settleImages(this.state);
    }
    return settled;
  }

  /** Asks the block store how far it is, and goes on asking in the background. */
  async look(snapshot: SnapshotRecord): Promise<SnapshotRecord> {
    const seen = await this.#settle(snapshot);
    if (seen.state === "pending") this.#watch(seen);
    return seen;
  }

  async #settle(snapshot: SnapshotRecord): Promise<SnapshotRecord> {
    const frozen = snapshot.copy_of === undefined
      ? await this.#frozen(snapshot.snapshot_id)
      : undefined;
    const state = snapshot.copy_of === undefined
      ? stateOf(frozen)
      : await this.#copy(snapshot.snapshot_id, snapshot.copy_of);
    const { account_id, snapshot_id } = snapshot;
    const now = await this.state.snapshots.find(account_id, snapshot_id) ?? snapshot;
    if (now.making_until === undefined) {
      if (state === "pending") return now;
      try {
        return await this.#settled(now, state ?? "error", frozen);
      } catch (error) {
        // Its owner deleted it while it was being copied, before the block store had anything to delete.
        if (now.copy_of !== undefined && isSnapshotGone(error)) await this.#end.removeAgain(now);
        throw error;
      }
    }
    if (isMakersTime(now, this.clock())) return now;
    // Nobody has heard of one that is not there, or of one that somebody was to write.
    const isWanted = state !== undefined && now.written === undefined;
    if (!isWanted && await this.remove(account_id, snapshot_id)) {
      return { ...now, state: "deleting" };
    }
    return await this.#settled(now, state ?? "error", frozen);
  }

  /** @returns undefined when the block store knows of none */
  async #frozen(snapshot_id: string): Promise<BlockSnapshot | undefined> {
    try {
      return await this.bus.ask(describeSnapshot, { snapshot_id });
    } catch (error) {
      if (!isSnapshotGone(error)) throw error;
      return undefined;
    }
  }

  /** Copies and encrypts what was not encrypted: as long as that takes, and again after whatever came between. */
  async #copy(snapshot_id: string, source_id: string): Promise<"completed" | "error"> {
    try {
      await this.bus.ask(copySnapshot, { source_id, snapshot_id, encrypted: true });
      return "completed";
    } catch (error) {
      if (!(error instanceof AwsError) || error.status >= 500) throw error;
      this.log.warn("snapshot_not_copied", { snapshot_id, source_id, ...errorFields(error) });
      return "error";
    }
  }

  /**
   * Begins a snapshot with another one's content. It is completed at once where both share what is stored;
   * what has to be encrypted first is `pending` meanwhile.
   * @param source absent where its record is not to be had
   * @throws AwsError and leaves nothing
   */
  async beginCopy(
    source_id: string,
    source: Pick<SnapshotRecord, "encrypted"> | undefined,
    record: Omit<SnapshotRecord, "state" | "start_time" | "completion_time" | "copy_of">,
  ): Promise<SnapshotRecord> {
    const { account_id, snapshot_id, encrypted } = record;
    if (encrypted === true && source?.encrypted !== true) {
      const begun = await this.state.snapshots.ensure({
        ...record,
        state: "pending",
        copy_of: source_id,
        start_time: new Date().toISOString(),
      });
      if (begun.state === "pending") this.#watch(begun);
      return begun;
    }
    const begun = await this.begin(record);
    const question = { source_id, snapshot_id, ...(encrypted === true ? { encrypted } : {}) };
    try {
      await this.bus.ask(copySnapshot, question, makingContext(begun, this.clock()));
    } catch (error) {
      await this.remove(account_id, snapshot_id);
      throw error;
    }
    return await this.made(begun);
  }

  #watch(snapshot: SnapshotRecord): void {
    const { snapshot_id } = snapshot;
    if (this.#watched.has(snapshot_id)) return;
    this.#watched.add(snapshot_id);
    this.#background.begin("snapshot_not_seen", { snapshot_id }, async () => {
      const { signal } = this.#stop;
      try {
        for (
          let wait_ms = firstLook_ms;
          !signal.aborted;
          wait_ms = Math.min(wait_ms * 2, lastLook_ms)
        ) {
          // A copy is nobody's but ours to make; it begins at once.
          if (snapshot.copy_of === undefined || wait_ms > firstLook_ms) {
            await Promise.race([delay(wait_ms), this.#stopped.promise]);
          }
          if (signal.aborted) return;
          const seen = await Promise.race([this.#settle(snapshot), this.#stopped.promise]);
          if (seen?.state !== "pending") return;
        }
      } finally {
        this.#watched.delete(snapshot_id);
      }
    });
  }

  /**
   * Takes the snapshots that waited for an instance's guest to be down. Repeating it is no error.
   * @throws what keeps them from being taken now; after a while they fail instead
   */
  async freezeDown(
    instance: Pick<InstanceRecord, "account_id" | "instance_id">,
  ): Promise<void> {
    await this.#reboots.freezeDown(instance);
  }

  isUsed(snapshotId: string): boolean {
    return this.#end.userOf(snapshotId) !== undefined;
  }

  /** An image of anybody's that stands on it. */
  userOf(snapshotId: string): string | undefined {
    return this.#end.userOf(snapshotId);
  }

  /**
   * Deletes a snapshot that no image stands on; its blocks go in the background.
   * @returns false when an image still needs it, or there is none
   */
  async remove(account: string, snapshotId: string): Promise<boolean> {
    return await this.#end.remove(account, snapshotId);
  }

  /** One try to end a `deleting` snapshot; true when it is gone. */
  async finish(snapshot: SnapshotRecord): Promise<boolean> {
    return await this.#end.finish(snapshot);
  }
}
