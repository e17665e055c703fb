/**
 * Who takes fast snapshot restores through their states, by what the block store says: `enabling` until the snapshot is
 * completed and the block store was asked, `optimizing` while its content comes to the node's disk, `enabled` when all
 * of it is there; `disabling` until the block store was told, then `disabled` and shown for an hour.
 *
 * Every step may be repeated: what a crash left is taken up at the start and every minute. One that is enabled is looked at, too: when the
 * disk had to give its content up, it is `optimizing` again. A restore ends when its snapshot is deleted, or is not shared
 * with its account any more.
 */
import type { Bus } from "../../bus/bus.ts";
import { errorFields, type Log } from "../../log/log.ts";
import type { KindRecord } from "../../resources/kind.ts";
import { describeFastRestore, setFastRestore } from "../../viperblock/contract.ts";
import type { SnapshotRecord } from "../contract.ts";
import { delay } from "../delay.ts";
import { KeyedLock } from "../keyed_lock.ts";
import type { ComputeState } from "../state.ts";
import { isSnapshotGone } from "../volumes/volume_type.ts";
import { fastRestore, type FastRestoreShape } from "./fast_restore_type.ts";
import { mayRestore } from "./snapshot_permissions.ts";

const sweep_ms = 60_000;
const firstLook_ms = 50;
const lastLook_ms = 5000;

export const asked = "Client.UserInitiated";
const moved = "Client.UserInitiated - Lifecycle state transition";

export type FastRestoreRecord = KindRecord<FastRestoreShape>;

const now = () => new Date().toISOString();

export class FastRestoreKeeper {
  readonly #locks = new KeyedLock();
  readonly #work = new Set<Promise<void>>();
  /** Those that are being driven, and whether somebody asked for it meanwhile. */
  readonly #driven = new Map<string, boolean>();
  readonly #stopped = Promise.withResolvers<void>();
  #isStopped = false;
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(readonly bus: Bus, readonly log: Log, readonly state: ComputeState) {}

  start(): void {
    this.sweep();
    this.#timer = setInterval(() => this.sweep(), sweep_ms);
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#isStopped = true;
    this.#stopped.resolve();
    await Promise.allSettled([...this.#work]);
  }

  sweep(): void {
    for (const record of this.state.records.all(fastRestore)) this.drive(record);
  }

  /** Goes on with it until it is settled. */
  drive(record: FastRestoreRecord): void {
    const { account_id, id, shape } = record;
    if (this.#isStopped) return;
    if (this.#driven.has(id)) {
      this.#driven.set(id, true);
      return;
    }
    this.#driven.set(id, false);
    const work: Promise<void> = (async () => {
      for (let wait_ms = firstLook_ms;; wait_ms = Math.min(wait_ms * 2, lastLook_ms)) {
        if (await this.#locks.hold(id, () => this.#step(account_id, id))) return;
        await Promise.race([delay(wait_ms), this.#stopped.promise]);
        if (this.#isStopped) return;
      }
    })().catch((error) =>
      this.log.warn("fast_restore_delayed", {
        snapshot_id: shape.SnapshotId,
        ...errorFields(error),
      })
    ).finally(() => {
      const isAskedFor = this.#driven.get(id) === true;
      this.#driven.delete(id);
      this.#work.delete(work);
      if (isAskedFor) this.drive(record);
    });
    this.#work.add(work);
  }

  /** One step; true when there is nothing to wait for. */
  async #step(account: string, id: string): Promise<boolean> {
    const record = this.state.records.get(fastRestore, account, id);
    if (record === undefined) return true;
    const { SnapshotId, State } = record.shape;
    if (State === "disabling") {
      await this.#end(record);
      return true;
    }
    const snapshot = this.#snapshotOf(record);
    if (snapshot === undefined) {
      await this.disable(record, "Server.SnapshotNotAvailable");
      return false;
    }
    // It stays until the snapshot is completed, which may take long: the sweep looks again.
    if (snapshot.state !== "completed") return false;
    if (State === "enabling") {
      await this.bus.ask(setFastRestore, { snapshot_id: SnapshotId, wanted: true });
      await this.#move(record, ["enabling"], {
        State: "optimizing",
        OptimizingTime: now(),
        StateTransitionReason: moved,
      });
      return false;
    }
    const { state, waits_for } = await this.bus.ask(describeFastRestore, {
      snapshot_id: SnapshotId,
    });
    // Another account, whose restore ended at the same moment, may have taken it back.
    if (state === "off") {
      await this.bus.ask(setFastRestore, { snapshot_id: SnapshotId, wanted: true });
    }
    if (state === "ready") {
      if (State !== "enabled") {
        await this.#move(record, ["optimizing"], {
          State: "enabled",
          EnabledTime: now(),
          StateTransitionReason: moved,
        });
      }
      return true;
    }
    const StateTransitionReason = waits_for === "disk_space"
      ? "Server.InsufficientVolumeCapacity"
      : moved;
    if (State === "enabled" || record.shape.StateTransitionReason !== StateTransitionReason) {
      await this.#move(record, ["enabled", "optimizing"], {
        State: "optimizing",
        ...(State === "enabled" ? { OptimizingTime: now() } : {}),
        StateTransitionReason,
      });
    }
    return false;
  }

  /** Its snapshot, as long as its account may use that. */
  #snapshotOf({ account_id, shape }: FastRestoreRecord): SnapshotRecord | undefined {
    const { snapshots } = this.state;
    const found = snapshots.visible(account_id, shape.SnapshotId) ??
      snapshots.get(account_id, shape.SnapshotId);
    if (found === undefined || found.state === "deleting" || found.state === "error") {
      return undefined;
    }
    return mayRestore(this.state, account_id, found) ? found : undefined;
  }

  async #move(
    { account_id, id }: FastRestoreRecord,
    from: readonly FastRestoreShape["State"][],
    to: Partial<FastRestoreShape>,
  ): Promise<void> {
    await this.state.records.change(
      fastRestore,
      account_id,
      id,
      ({ shape }) => from.includes(shape.State) ? to : {},
    );
  }

  /** Writes down that it is to end; the keeper ends it. */
  async disable(record: FastRestoreRecord, reason: string): Promise<FastRestoreRecord> {
    return await this.state.records.change(
      fastRestore,
      record.account_id,
      record.id,
      ({ shape }) =>
        shape.State === "disabling"
          ? {}
          : { State: "disabling", DisablingTime: now(), StateTransitionReason: reason },
    );
  }

  async #end(record: FastRestoreRecord): Promise<void> {
    const { account_id, id, shape: { SnapshotId } } = record;
    const { records } = this.state;
    const others = records.findAnywhere(fastRestore, SnapshotId)
      .filter((other) => other.id !== id && other.shape.State !== "disabling");
    if (others.length === 0) {
      try {
        await this.bus.ask(setFastRestore, { snapshot_id: SnapshotId, wanted: false });
      } catch (error) {
        if (!isSnapshotGone(error)) throw error;
      }
    }
    await records.remove(fastRestore, account_id, id, {
      State: "disabled",
      DisabledTime: now(),
      StateTransitionReason: moved,
    });
    for (const other of others) this.drive(other);
  }
}
