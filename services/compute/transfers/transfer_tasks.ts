/**
 * The records of disk images on their way from and to buckets: ImportImage, ImportSnapshot and ExportImage
 * tasks, in EC2's shape. Members that no answer has are ours: on whose behalf the task reads and writes,
 * and which node does the work.
 */
import { kind } from "../../resources/kind.ts";
import type { Delegator, ObjectPlace } from "./delegated_objects.ts";
import type { ImageFormat } from "./image_files.ts";
import type { Encryption } from "../volumes/encryption_choice.ts";

export type TaskStatus = "active" | "completed" | "deleting" | "deleted";

interface Task {
  readonly Status: TaskStatus;
  readonly StatusMessage?: string | undefined;
  /** Percent. */
  readonly Progress?: string | undefined;
  readonly Description?: string | undefined;
  readonly Caller: Delegator;
  readonly NodeId: string;
  /** ISO 8601. */
  readonly EndTime?: string | undefined;
}

/** Where one disk of an import comes from. */
export type DiskSource =
  | { readonly kind: "object"; readonly place: ObjectPlace; readonly format: ImageFormat }
  | { readonly kind: "snapshot"; readonly snapshot_id: string };

export interface ImportDisk {
  readonly source: DiskSource;
  readonly device: string;
  readonly description?: string | undefined;
  /** Of the snapshot that it becomes. */
  readonly encryption?: Encryption | undefined;
}

interface DiskDetail {
  readonly Description?: string | undefined;
  readonly Encrypted?: boolean | undefined;
  readonly KmsKeyId?: string | undefined;
  readonly DeviceName?: string | undefined;
  readonly DiskImageSize?: number | undefined;
  readonly Format?: string | undefined;
  readonly Progress?: string | undefined;
  readonly SnapshotId?: string | undefined;
  readonly Status?: string | undefined;
  readonly StatusMessage?: string | undefined;
  readonly Url?: string | undefined;
  readonly UserBucket?: { readonly S3Bucket: string; readonly S3Key: string } | undefined;
}

export interface ImportImageShape extends Task {
  readonly Architecture: "x86_64" | "arm64";
  readonly BootMode: "uefi";
  readonly Encrypted?: boolean | undefined;
  readonly KmsKeyId?: string | undefined;
  readonly Hypervisor: "xen";
  readonly Platform: "Linux";
  readonly LicenseType: "BYOL";
  readonly ImageId?: string | undefined;
  readonly SnapshotDetails: DiskDetail[];
  readonly Disks: readonly ImportDisk[];
}

export interface ImportSnapshotShape extends Omit<Task, "Status" | "StatusMessage" | "Progress"> {
  readonly SnapshotTaskDetail: DiskDetail & { readonly Status: TaskStatus };
  readonly Disk: ImportDisk;
}

export interface ExportImageShape extends Task {
  readonly ImageId: string;
  readonly DiskImageFormat: "VMDK" | "RAW" | "VHD";
  readonly RoleName?: string | undefined;
  readonly S3ExportLocation: { readonly S3Bucket: string; readonly S3Prefix: string };
}

const page = { minimum: 1, maximum: 500, above: "refuse" } as const;
const importErrors = {
  notFound: "InvalidConversionTaskId.NotFound",
  malformed: "InvalidConversionTaskId.Malformed",
};

export const importImageTask = kind<ImportImageShape>({
  name: "import-image-task",
  idPrefix: "import-ami-",
  id: "ImportTaskId",
  owner: null,
  ...importErrors,
  filters: ["task-state=Status"],
  page,
});

export const importSnapshotTask = kind<ImportSnapshotShape>({
  name: "import-snapshot-task",
  idPrefix: "import-snap-",
  id: "ImportTaskId",
  owner: null,
  ...importErrors,
  filters: ["task-state=SnapshotTaskDetail.Status"],
  page,
});

export const exportImageTask = kind<ExportImageShape>({
  name: "export-image-task",
  idPrefix: "export-ami-",
  id: "ExportImageTaskId",
  owner: null,
  notFound: "InvalidExportTaskID.NotFound",
  malformed: "InvalidExportTaskID.Malformed",
  filters: ["task-state=Status"],
  page,
});
