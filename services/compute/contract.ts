/** What others may know of compute: the records that metadata, console and `hive` read. */
import { subject } from "../bus/subject.ts";
import type { InstanceInterface } from "../vpcd/contract.ts";

export * from "./action_names.ts";

/** KV buckets. Keys are `<account_id>.<resource id>`. */
export const buckets = {
  instances: "ec2_instances",
  volumes: "ec2_volumes",
  snapshots: "ec2_snapshots",
  images: "ec2_images",
  keyPairs: "ec2_key_pairs",
  clientTokens: "ec2_client_tokens",
  /** Templates, groups, reservations, settings: all that are records alone. */
  records: "ec2_records",
} as const;

export type VolumeType = "gp2" | "gp3" | "io1" | "io2" | "sc1" | "st1" | "standard";

export type InstanceState =
  | "pending"
  | "running"
  | "shutting-down"
  | "terminated"
  | "stopping"
  | "stopped";

export interface Attachment {
  readonly volume_id: string;
  /** As the caller named it: `/dev/sdf`, `/dev/xvda`. */
  readonly device: string;
  readonly status: "attaching" | "attached" | "detaching" | "busy";
  /** ISO 8601. */
  readonly attach_time: string;
  readonly delete_on_termination: boolean;
  /** Which PCIe root port holds it; 0 is the root volume's. */
  readonly slot: number;
}

export interface InstanceRecord {
  /** `i-` and 17 hex digits. */
  readonly instance_id: string;
  readonly account_id: string;
  readonly reservation_id: string;
  readonly launch_index: number;
  readonly client_token?: string;
  readonly image_id: string;
  readonly instance_type: string;
  readonly architecture: "x86_64" | "arm64";
  readonly key_name?: string;
  /** OpenSSH form, for metadata. */
  readonly public_key?: string;
  /** Base64, as given. */
  readonly user_data?: string;
  readonly node_id: string;
  readonly az: string;
  /** What the user asked for last; the reconcile loop brings `state` there. */
  readonly wanted: "running" | "stopped" | "terminated";
  readonly state: InstanceState;
  /** AWS's form, for example `Server.InternalError`. */
  readonly state_reason?: { readonly code: string; readonly message: string };
  /** ISO 8601. */
  readonly launch_time: string;
  readonly state_time: string;
  readonly network: {
    readonly private_ip: string;
    readonly private_dns_name: string;
    readonly mac: string;
    readonly subnet_id: string;
    readonly vpc_id: string;
    readonly interface_id: string;
    /** As vpcd has them, in the order of their device index; absent of instances older than vpcd. */
    readonly interfaces?: readonly InstanceInterface[];
    /** Loopback port of the node that reaches the guest's port 22; set while it runs. */
    readonly ssh_port?: number;
  };
  /** Its role's credentials are in the instance's metadata. */
  readonly iam_instance_profile?: {
    readonly arn: string;
    readonly id: string;
    /** When it was given to the instance: ISO 8601. */
    readonly associated: string;
  };
  readonly metadata_options: {
    readonly http_tokens: "optional" | "required";
    readonly http_endpoint: "enabled" | "disabled";
    readonly instance_metadata_tags: "enabled" | "disabled";
  };
  /** A TPM of its own, because its image wants one. */
  readonly tpm?: "v2.0";
  readonly root_device_name: string;
  readonly attachments: readonly Attachment[];
  /** What a shutdown from inside the guest leads to; `stop` unless given. */
  readonly shutdown_behavior?: "stop" | "terminate";
  /** Volumes that the launch makes; each is in `attachments` as well. */
  readonly planned_volumes?: readonly PlannedVolume[];
  /** Why the state is what it is, in AWS's form: `User initiated (2026-01-31 12:00:00 GMT)`. */
  readonly state_transition_reason?: string;
  /** A stop that does not wait for the guest. */
  readonly forced?: true;
  /** A reboot was asked for and is not done yet. */
  readonly rebooting?: true;
  /** Why the guest stands still, while it does: a disk that does not answer. */
  readonly impaired?: string;
  /** How far the work on the instance has come; compute's own. */
  readonly progress?: Progress;
  /** What was set besides, each by its own action. */
  readonly settings?: InstanceSettings;
  readonly tags: Readonly<Record<string, string>>;
}

