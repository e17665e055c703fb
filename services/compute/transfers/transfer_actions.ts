/**
 * ImportImage, ImportSnapshot, ExportImage, their Describes and cancellations. Buckets are read and written
 * on behalf of the caller: there is no service role, and one that is named is not looked at.
 */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable, Call } from "../../resources/actions.ts";
import {
  incorrectState,
  invalidParameter,
  invalidValue,
  missingParameter,
  unsupported,
} from "../../resources/errors.ts";
import { isId, notFound } from "../../resources/ids.ts";
import type { AnyKind, KindRecord } from "../../resources/kind.ts";
import type { Operations } from "../../resources/operations.ts";
import type { Input } from "../../resources/wire.ts";
import type { Delegator, ObjectPlace } from "./delegated_objects.ts";
import { exportFormats } from "./image_export.ts";
import type { ImageFormat } from "./image_files.ts";
import {
  chooseEncryption,
  encryptionDefaults,
  showEncryption,
} from "../volumes/encryption_choice.ts";
import { ownImage } from "../images/image_states.ts";
import { saying, statusOf } from "./task_status.ts";
import type { TransferKeeper } from "./transfer_keeper.ts";
import {
  type ExportImageShape,
  exportImageTask,
  type ImportDisk,
  type ImportImageShape,
  importImageTask,
  type ImportSnapshotShape,
  importSnapshotTask,
} from "./transfer_tasks.ts";

/** Tasks of one account that are not done. */
const mostActive = 20;
const formats: Readonly<Record<string, ImageFormat>> = {
  RAW: "raw",
  QCOW2: "qcow2",
  VMDK: "vmdk",
  VHD: "vhd",
};
const mostDisks = 21;

type Container = NonNullable<Input<"ImportImage">["DiskContainers"]>[number];

const callerOf = ({ account_id, principal_arn, access_key_id }: Call): Delegator => ({
  account_id,
  principal_arn,
  access_key_id: access_key_id ?? "",
});

function placeOf({ Url, UserBucket }: Pick<Container, "Url" | "UserBucket">): ObjectPlace {
  if (UserBucket !== undefined) {
    if (UserBucket.S3Bucket === undefined) throw missingParameter("UserBucket.S3Bucket");
    if (UserBucket.S3Key === undefined) throw missingParameter("UserBucket.S3Key");
    return { bucket: UserBucket.S3Bucket, key: UserBucket.S3Key };
  }
  const [, bucket, key] = /^s3:\/\/([^/]+)\/(.+)$/.exec(Url ?? "") ?? [];
  if (bucket === undefined || key === undefined) {
    throw invalidValue(
      "A disk container needs a UserBucket, or a Url of the form s3://BUCKET/KEY.",
    );
  }
  return { bucket, key };
}

function diskOf(container: Container, index: number): ImportDisk {
  const device = container.DeviceName ??
    (index === 0 ? "/dev/sda1" : `/dev/sd${String.fromCharCode(97 + index)}`);
  const common = { device, description: container.Description };
  if (container.SnapshotId !== undefined) {
    return { ...common, source: { kind: "snapshot", snapshot_id: container.SnapshotId } };
  }
  const format = formats[(container.Format ?? "").toUpperCase()];
  if (format === undefined) {
    throw invalidParameter(
      "Format",
      container.Format ?? "",
      `Expected: ${Object.keys(formats).join(", ")}.`,
    );
  }
  return { ...common, source: { kind: "object", place: placeOf(container), format } };
}

const detailOf = (container: Container, disk: ImportDisk) => ({
  ...(disk.description === undefined ? {} : { Description: disk.description }),
  DeviceName: disk.device,
  ...(container.Format === undefined ? {} : { Format: container.Format.toUpperCase() }),
  ...(disk.source.kind === "object"
    ? { UserBucket: { S3Bucket: disk.source.place.bucket, S3Key: disk.source.place.key } }
    : { SnapshotId: disk.source.snapshot_id }),
  ...(container.Url === undefined ? {} : { Url: container.Url }),
  Status: "active" as const,
});

/** Says of S3's refusal what EC2 says of it. */
async function reachable<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof AwsError) || error.status >= 500) throw error;
    throw new AwsError(
      "InvalidParameter",
      `Insufficient permissions, or no such bucket or object: ${error.code}.`,
      { cause: error },
    );
  }
}

