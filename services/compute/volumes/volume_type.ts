/** Volumes as a resource type, and how a record looks in EC2's answers. */
import { AwsError } from "../../aws/errors.ts";
import { type ResourceType } from "../../resources/resource.ts";
import { usualLimits } from "../../resources/paging.ts";
import { showTags } from "../../resources/tags.ts";
import type { Output } from "../../resources/wire.ts";
import { buckets, type SnapshotRecord, type VolumeRecord } from "../contract.ts";
import { showEncryption } from "./encryption_choice.ts";
import { shownPerformance } from "./volume_performance.ts";
import { zoneId } from "../../resources/zone_names.ts";

export const volumeType: ResourceType<VolumeRecord> = {
  name: "volume",
  idPrefix: "vol-",
  errors: {
    notFound: "InvalidVolume.NotFound",
    malformed: "InvalidParameterValue",
    misshapen: "InvalidVolumeID.Malformed",
    noun: "volume",
    describedAs: "volumes",
    missing: (id) => `The volume '${id}' does not exist.`,
  },
  bucket: buckets.volumes,
  id: (volume) => volume.volume_id,
  states: ["creating", "available", "in-use", "deleting", "error"],
  attributes: {
    "attachment.attach-time": (volume) => volume.attachment?.attach_time,
    "attachment.delete-on-termination": (volume) => volume.attachment?.delete_on_termination,
    "attachment.device": (volume) => volume.attachment?.device,
    "attachment.instance-id": (volume) => volume.attachment?.instance_id,
    "attachment.status": (volume) => volume.attachment?.status,
    "availability-zone": (volume) => volume.az,
    "availability-zone-id": (volume) => zoneId(volume.az),
    "create-time": (volume) => volume.create_time,
    "encrypted": (volume) => volume.encrypted === true,
    "fast-restored": (volume) => volume.fast_restored === true,
    "multi-attach-enabled": () => false,
    "operator.managed": () => false,
    "operator.principal": () => undefined,
    "size": (volume) => volume.size_gib,
    "snapshot-id": (volume) => volume.snapshot_id,
    "status": (volume) => volume.state,
    "volume-id": (volume) => volume.volume_id,
    "volume-type": (volume) => volume.volume_type,
  },
  page: { ...usualLimits, above: "cap", zeroIsNone: true, idsParameter: "volumeSet" },
};

export const snapshotType: ResourceType<SnapshotRecord> = {
  name: "snapshot",
  idPrefix: "snap-",
  errors: {
    notFound: "InvalidSnapshot.NotFound",
    malformed: "InvalidParameterValue",
    misshapen: "InvalidSnapshotID.Malformed",
    noun: "snapshot",
    missing: (id) => `The snapshot '${id}' does not exist.`,
  },
  bucket: buckets.snapshots,
  id: (snapshot) => snapshot.snapshot_id,
  states: ["pending", "completed", "error", "deleting"],
  attributes: {
    "description": (snapshot) => snapshot.description,
    "encrypted": (snapshot) => snapshot.encrypted === true,
    "owner-alias": () => undefined,
    "owner-id": (snapshot) => snapshot.account_id,
    "snapshot-id": (snapshot) => snapshot.snapshot_id,
    "start-time": (snapshot) => snapshot.start_time,
    "progress": (snapshot) => snapshot.state === "pending" ? "0%" : "100%",
    "status": (snapshot) => snapshot.state,
    "storage-tier": () => "standard",
    "transfer-type": (snapshot) =>
      snapshot.completion_minutes === undefined ? "standard" : "time-based",
    "volume-id": (snapshot) => snapshot.volume_id ?? "vol-ffffffff",
    "volume-size": (snapshot) => snapshot.size_gib,
  },
  page: { ...usualLimits, above: "cap", zeroIsNone: true, idsParameter: "snapshotSet" },
  ownerless: true,
  // No account in particular: whether there is anybody.
  shared: (snapshot, account) =>
    snapshot.public === true ||
    (account === ""
      ? snapshot.shared_with !== undefined
      : snapshot.shared_with?.includes(account) === true),
  gone: (snapshot) => snapshot.state === "deleting",
};

type Shown = NonNullable<Output<"DescribeVolumes">["Volumes"]>[number];

/** The attachment as EC2 shows it; none while its device is not chosen yet. */
export function showAttachment(volume: VolumeRecord): Output<"AttachVolume"> {
  const attachment = volume.attachment;
  return attachment === undefined ? {} : {
    AttachTime: attachment.attach_time,
    DeleteOnTermination: attachment.delete_on_termination,
    ...(attachment.device === "" ? {} : { Device: attachment.device }),
    InstanceId: attachment.instance_id,
    State: attachment.status,
    VolumeId: volume.volume_id,
  };
}

export function showVolume(volume: VolumeRecord): Shown {
  return {
    Attachments: volume.attachment === undefined ? [] : [showAttachment(volume)],
    AvailabilityZone: volume.az,
    AvailabilityZoneId: zoneId(volume.az),
    CreateTime: volume.create_time,
    ...showEncryption(volume),
    ...(volume.fast_restored === true ? { FastRestored: true } : {}),
    ...shownPerformance(volume),
    MultiAttachEnabled: false,
    Size: volume.size_gib,
    SnapshotId: volume.snapshot_id ?? "",
    ...(volume.source_volume_id === undefined ? {} : { SourceVolumeId: volume.source_volume_id }),
    State: volume.state,
    Tags: showTags(volume.tags),
    VolumeId: volume.volume_id,
    ...(volume.initialization_rate === undefined
      ? {}
      : { VolumeInitializationRate: volume.initialization_rate }),
    VolumeType: volume.volume_type,
  };
}

/** Whether somebody says that a snapshot is not there, be it the block store or the records. */
export const isSnapshotGone = (error: unknown): boolean =>
  error instanceof AwsError && error.code === snapshotType.errors.notFound;
