/**
 * A block store of names and sizes that answers viperblock's subjects, for tests of those who ask.
 * It keeps viperblock's rules (repeatable calls, what is mounted is not deleted, what is missing is
 * not found), holds no data, and can be told to fail.
 */
import { AwsError } from "../../services/aws/errors.ts";
import type { Bus } from "../../services/bus/bus.ts";
import type { Subject } from "../../services/bus/subject.ts";
import {
  blockCapacity,
  type BlockSnapshot,
  type BlockVolume,
  copySnapshot,
  createSnapshot,
  createVolume,
  deleteSnapshot,
  deleteVolume,
  describeFastRestore,
  describeSnapshot,
  describeVolume,
  mountVolume,
  resizeVolume,
  setFastRestore,
  unmountVolume,
} from "../../services/viperblock/contract.ts";

export class TestBlockStore {
  readonly volumes = new Map<string, BlockVolume>();
  readonly snapshots = new Map<string, BlockSnapshot>();
  readonly mounted = new Set<string>();
  /** Snapshots that volumes still need. */
  readonly needed = new Set<string>();
  /** Snapshots that are to be restored fast, and whether all of each is there. */
  readonly restores = new Map<string, "coming" | "ready">();
  /** What a restore is as soon as it is asked for. */
  restoresBegin: "coming" | "ready" = "ready";
  waits_for: "disk_space" | undefined;
  readonly calls: string[] = [];
  available_bytes = 2 ** 40;
  /** Called before each call is done; what it throws is the answer. */
  before: (call: string) => void | Promise<void> = () => {};
  /** Called after a mount, to serve the volume for real. */
  serve: (volume: BlockVolume) => Promise<string> = (volume) =>
    Promise.resolve(`/run/${volume.volume_id}.nbd`);
  /** Called before an unmount, to stop serving. */
  unserve: (volumeId: string) => Promise<void> = () => Promise.resolve();

  constructor(bus: Bus) {
    const answer = <Input, Output>(
      subject: Subject<Input, Output>,
      handler: (input: Input) => Output | Promise<Output>,
    ) =>
      bus.answer(subject, async (input) => {
        this.calls.push(subject.name);
        await this.before(subject.name);
        return await handler(input);
      });
    answer(blockCapacity, () => ({
      available_bytes: this.available_bytes,
      total_bytes: 2 ** 40,
      provisioned_bytes: 0,
    }));
    answer(createVolume, (request) => {
      const present = this.volumes.get(request.volume_id);
      if (present !== undefined) return present;
      const { encrypted, ...rest } = request;
      const isEncrypted = encrypted ??
        (this.snapshots.get(rest.snapshot_id ?? "")?.encrypted === true);
      const volume = {
        ...rest,
        epoch: 0,
        ...(isEncrypted ? { encrypted: isEncrypted } : {}),
        ...(this.restores.get(rest.snapshot_id ?? "") === "ready"
          ? { fast_restored: true as const }
          : {}),
      };
      this.volumes.set(request.volume_id, volume);
      return volume;
    });
    answer(describeVolume, ({ volume_id }) => this.#volume(volume_id));
    answer(deleteVolume, ({ volume_id }) => {
      this.#volume(volume_id);
      if (this.mounted.has(volume_id)) throw new AwsError("VolumeInUse", `${volume_id} is mounted`);
      this.volumes.delete(volume_id);
      return null;
    });
    answer(mountVolume, async ({ volume_id }) => {
      const volume = this.#volume(volume_id);
      this.mounted.add(volume_id);
      return { socket: await this.serve(volume), size_bytes: volume.size_bytes };
    });
    answer(unmountVolume, async ({ volume_id }) => {
      this.#volume(volume_id);
      await this.unserve(volume_id);
      this.mounted.delete(volume_id);
      return null;
    });
    answer(createSnapshot, ({ volume_id, snapshot_id }) => {
      const present = this.snapshots.get(snapshot_id);
      if (present !== undefined) return present;
      const { size_bytes, encrypted } = this.#volume(volume_id);
      const snapshot: BlockSnapshot = {
        snapshot_id,
        volume_id,
        size_bytes,
        stored_bytes: 0,
        ...(encrypted === true ? { encrypted } : {}),
        // A mounted volume's is stored afterwards: `store` says when.
        state: this.mounted.has(volume_id) ? "pending" : "completed",
      };
      this.snapshots.set(snapshot_id, snapshot);
      return snapshot;
    });
    const restore = (snapshot_id: string) => ({
      snapshot_id: this.#snapshot(snapshot_id).snapshot_id,
      state: this.restores.get(snapshot_id) ?? "off" as const,
      kept_objects: 0,
      kept_bytes: 0,
      ...(this.waits_for === undefined ? {} : { waits_for: this.waits_for }),
    });
    answer(setFastRestore, ({ snapshot_id, wanted }) => {
      this.#snapshot(snapshot_id);
      if (!wanted) this.restores.delete(snapshot_id);
      else if (!this.restores.has(snapshot_id)) this.restores.set(snapshot_id, this.restoresBegin);
      return restore(snapshot_id);
    });
    answer(describeFastRestore, ({ snapshot_id }) => restore(snapshot_id));
    answer(describeSnapshot, ({ snapshot_id }) => this.#snapshot(snapshot_id));
    answer(copySnapshot, ({ source_id, snapshot_id, encrypted }) => {
      const copy: BlockSnapshot = {
        ...this.#snapshot(source_id),
        snapshot_id,
        ...(encrypted === true ? { encrypted } : {}),
      };
      this.snapshots.set(snapshot_id, copy);
      return copy;
    });
    answer(resizeVolume, ({ volume_id, size_bytes }) => {
      const grown = { ...this.#volume(volume_id), size_bytes };
      this.volumes.set(volume_id, grown);
      return grown;
    });
    answer(deleteSnapshot, ({ snapshot_id }) => {
      if (!this.snapshots.has(snapshot_id)) {
        throw new AwsError("InvalidSnapshot.NotFound", `${snapshot_id} is not there`);
      }
      if (this.needed.has(snapshot_id)) {
        throw new AwsError("InvalidSnapshot.InUse", `${snapshot_id} is needed`);
      }
      this.snapshots.delete(snapshot_id);
      return null;
    });
  }

  /** The snapshot is stored, or lost. */
  settle(snapshotId: string, state: "completed" | "error"): void {
    this.snapshots.set(snapshotId, { ...this.#snapshot(snapshotId), state });
  }

  #snapshot(id: string): BlockSnapshot {
    const snapshot = this.snapshots.get(id);
    if (snapshot === undefined) {
      throw new AwsError("InvalidSnapshot.NotFound", `${id} is not there`);
    }
    return snapshot;
  }

  #volume(id: string): BlockVolume {
    const volume = this.volumes.get(id);
    if (volume === undefined) throw new AwsError("InvalidVolume.NotFound", `${id} is not there`);
    return volume;
  }
}
