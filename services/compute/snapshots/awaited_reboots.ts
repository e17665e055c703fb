/**
 * Snapshots that are taken while an instance reboots: they are on record, and wait for its guest to be down. Where there will
 * be no reboot they are taken as things are, and where the block store stays away they fail, so that the guest comes up.
 */
import { AwsError } from "../../aws/errors.ts";
import { errorFields } from "../../log/log.ts";
import { type BlockSnapshot, createSnapshot } from "../../viperblock/contract.ts";
import type { InstanceRecord, SnapshotRecord } from "../contract.ts";
import { settleImages } from "../images/image_making.ts";
import { isSnapshotGone } from "../volumes/volume_type.ts";
import type { SnapshotCare } from "./snapshot_care.ts";
import type { SnapshotEnd } from "./snapshot_end.ts";
import { frozenSize } from "./snapshot_making.ts";
import { whileStill } from "./still_guest.ts";

/** An instance is told to reboot right after its snapshots are on record; one that was not by then never will be. */
const rebootBegins_ms = 30_000;
/** How long a guest that is down waits for a block store that does not answer. */
const freezeBound_ms = 300_000;

export class AwaitedReboots {
  /** @param watch what is told of a snapshot that the block store is at work on */
  constructor(
    readonly care: SnapshotCare,
    readonly end: SnapshotEnd,
    readonly watch: (snapshot: SnapshotRecord) => void,
  ) {}

  /** Its instance is not to be rebooted any more, or never was told to be: it is taken as things are. */
  miss({ account_id, snapshot_id, awaits_reboot_of, start_time }: SnapshotRecord): void {
    const instance_id = awaits_reboot_of ?? "";
    if (this.care.instances.get(account_id, instance_id)?.rebooting === true) return;
    if (this.care.clock() - Date.parse(start_time) < rebootBegins_ms) return;
    this.care.background.begin(
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
    const waiting = [...this.care.state.snapshots.all(account_id)]
      .filter((one) => one.awaits_reboot_of === instance_id && one.state === "pending");
    const guest = this.care.instances.get(account_id, instance_id);
    // One that heard no power button runs on.
    const taken = await whileStill(
      this.care,
      waiting.length === 0 ? undefined : guest,
      async () => await Promise.allSettled(waiting.map((snapshot) => this.#freezeDown(snapshot))),
    );
    const failure = taken.find((one) => one.status === "rejected");
    if (failure !== undefined) throw failure.reason;
    if (waiting.length > 0) await settleImages(this.care.state);
  }

  async #freezeDown(snapshot: SnapshotRecord): Promise<void> {
    const { account_id, snapshot_id, volume_id, start_time } = snapshot;
    let state: "pending" | "error" = "pending";
    let frozen: BlockSnapshot | undefined;
    try {
      frozen = await this.care.bus.ask(createSnapshot, { volume_id: volume_id ?? "", snapshot_id });
    } catch (error) {
      const isPassing = !(error instanceof AwsError) || error.status >= 500;
      if (isPassing && this.care.clock() - Date.parse(start_time) < freezeBound_ms) throw error;
      this.care.log.error("snapshot_not_taken", { snapshot_id, ...errorFields(error) });
      state = "error";
    }
    let taken: SnapshotRecord;
    try {
      taken = await this.care.state.snapshots.modify(account_id, snapshot_id, (now) => {
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
      return await this.end.removeAgain(snapshot);
    }
    if (taken.state === "pending") this.watch(taken);
  }
}
