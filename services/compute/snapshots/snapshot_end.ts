/**
 * The end of snapshots, which no image that stands on them allows.
 *
 * A deletion is written down first (`deleting`, from then on nobody sees it) and done when no copy and no
 * volume is being filled from the snapshot any more, and the block store no longer needs its chunks for
 * volumes that were cloned from it: tried at once, and again with every sweep. One that an image came to stand on
 * while its deletion was written down, and cut off there, is kept.
 */
import { AwsError } from "../../aws/errors.ts";
import { deleteSnapshot } from "../../viperblock/contract.ts";
import type { SnapshotRecord } from "../contract.ts";
import { imageOn } from "../images/image_making.ts";
import { KeyedLock } from "../keyed_lock.ts";
import { isSnapshotGone } from "../volumes/volume_type.ts";
import type { SnapshotCare } from "./snapshot_care.ts";

export class SnapshotEnd {
  readonly #locks = new KeyedLock();

  constructor(readonly care: SnapshotCare) {}

  /** Whoever removed the record may have been too early for what the block store has made. */
  async removeAgain(record: SnapshotRecord): Promise<void> {
    const { snapshots } = this.care.state;
    const row = await snapshots.table.modify(
      snapshots.keyOf(record.account_id, record.snapshot_id),
      (now) => ({ ...(now ?? record), state: "deleting" }),
    );
    this.finishLater(row.value);
  }

  /** An image of anybody's that stands on it. */
  userOf(snapshotId: string): string | undefined {
    return imageOn(this.care.state, snapshotId, this.care.clock());
  }

  /**
   * Deletes a snapshot that no image stands on; its blocks go in the background.
   * @returns false when an image still needs it, or there is none
   */
  async remove(account: string, snapshotId: string): Promise<boolean> {
    if (this.userOf(snapshotId) !== undefined) return false;
    const { snapshots } = this.care.state;
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
    if (this.userOf(snapshotId) !== undefined) {
      await snapshots.table.modify(snapshots.keyOf(account, snapshotId), (now) => ({
        ...(now ?? marked),
        state: snapshot.state,
      }));
      return false;
    }
    this.finishLater(marked);
    return true;
  }

  /** Ends a `deleting` snapshot in the background, now or with a later sweep. */
  finishLater(snapshot: SnapshotRecord): void {
    const { snapshot_id } = snapshot;
    this.care.background.begin(
      "snapshot_delete_delayed",
      { snapshot_id },
      () => this.finish(snapshot),
    );
  }

  /** A snapshot that was to go, and waited for a copy that was being made of it. */
  finishSource(source_id: string): void {
    for (const snapshot of this.care.state.snapshots.all()) {
      if (snapshot.snapshot_id === source_id && snapshot.state === "deleting") {
        this.finishLater(snapshot);
      }
    }
  }

  /** Whether a copy or a volume that somebody was told to get, also of a launch, is still to be filled from it. */
  #isRead(snapshot_id: string): boolean {
    const { snapshots, volumes } = this.care.state;
    const isOfIt = (one: { readonly snapshot_id?: string }) => one.snapshot_id === snapshot_id;
    return snapshots.all().some((one) => one.state === "pending" && one.copy_of === snapshot_id) ||
      volumes.all().some((one) => one.state === "creating" && isOfIt(one)) ||
      this.care.instances.all().some((one) => one.planned_volumes?.some(isOfIt) === true);
  }

  /**
   * Takes back the deletion of a snapshot that an image stands on: whoever asked for it died before it had looked again.
   * @returns the snapshot as it is now, whose state the block store knows; undefined where it goes, or there is none
   */
  async keep({ account_id, snapshot_id }: SnapshotRecord): Promise<SnapshotRecord | undefined> {
    const { images, snapshots } = this.care.state;
    const image_id = this.userOf(snapshot_id);
    if (image_id === undefined) return undefined;
    // An image that this node has not heard the end of yet keeps nothing.
    const image = await images.table.read(images.keyOf(account_id, image_id));
    const row = await snapshots.table.read(snapshots.keyOf(account_id, snapshot_id));
    if (image === undefined || image.value.making !== undefined) return undefined;
    if (row?.value.state !== "deleting") return undefined;
    const kept = { ...row.value, state: "pending" } as const;
    return (await snapshots.table.update(row.key, kept, row.revision)).value;
  }

  /** One try to end a `deleting` snapshot; true when it is gone. */
  async finish({ account_id, snapshot_id }: SnapshotRecord): Promise<boolean> {
    if (this.userOf(snapshot_id) !== undefined || this.#isRead(snapshot_id)) return false;
    return await this.#locks.hold(snapshot_id, async () => {
      try {
        await this.care.bus.ask(deleteSnapshot, { snapshot_id });
      } catch (error) {
        if (error instanceof AwsError && error.code === "InvalidSnapshot.InUse") return false;
        if (!isSnapshotGone(error)) throw error;
      }
      await this.care.state.snapshots.delete(account_id, snapshot_id);
      return true;
    });
  }
}
