/**
 * The beginning and the end of a volume, as steps that may be repeated from any point: the record
 * says what is meant (`creating`, `deleting`), the block store is brought there, then the record
 * says so. A crash between two steps leaves a record from which the next run goes on.
 */
import { AwsError, unavailable } from "../../aws/errors.ts";
import type { Bus } from "../../bus/bus.ts";
import type { Log } from "../../log/log.ts";
import type { NodeConfig } from "../../config/node_config.ts";
import type { Resources } from "../../resources/resource.ts";
import { idOf } from "../../resources/ids.ts";
import {
  blockCapacity,
  createSnapshot,
  createVolume,
  deleteSnapshot,
  deleteVolume,
  describeSnapshot,
  describeVolume,
  unmountVolume,
} from "../../viperblock/contract.ts";
import type { InstanceRecord, VolumeAttachment, VolumeRecord, VolumeType } from "../contract.ts";
import { delay } from "../delay.ts";
import type { Encryption } from "./encryption_choice.ts";
import type { VolumePlugger } from "./volume_plugger.ts";
import { isSnapshotGone } from "./volume_type.ts";

export const gib = 1024 ** 3;
/** The longest pause while a copied volume's content is being stored; the try after it is another one's. */
const longestWait_ms = 3000;

export interface VolumeDependencies {
  readonly bus: Bus;
  readonly log: Log;
  readonly config: Pick<NodeConfig, "node_id" | "az" | "region">;
  readonly volumes: Resources<VolumeRecord>;
  readonly instances: Resources<InstanceRecord>;
  readonly plugger: VolumePlugger;
}

/** What the maker of a volume decides. */
export interface NewVolume extends Encryption {
  readonly volume_id: string;
  readonly account_id: string;
  readonly size_gib: number;
  /** gp3 with what that has at least, unless given. */
  readonly volume_type?: VolumeType;
  readonly iops?: number;
  readonly throughput?: number;
  readonly initialization_rate?: number;
  readonly snapshot_id?: string;
  /** Copied from this volume: what that was when the copy was asked for. */
  readonly source_volume_id?: string;
  readonly tags: Readonly<Record<string, string>>;
  /** A launch makes its volumes as its own: nobody can attach them in between. */
  readonly attachment?: VolumeAttachment;
}

/** gp3's, when nothing else is asked for. */
export const baseline = { iops: 3000, throughput: 125 } as const;

/**
 * Refuses what the block store has no room for.
 * @throws AwsError `InsufficientVolumeCapacity`
 */
export async function checkCapacity(bus: Bus, size_gib: number): Promise<void> {
  const { available_bytes } = await bus.ask(blockCapacity, null);
  if (size_gib * gib > available_bytes) {
    throw new AwsError(
      "InsufficientVolumeCapacity",
      `There is room for ${
        Math.max(0, Math.floor(available_bytes / gib))
      } GiB and not for ${size_gib} GiB. Delete volumes or snapshots, or add a disk.`,
    );
  }
}

/** Writes down that the volume is to be made; repeating it answers the record that is there. */
export async function planVolume(
  { volumes, config }: VolumeDependencies,
  plan: NewVolume,
): Promise<VolumeRecord> {
  const { attachment, snapshot_id, source_volume_id, ...rest } = plan;
  return await volumes.ensure({
    ...rest,
    iops: plan.iops ?? baseline.iops,
    throughput: plan.throughput ?? baseline.throughput,
    ...(snapshot_id === undefined ? {} : { snapshot_id }),
    ...(source_volume_id === undefined ? {} : { source_volume_id }),
    ...(attachment === undefined ? {} : { attachment }),
    az: config.az,
    volume_type: plan.volume_type ?? "gp3",
    create_time: new Date().toISOString(),
    state: "creating",
  });
}

/** The block store's own snapshot that a copied volume begins with; no account sees it. */
export const copyPoint = (volumeId: string) => idOf("snap-", "copy", volumeId);

interface Beginning {
  readonly snapshot_id: string;
  /** What the volume must have at least: a copy's source may have been growing at that moment. */
  readonly size_bytes: number;
}

/**
 * The snapshot that a volume begins with. A copy's is taken when the copy is asked for; what is asked
 * here again answers that one, and waits until all of it is stored.
 * @throws AwsError `ServiceUnavailable` while it is not
 */
