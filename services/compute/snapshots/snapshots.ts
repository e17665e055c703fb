/**
 * The life of snapshots after they were asked for: `pending` until the block store has all of them, and
 * their end, which no image that stands on them allows.
 *
 * A deletion is written down first (`deleting`, from then on nobody sees it) and done when no copy and no
 * volume is being filled from the snapshot any more, and the block store no longer needs its chunks for
 * volumes that were cloned from it: tried at once, and again with every sweep.
 */
import { AwsError, unavailable } from "../../aws/errors.ts";
import type { Bus } from "../../bus/bus.ts";
import { errorFields, type Log } from "../../log/log.ts";
import {
  type BlockSnapshot,
  copySnapshot,
  createSnapshot,
  deleteSnapshot,
  describeSnapshot,
} from "../../viperblock/contract.ts";
import type { InstanceRecord, SnapshotRecord } from "../contract.ts";
import type { Resources } from "../../resources/resource.ts";
import { delay } from "../delay.ts";
import { KeyedLock } from "../keyed_lock.ts";
import { imageOn, removeLeftImages, settleImages } from "../images/image_making.ts";
import type { ComputeState } from "../state.ts";
import { gib } from "../volumes/volume_lifecycle.ts";
import { isSnapshotGone } from "../volumes/volume_type.ts";
import { isMakersTime, makingContext, makingUntil, withoutMaker } from "./snapshot_making.ts";
import { whileStill } from "./still_guest.ts";

const sweep_ms = 60_000;
const firstLook_ms = 100;
const lastLook_ms = 5000;
/** An instance is told to reboot right after its snapshots are on record; one that was not by then never will be. */
const rebootBegins_ms = 30_000;
/** How long a guest that is down waits for a block store that does not answer. */
const freezeBound_ms = 300_000;

const stateOf = (frozen: BlockSnapshot | undefined) =>
  frozen === undefined ? undefined : frozen.state ?? "completed";

/** A volume that grows is larger in the block store before its record says so: what was frozen counts. */
const frozenSize = (
  { size_gib }: Pick<SnapshotRecord, "size_gib">,
  frozen: BlockSnapshot | undefined,
): number => Math.max(size_gib, Math.ceil((frozen?.size_bytes ?? 0) / gib));