function checkImportImage(input: Input<"ImportImage">): void {
  if ((input.Platform ?? "Linux") !== "Linux") {
    throw unsupported("Disks of Linux systems are imported. Leave Platform out.");
  }
  if ((input.Hypervisor ?? "xen") !== "xen") {
    throw invalidParameter("Hypervisor", input.Hypervisor, "Expected: xen.");
  }
  if ((input.LicenseType ?? "BYOL") !== "BYOL" || (input.LicenseSpecifications ?? []).length > 0) {
    throw unsupported("There are no licences here but the one that the system brings along.");
  }
  const boot = input.BootMode ?? "uefi";
  if (boot !== "uefi" && boot !== "uefi-preferred") {
    throw unsupported(`Guests boot with UEFI; the boot mode '${boot}' is not offered.`);
  }
  if (!["x86_64", "arm64"].includes(input.Architecture ?? "x86_64")) {
    throw invalidParameter("Architecture", input.Architecture, "Expected: x86_64 or arm64.");
  }
}

export function transferActions(n: Operations, keeper: TransferKeeper) {
  const { objects, state, config } = keeper.dependencies;
  const { records } = n;

  const checkRoom = (account: string) => {
    if (keeper.active(account) < mostActive) return;
    throw new AwsError(
      "ResourceLimitExceeded",
      `There are ${mostActive} tasks that are not done. Wait for them, or cancel some.`,
    );
  };
  const checkSource = async ({ source }: ImportDisk, call: Call) => {
    if (source.kind === "snapshot") {
      await state.snapshots.require(call.account_id, source.snapshot_id);
    } else await reachable(objects.size(callerOf(call), source.place, call.signal));
  };
  /** A disk with the encryption that its snapshot will have. @throws AwsError */
  const encrypted = async (
    input: Pick<Input<"ImportImage">, "Encrypted" | "KmsKeyId">,
    disk: ImportDisk,
    call: Call,
  ): Promise<ImportDisk> => {
    const source = disk.source.kind === "snapshot"
      ? await state.snapshots.require(call.account_id, disk.source.snapshot_id)
      : undefined;
    const defaults = encryptionDefaults(records, call.region, call.account_id);
    return { ...disk, encryption: chooseEncryption(input, defaults, source) };
  };
  const begun = (call: Call) => ({ Caller: callerOf(call), NodeId: config.node_id });
  const drive = (one: AnyKind) => (record: KindRecord<object>) => {
    if (statusOf(one, record) === "active") keeper.drive(one, record);
    return Promise.resolve();
  };
  /** A task of one of these kinds is to be given up. @returns its states before and after */
  const cancel = async (account: string, id: string, kinds: readonly AnyKind[]) => {
    const one = kinds.find((each) => isId(each.idPrefix, id));
    const [first] = kinds;
    if (first === undefined) throw new TypeError("no kind of task");
    if (one === undefined) throw notFound([id], first.errors);
    const record = await records.change(one, account, id, (now) => {
      const status = statusOf(one, now);
      if (status !== "active") throw incorrectState(`The task '${id}' is ${status}.`);
      return saying(one, now, { Status: "deleting" });
    });
    keeper.cancel(one, record);
  };

  return {
    ImportImage: n.creates(importImageTask, {
      without: [
        "Architecture",
        "BootMode",
        "ClientData",
        "Description",
        "DiskContainers",
        "Encrypted",
        "Hypervisor",
        "KmsKeyId",
        "LicenseSpecifications",
        "LicenseType",
        "Platform",
        "RoleName",
        "UsageOperation",
      ],
      make: async (input, call): Promise<ImportImageShape> => {
        checkImportImage(input);
        const containers = input.DiskContainers ?? [];
        if (containers.length === 0) throw missingParameter("DiskContainers");
        if (containers.length > mostDisks) {
          throw invalidValue(`An image has ${mostDisks} disks at most.`);
        }
        const Disks: ImportDisk[] = [];
        for (const disk of containers.map(diskOf)) Disks.push(await encrypted(input, disk, call));
        if (new Set(Disks.map(({ device }) => device)).size !== Disks.length) {
          throw invalidValue("A device name is given more than once.");
        }
        for (const disk of Disks) await checkSource(disk, call);
        checkRoom(call.account_id);
        return {
          ...begun(call),
          Status: "active",
          StatusMessage: "pending",
          Progress: "0",
          Description: input.Description,
          Architecture: input.Architecture === "arm64" ? "arm64" : "x86_64",
          BootMode: "uefi",
          ...showEncryption(
            Disks.find(({ encryption }) => encryption?.encrypted)?.encryption ?? {},
          ),
          Hypervisor: "xen",
          Platform: "Linux",
          LicenseType: "BYOL",
          Disks,
          SnapshotDetails: containers.map((container, index) =>
            detailOf(container, Disks[index] ?? diskOf(container, index))
          ),
        };
      },
      after: drive(importImageTask),
      answer: (record) => records.show(importImageTask, record),
    }),
    DescribeImportImageTasks: n.describes(importImageTask, {
      list: "ImportImageTasks",
      ids: "ImportTaskIds",
    }),

    ImportSnapshot: n.creates(importSnapshotTask, {
      without: [
        "ClientData",
        "Description",
        "DiskContainer",
        "Encrypted",
        "KmsKeyId",
        "RoleName",
      ],
      make: async (input, call): Promise<ImportSnapshotShape> => {
        if (input.DiskContainer === undefined) throw missingParameter("DiskContainer");
        const Disk = await encrypted(input, diskOf(input.DiskContainer, 0), call);
        await checkSource(Disk, call);
        checkRoom(call.account_id);
        const { DeviceName: _, ...detail } = detailOf(input.DiskContainer, Disk);
        return {
          ...begun(call),
          Description: input.Description,
          Disk,
          SnapshotTaskDetail: {
            ...detail,
            ...showEncryption(Disk.encryption ?? {}),
            StatusMessage: "pending",
            Progress: "0",
          },
        };
      },
      after: drive(importSnapshotTask),
      answer: (record) => records.show(importSnapshotTask, record),
    }),
    DescribeImportSnapshotTasks: n.describes(importSnapshotTask, {
      list: "ImportSnapshotTasks",
      ids: "ImportTaskIds",
    }),

    CancelImportTask: n.custom({
      check: (input) => {
        if (input.ImportTaskId === undefined) throw missingParameter("ImportTaskId");
      },
      run: async (input, call) => {
        const id = input.ImportTaskId ?? "";
        await cancel(call.account_id, id, [importImageTask, importSnapshotTask]);
        return { ImportTaskId: id, State: "deleting", PreviousState: "active" };
      },
    }),

    ExportImage: n.creates(exportImageTask, {
      without: ["Description", "DiskImageFormat", "ImageId", "RoleName", "S3ExportLocation"],
      make: async (input, call): Promise<ExportImageShape> => {
        if (!Object.hasOwn(exportFormats, input.DiskImageFormat)) {
          throw invalidParameter(
            "DiskImageFormat",
            input.DiskImageFormat,
            `Expected: ${Object.keys(exportFormats).join(", ")}.`,
          );
        }
        const image = await ownImage(state.images, call.account_id, input.ImageId);
        if (image.state !== "available") {
          throw new AwsError(
            "InvalidAMIID.Unavailable",
            `The image ID '${image.image_id}' is ${image.state}`,
          );
        }
        if (image.block_devices.length > 1) {
          throw unsupported("Images with more than a root device cannot be exported.");
        }
        const { S3Bucket, S3Prefix } = input.S3ExportLocation;
        await reachable(objects.checkBucket(callerOf(call), S3Bucket, call.signal));
        checkRoom(call.account_id);
        return {
          ...begun(call),
          Status: "active",
          StatusMessage: "validating",
          Progress: "0",
          Description: input.Description,
          DiskImageFormat: input.DiskImageFormat,
          ImageId: image.image_id,
          RoleName: input.RoleName,
          S3ExportLocation: { S3Bucket, S3Prefix: S3Prefix ?? "" },
        };
      },
      after: drive(exportImageTask),
      answer: (record) => records.show(exportImageTask, record),
    }),
    DescribeExportImageTasks: n.describes(exportImageTask, {
      list: "ExportImageTasks",
      ids: "ExportImageTaskIds",
    }),
    CancelExportTask: n.custom({
      run: async (input, call) => {
        await cancel(call.account_id, input.ExportTaskId, [exportImageTask]);
        return {};
      },
    }),
  } satisfies ActionTable;
}