async function frozenSource(
  bus: Bus,
  { volume_id, snapshot_id, source_volume_id }: VolumeRecord,
): Promise<Beginning | "lost" | undefined> {
  if (source_volume_id === undefined) {
    return snapshot_id === undefined ? undefined : { snapshot_id, size_bytes: 0 };
  }
  const frozen = await copyPoint(volume_id);
  try {
    const { size_bytes, ...begun } = await bus.ask(createSnapshot, {
      volume_id: source_volume_id,
      snapshot_id: frozen,
    });
    let { state } = begun;
    for (let wait_ms = 50; state === "pending" && wait_ms < longestWait_ms; wait_ms *= 2) {
      await delay(wait_ms);
      state = (await bus.ask(describeSnapshot, { snapshot_id: frozen })).state;
    }
    if (state === "pending") throw unavailable(`The content of ${source_volume_id}`);
    if (state !== "error") return { snapshot_id: frozen, size_bytes };
    await thaw(bus, frozen);
  } catch (error) {
    // The source went before anybody was told that it is copied.
    if (!(error instanceof AwsError) || error.code !== "InvalidVolume.NotFound") throw error;
  }
  return "lost";
}

/** A copy that has been made already, by somebody who did not come to write it down; its source may have gone since. */
async function copied(
  bus: Bus,
  { volume_id, source_volume_id }: VolumeRecord,
): Promise<Beginning | undefined> {
  if (source_volume_id === undefined) return undefined;
  try {
    const { size_bytes } = await bus.ask(describeVolume, { volume_id });
    return { snapshot_id: await copyPoint(volume_id), size_bytes };
  } catch (error) {
    if (error instanceof AwsError && error.code === "InvalidVolume.NotFound") return undefined;
    throw error;
  }
}

async function thaw(bus: Bus, snapshot_id: string): Promise<void> {
  try {
    await bus.ask(deleteSnapshot, { snapshot_id });
  } catch (error) {
    if (!isSnapshotGone(error)) throw error;
  }
}

/** Makes what a `creating` record plans; a record in another state is answered as it is. */
export async function makePlanned(
  { volumes, bus }: VolumeDependencies,
  planned: VolumeRecord,
): Promise<VolumeRecord> {
  if (planned.state !== "creating") return planned;
  const frozen = await copied(bus, planned) ?? await frozenSource(bus, planned);
  if (frozen === "lost") {
    return await volumes.modify(
      planned.account_id,
      planned.volume_id,
      (volume) => volume.state === "creating" ? { ...volume, state: "error" } : volume,
    );
  }
  const made = await bus.ask(createVolume, {
    volume_id: planned.volume_id,
    size_bytes: Math.max(planned.size_gib * gib, frozen?.size_bytes ?? 0),
    iops: planned.iops,
    throughput_bytes: planned.throughput * 1024 * 1024,
    ...(frozen === undefined ? {} : { snapshot_id: frozen.snapshot_id }),
    ...(planned.encrypted === true ? { encrypted: true } : {}),
  });
  if (frozen !== undefined && frozen.snapshot_id !== planned.snapshot_id) {
    await thaw(bus, frozen.snapshot_id);
  }
  return await volumes.modify(
    planned.account_id,
    planned.volume_id,
    (volume) =>
      volume.state === "creating"
        ? {
          ...volume,
          size_gib: Math.max(volume.size_gib, Math.ceil(made.size_bytes / gib)),
          // What it was made of may have been encrypted without the record's knowing.
          ...(made.encrypted === true ? { encrypted: true } : {}),
          ...(made.fast_restored === true && volume.source_volume_id === undefined
            ? { fast_restored: true }
            : {}),
          state: volume.attachment === undefined ? "available" : "in-use",
        }
        : volume,
  );
}

/** An answer that says the volume is not in the block store: what a deletion wanted. */
export async function unlessMissing(work: Promise<unknown>): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (error instanceof AwsError && error.code === "InvalidVolume.NotFound") return;
    throw error;
  }
}

/** Ends a `deleting` volume: its blocks first, also those that a copy was to begin with, then its record. */
export async function destroyDeleting(
  { volumes, bus }: VolumeDependencies,
  { account_id, volume_id, source_volume_id }: VolumeRecord,
): Promise<void> {
  if (source_volume_id !== undefined) await thaw(bus, await copyPoint(volume_id));
  try {
    await unlessMissing(bus.ask(deleteVolume, { volume_id }));
  } catch (error) {
    if (!(error instanceof AwsError && error.code === "VolumeInUse")) throw error;
    // Served still, by a launch that did not come to its end: nobody may use it any more.
    await unlessMissing(bus.ask(unmountVolume, { volume_id }));
    await unlessMissing(bus.ask(deleteVolume, { volume_id }));
  }
  await volumes.delete(account_id, volume_id);
}