export class SnapshotKeeper {
  readonly #locks = new KeyedLock();
  readonly #background = new Set<Promise<void>>();
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
  ) {}

  /** Takes up deletions that an earlier run left, and goes on looking for them. */
  start(): void {
    this.sweep();
    this.#timer = setInterval(() => this.sweep(), sweep_ms);
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#stop.abort();
    this.#stopped.resolve();
    // What is under way may begin more.
    while (this.#background.size > 0) await Promise.allSettled([...this.#background]);
  }

  sweep(): void {
    for (const snapshot of this.state.snapshots.all()) {
      if (snapshot.state === "deleting") this.#finishLater(snapshot);
      else if (snapshot.awaits_reboot_of !== undefined) this.#missReboot(snapshot);
      else if (snapshot.state === "pending") this.#watch(snapshot);
    }
    this.#inBackground("images_not_settled", {}, async () => {
      await removeLeftImages(this);
      await settleImages(this.state);
    });
  }

  #inBackground(failure: string, fields: object, does: () => Promise<unknown>): void {
    const work: Promise<void> = does().then(() => {})
      .catch((error) => this.log.warn(failure, { ...fields, ...errorFields(error) }))
      .finally(() => this.#background.delete(work));
    this.#background.add(work);
  }

  /** Its instance is not to be rebooted any more, or never was told to be: it is taken as things are. */
  #missReboot({ account_id, snapshot_id, awaits_reboot_of, start_time }: SnapshotRecord): void {
    const instance_id = awaits_reboot_of ?? "";
    if (this.instances.get(account_id, instance_id)?.rebooting === true) return;
    if (this.clock() - Date.parse(start_time) < rebootBegins_ms) return;
    this.#inBackground(
      "snapshot_not_taken",
      { snapshot_id },
      () => this.freezeDown({ account_id, instance_id }),
    );
  }

  /**
   * Takes the snapshots that waited for an instance's guest to be down. Repeating it is no error.
   * @throws what keeps them from being taken now; after a while they fail instead
   */
  async freezeDown(
    { account_id, instance_id }: Pick<InstanceRecord, "account_id" | "instance_id">,
  ): Promise<void> {
    const waiting = [...this.state.snapshots.all(account_id)]
      .filter((one) => one.awaits_reboot_of === instance_id && one.state === "pending");
    const guest = this.instances.get(account_id, instance_id);
    // One that heard no power button runs on.
    const taken = await whileStill(
      this,
      waiting.length === 0 ? undefined : guest,
      async () => await Promise.allSettled(waiting.map((snapshot) => this.#freezeDown(snapshot))),
    );
    const failure = taken.find((one) => one.status === "rejected");
    if (failure !== undefined) throw failure.reason;
    if (waiting.length > 0) await settleImages(this.state);
  }

  async #freezeDown(snapshot: SnapshotRecord): Promise<void> {
    const { account_id, snapshot_id, volume_id, start_time } = snapshot;
    let state: "pending" | "error" = "pending";
    let frozen: BlockSnapshot | undefined;
    try {
      frozen = await this.bus.ask(createSnapshot, { volume_id: volume_id ?? "", snapshot_id });
    } catch (error) {
      const isPassing = !(error instanceof AwsError) || error.status >= 500;
      if (isPassing && this.clock() - Date.parse(start_time) < freezeBound_ms) throw error;
      this.log.error("snapshot_not_taken", { snapshot_id, ...errorFields(error) });
      state = "error";
    }
    let taken: SnapshotRecord;
    try {
      taken = await this.state.snapshots.modify(account_id, snapshot_id, (now) => {
        const { awaits_reboot_of, ...rest } = now;
        if (awaits_reboot_of === undefined) return now;
        return {
          ...rest,
          size_gib: frozenSize(rest, frozen),
          state,
          start_time: new Date().toISOString(),
        };
      });
    } catch (error) {
      if (!isSnapshotGone(error)) throw error;
      // Its owner deleted it, and nobody waits for it.
      return await this.#removeAgain(snapshot);
    }
    if (taken.state === "pending") this.#watch(taken);
  }

  /** Whoever removed the record may have been too early for what the block store has made. */
  async #removeAgain(record: SnapshotRecord): Promise<void> {
    const { snapshots } = this.state;
    const row = await snapshots.table.modify(
      snapshots.keyOf(record.account_id, record.snapshot_id),
      (now) => ({ ...(now ?? record), state: "deleting" }),
    );
    this.#finishLater(row.value);
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
      if (isSnapshotGone(error)) await this.#removeAgain(record);
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
      if (copy_of !== undefined) this.#finishSource(copy_of);
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
        if (now.copy_of !== undefined && isSnapshotGone(error)) await this.#removeAgain(now);
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
    const work: Promise<void> = (async () => {
      const { signal } = this.#stop;
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
    })()
      .catch((error) => this.log.warn("snapshot_not_seen", { snapshot_id, ...errorFields(error) }))
      .finally(() => {
        this.#watched.delete(snapshot_id);
        this.#background.delete(work);
      });
    this.#background.add(work);
  }

  /** An image of anybody's that stands on it. */
  userOf(snapshotId: string): string | undefined {
    return imageOn(this.state, snapshotId, this.clock());
  }

  isUsed(snapshotId: string): boolean {
    return this.userOf(snapshotId) !== undefined;
  }

  /**
   * Deletes a snapshot that no image stands on; its blocks go in the background.
   * @returns false when an image still needs it, or there is none
   */
  async remove(account: string, snapshotId: string): Promise<boolean> {
    if (this.isUsed(snapshotId)) return false;
    const { snapshots } = this.state;
    const snapshot = snapshots.get(account, snapshotId);
    if (snapshot === undefined) return false;
    let marked: SnapshotRecord;
    try {
      marked = await snapshots.modify(
        account,
        snapshotId,
        (snapshot) => ({ ...snapshot, state: "deleting" }),
      );
    } catch (error) {
      // Somebody else has removed it meanwhile.
      if (isSnapshotGone(error)) return false;
      throw error;
    }
    // An image that was registered meanwhile keeps it; registering looks again in its turn.
    if (this.isUsed(snapshotId)) {
      await snapshots.table.modify(snapshots.keyOf(account, snapshotId), (now) => ({
        ...(now ?? marked),
        state: snapshot.state,
      }));
      return false;
    }
    this.#finishLater(marked);
    return true;
  }

  #finishLater(snapshot: SnapshotRecord): void {
    const { snapshot_id } = snapshot;
    this.#inBackground("snapshot_delete_delayed", { snapshot_id }, () => this.finish(snapshot));
  }

  /** A snapshot that was to go, and waited for a copy that was being made of it. */
  #finishSource(source_id: string): void {
    for (const snapshot of this.state.snapshots.all()) {
      if (snapshot.snapshot_id === source_id && snapshot.state === "deleting") {
        this.#finishLater(snapshot);
      }
    }
  }

  /** Whether a copy or a volume that somebody was told to get, also of a launch, is still to be filled from it. */
  #isRead(snapshot_id: string): boolean {
    const { snapshots, volumes } = this.state;
    const isOfIt = (one: { readonly snapshot_id?: string }) => one.snapshot_id === snapshot_id;
    return snapshots.all().some((one) => one.state === "pending" && one.copy_of === snapshot_id) ||
      volumes.all().some((one) => one.state === "creating" && isOfIt(one)) ||
      this.instances.all().some((one) => one.planned_volumes?.some(isOfIt) === true);
  }

  /** One try to end a `deleting` snapshot; true when it is gone. */
  async finish({ account_id, snapshot_id }: SnapshotRecord): Promise<boolean> {
    if (this.#isRead(snapshot_id)) return false;
    return await this.#locks.hold(snapshot_id, async () => {
      try {
        await this.bus.ask(deleteSnapshot, { snapshot_id });
      } catch (error) {
        if (error instanceof AwsError && error.code === "InvalidSnapshot.InUse") return false;
        if (!isSnapshotGone(error)) throw error;
      }
      await this.state.snapshots.delete(account_id, snapshot_id);
      return true;
    });
  }
}