export interface InstanceSettings {
  readonly affinity?: string | undefined;
  readonly auto_recovery?: string | undefined;
  readonly capacity_preference?: string | undefined;
  readonly capacity_reservation?: string | undefined;
  readonly cores?: number | undefined;
  readonly cpu_credits?: string | undefined;
  readonly disable_api_stop?: boolean | undefined;
  readonly disable_api_termination?: boolean | undefined;
  readonly ebs_optimized?: boolean | undefined;
  readonly hop_limit?: number | undefined;
  readonly host_id?: string | undefined;
  readonly monitoring?: boolean | undefined;
  readonly partition?: number | undefined;
  readonly placement_group?: string | undefined;
  readonly reboot_migration?: string | undefined;
  /** What the owner told of the instance's health. */
  readonly reported?: {
    readonly status: string;
    readonly reasons: readonly string[];
    readonly time: string;
    readonly description?: string;
  } | undefined;
  readonly tenancy?: string | undefined;
  readonly threads_per_core?: number | undefined;
}

export interface PlannedVolume {
  readonly volume_id: string;
  readonly volume_type?: VolumeType;
  readonly size_gib: number;
  readonly iops?: number;
  readonly throughput?: number;
  readonly snapshot_id?: string;
  readonly encrypted?: true;
  readonly kms_key_id?: string;
  readonly tags: Readonly<Record<string, string>>;
}

export interface Progress {
  /** Names of the steps that are done, in their order. */
  readonly done: readonly string[];
  /** Set once the work has failed and is being undone: what the instance will say of it. */
  readonly failed?: { readonly code: string; readonly message: string };
}

/** Where a volume is, or is on its way to or from. */
export interface VolumeAttachment {
  readonly instance_id: string;
  readonly node_id: string;
  readonly device: string;
  readonly status: "attaching" | "attached" | "detaching";
  /** ISO 8601. */
  readonly attach_time: string;
  readonly delete_on_termination: boolean;
  readonly slot: number;
}

export interface VolumeRecord {
  /** `vol-` and 17 hex digits. */
  readonly volume_id: string;
  readonly account_id: string;
  readonly az: string;
  readonly size_gib: number;
  readonly volume_type: VolumeType;
  /** What the block store holds it to; EC2 shows some types' otherwise. */
  readonly iops: number;
  /** MiB/s. */
  readonly throughput: number;
  /** MiB/s at which it was to be filled from its snapshot; kept for who asks. */
  readonly initialization_rate?: number;
  readonly snapshot_id?: string;
  /** The volume that it is a copy of. */
  readonly source_volume_id?: string;
  readonly encrypted?: true;
  /** What is shown as its key. */
  readonly kms_key_id?: string;
  /** All that its snapshot held was on the node's disk when it was made. */
  readonly fast_restored?: true;
  /** Whether I/O goes on by itself after data may have been lost; kept for who asks. */
  readonly auto_enable_io?: boolean;
  /** ISO 8601. */
  readonly create_time: string;
  readonly state: "creating" | "available" | "in-use" | "deleting" | "error";
  /** One writer: there is at most one. Set as long as the state is `in-use`. */
  readonly attachment?: VolumeAttachment;
  /** The last change of size or limits that was asked for. */
  readonly modification?: VolumeModification;
  readonly tags: Readonly<Record<string, string>>;
}

export interface VolumeShape {
  /** Absent of modifications from before there were others than gp3. */
  readonly volume_type?: VolumeType;
  readonly size_gib: number;
  readonly iops: number;
  /** MiB/s. */
  readonly throughput: number;
}

export interface VolumeModification {
  readonly state: "modifying" | "completed" | "failed";
  readonly message?: string;
  readonly original: VolumeShape;
  readonly target: VolumeShape;
  /** ISO 8601. */
  readonly start_time: string;
  readonly end_time?: string;
}

