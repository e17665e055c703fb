/**
 * Snapshots that images stand on: made by an import, gone with their last image.
 *
 * A deletion is written down first (`deleting`, from then on nobody sees it) and done when the block
 * store no longer needs the snapshot's chunks for volumes that were cloned from it: tried at once,
 * and again with every sweep.
 */
import { AwsError } from "../aws/errors.ts";
import type { Bus } from "../bus/bus.ts";
import { errorFields, type Log } from "../log/log.ts";
import { deleteSnapshot } from "../viperblock/contract.ts";
import type { SnapshotRecord } from "./contract.ts";
import { KeyedLock } from "./keyed_lock.ts";
import type { ComputeState } from "./state.ts";

const sweep_ms = 60_000;

export class SnapshotKeeper {
  readonly #locks = new KeyedLock();
  readonly #background = new Set<Promise<void>>();
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(readonly bus: Bus, readonly log: Log, readonly state: ComputeState) {}

  /** Takes up deletions that an earlier run left, and goes on looking for them. */
  start(): void {
    this.sweep();
    this.#timer = setInterval(() => this.sweep(), sweep_ms);
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.allSettled([...this.#background]);
  }

  sweep(): void {
    for (const snapshot of this.state.snapshots.all()) {
      if (snapshot.state === "deleting") this.#finishLater(snapshot);
    }
  }

  /** Whether an image of anybody's stands on it. */
  isUsed(snapshotId: string): boolean {
    for (const image of this.state.images.all()) {
      if (image.block_devices.some((device) => device.snapshot_id === snapshotId)) return true;
    }
    return false;
  }

  /**
   * Deletes a snapshot that no image stands on; its blocks go in the background.
   * @returns false when an image still needs it, or there is none
   */
  async remove(account: string, snapshotId: string): Promise<boolean> {
    if (this.isUsed(snapshotId)) return false;
    const { snapshots } = this.state;
    if (snapshots.get(account, snapshotId) === undefined) return false;
    const marked = await snapshots.modify(
      account,
      snapshotId,
      (snapshot) => ({ ...snapshot, state: "deleting" }),
    );
    // An image that was registered meanwhile keeps it; registering looks again in its turn.
    if (this.isUsed(snapshotId)) {
      await snapshots.table.modify(snapshots.keyOf(account, snapshotId), (now) => ({
        ...(now ?? marked),
        state: "completed",
      }));
      return false;
    }
    this.#finishLater(marked);
    return true;
  }

  #finishLater(snapshot: SnapshotRecord): void {
    const work: Promise<void> = this.finish(snapshot).then(() => {})
      .catch((error) =>
        this.log.warn("snapshot_delete_delayed", {
          snapshot_id: snapshot.snapshot_id,
          ...errorFields(error),
        })
      )
      .finally(() => this.#background.delete(work));
    this.#background.add(work);
  }

  /** One try to end a `deleting` snapshot; true when it is gone. */
  async finish({ account_id, snapshot_id }: SnapshotRecord): Promise<boolean> {
    return await this.#locks.hold(snapshot_id, async () => {
      try {
        await this.bus.ask(deleteSnapshot, { snapshot_id });
      } catch (error) {
        if (!(error instanceof AwsError)) throw error;
        if (error.code === "InvalidSnapshot.InUse") return false;
        if (error.code !== "InvalidSnapshot.NotFound") throw error;
      }
      await this.state.snapshots.delete(account_id, snapshot_id);
      return true;
    });
  }
}