export interface SnapshotRecord {
  /** `snap-` and 17 hex digits. */
  readonly snapshot_id: string;
  readonly account_id: string;
  readonly size_gib: number;
  readonly description?: string;
  /** Made by an import and for images alone: it goes with the last image that stands on it. */
  readonly goes_with_images?: true;
  /** The volume that it was taken of; an import and a copy have none. */
  readonly volume_id?: string;
  readonly encrypted?: true;
  /** What is shown as its key. */
  readonly kms_key_id?: string;
  /** How long the copying was allowed to take; kept for who asks. */
  readonly completion_minutes?: number;
  /** While it is pending: the snapshot whose content is being copied and encrypted for it. */
  readonly copy_of?: string;
  /** While it is being asked of the block store: until when whoever does so has time. ISO 8601. */
  readonly making_until?: string;
  /** While it is pending: it is taken when the guest of this instance is down for a reboot. */
  readonly awaits_reboot_of?: string;
  /** Accounts that may make volumes and copies of it, besides its own. */
  readonly shared_with?: readonly string[];
  /** Everybody may. */
  readonly public?: true;
  /** Written from outside, block by block: how long its writer may be silent. */
  readonly written?: { readonly timeout_min: number };
  /** `deleting` until no volume needs its chunks any more. */
  readonly state: "pending" | "completed" | "error" | "deleting";
  /** ISO 8601. */
  readonly completion_time?: string;
  /** ISO 8601. */
  readonly start_time: string;
  readonly tags: Readonly<Record<string, string>>;
}

export interface ImageRecord {
  /** `ami-` and 17 hex digits. */
  readonly image_id: string;
  readonly account_id: string;
  readonly name: string;
  readonly description?: string;
  readonly architecture: "x86_64" | "arm64";
  /**
   * `disabled` by its owner: nobody launches it, and nobody else sees it. `deregistered`: nobody sees it any more,
   * and the record is there until the snapshots that are to go with it have gone.
   */
  readonly state: "pending" | "available" | "failed" | "disabled" | "deregistered";
  /** As it was said; guests boot with UEFI in any case. */
  readonly boot_mode?: "uefi" | "uefi-preferred";
  /** Drivers that it was said to have; kept for who asks. */
  readonly ena?: true;
  readonly sriov?: "simple";
  /** Its instances have metadata with session tokens only, unless a launch says otherwise. */
  readonly imds?: "v2.0";
  /** Its instances have a TPM. */
  readonly tpm?: "v2.0";
  readonly root_device_name: string;
  /** The first is the root device's. */
  readonly block_devices: readonly ImageBlockDevice[];
  readonly public: boolean;
  /** Accounts that may launch it, besides its own. */
  readonly shared_with?: readonly string[];
  /** ISO 8601. */
  readonly creation_date: string;
  /** Made of an instance: available when its snapshots are stored. */
  readonly awaits_snapshots?: true;
  /**
   * While it is being made: until when its maker has time (ISO 8601), and the snapshots that are made for it. Once it is
   * deregistered: those that are to go with it.
   */
  readonly making?: { readonly until: string; readonly snapshot_ids: readonly string[] };
  /** The instance that it was made of. */
  readonly source_instance_id?: string;
  /** What it is a copy of, or what the instance was launched from that it is made of. */
  readonly source?: { readonly image_id: string; readonly region: string };
  /** From when on it is deprecated, ISO 8601 to the minute: still usable, shown to its owner alone. */
  readonly deprecation_time?: string;
  /** Not to be deregistered by mistake. */
  readonly deregistration_protection?: DeregistrationProtection;
  /** While a file is being brought in: what must go when that comes to nothing. */
  readonly importing?: {
    readonly node_id: string;
    readonly volume_id: string;
    readonly snapshot_id: string;
  };
  readonly tags: Readonly<Record<string, string>>;
}

export interface DeregistrationProtection {
  /** Whether it holds on for a day after it was switched off. */
  readonly cooldown: boolean;
  /** Set once it was switched off with a cooldown: until when it holds, ISO 8601. */
  readonly until?: string;
}

export interface ImageBlockDevice {
  readonly device: string;
  /** Absent: an empty volume. */
  readonly snapshot_id?: string;
  readonly encrypted?: true;
  readonly size_gib: number;
  /** gp3 where there is none. */
  readonly volume_type?: VolumeType;
  readonly iops?: number;
  /** MiB/s. */
  readonly throughput?: number;
  readonly delete_on_termination: boolean;
}

export interface KeyPairRecord {
  /** `key-` and 17 hex digits; follows from account and name, which are unique together. */
  readonly key_pair_id: string;
  readonly account_id: string;
  readonly key_name: string;
  readonly key_type: "rsa" | "ed25519";
  readonly fingerprint: string;
  /** OpenSSH form with the name as its comment. */
  readonly public_key: string;
  /** ISO 8601. */
  readonly create_time: string;
  readonly tags: Readonly<Record<string, string>>;
}

/** Instance id to everything `hive ssh` and `hive console` need. */
export interface InstanceAccess {
  readonly instance_id: string;
  readonly ssh_port?: number;
  /** Path of the serial console's Unix socket. */
  readonly console_socket?: string;
  /** Path of the file with the serial console's output. */
  readonly console_log: string;
}
export const instanceAccess = subject<{ instance_id: string }, InstanceAccess>(
  "compute.instance_access",
);

/**
 * Brings a disk image file of this node into the block store and registers it as an AMI. Takes
 * minutes; progress is said on `compute.event.import.<image_id>`.
 */
export interface ImportImageRequest {
  /** Absolute path on this node, readable by compute. */
  readonly path: string;
  readonly format: "raw" | "qcow2" | "vmdk";
  readonly name: string;
  readonly description?: string;
  readonly architecture: "x86_64" | "arm64";
  readonly account_id: string;
  readonly tags?: Readonly<Record<string, string>>;
  /** Whether every account may use it; true unless given: the operator brings images in for all. */
  readonly public?: boolean;
}
export const importImage = subject<ImportImageRequest, { readonly image_id: string }>(
  "compute.import_image",
  1_800_000,
);
export interface ImportProgress {
  readonly name: string;
  readonly percent: number;
}

/** What one account uses under one value of a tag, as its records tell now. */
export interface UsageRow {
  readonly account_id: string;
  /** Absent: what does not carry the tag. */
  readonly value?: string;
  readonly volumes: number;
  readonly volume_gib: number;
  /** Of volumes that are there: their size since they were made or last grew. */
  readonly volume_gib_hours: number;
  readonly instances: number;
  /** Of instances that run: since they were started last. */
  readonly instance_hours: number;
  readonly vcpu_hours: number;
  readonly snapshots: number;
  /** What is not zero in the snapshots; those that share blocks count them each. */
  readonly snapshot_bytes: number;
}
/** Of who uses nothing. */
export const noUsage = {
  volumes: 0,
  volume_gib: 0,
  volume_gib_hours: 0,
  instances: 0,
  instance_hours: 0,
  vcpu_hours: 0,
  snapshots: 0,
  snapshot_bytes: 0,
} as const satisfies Omit<UsageRow, "account_id" | "value">;
/** Every account's, by the values of a tag. */
export const usage = subject<{ readonly tag: string }, readonly UsageRow[]>(
  "compute.usage",
  30_000,
);

export interface AccountQuota {
  readonly code: string;
  readonly name: string;
  readonly adjustable: boolean;
  readonly value: number;
  /** The most that the account has asked for; 0 for nothing. */
  readonly wanted: number;
}
/** The operator's: an account's quotas, after one of them was set. */
export const accountQuotas = subject<
  { readonly account_id: string; readonly set?: { readonly code: string; readonly value: number } },
  readonly AccountQuota[]
>("compute.account_quotas");

/** Shuts every guest of this node down for a stop of the stack; answers what still runs. */
export const quiesce = subject<
  { readonly timeout_ms: number },
  { readonly still_running: readonly string[] }
>("compute.quiesce", 300_000);
/** Event, while quiescing: which guests are still waited for. */
export const quiesceProgress = "compute.event.quiesce";
